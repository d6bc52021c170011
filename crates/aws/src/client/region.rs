//! Regions, their partitions, and the ARNs of resources in them.

use aws_types::SdkConfig;

/// What the services of a group of regions have in common.
#[derive(Debug, Clone, Copy)]
pub struct Partition {
    /// Its name in ARNs.
    pub name: &'static str,
    /// The suffix of its host names.
    pub suffix: &'static str,
    /// The suffix of its dual-stack host names.
    pub dual_stack: &'static str,
}

/// The prefix of the names of a partition's regions; then the fields of [`Partition`]. The last
/// entry matches all other regions.
const PARTITIONS: [(&str, &str, &str, &str); 8] = [
    (
        "cn-",
        "aws-cn",
        "amazonaws.com.cn",
        "api.amazonwebservices.com.cn",
    ),
    ("us-gov-", "aws-us-gov", "amazonaws.com", "api.aws"),
    (
        "eusc-",
        "aws-eusc",
        "amazonaws.eu",
        "api.amazonwebservices.eu",
    ),
    ("us-iso-", "aws-iso", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud"),
    (
        "eu-isoe-",
        "aws-iso-e",
        "cloud.adc-e.uk",
        "api.cloud-aws.adc-e.uk",
    ),
    (
        "us-isof-",
        "aws-iso-f",
        "csp.hci.ic.gov",
        "api.aws.hci.ic.gov",
    ),
    ("", "aws", "amazonaws.com", "api.aws"),
];

impl Partition {
    /// The partition of a region.
    pub fn of(region: &str) -> Self {
        let [.., commercial] = PARTITIONS;
        let found = PARTITIONS
            .into_iter()
            .find(|(regions, ..)| region.starts_with(regions))
            .unwrap_or(commercial);
        let (_, name, suffix, dual_stack) = found;
        Self {
            name,
            suffix,
            dual_stack,
        }
    }
}

/// The ARN of what S3 calls `BUCKET` or `BUCKET/KEY`; without a configuration if none has been
/// loaded yet.
pub fn s3_arn(config: Option<&SdkConfig>, path: &str) -> String {
    format!("arn:{}:s3:::{path}", Partition::of(region(config)).name)
}

/// A secret's ARN by its name, in the form for policies, which leaves the random suffix open; an
/// ARN is returned unchanged.
pub fn secret_arn(config: Option<&SdkConfig>, id: &str) -> String {
    if id.starts_with("arn:") {
        id.to_owned()
    } else {
        arn(config, "secretsmanager", &format!("secret:{id}-??????"))
    }
}

/// A parameter's ARN by its name or ARN, without a version or label, which policies do not name.
pub fn parameter_arn(config: Option<&SdkConfig>, id: &str) -> String {
    if id.starts_with("arn:") {
        let end = id.match_indices(':').nth(5).map_or(id.len(), |(at, _)| at);
        return id.get(..end).unwrap_or(id).to_owned();
    }
    // An ARN has a single slash before the name.
    let name = id.split(':').next().unwrap_or_default();
    arn(
        config,
        "ssm",
        &format!("parameter/{}", name.strip_prefix('/').unwrap_or(name)),
    )
}

/// The ARN of a service's resource in any account.
pub fn arn(config: Option<&SdkConfig>, service: &str, resource: &str) -> String {
    let region = region(config);
    let shown = if region.is_empty() { "*" } else { region };
    format!(
        "arn:{}:{service}:{shown}:*:{resource}",
        Partition::of(region).name
    )
}

fn region(config: Option<&SdkConfig>) -> &str {
    config
        .and_then(SdkConfig::region)
        .map_or("", |region| region.as_ref())
}

#[cfg(test)]
mod tests {
    use aws_sdk_ssm::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};

    use super::*;

    #[test]
    fn a_parameter_is_named_as_policies_name_it() {
        let arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/keys";
        for id in [arn.to_owned(), format!("{arn}:3"), format!("{arn}:good")] {
            assert_eq!(parameter_arn(None, &id), arn);
        }
        for id in ["/prod/keys", "/prod/keys:3", "prod/keys:good"] {
            assert!(
                parameter_arn(None, id).ends_with(":*:parameter/prod/keys"),
                "{id}"
            );
        }
    }

    #[tokio::test]
    async fn hosts_end_as_the_sdks_table_of_partitions_says() {
        let resolver = DefaultResolver::new();
        for region in [
            "eu-central-1",
            "cn-north-1",
            "us-gov-west-1",
            "eusc-de-east-1",
            "us-iso-east-1",
            "us-isob-east-1",
            "eu-isoe-west-1",
            "us-isof-south-1",
        ] {
            let partition = Partition::of(region);
            for (dual_stack, suffix) in [(false, partition.suffix), (true, partition.dual_stack)] {
                let parameters = Params::builder()
                    .region(region)
                    .use_dual_stack(dual_stack)
                    .use_fips(false);
                let endpoint = resolver
                    .resolve_endpoint(&parameters.build().unwrap())
                    .await
                    .unwrap();
                assert_eq!(endpoint.url(), format!("https://ssm.{region}.{suffix}"));
            }
        }
    }
}

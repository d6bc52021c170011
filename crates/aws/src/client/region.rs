//! Regions, the partitions that they are in, and the ARNs that name a resource there.

use aws_types::SdkConfig;

/// What the services of some regions have in common.
#[derive(Debug, Clone, Copy)]
pub struct Partition {
    /// As ARNs call it.
    pub name: &'static str,
    /// What the names of its hosts end in.
    pub suffix: &'static str,
    /// The same for dual-stack hosts; `None` where there are none.
    pub dual_stack: Option<&'static str>,
}

/// What the names of a partition's regions begin with; then as in [`Partition`]. The last one has all that are left.
const PARTITIONS: [(&str, &str, &str, Option<&str>); 8] = [
    ("cn-", "aws-cn", "amazonaws.com.cn", Some("api.amazonwebservices.com.cn")),
    ("us-gov-", "aws-us-gov", "amazonaws.com", Some("api.aws")),
    ("eusc-", "aws-eusc", "amazonaws.eu", Some("api.amazonwebservices.eu")),
    ("us-iso-", "aws-iso", "c2s.ic.gov", None),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov", None),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk", None),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov", None),
    ("", "aws", "amazonaws.com", Some("api.aws")),
];

impl Partition {
    /// The partition of a region.
    pub fn of(region: &str) -> Self {
        let [.., commercial] = PARTITIONS;
        let found = PARTITIONS.into_iter().find(|(regions, ..)| region.starts_with(regions)).unwrap_or(commercial);
        let (_, name, suffix, dual_stack) = found;
        Self { name, suffix, dual_stack }
    }
}

/// The ARN of what S3 calls `BUCKET` or `BUCKET/KEY`; without a configuration as long as none is loaded.
pub fn s3_arn(config: Option<&SdkConfig>, path: &str) -> String {
    format!("arn:{}:s3:::{path}", Partition::of(region(config)).name)
}

/// A secret's ARN by its name, as policies name one whose random suffix nobody knows; an ARN stays as it is.
pub fn secret_arn(config: Option<&SdkConfig>, id: &str) -> String {
    if id.starts_with("arn:") { id.to_owned() } else { arn(config, "secretsmanager", &format!("secret:{id}-??????")) }
}

/// A parameter's ARN by its name; an ARN stays as it is.
pub fn parameter_arn(config: Option<&SdkConfig>, id: &str) -> String {
    if id.starts_with("arn:") {
        return id.to_owned();
    }
    // Policies name it without what selects a version, and with one slash.
    let name = id.split(':').next().unwrap_or_default();
    arn(config, "ssm", &format!("parameter/{}", name.strip_prefix('/').unwrap_or(name)))
}

/// The ARN of a service's resource in any account.
pub fn arn(config: Option<&SdkConfig>, service: &str, resource: &str) -> String {
    let region = region(config);
    let shown = if region.is_empty() { "*" } else { region };
    format!("arn:{}:{service}:{shown}:*:{resource}", Partition::of(region).name)
}

fn region(config: Option<&SdkConfig>) -> &str {
    config.and_then(SdkConfig::region).map_or("", |region| region.as_ref())
}

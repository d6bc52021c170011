//! The address of a service, by region and partition, FIPS and dual-stack.

use super::AwsService;
use crate::client::region::Partition;
use authkeys_core::origin::arn::is_region;

/// The URL of a service in a region; the error says why there is none.
pub(super) fn endpoint(
    service: &AwsService,
    region: &str,
    fips: bool,
    dual_stack: bool,
) -> Result<String, String> {
    if !is_region(region) {
        return Err("the region's name is none".to_owned());
    }
    let partition = Partition::of(region);
    let suffix = if dual_stack {
        partition.dual_stack
    } else {
        partition.suffix
    };
    let usual_is_fips = service.gov_hosts_are_fips && !dual_stack && partition.name == "aws-us-gov";
    let fips = if fips && !usual_is_fips { "-fips" } else { "" };
    Ok(format!("https://{}{fips}.{region}.{suffix}", service.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC2: AwsService = AwsService {
        id: "EC2",
        name: "ec2",
        gov_hosts_are_fips: true,
    };
    const KMS: AwsService = AwsService {
        id: "KMS",
        name: "kms",
        gov_hosts_are_fips: false,
    };

    #[test]
    fn every_partition_has_its_hosts() {
        for (region, fips, dual_stack, host) in [
            (
                "eu-central-1",
                false,
                false,
                "ec2.eu-central-1.amazonaws.com",
            ),
            ("us-east-1", true, false, "ec2-fips.us-east-1.amazonaws.com"),
            ("us-east-1", false, true, "ec2.us-east-1.api.aws"),
            ("us-east-1", true, true, "ec2-fips.us-east-1.api.aws"),
            (
                "cn-north-1",
                false,
                false,
                "ec2.cn-north-1.amazonaws.com.cn",
            ),
            (
                "cn-north-1",
                false,
                true,
                "ec2.cn-north-1.api.amazonwebservices.com.cn",
            ),
            (
                "us-gov-west-1",
                false,
                false,
                "ec2.us-gov-west-1.amazonaws.com",
            ),
            (
                "us-gov-west-1",
                true,
                false,
                "ec2.us-gov-west-1.amazonaws.com",
            ),
            (
                "us-gov-west-1",
                true,
                true,
                "ec2-fips.us-gov-west-1.api.aws",
            ),
            (
                "us-iso-east-1",
                false,
                false,
                "ec2.us-iso-east-1.c2s.ic.gov",
            ),
            (
                "us-iso-east-1",
                false,
                true,
                "ec2.us-iso-east-1.api.aws.ic.gov",
            ),
            (
                "us-isob-east-1",
                false,
                true,
                "ec2.us-isob-east-1.api.aws.scloud",
            ),
            (
                "eu-isoe-west-1",
                true,
                true,
                "ec2-fips.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
            ),
            (
                "us-isof-south-1",
                false,
                true,
                "ec2.us-isof-south-1.api.aws.hci.ic.gov",
            ),
            (
                "us-isob-east-1",
                false,
                false,
                "ec2.us-isob-east-1.sc2s.sgov.gov",
            ),
            (
                "eusc-de-east-1",
                false,
                false,
                "ec2.eusc-de-east-1.amazonaws.eu",
            ),
        ] {
            assert_eq!(
                endpoint(&EC2, region, fips, dual_stack).unwrap(),
                format!("https://{host}")
            );
        }
        for region in ["", "evil.example/", "A"] {
            assert!(endpoint(&EC2, region, false, true).is_err(), "{region}");
        }
    }
    #[test]
    fn kms_has_its_own_fips_hosts_in_every_partition() {
        for (region, fips, dual_stack, host) in [
            (
                "eu-central-1",
                false,
                false,
                "kms.eu-central-1.amazonaws.com",
            ),
            ("us-east-1", true, false, "kms-fips.us-east-1.amazonaws.com"),
            (
                "us-gov-west-1",
                true,
                false,
                "kms-fips.us-gov-west-1.amazonaws.com",
            ),
            ("us-east-1", true, true, "kms-fips.us-east-1.api.aws"),
            (
                "cn-north-1",
                false,
                true,
                "kms.cn-north-1.api.amazonwebservices.com.cn",
            ),
        ] {
            assert_eq!(
                endpoint(&KMS, region, fips, dual_stack).unwrap(),
                format!("https://{host}")
            );
        }
    }
}

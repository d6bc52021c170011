//! Where EC2 is: by region and partition, FIPS and dual-stack.

use crate::client::region::Partition;
use authkeys_core::origin::arn::is_region;

/// The URL of EC2 in a region; the error is what is wrong with the demand.
pub(super) fn endpoint(region: &str, fips: bool, dual_stack: bool) -> Result<String, String> {
    if !is_region(region) {
        return Err("the region's name is none".to_owned());
    }
    let partition = Partition::of(region);
    let suffix = if dual_stack {
        partition.dual_stack
    } else {
        partition.suffix
    };
    // In us-gov the usual hosts are FIPS hosts already.
    let service = if fips && (dual_stack || partition.name != "aws-us-gov") {
        "ec2-fips"
    } else {
        "ec2"
    };
    Ok(format!("https://{service}.{region}.{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
                endpoint(region, fips, dual_stack).unwrap(),
                format!("https://{host}")
            );
        }
        for region in ["", "evil.example/", "A"] {
            assert!(endpoint(region, false, true).is_err(), "{region}");
        }
    }
}

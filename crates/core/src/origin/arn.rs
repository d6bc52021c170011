//! ARNs as far as a source needs them: the region to query, and whether the ARN names a resource of
//! the right service.

/// A parsed ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub(crate) region: &'a str,
    /// The part after the account: `secret:NAME-SUFFIX`, `parameter/NAME`.
    pub(crate) resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Parses an ARN of `service` (as ARNs name it); `None` if the text does not begin like an ARN.
    pub(crate) fn parse(text: &'a str, service: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("arn:")?;
        let (partition, rest) = cut_part(rest);
        let (named, rest) = cut_part(rest);
        let (region, rest) = cut_part(rest);
        let (account, resource) = cut_part(rest);
        let is_partition = match partition.strip_prefix("aws") {
            Some(rest) => rest.chars().all(in_region),
            None => false,
        };
        Some(if !is_partition {
            Err(format!(
                "{partition:?} is not a partition of an ARN, as `aws`, `aws-cn` or `aws-us-gov` are"
            ))
        } else if named != service {
            Err(format!("that is an ARN of {named:?}, not of {service}"))
        } else if !is_region(region) {
            Err("its ARN has no region".to_owned())
        } else if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
            Err("its ARN has no account of 12 digits".to_owned())
        } else {
            Ok(Self { region, resource })
        })
    }
}

/// The text before the first colon, and the text after it.
fn cut_part(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((text, ""))
}

/// Whether a text can be a region's name. The name becomes part of a host name, and credentials are
/// signed for it.
pub fn is_region(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.chars().all(in_region)
}

fn in_region(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_tells_its_region_and_resource_and_a_bad_one_its_fault() {
        let good = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:prod/ssh:x-AbC123";
        let arn = Arn {
            region: "cn-north-1",
            resource: "secret:prod/ssh:x-AbC123",
        };
        assert_eq!(Arn::parse(good, "secretsmanager"), Some(Ok(arn)));
        assert_eq!(Arn::parse("prod/arn:aws", "ssm"), None);
        for (bad, fault) in [
            ("arn:", "not a partition"),
            (
                "arn:evil.example:ssm:eu-west-1:123456789012:parameter/x",
                "not a partition",
            ),
            (
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x",
                "not of ssm",
            ),
            ("arn:aws:ssm::123456789012:parameter/x", "no region"),
            (
                "arn:aws:ssm:evil.example:123456789012:parameter/x",
                "no region",
            ),
            ("arn:aws:ssm:eu-west-1:12345678901:parameter/x", "12 digits"),
            ("arn:aws:ssm:eu-west-1:*:parameter/x", "12 digits"),
        ] {
            let said = Arn::parse(bad, "ssm").unwrap().unwrap_err();
            assert!(said.contains(fault), "{bad}: {said}");
        }
    }
}

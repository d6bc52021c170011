//! How a key in AWS KMS is specified on a command line.

use std::fmt;

use crate::origin::arn::{Arn, is_region};
use crate::words::brief;

const PREFIX: &str = "kms:";
const FORMS: &str = "write kms:KEY-ID, kms:alias/NAME or kms:ARN, with ?region=REGION where needed";
/// The most characters that KMS accepts.
const MAX_ID: usize = 2_048;

/// A key in AWS KMS: `kms:KEY-ID`, `kms:ARN` or `kms:alias/NAME`, optionally followed by
/// `?region=REGION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsKey {
    id: String,
    region: Option<String>,
}

impl KmsKey {
    /// `None` if the text does not begin with `kms:`.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        Some(Self::parse_id(text.strip_prefix(PREFIX)?))
    }

    fn parse_id(text: &str) -> Result<Self, String> {
        let (id, mut region) = match text.split_once('?') {
            Some((id, query)) => (id, Some(parse_region(query)?)),
            None => (text, None),
        };
        let resource = match Arn::parse(id, "kms") {
            None => id,
            Some(arn) => {
                let arn = arn.map_err(|fault| format!("{fault}; {FORMS}"))?;
                if region.as_deref().is_some_and(|region| region != arn.region) {
                    return Err(format!("its ARN is in {}; leave ?region= out", arn.region));
                }
                region = Some(arn.region.to_owned());
                if !arn.resource.starts_with("key/") && !arn.resource.starts_with("alias/") {
                    return Err(format!("its ARN is not of a key or an alias; {FORMS}"));
                }
                arn.resource.strip_prefix("key/").unwrap_or(arn.resource)
            }
        };
        let name = resource.strip_prefix("alias/").unwrap_or(resource);
        let signs = if resource.starts_with("alias/") {
            "_-/"
        } else {
            "_-"
        };
        let mut characters = name.chars();
        let is_plain = characters.all(|c| c.is_ascii_alphanumeric() || signs.contains(c));
        if name.is_empty() || id.len() > MAX_ID || !is_plain {
            return Err(format!("{:?} does not name a KMS key; {FORMS}", brief(id)));
        }
        Ok(Self {
            id: id.to_owned(),
            region,
        })
    }

    /// What is sent to KMS: an id, an ARN, or an alias.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The region in the text; `None`: the environment's.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The key without its location: its id, or `alias/NAME`.
    pub fn short_name(&self) -> &str {
        let resource = match Arn::parse(&self.id, "kms") {
            Some(Ok(arn)) => arn.resource,
            _ => self.id.as_str(),
        };
        resource.strip_prefix("key/").unwrap_or(resource)
    }
}

/// The region in `region=REGION`.
fn parse_region(query: &str) -> Result<String, String> {
    match query.strip_prefix("region=") {
        Some(region) if is_region(region) => Ok(region.to_owned()),
        _ => Err(format!("{:?} is not region=REGION; {FORMS}", brief(query))),
    }
}

impl fmt::Display for KmsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_id_alias_or_arn_and_its_region_is_known_where_it_is_named() {
        let arn = "arn:aws:kms:eu-west-1:123456789012:key/mrk-0123";
        let alias = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:alias/a/b_c";
        for (text, region, short) in [
            ("kms:1234abcd-12ab", None, "1234abcd-12ab"),
            ("kms:alias/ops/keys", None, "alias/ops/keys"),
            (
                "kms:alias/ops?region=eu-west-1",
                Some("eu-west-1"),
                "alias/ops",
            ),
            (&format!("kms:{arn}"), Some("eu-west-1"), "mrk-0123"),
            (
                &format!("kms:{arn}?region=eu-west-1"),
                Some("eu-west-1"),
                "mrk-0123",
            ),
            (
                &format!("kms:{alias}"),
                Some("us-gov-west-1"),
                "alias/a/b_c",
            ),
        ] {
            let key = KmsKey::parse(text).unwrap().unwrap();
            assert_eq!((key.region(), key.short_name()), (region, short), "{text}");
        }
        assert_eq!(KmsKey::parse("./kms:x"), None);
        for (bad, fault) in [
            ("kms:", "does not name"),
            ("kms:alias/", "does not name"),
            ("kms:a b", "does not name"),
            ("kms:a/b", "does not name"),
            ("kms:x?region=", "is not region=REGION"),
            ("kms:x?zone=eu-west-1", "is not region=REGION"),
            ("kms:arn:aws:s3:::b", "not of kms"),
            (
                "kms:arn:aws:kms:eu-west-1:123456789012:grant/x",
                "not of a key",
            ),
            (&format!("kms:{arn}?region=us-east-1"), "leave ?region= out"),
        ] {
            let said = KmsKey::parse(bad).unwrap().unwrap_err();
            assert!(said.contains(fault), "{bad}: {said}");
        }
    }
}

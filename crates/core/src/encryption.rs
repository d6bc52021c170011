//! How to encrypt an object in S3, for buckets whose policy requires the request to say so.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most characters of a key's name, more than any KMS ARN has.
const MAX_KEY: usize = 2_048;

/// The encryption that a write to S3 requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Encryption {
    /// S3's own keys.
    Aes256,
    /// A KMS key, or the account's default one for S3.
    Kms(Option<String>),
}

impl FromStr for Encryption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "AES256" => return Ok(Self::Aes256),
            "aws:kms" => return Ok(Self::Kms(None)),
            _ => {}
        }
        if let Some(key) = text.strip_prefix("aws:kms:")
            && (1..=MAX_KEY).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_graphic())
        {
            return Ok(Self::Kms(Some(key.to_owned())));
        }
        Err(format!(
            "{text:?} is not a kind of encryption; write AES256, aws:kms, or aws:kms:KEY"
        ))
    }
}

impl TryFrom<String> for Encryption {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Encryption> for String {
    fn from(encryption: Encryption) -> Self {
        encryption.to_string()
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aes256 => f.write_str("AES256"),
            Self::Kms(None) => f.write_str("aws:kms"),
            Self::Kms(Some(key)) => write!(f, "aws:kms:{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_the_services_write_it_and_written_as_it_is_read() {
        let kms = |key: &str| Encryption::Kms(Some(key.to_owned()));
        let arn = "arn:aws:kms:eu-west-1:123456789012:key/0a";
        for (text, encryption) in [
            ("AES256", Encryption::Aes256),
            ("aws:kms", Encryption::Kms(None)),
            ("aws:kms:alias/keys", kms("alias/keys")),
            (&format!("aws:kms:{arn}"), kms(arn)),
        ] {
            assert_eq!(text.parse().as_ref(), Ok(&encryption));
            assert_eq!(encryption.to_string(), text);
            let json = serde_json::to_string(&encryption).unwrap();
            assert_eq!(
                serde_json::from_str::<Encryption>(&json).unwrap(),
                encryption
            );
        }
        let long = format!("aws:kms:{}", "k".repeat(MAX_KEY + 1));
        for bad in [
            "",
            "aes256",
            "aws:kms:",
            "aws:kms:a b",
            "aws:kms:k\n",
            "kms",
            &long,
        ] {
            assert!(bad.parse::<Encryption>().is_err(), "{bad}");
            assert!(
                serde_json::from_value::<Encryption>(bad.into()).is_err(),
                "{bad}"
            );
        }
    }
}

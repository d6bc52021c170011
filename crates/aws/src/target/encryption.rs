//! How an object is to be encrypted, for buckets whose policy demands that the request says so.

use std::str::FromStr;

use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::ServerSideEncryption;

/// What PutObject asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// S3's own keys.
    Aes256,
    /// A KMS key, or the account's default one for S3.
    Kms(Option<String>),
}

impl FromStr for Encryption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is no encryption; write AES256, aws:kms, or aws:kms:KEY");
        match text {
            "AES256" => Ok(Self::Aes256),
            "aws:kms" => Ok(Self::Kms(None)),
            _ => {
                let key = text.strip_prefix("aws:kms:").ok_or_else(fault)?;
                let is_good = !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic());
                if is_good { Ok(Self::Kms(Some(key.to_owned()))) } else { Err(fault()) }
            }
        }
    }
}

impl Encryption {
    pub(super) fn ask(&self, request: PutObjectFluentBuilder) -> PutObjectFluentBuilder {
        match self {
            Self::Aes256 => request.server_side_encryption(ServerSideEncryption::Aes256),
            Self::Kms(key) => {
                request.server_side_encryption(ServerSideEncryption::AwsKms).set_ssekms_key_id(key.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_the_services_write_it() {
        let kms = |key: &str| Ok(Encryption::Kms(Some(key.to_owned())));
        assert_eq!("AES256".parse(), Ok(Encryption::Aes256));
        assert_eq!("aws:kms".parse(), Ok(Encryption::Kms(None)));
        assert_eq!("aws:kms:alias/keys".parse(), kms("alias/keys"));
        let arn = "arn:aws:kms:eu-west-1:123456789012:key/0a";
        assert_eq!(format!("aws:kms:{arn}").parse(), kms(arn));
        for bad in ["", "aes256", "aws:kms:", "aws:kms:a b", "kms"] {
            assert!(bad.parse::<Encryption>().is_err(), "{bad}");
        }
    }
}

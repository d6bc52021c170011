//! The targets of `publish`: an S3 object, a secret, or a parameter. Each write names the version
//! that it replaces, so that only one of two concurrent publishers succeeds.

use std::sync::Arc;

use aws_types::SdkConfig;
use zeroize::Zeroizing;

use crate::client::fault::{Call, no_region};
use crate::client::retry::RandomJitter;
use crate::client::{Aws, Limits};
use crate::source::AwsSources;
use authkeys_core::encryption::Encryption;
use authkeys_core::origin::{
    Class, Fetch as _, FetchError, Fetched, MAX_DOCUMENT, SourceUrl, Stage, Version,
};
use authkeys_core::publishing::place::Place;
use stored::Archive;

mod parameter;
mod s3;
mod secret;
pub mod stored;

/// The most levels in a parameter's name.
const MAX_LEVELS: usize = 15;

/// A place to publish at.
#[derive(Debug)]
pub struct PublishTarget {
    /// As the user wrote it.
    name: String,
    url: SourceUrl,
    sources: AwsSources,
    /// `None`: the bucket's default.
    encryption: Option<Encryption>,
}

/// What is published there now.
#[derive(Debug, Clone)]
pub struct Published {
    /// The document.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Its version.
    pub version: Version,
}

/// What was published there before it was deleted.
#[derive(Debug)]
pub enum Earlier {
    /// Its last version.
    Version(Published),
    /// Something that can no longer be read.
    Unreadable,
    /// As far as known, nothing ever was. Not every service remembers what was deleted.
    Unknown,
}

/// A successful write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenVersion {
    /// The new version, as shown to people.
    pub version: String,
    /// Another publisher's version that was overwritten, if the service has no condition to prevent
    /// that.
    pub overwrote: Option<String>,
    /// Secondary failures that affect no node.
    pub warnings: Vec<String>,
}

/// Why nothing was written.
#[derive(Debug)]
pub enum NotWritten {
    /// Something else has been published since the read.
    Lost,
    /// The same, detected by a retry after an attempt without an answer: that attempt may have
    /// succeeded, and another publisher may have replaced the result.
    Unclear,
    /// The call failed.
    Failed(FetchError),
}

impl From<FetchError> for NotWritten {
    fn from(fault: FetchError) -> Self {
        Self::Failed(fault)
    }
}

impl PublishTarget {
    /// Parses a source's URL as a target; the error says why it cannot be one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = SourceUrl::parse(text).map_err(|fault| fault.to_string())?;
        let fault = match &url {
            SourceUrl::File { .. } => Some("a file is published by copying it there (cp, then mv)"),
            SourceUrl::S3 {
                version_id: Some(_),
                ..
            } => Some("a version that is there already cannot be written; leave `version_id=` out"),
            SourceUrl::Parameter { id, .. } if selects(id) => Some(
                "a version that is there already cannot be written; leave what follows the name \
                 out",
            ),
            SourceUrl::Parameter { id, .. } => reserved(id),
            SourceUrl::Prefix { .. } => Some(
                "it ends in a slash and so names a prefix with an object for each person; put one \
                 person's object there with `aws s3 cp`, or name one document",
            ),
            SourceUrl::Secret { field: Some(_), .. } => Some(
                "`field=` names one field of a secret, and a whole document is written; give the \
                 key set a secret, a parameter or an object of its own",
            ),
            SourceUrl::S3 { .. } | SourceUrl::Secret { .. } => None,
        };
        match fault {
            Some(fault) => Err(format!("{text:?} is not a target: {fault}")),
            None => Ok(Self {
                name: url.to_string(),
                url: current(url),
                sources: AwsSources::new(),
                encryption: None,
            }),
        }
    }

    /// The same target with other limits.
    #[must_use]
    pub fn limited(self, limits: Limits) -> Self {
        Self {
            sources: AwsSources::with(limits, RandomJitter),
            ..self
        }
    }

    /// The same target, with an encryption that each write requests; the error says why that is
    /// impossible.
    pub fn encrypted(self, encryption: Option<Encryption>) -> Result<Self, String> {
        match (&self.url, &encryption) {
            (SourceUrl::S3 { .. }, _) | (_, None) => Ok(Self { encryption, ..self }),
            _ => Err(format!(
                "{self} is not an object in S3: a secret or a parameter keeps its own key; leave \
                 --sse out"
            )),
        }
    }

    /// Its versions.
    pub fn archive(&self) -> Archive {
        Archive::new(Place {
            url: self.url.clone(),
            pin: None,
        })
    }

    /// The size limit of a document there in bytes, and what to do about a larger one.
    pub fn limit(&self) -> (usize, &'static str) {
        match &self.url {
            SourceUrl::Secret { .. } => (65_536, "the most of a secret; publish it in S3"),
            SourceUrl::Parameter { .. } => (8_192, "the most of a parameter; publish it in S3"),
            SourceUrl::S3 { .. } | SourceUrl::Prefix { .. } | SourceUrl::File { .. } => {
                (MAX_DOCUMENT, "which no node reads; publish fewer keys")
            }
        }
    }

    /// Why a document cannot be stored there, whatever its size.
    pub fn unfit(&self, text: &[u8]) -> Option<&'static str> {
        let braces = text.windows(2).any(|pair| pair == b"{{");
        (matches!(self.url, SourceUrl::Parameter { .. }) && braces).then_some(
            "it contains `{{`, for example in a comment, which no parameter may contain: remove \
             it, or publish in S3",
        )
    }

    /// How to see a version that was overwritten.
    pub fn lookup(&self, version: &str) -> String {
        match &self.url {
            SourceUrl::Secret { id, .. } => {
                format!(
                    "aws secretsmanager get-secret-value --secret-id {id} --version-id {version}"
                )
            }
            SourceUrl::Parameter { id, .. } => {
                format!("aws ssm get-parameter --name {id}:{version}")
            }
            SourceUrl::S3 { .. } | SourceUrl::Prefix { .. } | SourceUrl::File { .. } => {
                version.to_owned()
            }
        }
    }

    /// Reads what is published there; `None` if nothing is.
    pub async fn read(&self) -> Result<Option<Published>, FetchError> {
        match self.sources.fetch(&self.url, None).await {
            Ok(Fetched::Documents { current, .. }) => Ok(Some(Published {
                bytes: current.bytes,
                version: current.version,
            })),
            Ok(Fetched::Unchanged) => Ok(None),
            Err(fault) if fault.class == Class::Missing => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Whether a read that failed with `fault` may only mean that nothing is published there: S3
    /// answers 403 for a missing object unless s3:ListBucket is granted, and AWS does not document
    /// how a condition on its prefix affects that. A write on the condition that there is no object
    /// can then still be tried.
    pub fn may_be_missing(&self, fault: &FetchError) -> bool {
        matches!(self.url, SourceUrl::S3 { .. }) && fault.class == Class::Denied
    }

    /// What was published there before it was deleted.
    pub async fn earlier(&self) -> Earlier {
        let SourceUrl::S3 {
            bucket,
            key,
            region,
            ..
        } = &self.url
        else {
            return Earlier::Unknown;
        };
        let version_id = match s3::deleted(self, bucket, key, region.as_deref()).await {
            None => return Earlier::Unknown,
            Some(None) => return Earlier::Unreadable,
            Some(version_id) => version_id,
        };
        let url = SourceUrl::S3 {
            bucket: bucket.clone(),
            key: key.clone(),
            region: region.clone(),
            version_id,
        };
        match self.sources.fetch(&url, None).await {
            Ok(Fetched::Documents { current, .. }) => Earlier::Version(Published {
                bytes: current.bytes,
                version: current.version,
            }),
            _ => Earlier::Unreadable,
        }
    }

    /// Writes a document over the one that was read, or where nothing was published.
    pub async fn write(
        &self,
        bytes: &[u8],
        over: Option<&Published>,
    ) -> Result<WrittenVersion, NotWritten> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let region = self.url.region();
        match &self.url {
            SourceUrl::S3 { bucket, key, .. } => {
                s3::write(self, bucket, key, region, text, over).await
            }
            SourceUrl::Secret { id, .. } => secret::write(self, id, region, text, over).await,
            SourceUrl::Parameter { id, .. } => parameter::write(self, id, region, text, over).await,
            // `parse` accepts neither of them.
            SourceUrl::Prefix { .. } | SourceUrl::File { .. } => Err(NotWritten::Lost),
        }
    }

    fn aws(&self) -> &Arc<Aws> {
        self.sources.aws()
    }

    async fn config(
        &self,
        region: Option<&str>,
        call: impl Fn(Option<&SdkConfig>) -> Call,
    ) -> Result<SdkConfig, FetchError> {
        let config = self
            .aws()
            .config(region)
            .await
            .map_err(|bad| call(None).unfit(&bad))?;
        if config.region().is_none() {
            Err(no_region(&call(Some(&config))))
        } else {
            Ok(config)
        }
    }
}

/// Only the current stage of a secret is published.
fn current(url: SourceUrl) -> SourceUrl {
    match url {
        SourceUrl::Secret { id, region, .. } => SourceUrl::Secret {
            id,
            region,
            field: None,
            stages: [Stage::Current].into(),
        },
        other => other,
    }
}

/// Whether a parameter's name ends in a version or a label.
fn selects(id: &str) -> bool {
    let name = if id.starts_with("arn:") {
        id.splitn(6, ':').nth(5).unwrap_or_default()
    } else {
        id
    };
    name.contains(':')
}

/// Why Systems Manager accepts no parameter with that name.
fn reserved(id: &str) -> Option<&'static str> {
    let name = id
        .split_once(":parameter/")
        .map_or(id, |(_, name)| name)
        .trim_start_matches('/');
    let begin = name.get(..3).unwrap_or(name).to_ascii_lowercase();
    if begin == "aws" || begin == "ssm" {
        Some("the name of a parameter must not begin with `aws` or `ssm`")
    } else if name.split('/').count() > MAX_LEVELS {
        Some("the name of a parameter has at most 15 levels")
    } else {
        None
    }
}

/// Its URL.
impl std::fmt::Display for PublishTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_secret_is_no_target() {
        let fault = PublishTarget::parse("secretsmanager:team?field=pub_key").unwrap_err();
        assert!(
            fault.contains("is not a target: `field=` names one field"),
            "{fault}"
        );
        assert!(PublishTarget::parse("secretsmanager:team").is_ok());
    }
}

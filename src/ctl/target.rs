//! Where `publish` writes: an S3 object, a secret, a parameter. Each write says what it replaces, so that of two
//! publishers at once only one comes through.

use std::sync::Arc;

use aws_types::SdkConfig;
use zeroize::Zeroizing;

use crate::aws::Aws;
use crate::aws::fault::{Call, no_region};
use crate::source::{Class, Fetch as _, FetchError, Fetched, MAX_DOCUMENT, SourceUrl, Sources, Stage, Version};

mod parameter;
mod s3;
mod secret;

/// A place to publish at.
#[derive(Debug)]
pub(super) struct Target {
    /// As people wrote it.
    name: String,
    url: SourceUrl,
    sources: Sources,
}

/// What is published there now.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// The document.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Which version that is.
    pub(super) version: Version,
}

/// What was published there before it was deleted.
#[derive(Debug)]
pub(super) enum Earlier {
    /// The last version of it.
    Version(Published),
    /// There was something that cannot be read any more.
    Unreadable,
    /// As far as is known, nothing ever was. Not every service remembers what was deleted.
    Unknown,
}

/// A write that went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// What people know the new version by.
    pub(super) version: String,
    /// The version of somebody else that was overwritten, where the service has no condition to prevent it.
    pub(super) overwrote: Option<String>,
}

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum NotWritten {
    /// What is published there is no longer what was read.
    Lost,
    /// The call failed.
    Failed(FetchError),
}

impl From<FetchError> for NotWritten {
    fn from(fault: FetchError) -> Self {
        Self::Failed(fault)
    }
}

impl Target {
    /// Takes a source's URL for a target, or says why it is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = SourceUrl::parse(text).map_err(|fault| fault.to_string())?;
        let fault = match &url {
            SourceUrl::File { .. } => Some("a file is published by copying it there (cp, then mv)"),
            SourceUrl::S3 { version_id: Some(_), .. } => {
                Some("a version that is there already cannot be written; leave `version_id=` out")
            }
            SourceUrl::Parameter { id, .. } if selects(id) => {
                Some("a version that is there already cannot be written; leave what follows the name out")
            }
            SourceUrl::S3 { .. } | SourceUrl::Secret { .. } | SourceUrl::Parameter { .. } => None,
        };
        match fault {
            Some(fault) => Err(format!("{text:?} is no target: {fault}")),
            None => Ok(Self { name: url.to_string(), url: current(url), sources: Sources::new() }),
        }
    }

    /// The most bytes that a document may have there, and what to do when it has more.
    pub(super) fn limit(&self) -> (usize, &'static str) {
        match &self.url {
            SourceUrl::Secret { .. } => (65_536, "the most of a secret; publish it in S3"),
            SourceUrl::Parameter { .. } => (8_192, "the most of a parameter; publish it in S3"),
            SourceUrl::S3 { .. } | SourceUrl::File { .. } => (MAX_DOCUMENT, "which no node reads; publish fewer keys"),
        }
    }

    /// What is published there; `None` when nothing is.
    pub(super) async fn read(&self) -> Result<Option<Published>, FetchError> {
        match self.sources.fetch(&self.url, None).await {
            Ok(Fetched::Documents { current, .. }) => {
                Ok(Some(Published { bytes: current.bytes, version: current.version }))
            }
            Ok(Fetched::Unchanged) => Ok(None),
            Err(fault) if fault.class == Class::Missing => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// What was there before, where there is nothing now.
    pub(super) async fn earlier(&self) -> Earlier {
        let SourceUrl::S3 { bucket, key, region, .. } = &self.url else { return Earlier::Unknown };
        let version_id = match s3::deleted(self, bucket, key, region.as_deref()).await {
            None => return Earlier::Unknown,
            Some(None) => return Earlier::Unreadable,
            Some(version_id) => version_id,
        };
        let url = SourceUrl::S3 { bucket: bucket.clone(), key: key.clone(), region: region.clone(), version_id };
        match self.sources.fetch(&url, None).await {
            Ok(Fetched::Documents { current, .. }) => {
                Earlier::Version(Published { bytes: current.bytes, version: current.version })
            }
            _ => Earlier::Unreadable,
        }
    }

    /// Writes a document over what was read there, or where nothing was.
    pub(super) async fn write(&self, bytes: &[u8], over: Option<&Published>) -> Result<Written, NotWritten> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let region = self.url.region();
        match &self.url {
            SourceUrl::S3 { bucket, key, .. } => s3::write(self, bucket, key, region, text, over).await,
            SourceUrl::Secret { id, .. } => secret::write(self, id, region, text, over).await,
            SourceUrl::Parameter { id, .. } => parameter::write(self, id, region, text, over).await,
            // None is parsed.
            SourceUrl::File { .. } => Err(NotWritten::Lost),
        }
    }

    fn aws(&self) -> &Arc<Aws> {
        self.sources.aws()
    }

    async fn config(&self, region: Option<&str>, call: impl Fn(&SdkConfig) -> Call) -> Result<SdkConfig, FetchError> {
        let config = self.aws().config(region).await;
        if config.region().is_none() { Err(no_region(&call(&config))) } else { Ok(config) }
    }
}

/// Of a secret's stages only the current one is published.
fn current(url: SourceUrl) -> SourceUrl {
    match url {
        SourceUrl::Secret { id, region, .. } => SourceUrl::Secret { id, region, stages: [Stage::Current].into() },
        other => other,
    }
}

/// Whether a parameter's name goes on with a version or a label.
fn selects(id: &str) -> bool {
    let name = if id.starts_with("arn:") { id.splitn(6, ':').nth(5).unwrap_or_default() } else { id };
    name.contains(':')
}

/// Its URL.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

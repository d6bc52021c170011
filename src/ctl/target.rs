//! Where `publish` writes: an S3 object, a secret, a parameter. Each write says what it replaces, so that of two
//! publishers at once only one comes through.

use std::sync::Arc;

use aws_types::SdkConfig;
use zeroize::Zeroizing;

use crate::aws::fault::{Call, no_region};
use crate::aws::{Aws, endpoint};
use crate::source::{Class, Fetch as _, FetchError, Fetched, SourceUrl, Sources, Version};

mod s3;

/// A place to publish at.
#[derive(Debug)]
pub(super) struct Target {
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
            SourceUrl::S3 { version_id: None, .. } => None,
            SourceUrl::S3 { .. } => Some("a version that is there already cannot be written; leave `version_id=` out"),
            _ => {
                Some("this version publishes to s3://BUCKET/KEY; a file is published by copying it there (cp, then mv)")
            }
        };
        match fault {
            Some(fault) => Err(format!("{text:?} is no target: {fault}")),
            None => Ok(Self { url, sources: Sources::new() }),
        }
    }

    /// The most bytes that a document may have there, and what to do when it has more.
    pub(super) fn limit(&self) -> (usize, &'static str) {
        (crate::source::MAX_DOCUMENT, "which no node reads")
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

    /// Writes a document over what was read there, or where nothing was.
    pub(super) async fn write(&self, bytes: &[u8], over: Option<&Published>) -> Result<Written, NotWritten> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let SourceUrl::S3 { bucket, key, region, .. } = &self.url else { return Err(NotWritten::Lost) };
        s3::write(self, bucket, key, region.as_deref(), text, over).await
    }

    fn aws(&self) -> &Arc<Aws> {
        self.sources.aws()
    }

    async fn config(
        &self,
        region: Option<&str>,
        call: impl Fn(Option<&SdkConfig>) -> Call,
    ) -> Result<SdkConfig, FetchError> {
        let config = self.aws().config(region).await;
        if config.region().is_none() { Err(no_region(&call(Some(&config)))) } else { Ok(config) }
    }
}

/// The URL.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.url.fmt(f)
    }
}

/// For messages: the endpoint of one's own, else the service in its region.
fn place(config: Option<&SdkConfig>, id: &str, name: &str) -> String {
    let region = config.and_then(SdkConfig::region).map_or(String::new(), |region| format!(" in {region}"));
    config.and_then(|config| endpoint(config, id)).unwrap_or_else(|| format!("{name}{region}"))
}

//! All sources behind the one seam.

use std::sync::Arc;

use super::error::FetchError;
use super::file;
use super::s3::{Object, S3};
use super::{Fetch, Fetched, SourceUrl, Versions};
use crate::aws::retry::{Jitter, RandomJitter, retry};
use crate::aws::{Aws, Limits};

/// The real sources. AWS configuration, credentials and connections are set up by the first fetch that needs them and
/// kept. It must run in a tokio runtime with I/O and time enabled.
#[derive(Debug)]
pub struct Sources<J = RandomJitter> {
    aws: Arc<Aws>,
    s3: S3,
    jitter: J,
}

impl Sources {
    /// With the usual limits.
    pub fn new() -> Self {
        Self::with(Limits::default(), RandomJitter)
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self::new()
    }
}

impl<J: Jitter> Sources<J> {
    /// With limits and randomness of one's own.
    pub fn with(limits: Limits, jitter: J) -> Self {
        Self { aws: Arc::new(Aws::new(limits)), s3: S3::default(), jitter }
    }

    /// The way to AWS, for others who go it.
    pub(crate) fn aws(&self) -> &Arc<Aws> {
        &self.aws
    }
}

impl<J: Jitter> Fetch for Sources<J> {
    async fn fetch(&self, url: &SourceUrl, known: Option<&Versions>) -> Result<Fetched, FetchError> {
        let current = known.map(|known| &known.current);
        let policy = &self.aws.limits.retry;
        match url {
            SourceUrl::File { path } => file::fetch(path, current, policy.limit).await,
            SourceUrl::S3 { bucket, key, version_id, region } => {
                let object = Object { url, bucket, key, version_id: version_id.as_deref(), region: region.as_deref() };
                let over = |limit| object.call(None).timed_out(limit);
                retry(policy, &self.jitter, over, async || self.s3.attempt(&self.aws, &object, current).await).await
            }
        }
    }
}

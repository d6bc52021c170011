//! The versions of a key set that a service keeps: which ones exist, and what each contains.

use std::error::Error;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::DateTime;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::SdkConfig;
use jiff::Timestamp;
use tokio::time::timeout;

use super::Published;
use crate::client::fault::{Call, no_region};
use crate::client::retry::{RandomJitter, retry};
use crate::source::AwsSources;
use authkeys_core::document;
use authkeys_core::origin::{Class, Fetch as _, FetchError, Fetched, SourceUrl, Stage};
use authkeys_core::publishing::place::{Pin, Place};
use authkeys_core::publishing::versions::StoredVersion;

mod parameter;
mod s3;
mod secret;

/// More pages than the versions of one key set take, so that a server that never ends is not
/// followed forever.
const MAX_PAGES: usize = 1_000;

/// A key set with its history.
#[derive(Debug)]
pub struct Archive {
    place: Place,
    sources: AwsSources,
}

/// How far back a list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This many versions, or a few more.
    Newest(usize),
    /// Back to the version that was published at that time.
    At(Timestamp),
    /// Back to the first version that is kept.
    All,
}

/// The versions that are kept, newest first.
#[derive(Debug)]
pub struct Versions {
    /// At least as many as requested, if there are so many.
    pub list: Vec<StoredVersion>,
    /// Why the list goes back no further.
    pub end: End,
}

/// Why a list of versions ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There are more.
    More,
    /// The service keeps no older version.
    Oldest,
    /// The bucket keeps no versions.
    Unversioned,
}

/// What a source provides to nodes: the document that counts, and those of a secret's other stages.
#[derive(Debug)]
pub struct InForce {
    /// The document.
    pub published: Published,
    /// The other stages, each with its version.
    pub beside: Vec<(Stage, String)>,
}

impl Archive {
    /// The versions at a place, which must not be a file.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            sources: AwsSources::new(),
        }
    }

    /// Reads what is published there; if the place pins a version, reads that version.
    pub async fn read(&self) -> Result<InForce, FetchError> {
        let InForce { published, beside } = match &self.place.pin {
            Some(pin) => InForce {
                published: self.read_pinned(pin).await?,
                beside: Vec::new(),
            },
            None => self.fetch(&self.place.url).await?,
        };
        Ok(InForce {
            published: self.document_of(published)?,
            beside,
        })
    }

    /// The document in what is published: all of it, or one field of a secret.
    fn document_of(&self, published: Published) -> Result<Published, FetchError> {
        let Some(name) = self.place.url.field() else {
            return Ok(published);
        };
        let bytes = document::field(&published.bytes, name).map_err(|fault| FetchError {
            code: None,
            class: Class::Invalid,
            message: format!("{}: {fault}", self.place),
            remedy: "nodes refuse it".to_owned(),
        })?;
        Ok(Published { bytes, ..published })
    }

    /// Reads one version.
    pub async fn read_version(&self, version: &StoredVersion) -> Result<Published, FetchError> {
        // An object that was written to a bucket without versions has no other id.
        if version.is_current && version.id == s3::UNVERSIONED {
            let published = self.fetch(&self.place.url).await?.published;
            return match &version.token {
                Some(token) if *token != published.version.token => Err(FetchError {
                    code: None,
                    class: Class::Transient,
                    message: format!("{}: it was replaced while it was read", self.place),
                    remedy: "run the command again".to_owned(),
                }),
                _ => Ok(published),
            };
        }
        self.document_of(self.read_pinned(&Pin::Version(version.id.clone())).await?)
    }

    /// Lists the versions.
    pub async fn versions(&self, reach: Reach) -> Result<Versions, FetchError> {
        match &self.place.url {
            SourceUrl::S3 { bucket, key, .. } => s3::versions(self, bucket, key, reach).await,
            SourceUrl::Secret { id, .. } => secret::versions(self, id).await,
            SourceUrl::Parameter { id, .. } => parameter::versions(self, id).await,
            SourceUrl::Prefix { .. } | SourceUrl::File { .. } => Ok(Versions {
                list: Vec::new(),
                end: End::Unversioned,
            }),
        }
    }

    async fn read_pinned(&self, pin: &Pin) -> Result<Published, FetchError> {
        let url = match (&self.place.url, pin) {
            (SourceUrl::Secret { id, .. }, pin) => return secret::read(self, id, pin).await,
            (
                SourceUrl::S3 {
                    bucket,
                    key,
                    region,
                    ..
                },
                Pin::Version(version) | Pin::Stage(version),
            ) => SourceUrl::S3 {
                bucket: bucket.clone(),
                key: key.clone(),
                version_id: Some(version.clone()),
                region: region.clone(),
            },
            (SourceUrl::Parameter { id, region }, Pin::Version(version) | Pin::Stage(version)) => {
                SourceUrl::Parameter {
                    id: format!("{id}:{version}"),
                    region: region.clone(),
                }
            }
            (url @ (SourceUrl::Prefix { .. } | SourceUrl::File { .. }), _) => url.clone(),
        };
        Ok(self.fetch(&url).await?.published)
    }

    async fn fetch(&self, url: &SourceUrl) -> Result<InForce, FetchError> {
        match self.sources.fetch(url, None).await? {
            Fetched::Documents { current, further } => Ok(InForce {
                published: Published {
                    bytes: current.bytes,
                    version: current.version,
                },
                beside: further
                    .into_iter()
                    .map(|(stage, part)| (stage, part.version.label))
                    .collect(),
            }),
            // The fetch was not conditional.
            Fetched::Unchanged => Err(FetchError {
                code: None,
                class: Class::Invalid,
                message: format!("{url}: the answer contained no document"),
                remedy: "check the endpoint".to_owned(),
            }),
        }
    }

    /// The configuration for the place's region, or why a call cannot be made.
    async fn config(
        &self,
        call: impl Fn(Option<&SdkConfig>) -> Call,
    ) -> Result<SdkConfig, FetchError> {
        let config = self.sources.aws().config(self.place.url.region()).await;
        let config = config.map_err(|bad| call(None).unfit(&bad))?;
        if config.region().is_none() {
            Err(no_region(&call(Some(&config))))
        } else {
            Ok(config)
        }
    }

    /// One call, with retries where they may help.
    async fn ask<T, E>(
        &self,
        call: &Call,
        send: impl AsyncFn() -> Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, FetchError>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let limits = self.sources.aws().limits;
        retry(
            &limits.retry,
            &RandomJitter,
            call,
            async || match timeout(limits.attempt, send()).await {
                Err(_elapsed) => Err(call.timed_out(limits.attempt)),
                Ok(answer) => answer.map_err(|error| call.classed(&error)),
            },
        )
        .await
    }

    /// Follows a list to its end. `send` requests the page that a marker names, without a marker
    /// the first one; `take` keeps a page and returns the marker of the next one. A repeated marker
    /// would never end, and the list would be incomplete, so that is a failure.
    async fn follow<P, M, E>(
        &self,
        call: &Call,
        send: impl AsyncFn(Option<M>) -> Result<P, SdkError<E, HttpResponse>>,
        mut take: impl FnMut(P) -> Option<M>,
    ) -> Result<(), FetchError>
    where
        M: Clone + PartialEq,
        E: ProvideErrorMetadata + Error + 'static,
    {
        let mut marker = None;
        for _ in 0..MAX_PAGES {
            let page = self.ask(call, async || send(marker.clone()).await).await?;
            match take(page) {
                None => return Ok(()),
                next if next == marker => break,
                next => marker = next,
            }
        }
        Err(call.failed(Class::Invalid, "has no last page", "check the endpoint"))
    }
}

/// The next page's token; an empty one counts as none.
fn next_token(token: Option<String>) -> Option<String> {
    token.filter(|token| !token.is_empty())
}

fn time(date: Option<&DateTime>) -> Option<Timestamp> {
    let date = date?;
    Timestamp::new(date.secs(), i32::try_from(date.subsec_nanos()).ok()?).ok()
}

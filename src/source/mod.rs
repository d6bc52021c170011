//! Where a key set is published: brings bytes and a version, and never parses what it brought.

use std::future::Future;

use serde::{Deserialize, Serialize};

pub use crate::aws::Limits;
pub use error::{Class, FetchError};
pub use sources::Sources;
pub use url::{BadSourceUrl, SourceUrl};

pub mod error;
mod file;
mod s3;
mod sources;
pub mod url;

/// The most bytes of one document that are ever read, 1 MiB; a source stops the transfer there.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// Which published state of a source some bytes were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What people are shown: S3's VersionId (else the ETag), or a file's `mtime-inode-size`.
    pub label: String,
    /// What a conditional fetch sends or compares, meaningful only to the source that made it (S3: the ETag).
    pub token: String,
}

/// A source's good answer. Failure is [`FetchError`]; there is no third way, and none of them is "empty".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing newer than the version that was asked about.
    Unchanged,
    /// The whole document, at most [`MAX_DOCUMENT`] bytes.
    Document {
        /// The document as published.
        bytes: Vec<u8>,
        /// The version of these bytes.
        version: Version,
    },
}

/// The seam to the network: one call is one complete answer or one classed error, within bounded time.
pub trait Fetch {
    /// Fetches what `url` names; with `known`, only if it differs from that version.
    fn fetch(&self, url: &SourceUrl, known: Option<&Version>) -> impl Future<Output = Result<Fetched, FetchError>>;
}

//! Where a key set is published: brings bytes and a version, and never parses what it brought.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use failure::{Class, FetchError};
pub use stage::Stage;
pub use url::{BadSourceUrl, SourceUrl};

pub mod arn;
pub mod failure;
pub mod instance;
mod stage;
pub mod stages;
pub mod url;

/// The most bytes of one document that are ever read, 1 MiB; a source stops the transfer there.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// Which published state of a source some bytes were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What people are shown: S3's VersionId (else the ETag), or a file's `mtime-inode-size`.
    pub label: String,
    /// What a conditional fetch sends or compares, meaningful only to the source that made it (S3:
    /// the ETag).
    pub token: String,
}

/// One document as published. Its bytes are wiped when it is dropped, for a secret may hold a
/// private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// The version of these bytes.
    pub version: Version,
    /// When that version was made, where the source tells it.
    pub created: Option<Timestamp>,
    /// The whole document, at most [`MAX_DOCUMENT`] bytes.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Never the bytes.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Part({:?}, {:?}, {} bytes)",
            self.version,
            self.created,
            self.bytes.len()
        )
    }
}

/// The versions of a source's documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Of the current document.
    pub current: Version,
    /// Of the documents of a secret's further stages.
    pub further: BTreeMap<Stage, Version>,
}

impl From<Version> for Versions {
    fn from(current: Version) -> Self {
        Self {
            current,
            further: BTreeMap::new(),
        }
    }
}

/// A source's good answer. Failure is [`FetchError`]; there is no third way, and none of them is
/// "empty".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing but the versions that were asked about.
    Unchanged,
    /// All documents that the source has now.
    Documents {
        /// The one that counts: the others come beside it.
        current: Part,
        /// Those of a secret's further stages; one version under two stages is there once.
        further: BTreeMap<Stage, Part>,
    },
}

impl Fetched {
    /// The answer of a source that has one document.
    pub fn document(bytes: Vec<u8>, version: Version) -> Self {
        let current = Part {
            version,
            created: None,
            bytes: Zeroizing::new(bytes),
        };
        Self::Documents {
            current,
            further: BTreeMap::new(),
        }
    }
}

/// The seam to the network: one call is one complete answer or one classed error, within bounded
/// time.
pub trait Fetch {
    /// Fetches what `url` names; with `known`, only if it differs from those versions.
    fn fetch(
        &self,
        url: &SourceUrl,
        known: Option<&Versions>,
    ) -> impl Future<Output = Result<Fetched, FetchError>>;
}

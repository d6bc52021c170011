//! Where a key set is published: fetches bytes and a version, and never parses the bytes.

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

/// The most bytes of a document that are read, 1 MiB. A source stops the transfer there.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// Identifies the published state that some bytes belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The version as shown to people: S3's VersionId (else the ETag), or a file's
    /// `mtime-inode-size`.
    pub label: String,
    /// The value that a conditional fetch sends or compares. Only the source that made it can
    /// interpret it (S3: the ETag).
    pub token: String,
}

/// One document as published. Its bytes are wiped when it is dropped, because a secret may hold a
/// private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// The version of these bytes.
    pub version: Version,
    /// When that version was created, if the source reports it.
    pub created: Option<Timestamp>,
    /// The whole document, at most [`MAX_DOCUMENT`] bytes.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Never prints the bytes.
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
    /// The version of the current document.
    pub current: Version,
    /// The versions of the documents at a secret's further stages.
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

/// A source's successful answer. A failure is a [`FetchError`]. There is no third case, and neither
/// case means "empty".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The source still has the known versions.
    Unchanged,
    /// All documents that the source has now.
    Documents {
        /// The current document. The others are in force in addition to it.
        current: Part,
        /// The documents at a secret's further stages. A version with two stages is listed once.
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

/// The interface to the network: each call returns one complete answer or one classified error,
/// within bounded time.
pub trait Fetch {
    /// Fetches what `url` names. With `known`, the documents are returned only if they differ from
    /// those versions.
    fn fetch(
        &self,
        url: &SourceUrl,
        known: Option<&Versions>,
    ) -> impl Future<Output = Result<Fetched, FetchError>>;
}

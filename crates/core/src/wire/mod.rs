//! The messages between the installer (`authkeysd`, privileged) and the fetcher (`authkeysd-fetch`,
//! on the network).
//!
//! The installer sends requests and the fetcher answers them. Each request has an id, and answers
//! may come in any order. The installer trusts nothing: [`answer`] checks every answer against its
//! request, and makes its text safe for a terminal. A compromised fetcher can do no more than a
//! hostile bucket: deliver other documents, or none.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::encryption::Encryption;
use crate::nudge::Sight;
use crate::origin::instance::{Instance, NoInstance};
use crate::origin::{FetchError, Stage, Version, Versions};

pub use frame::{Assembler, Frame, FrameError, head};

pub mod answer;
mod frame;

/// The most bytes of a report object that are sent, 8 MiB.
pub const MAX_REPORT: usize = 8 << 20;

/// A request of the installer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Fetch a source's documents, unless they still have the known versions.
    Fetch {
        /// The source's URL.
        url: String,
        /// The known versions, which need not be sent again.
        known: Option<Versions>,
    },
    /// Find out which EC2 instance this is.
    Instance {
        /// If nothing indicates that this is an instance, wait only as long as a metadata service
        /// on this host would need.
        briefly: bool,
    },
    /// Check a tag on the node's own instance until it differs from the last sight. The answer may
    /// never come.
    Nudge {
        /// The tag's key.
        tag: String,
        /// The number of milliseconds between two checks.
        every: u32,
        /// The last sight. Without one, the first check is answered, whatever its result.
        known: Option<Sight>,
    },
    /// Set these tags on the node's own instance.
    Tag {
        /// The values by key.
        tags: BTreeMap<String, String>,
    },
    /// Find out whether tags with these keys may be set on the node's own instance, without setting
    /// them.
    MayTag {
        /// The keys.
        keys: Vec<String>,
    },
    /// Write a report object, which is the frame's only part.
    Put {
        /// The bucket.
        bucket: String,
        /// The object's full key.
        key: String,
        /// The bucket's region, if it is configured.
        region: Option<String>,
        /// The encryption to request from S3, if it is configured.
        encryption: Option<Encryption>,
    },
}

/// An answer of the fetcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The source still has the known versions.
    Unchanged,
    /// The source's documents: the frame's parts, in this order.
    Documents {
        /// One for each part.
        documents: Vec<DocumentHead>,
    },
    /// The instance.
    Instance(Instance),
    /// Why the instance is unknown.
    NoInstance(NoInstance),
    /// The result of the check of a tag.
    Nudge {
        /// What was seen.
        sight: Sight,
    },
    /// The tags are set, or the object is written.
    Done,
    /// Whether the tags may be set.
    MayTag(MayTag),
    /// The request failed.
    Failed(FetchError),
}

/// What is known about a document apart from its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentHead {
    /// The stage of a secret; for every other source the current one.
    pub stage: Stage,
    /// The version of the bytes.
    pub version: Version,
    /// When that version was created, if the source reports it.
    pub created: Option<Timestamp>,
}

/// Whether an instance may be tagged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MayTag {
    /// Whether it may.
    pub allowed: bool,
    /// The instance's id.
    pub instance: String,
    /// The instance's ARN, in its own partition, for use in a policy.
    pub arn: String,
}

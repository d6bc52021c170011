//! What the installer (`authkeysd`, privileged) and the fetcher (`authkeysd-fetch`, on the network)
//! say to each other.
//!
//! The installer asks, the fetcher answers; each request has an id, and answers may come in any
//! order. The installer believes nothing: [`answer`] checks every answer against the request that
//! was made, and makes its text fit for a terminal. What a compromised fetcher can do is what a
//! hostile bucket can do: bring other documents, or none.

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

/// The most bytes of a report object that are ever sent, 8 MiB.
pub const MAX_REPORT: usize = 8 << 20;

/// What the installer asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// A source's documents, unless they are those versions.
    Fetch {
        /// The source's URL.
        url: String,
        /// What need not be sent again.
        known: Option<Versions>,
    },
    /// Which EC2 instance this is.
    Instance {
        /// Where nothing says that this is an instance, wait only as long as a metadata service on
        /// this host would take.
        briefly: bool,
    },
    /// Look at a tag of the own instance until it is not as it is known. The answer may never come.
    Nudge {
        /// The tag's key.
        tag: String,
        /// How many milliseconds lie between two looks.
        every: u32,
        /// The last sight; without one the first look is answered, whatever it brings.
        known: Option<Sight>,
    },
    /// Set these tags on the own instance.
    Tag {
        /// By key.
        tags: BTreeMap<String, String>,
    },
    /// Whether tags with these keys may be set on the own instance. None is.
    MayTag {
        /// The keys.
        keys: Vec<String>,
    },
    /// Write a report object: the frame's one part.
    Put {
        /// The bucket.
        bucket: String,
        /// The object's whole key.
        key: String,
        /// The bucket's region, where the configuration names it.
        region: Option<String>,
        /// What S3 is asked to encrypt it with, where the configuration names it.
        encryption: Option<Encryption>,
    },
}

/// What the fetcher answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The source has the versions that are known.
    Unchanged,
    /// The source's documents: the frame's parts, in this order.
    Documents {
        /// One for each part.
        documents: Vec<DocumentHead>,
    },
    /// The instance.
    Instance(Instance),
    /// Why the instance is not known.
    NoInstance(NoInstance),
    /// What the look at a tag brought.
    Nudge {
        /// The sight.
        sight: Sight,
    },
    /// The tags are set, or the object is written.
    Done,
    /// Whether the tags may be set.
    MayTag(MayTag),
    /// The request failed.
    Failed(FetchError),
}

/// What is known of a document beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentHead {
    /// The stage of a secret; of every other source the current one.
    pub stage: Stage,
    /// The version of the bytes.
    pub version: Version,
    /// When that version was made, where the source says so.
    pub created: Option<Timestamp>,
}

/// Whether an instance may be tagged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MayTag {
    /// Whether it may.
    pub allowed: bool,
    /// The instance's id.
    pub instance: String,
    /// The instance's ARN, in its own partition: what a policy has to name.
    pub arn: String,
}

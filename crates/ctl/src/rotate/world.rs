//! The seam between the engine of a rotation and everything that it works on: the secret, the
//! published key set, the nodes, the clock. A test puts a small world of its own there, and kills
//! the engine at every call.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::login::{LoginKey, LoginResult};
use super::proof::Proof;
use authkeys_aws::pair_secret::{PairStage, PairWrite, Stages};
use authkeys_core::document::Document;
use authkeys_core::key::Fingerprint;
use authkeys_core::publishing::entries::Edits;
use authkeys_terminal::Exit;

/// The phases of a rotation, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    /// Create a new, pending pair in the secret.
    Create,
    /// Add its public half to the key set, beside the current one.
    Set,
    /// Wait until the nodes have that key set.
    Deploy,
    /// Check that the nodes accept the new key.
    Test,
    /// Make the new pair the current one.
    Finish,
    /// Give the old key an end.
    Retire,
    /// Check that the old key is refused, then remove and revoke it.
    Verify,
    /// Discard the pending pair.
    Abort,
}

impl Phase {
    /// Its name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Set => "set",
            Self::Deploy => "deploy",
            Self::Test => "test",
            Self::Finish => "finish",
            Self::Retire => "retire",
            Self::Verify => "verify",
            Self::Abort => "abort",
        }
    }
}

/// How a phase ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PhaseState {
    /// This run did it.
    Done,
    /// An earlier run did it.
    Already,
    /// It was not requested.
    Skipped,
    /// A dry run reports that it would follow.
    Planned,
    /// It failed.
    Failed,
}

/// A rotation that stops; the next run continues it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Halt {
    pub(super) exit: Exit,
    /// `None`: the cause has already been reported.
    pub(super) why: Option<String>,
}

impl Halt {
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            why: Some(why.into()),
        }
    }
}

/// What is published at the target.
#[derive(Debug, Clone)]
pub(super) struct PublishedKeySet {
    pub(super) document: Document,
    /// The fingerprint of each entry, in order.
    pub(super) places: Vec<Option<Fingerprint>>,
}

/// Which nodes have a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) with: Vec<String>,
    /// The nodes without it when the time is over, and their state.
    pub(super) missing: Vec<(String, String)>,
}

/// The result of a login at a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Login {
    pub(super) node: String,
    pub(super) address: String,
    #[serde(flatten)]
    pub(super) answer: LoginResult,
}

pub(super) trait World {
    async fn stages(&mut self) -> Result<Stages, Halt>;
    async fn version_ids(&mut self) -> Result<BTreeSet<String>, Halt>;
    async fn create_secret(&mut self, token: &str) -> Result<PairWrite, Halt>;
    async fn put(&mut self, token: &str, value: &str, stage: PairStage) -> Result<PairWrite, Halt>;
    async fn make_current(&mut self, version: &str, from: Option<&str>) -> Result<PairWrite, Halt>;
    async fn drop_pending(&mut self, version: &str) -> Result<PairWrite, Halt>;
    /// Reads what is published.
    async fn key_set(&mut self) -> Result<PublishedKeySet, Halt>;
    /// Publishes what was last read with these edits, unless it has been replaced in the meantime.
    async fn publish(&mut self, edits: &Edits) -> Result<Document, Halt>;
    /// The number of selected nodes; fails if there are none.
    async fn count(&mut self) -> Result<usize, Halt>;
    /// Waits until all nodes have a document, or the timeout passes.
    async fn arrival(&mut self, document: &Document) -> Result<Arrival, Halt>;
    /// Logs in at these nodes.
    async fn log_in(&mut self, nodes: &[String], credential: &LoginKey)
    -> Result<Vec<Login>, Halt>;
    /// Reads a private key.
    fn proof(&self, pem: &str) -> Result<Option<Arc<Proof>>, Halt>;
    fn now(&self) -> Timestamp;
    async fn sleep_until(&mut self, time: Timestamp);
    /// Reports how a phase ended.
    fn tell(&mut self, phase: Phase, state: PhaseState, detail: &str);
}

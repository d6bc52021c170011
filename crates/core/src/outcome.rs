//! What a cycle did, in the one format that `sync --json`, `status --json` and `status.json` share.

use std::fmt::{self, Display};
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as Unknown;
use serde::{Deserialize, Serialize};

use crate::document::{Digest, Document, Name, Serial};
use crate::fault::known_code;

pub use crate::fault::{Explanation, Fault, FaultClass, FaultCode, Subject, chain};
pub use account::{AccountOutcome, Followed, KeyShown};
pub use keys::{KeyCounts, KeyList, LISTED, LISTED_IN_ALL};
pub use source::{AnsweredBy, Problem, ReportOutcome, SourceOutcome, StageOutcome};

mod account;
mod keys;
mod source;

/// The status of a node, a source or an account, ordered by severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything is as published.
    #[default]
    Ok,
    /// Source or document unusable; the last valid set is in force.
    Stale,
    /// Some account or key could not be applied.
    Degraded,
    /// Nothing could be applied, or nothing is known.
    Failed,
}

/// The spelling used everywhere.
impl Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl FromStr for Status {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        Self::deserialize(text.into_deserializer())
    }
}

/// What one cycle did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The version of this format. Fields may be added, never changed.
    pub schema: u8,
    /// The version of authkeysd.
    pub version: String,
    /// The most severe status of all parts.
    pub status: Status,
    /// The first and most severe fault; empty if ok.
    pub detail: String,
    /// The code of that fault.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "known_code"
    )]
    pub code: Option<FaultCode>,
    /// The EC2 instance, if it is known.
    pub instance_id: Option<String>,
    /// When the cycle began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// When the last successful cycle ended, as far as this process knows.
    pub last_success: Option<Timestamp>,
    /// When the next cycle is due; `None` after `sync`.
    pub next_cycle: Option<Timestamp>,
    /// The next time at which a key's window opens or closes, or a document in force expires.
    pub next_change: Option<Timestamp>,
    /// How many consecutive cycles have been stale.
    #[serde(default)]
    pub stale_cycles: u32,
    /// The digest of the configuration and of authkeysd's version. Only outcomes with the same
    /// digest can be compared.
    #[serde(default)]
    pub config: Option<Digest>,
    /// Each source, once.
    pub sources: Vec<SourceOutcome>,
    /// In the configuration's order.
    pub accounts: Vec<AccountOutcome>,
    /// Whether the reports were delivered.
    #[serde(default)]
    pub reports: Vec<ReportOutcome>,
    /// The faults, for stderr and the exit code.
    #[serde(skip)]
    pub faults: Vec<Fault>,
    /// The state recorded no earlier cycle.
    #[serde(skip)]
    pub first: bool,
    /// The documents in force differ from those in the state, which also records cycles that were
    /// killed.
    #[serde(skip)]
    pub news: bool,
}

/// Identifies a document. Without a document all fields are `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DocumentRef {
    /// Its name.
    pub name: Option<Name>,
    /// Its serial.
    pub serial: Option<Serial>,
    /// Its digest, without its signature.
    pub digest: Option<Digest>,
}

impl DocumentRef {
    /// `NAME/SERIAL`, or the name alone, or else the version that its source gave it.
    pub fn key_set(&self, version: Option<&str>) -> Option<String> {
        match (&self.name, self.serial) {
            (Some(name), Some(serial)) => Some(format!("{name}/{serial}")),
            (Some(name), None) => Some(name.to_string()),
            (None, _) => version.map(str::to_owned),
        }
    }
}

impl From<&Document> for DocumentRef {
    fn from(document: &Document) -> Self {
        Self {
            name: document.name.clone(),
            serial: document.serial,
            digest: Some(document.digest),
        }
    }
}

impl Outcome {
    /// An outcome that contains only the times of the cycle.
    pub fn new(started: Timestamp, finished: Timestamp) -> Self {
        Self {
            schema: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            finished,
            ..Self::default()
        }
    }

    /// Derives the node's status and detail from sources, accounts and faults.
    pub fn summarise(&mut self) {
        self.status = self.derived();
        let fault = self.faults.iter().rev().max_by_key(|fault| fault.class());
        // Another writer is not a fault of the cycle, but then it is the only thing to report.
        let account = self
            .accounts
            .iter()
            .rev()
            .max_by_key(|account| account.status);
        (self.detail, self.code) = match (fault, account) {
            (Some(fault), _) => (fault.text.clone(), Some(fault.code)),
            (None, Some(account)) => (account.detail.clone(), account.code),
            (None, None) => (String::new(), None),
        };
    }

    /// The most severe status of its parts, but `failed` only if nothing could be applied, or for
    /// too long.
    fn derived(&self) -> Status {
        // A document is in force, yet its source counts as failed: it was unavailable for longer
        // than max_stale.
        let too_long = self
            .sources
            .iter()
            .any(|s| s.status == Status::Failed && s.document.digest.is_some());
        let all_failed = self.accounts.iter().all(|a| a.status == Status::Failed);
        let mut gravest = None;
        for source in &self.sources {
            gravest = gravest.max(Some(source.status));
        }
        for account in &self.accounts {
            gravest = gravest.max(Some(account.status));
        }
        match gravest.unwrap_or(Status::Failed) {
            Status::Failed if !all_failed && !too_long => Status::Degraded,
            Status::Ok if !self.faults.is_empty() => Status::Degraded,
            gravest => gravest,
        }
    }

    /// Whether any account's file was (or would be) changed.
    pub fn changed(&self) -> bool {
        self.accounts.iter().any(|account| account.changed)
    }
}

#[cfg(test)]
mod tests;

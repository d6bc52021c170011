//! What a cycle did, in the one format that `sync --json`, `status --json` and `status.json` share.

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::de::IntoDeserializer as _;
use serde::de::value::Error as Unknown;
use serde::{Deserialize, Serialize};

use crate::document::{Digest, Document, LeftOut, Name, Serial};
use crate::fault::known_code;
use crate::key::{Fingerprint, KeyBlob};
use crate::origin::Stage;
use crate::user::UserName;

pub use crate::fault::{Explanation, Fault, FaultClass, FaultCode, Subject, chain};
pub use keys::{KeyCounts, KeyList, LISTED, LISTED_IN_ALL};

mod keys;

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

/// Identifies a document. All fields are `None` if there is no document.
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

/// The state of the reports to one destination. It does not affect the node's status.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportOutcome {
    /// `ec2_tags`, `s3` or `prometheus`.
    pub report: String,
    /// Whether the last report was delivered; `None` before the first one.
    pub delivered: Option<bool>,
    /// Why it was not delivered.
    pub detail: String,
    /// How many consecutive reports were not delivered.
    pub failures: u32,
    /// When a report was last delivered.
    pub last_success: Option<Timestamp>,
    /// A digest of the last delivered report; `None` if it is uncertain what the destination has.
    #[serde(default)]
    pub said: Option<String>,
}

/// How a source answered, and which of its documents is in force.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SourceOutcome {
    /// Its URL.
    pub source: String,
    /// `ok`; `stale` if its last valid document is in force; `failed` if there is none.
    pub status: Status,
    /// Why the source is not ok.
    pub detail: String,
    /// The code of that fault.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "known_code"
    )]
    pub code: Option<FaultCode>,
    /// The detail in one word.
    pub problem: Option<Problem>,
    /// The document in force.
    #[serde(flatten)]
    pub document: DocumentRef,
    /// The version of the document in force: VersionId, ETag, or a file's identity.
    pub version: Option<String>,
    /// When the document in force was fetched or last confirmed unchanged.
    pub fetched: Option<Timestamp>,
    /// Who signed the document.
    pub signer: Option<String>,
    /// The fallback, if it answered because the source could not be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<AnsweredBy>,
    /// For a secret: each document in force and its stage, starting with the document above.
    #[serde(default)]
    pub stages: Vec<StageOutcome>,
    /// What an operator should look at although everything is as published.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Harmless details that are often present for a long time and have no effect; shown only on
    /// request.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// A fallback that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredBy {
    /// Its URL.
    pub source: String,
    /// The time since which the source itself has not been reached.
    pub since: Timestamp,
    /// Why the last attempt to reach it failed.
    pub detail: String,
}

impl AnsweredBy {
    /// The warning for operators: one line.
    pub fn warning(&self, source: &str) -> String {
        format!(
            "{source} has not been reached since {:.0}; its fallback {} answered",
            self.since, self.source
        )
    }
}

/// A document that an account with several sources follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The source's URL.
    pub source: String,
    /// Its document.
    #[serde(flatten)]
    pub document: DocumentRef,
}

/// A document in force at one of a secret's stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageOutcome {
    /// The stage.
    pub stage: Stage,
    /// Its document.
    #[serde(flatten)]
    pub document: DocumentRef,
    /// The VersionId of its document.
    pub version: String,
}

/// What is wrong with a source or its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Problem {
    /// It could not be reached; this may resolve itself.
    Unreachable,
    /// It did not permit the fetch.
    Denied,
    /// The document does not exist at its location.
    Missing,
    /// Its answer is invalid.
    Invalid,
    /// Its document is rejected.
    Refused,
    /// The document in force has expired.
    Expired,
    /// The signer of the document in force is no longer allowed, or the allowed signers cannot be
    /// determined.
    Untrusted,
}

/// What happened to one account's file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AccountOutcome {
    /// The account.
    pub user: String,
    /// Its file; empty if the account could not be looked up.
    pub file: String,
    /// The status of the account.
    pub status: Status,
    /// Why the account is not ok.
    pub detail: String,
    /// The code of that fault.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "known_code"
    )]
    pub code: Option<FaultCode>,
    /// The document that the file follows; if there are several sources, the first one's.
    #[serde(flatten)]
    pub document: DocumentRef,
    /// If there are several sources: the document of each, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<Followed>,
    /// How many consecutive times changes by others to the file were undone.
    pub repairs: u32,
    /// When that was last done.
    #[serde(default)]
    pub last_repair: Option<Timestamp>,
    /// The time between the last two repairs.
    #[serde(default)]
    pub repair_gap: Option<SignedDuration>,
    /// Whether the file was written (or, in a dry run, would be).
    pub changed: bool,
    /// The keys that authkeysd's lines accept.
    pub in_force: KeyList,
    /// The digest of all keys in force.
    #[serde(default)]
    pub keys_digest: Option<Digest>,
    /// The number of keys of each kind; `status.json` lists only the first ones.
    #[serde(default)]
    pub counts: KeyCounts,
    /// The digest of the lines that the file must have for them, including options and expiry.
    #[serde(default)]
    pub lines: Option<Digest>,
    /// Keys that the file did not have before.
    pub added: KeyList,
    /// Keys that the file had before and no longer has.
    pub removed: KeyList,
    /// Keys that stayed, but with other options or fewer copies.
    pub updated: KeyList,
    /// Published keys that were left out because they cannot be installed.
    pub left_out: Vec<LeftOut>,
    /// The next time at which the window of one of its keys opens or closes.
    pub next_change: Option<Timestamp>,
}

/// A key as shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShown {
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: Fingerprint,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its comment.
    pub comment: String,
    /// The source of the key, if its account has keys of several sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// One of the node's own keys, which no document can revoke.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
}

impl Problem {
    /// The code for the problem if nothing more specific is known, as in a status written by a
    /// version without codes.
    pub fn code(self) -> FaultCode {
        match self {
            Self::Unreachable => FaultCode::SourceUnreachable,
            Self::Denied => FaultCode::SourceDenied,
            Self::Missing => FaultCode::SourceMissing,
            Self::Invalid => FaultCode::SourceInvalid,
            Self::Refused => FaultCode::DocumentInvalid,
            Self::Expired => FaultCode::DocumentExpired,
            Self::Untrusted => FaultCode::DocumentUntrusted,
        }
    }
}

impl ReportOutcome {
    /// Nothing has been reported yet.
    pub fn new(report: &str) -> Self {
        Self {
            report: report.to_owned(),
            ..Self::default()
        }
    }
}

impl SourceOutcome {
    /// A source without a known valid document.
    pub fn failed(source: String, problem: Problem, fault: &Fault) -> Self {
        let mut outcome = Self {
            source,
            ..Self::default()
        };
        outcome.fault(Status::Failed, problem, fault);
        outcome
    }

    /// Records what is wrong with the source.
    pub fn fault(&mut self, status: Status, problem: Problem, fault: &Fault) {
        self.status = status;
        self.detail.clone_from(&fault.text);
        self.code = Some(fault.code);
        self.problem = Some(problem);
    }
}

impl KeyShown {
    /// Shows a key.
    pub fn new(key: &KeyBlob, comment: &str) -> Self {
        Self {
            fingerprint: key.fingerprint(),
            kind: key.kind().to_owned(),
            comment: comment.to_owned(),
            source: None,
            pinned: false,
        }
    }

    /// The same key, marked as pinned if it is one of these.
    #[must_use]
    pub fn marked(mut self, pinned: &HashSet<Fingerprint>) -> Self {
        self.pinned = pinned.contains(&self.fingerprint);
        self
    }
}

impl AccountOutcome {
    /// An account about which nothing is known yet.
    pub fn new(user: Option<&UserName>) -> Self {
        Self {
            user: user.map(UserName::to_string).unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Records the document that the file follows.
    pub fn follow(&mut self, document: &Document) {
        self.document = document.into();
    }

    /// Clears the document and the keys because nothing was applied: the file has what it had
    /// before, which this cycle does not know.
    pub fn unfollow(&mut self) {
        self.forget_document();
        (self.lines, self.in_force) = (None, KeyList::default());
    }

    /// Records that the document that the file follows is unknown.
    pub fn forget_document(&mut self) {
        self.document = DocumentRef::default();
        self.documents = Vec::new();
    }

    /// Records a fault. The detail of the most severe fault is kept.
    pub fn fault(&mut self, status: Status, code: FaultCode, detail: String) {
        if status > self.status {
            self.status = status;
            self.detail = detail;
            self.code = Some(code);
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
        let parts = self
            .sources
            .iter()
            .map(|s| s.status)
            .chain(self.accounts.iter().map(|a| a.status));
        match parts.max().unwrap_or(Status::Failed) {
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

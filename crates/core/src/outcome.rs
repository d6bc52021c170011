//! What a cycle did, in the one shape that `sync --json`, `status --json` and `status.json` share.

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

/// How a node, a source or an account stands; the order is that of gravity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything is as published.
    #[default]
    Ok,
    /// Source or document unusable; the last good set is in force.
    Stale,
    /// Some account or key could not be applied.
    Degraded,
    /// Nothing could be applied, or nothing is known.
    Failed,
}

/// As it is written everywhere.
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
    /// Version of this shape: fields may be added, never changed.
    pub schema: u8,
    /// Of authkeysd.
    pub version: String,
    /// The gravest of all.
    pub status: Status,
    /// The first and gravest fault; empty when ok.
    pub detail: String,
    /// The code of that fault.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "known_code"
    )]
    pub code: Option<FaultCode>,
    /// The EC2 instance, where it is known.
    pub instance_id: Option<String>,
    /// When the cycle began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// When a cycle last ended well, as far as this process knows.
    pub last_success: Option<Timestamp>,
    /// When the next one is due; `None` after `sync`.
    pub next_cycle: Option<Timestamp>,
    /// When a key's window opens or closes next, or a document in force expires.
    pub next_change: Option<Timestamp>,
    /// How many cycles in a row have been stale by now.
    #[serde(default)]
    pub stale_cycles: u32,
    /// Of the configuration and the version of authkeysd that it came of: only the same ones can be
    /// compared.
    #[serde(default)]
    pub config: Option<Digest>,
    /// Each source once.
    pub sources: Vec<SourceOutcome>,
    /// In the configuration's order.
    pub accounts: Vec<AccountOutcome>,
    /// Whether those who are to be told know it.
    #[serde(default)]
    pub reports: Vec<ReportOutcome>,
    /// What went wrong, for stderr and the exit code.
    #[serde(skip)]
    pub faults: Vec<Fault>,
    /// Nothing was remembered of any cycle before this one.
    #[serde(skip)]
    pub first: bool,
    /// Other documents are in force than were by the state, which knows of cycles that were killed
    /// too.
    #[serde(skip)]
    pub news: bool,
}

/// Which document it is; all of it is `None` where there is none.
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
    /// `NAME/SERIAL`, its name alone, or else the version by which its source knows it.
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

/// How the reports to one place fare. None of them counts for the node's status.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportOutcome {
    /// `ec2_tags`, `s3` or `prometheus`.
    pub report: String,
    /// Whether the last one arrived; `None` before the first one.
    pub delivered: Option<bool>,
    /// Why it did not.
    pub detail: String,
    /// How often in a row it did not.
    pub failures: u32,
    /// When one arrived last.
    pub last_success: Option<Timestamp>,
    /// Tells what the last one said from other news; `None` when it is not certain what the other
    /// side has.
    #[serde(default)]
    pub said: Option<String>,
}

/// How a source answered, and which document of it is in force.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SourceOutcome {
    /// Its URL.
    pub source: String,
    /// `ok`; `stale` when its last good document is in force; `failed` when there is none.
    pub status: Status,
    /// Why it is not ok.
    pub detail: String,
    /// The code of that fault.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "known_code"
    )]
    pub code: Option<FaultCode>,
    /// The same in one word.
    pub problem: Option<Problem>,
    /// The document in force.
    #[serde(flatten)]
    pub document: DocumentRef,
    /// Of the document in force: VersionId, ETag, or a file's identity.
    pub version: Option<String>,
    /// When the document in force was fetched or last found unchanged.
    pub fetched: Option<Timestamp>,
    /// Who signed it.
    pub signer: Option<String>,
    /// Its fallback, if that answered because the source could not be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<AnsweredBy>,
    /// Of a secret: each document in force with the stage that it stands on, the one above first.
    #[serde(default)]
    pub stages: Vec<StageOutcome>,
    /// What somebody should look at although all is as published.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What is there and does not count, for who asks: it is often so for long, and harmless.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// A fallback that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredBy {
    /// Its URL.
    pub source: String,
    /// Since when the source itself has not been reached.
    pub since: Timestamp,
    /// Why it could not be reached the last time.
    pub detail: String,
}

impl AnsweredBy {
    /// What somebody should look at: one line.
    pub fn warning(&self, source: &str) -> String {
        format!(
            "{source} has not been reached since {:.0}; its fallback {} answered",
            self.since, self.source
        )
    }
}

/// A document that an account follows, where it has several sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The source's URL.
    pub source: String,
    /// Its document.
    #[serde(flatten)]
    pub document: DocumentRef,
}

/// A document in force that stands on one of a secret's stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageOutcome {
    /// The stage.
    pub stage: Stage,
    /// Its document.
    #[serde(flatten)]
    pub document: DocumentRef,
    /// Of its document: the VersionId.
    pub version: String,
}

/// What is wrong with a source or its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Problem {
    /// It could not be reached; that may pass by itself.
    Unreachable,
    /// It did not permit the fetch.
    Denied,
    /// There is nothing at its place.
    Missing,
    /// Its answer makes no sense.
    Invalid,
    /// The document that it holds is not taken.
    Refused,
    /// The document in force is past its time.
    Expired,
    /// Whoever signed the document in force may no more, or it cannot be told who may.
    Untrusted,
}

/// What happened to one account's file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AccountOutcome {
    /// The account.
    pub user: String,
    /// Its file; empty when the account could not be looked up.
    pub file: String,
    /// How it stands.
    pub status: Status,
    /// Why it is not ok.
    pub detail: String,
    /// The code of that fault.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "known_code"
    )]
    pub code: Option<FaultCode>,
    /// The document that the file follows; of several sources that of the first.
    #[serde(flatten)]
    pub document: DocumentRef,
    /// Where it has several sources: the document of each, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<Followed>,
    /// How often in a row what somebody else had changed in the file was put right.
    pub repairs: u32,
    /// When that was done last.
    #[serde(default)]
    pub last_repair: Option<Timestamp>,
    /// How long after the repair before it.
    #[serde(default)]
    pub repair_gap: Option<SignedDuration>,
    /// Whether the file was written (or, in a dry run, would be).
    pub changed: bool,
    /// The keys that authkeysd's lines let in.
    pub in_force: KeyList,
    /// Of the keys in force, all of them.
    #[serde(default)]
    pub keys_digest: Option<Digest>,
    /// How many keys there are of each kind; `status.json` lists the first ones only.
    #[serde(default)]
    pub counts: KeyCounts,
    /// Of the lines that the file must have for them, options and expiry included.
    #[serde(default)]
    pub lines: Option<Digest>,
    /// Keys that the file did not have before.
    pub added: KeyList,
    /// Keys that it had before and has no more.
    pub removed: KeyList,
    /// Keys that stayed, but with other options or fewer copies.
    pub updated: KeyList,
    /// Published keys that were not good enough.
    pub left_out: Vec<LeftOut>,
    /// When one of its keys' windows opens or closes next.
    pub next_change: Option<Timestamp>,
}

/// A key as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyShown {
    /// As `ssh-keygen -l` prints it.
    pub fingerprint: Fingerprint,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its comment.
    pub comment: String,
    /// The source that it came from, where its account has keys of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// It is one of the node's own: no document can revoke it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
}

impl Problem {
    /// The code where nothing more is known, as after a version that had no codes.
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
    /// Nothing was reported yet.
    pub fn new(report: &str) -> Self {
        Self {
            report: report.to_owned(),
            ..Self::default()
        }
    }
}

impl SourceOutcome {
    /// A source of which no good document is known.
    pub fn failed(source: String, problem: Problem, fault: &Fault) -> Self {
        let mut outcome = Self {
            source,
            ..Self::default()
        };
        outcome.fault(Status::Failed, problem, fault);
        outcome
    }

    /// Notes what is wrong with it.
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

    /// The same, marked if it is one of these.
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

    /// Notes which document the file follows.
    pub fn follow(&mut self, document: &Document) {
        self.document = document.into();
    }

    /// Nothing was applied: what the file follows and lets in is what it did before, which a cycle
    /// does not know.
    pub fn unfollow(&mut self) {
        self.forget_document();
        (self.lines, self.in_force) = (None, KeyList::default());
    }

    /// It is not known which document the file follows.
    pub fn forget_document(&mut self) {
        self.document = DocumentRef::default();
        self.documents = Vec::new();
    }

    /// Notes a fault; the gravest keeps the word.
    pub fn fault(&mut self, status: Status, code: FaultCode, detail: String) {
        if status > self.status {
            self.status = status;
            self.detail = detail;
            self.code = Some(code);
        }
    }
}

impl Outcome {
    /// One that says only when the cycle ran.
    pub fn new(started: Timestamp, finished: Timestamp) -> Self {
        Self {
            schema: 1,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            finished,
            ..Self::default()
        }
    }

    /// Derives the node's status and its one line from sources, accounts and faults.
    pub fn summarise(&mut self) {
        self.status = self.derived();
        let fault = self.faults.iter().rev().max_by_key(|fault| fault.class());
        // A rival writer is no fault of the cycle, but all there is to say.
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

    /// The gravest of its parts, but `failed` only when nothing at all could be applied, or for too
    /// long.
    fn derived(&self) -> Status {
        // A document is in force and its source counts as failed: it was away for longer than
        // max_stale.
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
mod tests {
    use super::*;

    /// As version 0.1.0 wrote it, before there were codes.
    const OLD: &str = r#"{"schema":1,"version":"0.1.0","status":"stale","detail":"s3://b/k: gone","instance_id":null,
        "started":"2026-11-21T10:00:00Z","finished":"2026-11-21T10:00:00Z","last_success":null,"next_cycle":null,
        "next_change":null,"sources":[{"source":"s3://b/k","status":"stale","detail":"s3://b/k: gone","problem":"missing",
        "name":"set","serial":17,"digest":null,"version":"v1","fetched":null,"signer":null}],"accounts":[]}"#;

    #[test]
    fn an_outcome_without_codes_is_read_and_its_document_with_it() {
        let outcome: Outcome = serde_json::from_str(OLD).unwrap();
        let source = &outcome.sources[0];
        assert_eq!(
            (outcome.code, source.code, source.problem),
            (None, None, Some(Problem::Missing))
        );
        assert_eq!(source.document.key_set(None).as_deref(), Some("set/17"));
    }

    #[test]
    fn a_code_is_written_beside_the_detail_and_one_of_a_later_version_is_passed_over() {
        let coded = |code: &str| {
            OLD.replacen(
                "\"detail\":",
                &format!("\"code\":\"{code}\",\"detail\":"),
                1,
            )
        };
        let outcome: Outcome = serde_json::from_str(&coded("AK011")).unwrap();
        assert_eq!(outcome.code, Some(FaultCode::SourceMissing));
        assert!(
            serde_json::to_string(&outcome)
                .unwrap()
                .contains(r#""code":"AK011""#)
        );
        assert_eq!(
            serde_json::from_str::<Outcome>(&coded("AK998"))
                .unwrap()
                .code,
            None
        );
    }

    #[test]
    fn the_documents_fields_stand_beside_the_others() {
        let account = AccountOutcome::new(None);
        let json: serde_json::Value = serde_json::to_value(&account).unwrap();
        assert!(
            ["name", "serial", "digest"]
                .iter()
                .all(|field| json[field].is_null() && json.get(field).is_some())
        );
        assert!(json.get("document").is_none() && json.get("code").is_none());
    }
}

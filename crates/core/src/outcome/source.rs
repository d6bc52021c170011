//! How one source answered, and the state of the reports.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DocumentRef, Status};
use crate::fault::{Fault, FaultCode, known_code};
use crate::origin::Stage;

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
    /// The signer of the document in force is not allowed any more, or the allowed signers cannot be
    /// determined.
    Untrusted,
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

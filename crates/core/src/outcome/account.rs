//! What happened to one account's file.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{DocumentRef, KeyCounts, KeyList, Status};
use crate::document::{Digest, Document, LeftOut};
use crate::fault::{FaultCode, known_code};
use crate::key::{Fingerprint, KeyBlob};
use crate::user::UserName;

/// A document that an account with several sources follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The source's URL.
    pub source: String,
    /// Its document.
    #[serde(flatten)]
    pub document: DocumentRef,
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
    /// The source of the key, if its account has more than one source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// One of the node's own keys, which no document can revoke.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
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

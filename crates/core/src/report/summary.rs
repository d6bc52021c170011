//! What a node reports about itself to the fleet: the few facts that fit into tags. Pure.

use jiff::Timestamp;

use crate::outcome::{AccountOutcome, DocumentRef, Outcome, Status};

/// The number of consecutive stale cycles after which the fleet is informed. A short outage of a
/// source is not worth a report.
const STALE_FROM: u32 = 3;

/// The short form of a node's status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The node's status.
    pub status: Status,
    /// `NAME/SERIAL`, else the name, else the version's id; empty if no key set is in force. If
    /// there are several sources, those of all, separated by spaces.
    pub keyset: String,
    /// The first 16 hex digits of the digest; empty if no key set is in force. If there are several
    /// sources, those of all, separated by spaces.
    pub digest: String,
    /// The name of the key set in force, else the version's id.
    pub key_name: String,
    /// Why the node is not ok, in full.
    pub detail: String,
    /// When the cycle ended.
    pub at: Timestamp,
    /// What is wrong, without the words that differ each time. It is not shown, but a change of it
    /// is reported.
    cause: String,
}

/// The most key sets in a summary: their digests have to fit into one tag.
const NAMED_SETS: usize = 15;

/// The documents of the first account, if it has several sources; otherwise empty. For each source,
/// the document of an account that is behind is preferred.
fn several(outcome: &Outcome) -> Vec<DocumentRef> {
    let Some(first) = outcome.accounts.first() else {
        return Vec::new();
    };
    let mut documents = Vec::new();
    for followed in first.documents.iter().take(NAMED_SETS) {
        let mut sources = outcome.sources.iter();
        let published = match sources.find(|source| source.source == followed.source) {
            Some(source) => source.document.digest,
            None => None,
        };
        let mut all = outcome.accounts.iter().flat_map(|one| &one.documents);
        let behind =
            all.find(|other| other.source == followed.source && other.document.digest != published);
        documents.push(behind.unwrap_or(followed).document.clone());
    }
    documents
}

/// The account whose key set the summary names, if every account has one source.
fn first_account(outcome: &Outcome) -> Option<&AccountOutcome> {
    let [source] = outcome.sources.as_slice() else {
        return outcome.accounts.first();
    };
    let mut first = None;
    for account in &outcome.accounts {
        if account.document.digest.is_none() {
            continue;
        }
        if account.document.digest != source.document.digest {
            return Some(account);
        }
        first.get_or_insert(account);
    }
    first
}

/// What is wrong, without the words that differ each time.
fn cause(outcome: &Outcome) -> String {
    let mut parts = Vec::new();
    for source in &outcome.sources {
        if source.status != Status::Ok {
            parts.push(format!("{} {:?}", source.source, source.problem));
        }
    }
    for account in &outcome.accounts {
        if account.status != Status::Ok {
            parts.push(format!("{} {:?}", account.user, account.status));
        }
    }
    parts.join("; ")
}

/// The version that a document's source gave it.
fn version_of(outcome: &Outcome, document: &DocumentRef) -> Option<String> {
    let digest = document.digest?;
    let mut sources = outcome.sources.iter();
    let source = sources.find(|source| source.document.digest == Some(digest))?;
    source.version.clone()
}

/// `NAME/SERIAL`, else the name, else the version's id.
fn key_set(outcome: &Outcome, document: &DocumentRef) -> String {
    let version = version_of(outcome, document);
    document.key_set(version.as_deref()).unwrap_or_default()
}

fn short_digest(document: &DocumentRef) -> String {
    match document.digest {
        Some(digest) => digest.hex().chars().take(16).collect(),
        None => String::new(),
    }
}

impl Summary {
    /// The summary of an outcome; `None` while it is undecided whether the node is stale or its
    /// source has only a short outage. The key set is that of the first account. If every account
    /// has one source, it is that of an account that is behind, so that a node counts as having the
    /// new key set only when all its accounts do.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        if outcome.status == Status::Stale && outcome.stale_cycles < STALE_FROM {
            return None;
        }
        let followed = match first_account(outcome) {
            Some(account) => account.document.clone(),
            None => DocumentRef::default(),
        };
        let key_name = match &followed.name {
            Some(name) => name.to_string(),
            None => version_of(outcome, &followed).unwrap_or_default(),
        };
        let mut documents = several(outcome);
        if documents.is_empty() {
            documents.push(followed);
        }
        let mut key_sets = Vec::new();
        let mut digests = Vec::new();
        for document in &documents {
            key_sets.push(key_set(outcome, document));
            digests.push(short_digest(document));
        }
        let detail = match outcome.status {
            Status::Ok => String::new(),
            _ => outcome.detail.clone(),
        };
        Some(Self {
            status: outcome.status,
            keyset: key_sets.join(" "),
            digest: digests.join(" "),
            key_name,
            detail,
            at: outcome.finished,
            cause: cause(outcome),
        })
    }

    /// A text that is equal as long as only times and wording differ.
    pub fn news(&self) -> String {
        format!(
            "{:?} {} {} {} {}",
            self.status, self.keyset, self.digest, self.key_name, self.cause
        )
    }
}

//! What a node reports about itself to the fleet: the few facts that fit into tags. Pure.

use jiff::Timestamp;

use crate::outcome::{DocumentRef, Outcome, Status};

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
        let published = outcome
            .sources
            .iter()
            .find(|source| source.source == followed.source)
            .and_then(|source| source.document.digest);
        let behind = outcome
            .accounts
            .iter()
            .flat_map(|account| &account.documents)
            .find(|other| other.source == followed.source && other.document.digest != published);
        documents.push(behind.unwrap_or(followed).document.clone());
    }
    documents
}

/// The version that a document's source gave it.
fn version_of(outcome: &Outcome, document: &DocumentRef) -> Option<String> {
    let digest = document.digest?;
    let source = outcome
        .sources
        .iter()
        .find(|source| source.document.digest == Some(digest))?;
    source.version.clone()
}

fn short_digest(document: &DocumentRef) -> String {
    let hex = document
        .digest
        .map(|digest| digest.hex())
        .unwrap_or_default();
    hex.chars().take(16).collect()
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
        let published = outcome
            .sources
            .first()
            .filter(|_| outcome.sources.len() == 1)
            .map(|source| source.document.digest);
        let following = || {
            outcome
                .accounts
                .iter()
                .filter(|account| account.document.digest.is_some())
        };
        let behind = published
            .and_then(|digest| following().find(|account| account.document.digest != digest));
        let first = behind.or_else(|| {
            if published.is_some() {
                following().next()
            } else {
                outcome.accounts.first()
            }
        });
        let followed = first
            .map(|account| account.document.clone())
            .unwrap_or_default();
        let version = version_of(outcome, &followed);
        let mut keyset = followed.key_set(version.as_deref()).unwrap_or_default();
        let mut digest = short_digest(&followed);
        let several = several(outcome);
        if !several.is_empty() {
            let sets = several.iter().map(|document| {
                document
                    .key_set(version_of(outcome, document).as_deref())
                    .unwrap_or_default()
            });
            keyset = sets.collect::<Vec<_>>().join(" ");
            digest = several
                .iter()
                .map(short_digest)
                .collect::<Vec<_>>()
                .join(" ");
        }
        let bad_sources = outcome
            .sources
            .iter()
            .filter(|source| source.status != Status::Ok);
        let bad_accounts = outcome
            .accounts
            .iter()
            .filter(|account| account.status != Status::Ok);
        let sources = bad_sources.map(|source| format!("{} {:?}", source.source, source.problem));
        let accounts = bad_accounts.map(|account| format!("{} {:?}", account.user, account.status));
        Some(Self {
            status: outcome.status,
            keyset,
            digest,
            key_name: followed
                .name
                .map(|name| name.to_string())
                .or(version)
                .unwrap_or_default(),
            detail: if outcome.status == Status::Ok {
                String::new()
            } else {
                outcome.detail.clone()
            },
            at: outcome.finished,
            cause: sources.chain(accounts).collect::<Vec<_>>().join("; "),
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

//! What a node says of itself to the fleet: the few facts that tags hold. Pure.

use jiff::Timestamp;

use crate::outcome::{Outcome, Status};

/// So many stale cycles in a row are needed before the fleet is told: a source that hiccups is no
/// news.
const STALE_FROM: u32 = 3;

/// A node in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How it stands.
    pub status: Status,
    /// `NAME/SERIAL`, else the name, else the version's id; empty when no key set is in force.
    pub keyset: String,
    /// The first 16 hex digits of the digest; empty when no key set is in force.
    pub digest: String,
    /// The name of the key set in force, else the version's id.
    pub key_name: String,
    /// Why it is not ok, in full.
    pub detail: String,
    /// When the cycle that it speaks of ended.
    pub at: Timestamp,
    /// What is wrong, without the words that differ each time: not shown, but a change of it is
    /// news.
    cause: String,
}

impl Summary {
    /// Of an outcome; `None` while it is not decided whether the node is stale or its source only
    /// hiccups. The key set is the one of the first account; where all have one source, the one of
    /// whoever is behind, so that nobody is counted among those who have the new one before all
    /// accounts do.
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
        let digest = followed.digest;
        let source = outcome
            .sources
            .iter()
            .find(|source| digest.is_some() && source.document.digest == digest);
        let version = source.and_then(|source| source.version.clone());
        let keyset = followed.key_set(version.as_deref()).unwrap_or_default();
        let hex = digest.map(|digest| digest.to_string()).unwrap_or_default();
        let hex = hex.strip_prefix("sha256:").unwrap_or(&hex);
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
            digest: hex.chars().take(16).collect(),
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

    /// The same text as long as nothing but times and wording differ.
    pub fn news(&self) -> String {
        format!(
            "{:?} {} {} {} {}",
            self.status, self.keyset, self.digest, self.key_name, self.cause
        )
    }
}

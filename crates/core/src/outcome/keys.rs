//! The keys of an outcome. Accounts with equal keys share them. They are always counted, and listed
//! in a file up to a limit.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{AccountOutcome, KeyShown, Outcome};
use crate::document::{Digest, LeftOut};

/// The most keys of one kind that `status.json` lists for each account.
pub const LISTED: usize = 100;
/// The most keys of one kind that it lists for all accounts together. With more than 200 accounts,
/// each account gets fewer.
pub const LISTED_IN_ALL: usize = 20_000;
/// The average length, in bytes, of comments or reasons above which a list is shortened.
const LISTED_BYTES: usize = 256;

/// Keys as shown to people. Clones share them: a hundred accounts with the same document cost no
/// more than one.
#[derive(Clone, Default)]
pub struct KeyList(Arc<SharedKeys>);

#[derive(Default)]
struct SharedKeys {
    keys: Vec<KeyShown>,
    digest: OnceLock<Digest>,
}

impl KeyList {
    /// The SHA-256 over one line per key: `FINGERPRINT TYPE COMMENT`.
    pub fn digest(&self) -> Digest {
        *self.0.digest.get_or_init(|| {
            let mut text = Vec::new();
            for key in self.iter() {
                text.extend_from_slice(key.fingerprint.to_string().as_bytes());
                for part in [" ", &key.kind, " ", &key.comment, "\n"] {
                    text.extend_from_slice(part.as_bytes());
                }
            }
            Digest::of(&text)
        })
    }

    fn shortened(&self, most: usize) -> Self {
        let listed = listed(self, most, |key| key.comment.len());
        if listed == self.len() {
            self.clone()
        } else {
            self.iter().take(listed).cloned().collect()
        }
    }
}

/// How many of these may be listed.
fn listed<T>(all: &[T], most: usize, text_len: impl Fn(&T) -> usize) -> usize {
    let mut bytes = most * LISTED_BYTES;
    let mut count = 0;
    for one in all.iter().take(most) {
        let Some(left) = bytes.checked_sub(text_len(one)) else {
            break;
        };
        bytes = left;
        count += 1;
    }
    count
}

impl From<Vec<KeyShown>> for KeyList {
    fn from(keys: Vec<KeyShown>) -> Self {
        Self(Arc::new(SharedKeys {
            keys,
            digest: OnceLock::new(),
        }))
    }
}

impl FromIterator<KeyShown> for KeyList {
    fn from_iter<I: IntoIterator<Item = KeyShown>>(keys: I) -> Self {
        Vec::from_iter(keys).into()
    }
}

impl Deref for KeyList {
    type Target = [KeyShown];

    fn deref(&self) -> &[KeyShown] {
        &self.0.keys
    }
}

impl PartialEq for KeyList {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.keys == other.0.keys
    }
}

impl Eq for KeyList {}

impl std::fmt::Debug for KeyList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.keys.fmt(f)
    }
}

impl Serialize for KeyList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.keys.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeyList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

/// The number of keys of each kind, whether all are listed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyCounts {
    /// Keys that authkeysd's lines accept.
    pub in_force: usize,
    /// Keys that the file did not have before.
    pub added: usize,
    /// Keys that it no longer has.
    pub removed: usize,
    /// Keys that stayed, but with other options or fewer copies.
    pub updated: usize,
    /// Published keys that were left out because they cannot be installed.
    pub left_out: usize,
}

impl AccountOutcome {
    /// Counts the keys that are listed. A list that was shortened before keeps its count.
    pub fn count_keys(&mut self) {
        let Self {
            counts,
            in_force,
            added,
            removed,
            updated,
            left_out,
            ..
        } = self;
        counts.in_force = counts.in_force.max(in_force.len());
        counts.added = counts.added.max(added.len());
        counts.removed = counts.removed.max(removed.len());
        counts.updated = counts.updated.max(updated.len());
        counts.left_out = counts.left_out.max(left_out.len());
        if counts.in_force == in_force.len() {
            self.keys_digest = Some(in_force.digest());
        }
    }

    /// Whether `in_force` lists every key, and not only the first ones.
    pub fn lists_all_in_force(&self) -> bool {
        self.in_force.len() >= self.counts.in_force
    }

    /// Whether the same keys are in force in both.
    pub fn has_keys_of(&self, other: &Self) -> bool {
        match (self.keys_digest, other.keys_digest) {
            (Some(one), Some(other)) => one == other,
            _ => self.in_force == other.in_force,
        }
    }

    fn shortened(&self, most: usize) -> Self {
        let left_out: &[LeftOut] = &self.left_out;
        let left_out = left_out
            .iter()
            .take(listed(left_out, most, |bad| bad.reason.len()));
        Self {
            in_force: self.in_force.shortened(most),
            added: self.added.shortened(most),
            removed: self.removed.shortened(most),
            updated: self.updated.shortened(most),
            left_out: left_out.cloned().collect(),
            user: self.user.clone(),
            file: self.file.clone(),
            detail: self.detail.clone(),
            document: self.document.clone(),
            documents: self.documents.clone(),
            ..*self
        }
    }
}

impl Outcome {
    /// The same outcome with at most [`LISTED`] keys in each list, and [`LISTED_IN_ALL`] for all
    /// accounts, so that a file stays small enough for its readers, whatever the configuration.
    pub fn shortened(&self) -> Self {
        let most = LISTED.min(LISTED_IN_ALL / self.accounts.len().max(1));
        let accounts = self
            .accounts
            .iter()
            .map(|account| account.shortened(most))
            .collect();
        Self {
            accounts,
            version: self.version.clone(),
            detail: self.detail.clone(),
            instance_id: self.instance_id.clone(),
            sources: self.sources.clone(),
            reports: self.reports.clone(),
            faults: Vec::new(),
            ..*self
        }
    }
}

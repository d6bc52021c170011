//! What authkeysd must remember between cycles: the last valid documents, the serials seen, the
//! keys once installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use authkeys_core::document::Digest;
use authkeys_core::guard::Guard;
use authkeys_core::key::FingerprintSet;
use authkeys_core::origin::{SourceUrl, Stage, Version};
use authkeys_core::user::UserName;
use authkeys_core::verify::Mark;

pub use error::StateError;
pub use store::Store;

mod error;
mod store;

/// Everything that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    schema: u32,
    /// The document last accepted from each source, by the source's whole URL.
    pub sources: BTreeMap<String, Accepted>,
    /// The highest serial accepted, by the source's URL without its query (except for a secret's
    /// field). It outlives the source in the configuration. Only a requested rollback lowers or
    /// removes it.
    pub marks: BTreeMap<String, Mark>,
    /// Since when a source that has a fallback has been unreachable, by its whole URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub away: BTreeMap<String, Timestamp>,
    /// The accounts by name.
    #[serde(deserialize_with = "accounts")]
    pub accounts: BTreeMap<UserName, AccountState>,
    /// The pinned keys as they were last read.
    pub pinned: Option<String>,
    /// The latest time that was recorded: a clock that shows an earlier time is wrong.
    #[serde(default)]
    pub clock: Option<Timestamp>,
}

/// A document that was accepted from a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Which published version it was.
    pub version: Version,
    /// Where it is kept, and its digest.
    pub document: Kept,
    /// When its bytes were fetched.
    pub fetched: Timestamp,
    /// The fallback's URL, if they came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The accepted documents of a secret's other stages.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub further: BTreeMap<Stage, AcceptedStage>,
}

/// A document of one of a secret's other stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedStage {
    /// Which published version it was.
    pub version: Version,
    /// When that version was made, if known.
    pub created: Option<Timestamp>,
    /// Where it is kept, and its digest.
    pub document: Kept,
}

/// A document in the state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The digest of the document as published, without its signature.
    pub digest: Digest,
    /// The digest of the bytes that were kept; the name of their file.
    pub bytes: Digest,
    /// The number of [`CHECKS`](authkeys_core::key::CHECKS) under which all its keys were found
    /// sound; 0 if one was not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sound: u32,
    /// The number under which its RSA moduli alone were found sound, if a key was bad for another
    /// reason.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moduli: u32,
}

/// Reads accounts. Accounts of one document had the same keys installed, so they share the set in
/// memory.
fn accounts<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<UserName, AccountState>, D::Error> {
    struct Accounts;

    impl<'de> Visitor<'de> for Accounts {
        type Value = BTreeMap<UserName, AccountState>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of accounts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut accounts = BTreeMap::new();
            let mut last = FingerprintSet::default();
            while let Some((user, mut account)) = map.next_entry::<UserName, AccountState>()? {
                if account.installed == last {
                    account.installed = last.clone();
                } else {
                    last = account.installed.clone();
                }
                accounts.insert(user, account);
            }
            Ok(accounts)
        }
    }

    from.deserialize_map(Accounts)
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What is remembered about an account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountState {
    /// Every key that authkeysd ever installed for it. When such a key leaves the set, it is
    /// removed from every line.
    pub installed: FingerprintSet,
    /// The documents that passed the guard for this account.
    pub judged: Option<Judged>,
    /// The files whose content was saved before `exclusive` first replaced it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub adopted: BTreeSet<PathBuf>,
    /// The digest of what the file held when a cycle last left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Digest>,
}

/// The documents that passed the guard together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// The document.
    pub document: Kept,
    /// Those of a secret's other stages, the most important first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Kept>,
    /// Its source's URL, if the account has more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Those of the account's other sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<JudgedSource>,
    /// The guard's limits that it passed. Under other limits it is judged again.
    pub guard: Guard,
}

/// What passed the guard from a source other than the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedSource {
    /// The source's URL.
    pub source: String,
    /// Its document.
    pub document: Kept,
    /// Those of a secret's other stages, the most important first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Kept>,
}

impl State {
    /// The document last accepted from a source, or else that of the same URL with another query:
    /// adding a region to it must not remove any key.
    pub fn accepted(&self, url: &SourceUrl) -> Option<&Accepted> {
        if let Some(accepted) = self.sources.get(&url.to_string()) {
            return Some(accepted);
        }
        let mark = url.mark();
        for (other, accepted) in &self.sources {
            if mark_of(other) == mark {
                return Some(accepted);
            }
        }
        None
    }

    /// The kept documents of each source.
    pub fn kept(&self) -> Vec<(&String, Vec<Kept>)> {
        let mut kept = Vec::with_capacity(self.sources.len());
        for (url, accepted) in &self.sources {
            kept.push((url, accepted.documents().collect()));
        }
        kept
    }

    /// Corrects times that a wrong clock recorded: nothing was fetched later than now.
    pub fn fetched_by(&mut self, now: Timestamp) {
        for accepted in self.sources.values_mut() {
            accepted.fetched = accepted.fetched.min(now);
        }
    }

    /// Whether the other state is the same, except for when something was seen.
    pub fn equals_but_for_times(&self, other: &Self) -> bool {
        let mut same = self.clone();
        same.clock = other.clock;
        same.away.clone_from(&other.away);
        for (url, accepted) in &mut same.sources {
            if let Some(other) = other.sources.get(url) {
                accepted.fetched = other.fetched;
            }
        }
        same == *other
    }

    /// Whether what an account's file held before authkeysd replaced it has been saved.
    pub fn has_adopted(&self, user: &UserName, file: &Path) -> bool {
        match self.accounts.get(user) {
            Some(account) => account.adopted.contains(file),
            None => false,
        }
    }

    /// Forgets the documents that none of these sources needs.
    pub fn keep_sources<'a>(&mut self, sources: impl Iterator<Item = &'a SourceUrl>) {
        let mut names = BTreeSet::new();
        let mut marks = BTreeSet::new();
        for url in sources {
            let name = url.to_string();
            if !self.sources.contains_key(&name) {
                marks.insert(url.mark());
            }
            names.insert(name);
        }
        self.sources
            .retain(|name, _| names.contains(name) || marks.contains(&mark_of(name)));
        self.away.retain(|name, _| names.contains(name));
    }
}

/// The name of a source's mark. A URL that only a later version can parse counts as another source.
fn mark_of(url: &str) -> String {
    match SourceUrl::parse(url) {
        Ok(url) => url.mark(),
        Err(_) => url.to_owned(),
    }
}

impl Accepted {
    /// All documents, the most important first.
    pub fn documents(&self) -> impl Iterator<Item = Kept> {
        std::iter::once(self.document).chain(self.further.values().map(|stage| stage.document))
    }
}

impl Judged {
    /// Whether the same documents passed the same limits.
    pub fn same(&self, other: &Self) -> bool {
        self.guard == other.guard
            && self
                .documents()
                .map(|k| k.digest)
                .eq(other.documents().map(|k| k.digest))
    }

    /// All documents, the most important first.
    pub fn documents(&self) -> impl Iterator<Item = Kept> {
        self.sets()
            .flat_map(|set| std::iter::once(set.document).chain(set.further.iter().copied()))
    }

    /// The documents by source, in the sources' order.
    pub fn sets(&self) -> impl Iterator<Item = JudgedSet<'_>> {
        let first = JudgedSet {
            source: self.source.as_deref(),
            document: self.document,
            further: &self.further,
        };
        let others = self.others.iter().map(|other| JudgedSet {
            source: Some(&other.source),
            document: other.document,
            further: &other.further,
        });
        std::iter::once(first).chain(others)
    }
}

/// The documents of one source that passed the guard.
#[derive(Debug, Clone, Copy)]
pub struct JudgedSet<'a> {
    /// The source's URL, if the account has more than one.
    pub source: Option<&'a str>,
    /// The current document.
    pub document: Kept,
    /// Those of a secret's other stages.
    pub further: &'a [Kept],
}

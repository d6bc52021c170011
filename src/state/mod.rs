//! What authkeysd must remember between cycles: the last good documents, the serials seen, the keys
//! once installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use authkeys_core::document::Digest;
use authkeys_core::guard::Guard;
use authkeys_core::key::FingerprintSet;
use authkeys_core::origin::{SourceUrl, Stage, Version};
use authkeys_core::user::UserName;
use authkeys_core::verify::Mark;

pub use store::{StateError, Store};

mod store;

/// Everything that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    schema: u32,
    /// The document last accepted from each source, by the source's whole URL.
    pub sources: BTreeMap<String, Accepted>,
    /// The highest serial accepted, by the source's URL without its query (a secret's field
    /// excepted). It outlives the source in the configuration; only a rollback that was asked for
    /// lowers or removes it.
    pub marks: BTreeMap<String, Mark>,
    /// Since when a source that has a fallback has not been reached, by its whole URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub away: BTreeMap<String, Timestamp>,
    /// By account.
    #[serde(deserialize_with = "accounts")]
    pub accounts: BTreeMap<UserName, AccountState>,
    /// The pinned keys as they were last read.
    pub pinned: Option<String>,
    /// The latest time that was recorded: a clock that stands before it is wrong.
    #[serde(default)]
    pub clock: Option<Timestamp>,
}

/// A document that was accepted from a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Which published state it was.
    pub version: Version,
    /// Where it is kept, and what it is.
    pub document: Kept,
    /// When its bytes came.
    pub fetched: Timestamp,
    /// The fallback's URL, where they came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The documents of a secret's further stages that were accepted beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub further: BTreeMap<Stage, AcceptedStage>,
}

/// A document of one of a secret's further stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedStage {
    /// Which published state it was.
    pub version: Version,
    /// When that was made, as far as it is known.
    pub created: Option<Timestamp>,
    /// Where it is kept, and what it is.
    pub document: Kept,
}

/// A document in the state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Of the document as published, without its signature.
    pub digest: Digest,
    /// Of the bytes that were kept; the name of their file.
    pub bytes: Digest,
    /// Under which number of [`CHECKS`](authkeys_core::key::CHECKS) all its keys were found sound;
    /// 0 when one was not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sound: u32,
    /// Under which number its RSA moduli alone were found sound, where a key was bad for another
    /// reason.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub moduli: u32,
}

/// Accounts of one document had the same keys installed: they share them from the moment when they
/// are read.
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
            let (mut accounts, mut last) = (BTreeMap::new(), FingerprintSet::default());
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

/// What is remembered of an account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountState {
    /// Every key that authkeysd ever installed for it. When such a key leaves the set, it leaves
    /// every line.
    pub installed: FingerprintSet,
    /// The document that the policy let through for this account.
    pub judged: Option<Judged>,
    /// The files of which is kept what stood in them before `exclusive` first replaced it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub adopted: BTreeSet<PathBuf>,
    /// What the file held when a cycle last left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Digest>,
}

/// The documents that passed the guard together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// The document.
    pub document: Kept,
    /// Those of a secret's further stages, in the order of their importance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Kept>,
    /// Its source's URL, where the account has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Those of the account's other sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<JudgedSource>,
    /// The limits that let it through; under others it is judged anew.
    pub guard: Guard,
}

/// What passed the guard of a second source, or a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgedSource {
    /// The source's URL.
    pub source: String,
    /// Its document.
    pub document: Kept,
    /// Those of a secret's further stages, in the order of their importance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Kept>,
}

impl State {
    /// The document last accepted from a source; if none was, that of the same URL with another
    /// query: a region that was added to it takes no key away.
    pub fn accepted(&self, url: &SourceUrl) -> Option<&Accepted> {
        let mark = url.mark();
        let same = || {
            self.sources
                .iter()
                .find(|(other, _)| mark_of(other) == mark)
                .map(|(_, accepted)| accepted)
        };
        self.sources.get(&url.to_string()).or_else(same)
    }

    /// Forgets the documents that none of these sources needs.
    pub fn keep_sources<'a>(&mut self, sources: impl Iterator<Item = &'a SourceUrl>) {
        let (mut names, mut marks) = (BTreeSet::new(), BTreeSet::new());
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

/// What a source's mark belongs to. A URL that only a later version knows is another source.
fn mark_of(url: &str) -> String {
    SourceUrl::parse(url).map_or_else(|_| url.to_owned(), |url| url.mark())
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

    /// By source, in their order.
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

/// What passed the guard of one source.
#[derive(Debug, Clone, Copy)]
pub struct JudgedSet<'a> {
    /// The source's URL, where the account has several.
    pub source: Option<&'a str>,
    /// The current document.
    pub document: Kept,
    /// Those of a secret's further stages.
    pub further: &'a [Kept],
}

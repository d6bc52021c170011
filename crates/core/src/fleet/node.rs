//! One node and its last word about itself.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::document::{Digest, Name, Serial};
use crate::outcome::Status;

/// A running instance, or a machine that reports without being one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The instance id, or what stands for it.
    pub id: String,
    /// What people call it: its `Name` tag; else empty.
    pub name: String,
    /// What it last said.
    pub word: Word,
}

/// What a node last said. "Nothing", "nothing that makes sense" and a report are three things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It has never reported.
    None,
    /// Its report makes no sense, and why.
    Garbled(String),
    /// Its report.
    Report(Report),
}

/// What one node reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The node's own verdict.
    pub status: Status,
    /// The key set in force; `None` when it has none.
    pub key_set: Option<KeySet>,
    /// Of the document in force.
    pub digest: Option<ShortDigest>,
    /// The key sets of further sources that are in force with it, and their digests.
    pub further: Vec<(KeySet, Option<ShortDigest>)>,
    /// When it said so.
    pub synced: Timestamp,
    /// Why it is not ok; else empty.
    pub detail: String,
    /// Where the key set comes from, where that is reported: one source has one newest key set,
    /// whatever it is called.
    pub source: Option<String>,
    /// The version of authkeysd that reported, where that is reported: tags have no room for it.
    pub version: Option<String>,
}

/// How a node names the key set that is in force.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeySet {
    /// `NAME/SERIAL`: of two with one name it is told which is newer.
    Numbered {
        /// The document's name.
        name: Name,
        /// Its serial.
        serial: Serial,
    },
    /// A version id, which has no order.
    Version(String),
}

impl KeySet {
    /// Reads a key set's name. A name may itself have slashes: the serial is what follows the last
    /// one.
    pub fn parse(text: &str) -> Self {
        let numbered = text.rsplit_once('/').and_then(|(name, serial)| {
            // What `str::parse` takes beyond digits ("+17") is no serial.
            let serial = Some(serial)
                .filter(|s| s.bytes().all(|b| b.is_ascii_digit()))?
                .parse::<u64>()
                .ok()?;
            Some((Name::parse(name).ok()?, Serial::try_from(serial).ok()?))
        });
        match numbered {
            Some((name, serial)) => Self::Numbered { name, serial },
            None => Self::Version(text.to_owned()),
        }
    }
}

impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered { name, serial } => write!(f, "{name}/{serial}"),
            Self::Version(version) => f.write_str(version),
        }
    }
}

/// The first 16 hex digits of a document's digest, as tags carry them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortDigest(u64);

impl ShortDigest {
    /// Reads 16 hex digits, or a whole `sha256:` digest.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = || format!("{text:?} is no digest: 16 hex digits, or sha256: and 64");
        let hex = match text.strip_prefix("sha256:") {
            Some(_) => Digest::try_from(text.to_ascii_lowercase())
                .map_err(|_| fault())?
                .hex(),
            None if text.len() == 64 => {
                return Self::parse(&format!("sha256:{text}")).map_err(|_| fault());
            }
            None => text.to_owned(),
        };
        let short = hex
            .get(..16)
            .filter(|short| short.bytes().all(|b| b.is_ascii_hexdigit()));
        match short.filter(|_| hex.len() == 16 || hex.len() == 64) {
            Some(short) => u64::from_str_radix(short, 16)
                .map(Self)
                .map_err(|_| fault()),
            None => Err(fault()),
        }
    }
}

impl fmt::Display for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ShortDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ShortDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Node {
    /// Its report, where it has made one that makes sense.
    pub fn report(&self) -> Option<&Report> {
        match &self.word {
            Word::Report(report) => Some(report),
            Word::None | Word::Garbled(_) => None,
        }
    }
}

impl Report {
    /// The key sets in force, a space between those of several sources.
    pub fn key_sets(&self) -> Option<String> {
        let further = self.further.iter().map(|(set, _)| set);
        let sets: Vec<String> = self
            .key_set
            .iter()
            .chain(further)
            .map(KeySet::to_string)
            .collect();
        (!sets.is_empty()).then(|| sets.join(" "))
    }
}

/// A report's texts as they came; an empty one is one that is not there.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told<'a> {
    pub(super) status: &'a str,
    pub(super) key_set: &'a str,
    pub(super) digest: &'a str,
    pub(super) synced: &'a str,
    pub(super) detail: &'a str,
}

impl Told<'_> {
    /// What the texts say; the error is the clause that follows "its report makes no sense".
    pub(super) fn report(self) -> Result<Report, String> {
        let some = |text: &'_ str| !text.is_empty();
        if !some(self.status) || !some(self.synced) {
            return Err(format!(
                "it has no {}",
                if some(self.status) { "time" } else { "status" }
            ));
        }
        let mut digests = Vec::new();
        for digest in self.digest.split_whitespace() {
            digests.push(ShortDigest::parse(digest)?);
        }
        let mut sets = self.key_set.split_whitespace().map(KeySet::parse);
        let key_set = sets.next();
        let further = sets.enumerate();
        let further = further.map(|(at, set)| (set, digests.get(at + 1).copied()));
        Ok(Report {
            further: further.collect(),
            digest: digests.first().copied(),
            key_set,
            status: self
                .status
                .parse()
                .map_err(|_| format!("it has the unknown status {:?}", self.status))?,
            synced: self
                .synced
                .parse()
                .map_err(|_| format!("{:?} is no time", self.synced))?,
            detail: self.detail.to_owned(),
            source: None,
            version: None,
        })
    }
}

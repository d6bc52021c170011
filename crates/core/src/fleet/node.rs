//! One node and its most recent report.

use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::document::{Digest, Name, Serial};
use crate::outcome::Status;

/// A running instance, or a machine that reports without being one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The instance id, or the id of a machine that is not an instance.
    pub id: String,
    /// Its `Name` tag; empty if it has none.
    pub name: String,
    /// What it last reported.
    pub word: Word,
}

/// What a node last reported. No report, an invalid report and a valid report are distinct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It has never reported.
    None,
    /// Its report is invalid, and why.
    Garbled(String),
    /// Its report.
    NodeReport(NodeReport),
}

/// What one node reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// The node's own status.
    pub status: Status,
    /// The key set in force; `None` when it has none.
    pub key_set: Option<KeySet>,
    /// The digest of the document in force.
    pub digest: Option<ShortDigest>,
    /// The key sets of further sources in force at the same time, and their digests.
    pub further: Vec<(KeySet, Option<ShortDigest>)>,
    /// When it was reported.
    pub synced: Timestamp,
    /// Why the node is not ok; empty if it is.
    pub detail: String,
    /// The URL of the key set's source, if reported. The newest key set is determined per source,
    /// whatever the key sets are called.
    pub source: Option<String>,
    /// The version of authkeysd that reported, if known. Tags have no room for it.
    pub version: Option<String>,
}

/// How a node names the key set that is in force.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeySet {
    /// `NAME/SERIAL`: of two with the same name, the higher serial is newer.
    Numbered {
        /// The document's name.
        name: Name,
        /// Its serial.
        serial: Serial,
    },
    /// A version id, which cannot be ordered.
    Version(String),
}

impl KeySet {
    /// Parses a key set's name. The name itself may contain slashes: the serial follows the last
    /// one.
    pub fn parse(text: &str) -> Self {
        // `str::parse` also accepts "+17", which is not a valid serial.
        if let Some((name, serial)) = text.rsplit_once('/')
            && serial.bytes().all(|b| b.is_ascii_digit())
            && let Ok(serial) = serial.parse::<u64>()
            && let Ok(serial) = Serial::try_from(serial)
            && let Ok(name) = Name::parse(name)
        {
            return Self::Numbered { name, serial };
        }
        Self::Version(text.to_owned())
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

/// The first 16 hex digits of a document's digest, as in tags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortDigest(u64);

impl ShortDigest {
    /// Reads 16 hex digits, or a whole `sha256:` digest.
    pub fn parse(text: &str) -> Result<Self, String> {
        match Self::of_hex(text) {
            Some(digest) => Ok(digest),
            None => Err(format!(
                "{text:?} is not a digest: 16 hex digits, or sha256: and 64"
            )),
        }
    }

    fn of_hex(text: &str) -> Option<Self> {
        let whole = match text.strip_prefix("sha256:") {
            Some(_) => Some(text.to_ascii_lowercase()),
            None if text.len() == 64 => Some(format!("sha256:{text}").to_ascii_lowercase()),
            None => None,
        };
        let hex = match whole {
            Some(whole) => Digest::try_from(whole).ok()?.hex(),
            None if text.len() == 16 => text.to_owned(),
            None => return None,
        };
        let short = hex.get(..16)?;
        // `from_str_radix` also accepts a sign.
        if !short.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        Some(Self(u64::from_str_radix(short, 16).ok()?))
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
    /// Its report, if it has made a valid one.
    pub fn report(&self) -> Option<&NodeReport> {
        match &self.word {
            Word::NodeReport(report) => Some(report),
            Word::None | Word::Garbled(_) => None,
        }
    }
}

impl NodeReport {
    /// The key sets in force, separated by spaces if there are several sources.
    pub fn key_sets(&self) -> Option<String> {
        let mut sets = Vec::new();
        if let Some(set) = &self.key_set {
            sets.push(set.to_string());
        }
        for (set, _digest) in &self.further {
            sets.push(set.to_string());
        }
        if sets.is_empty() {
            return None;
        }
        Some(sets.join(" "))
    }
}

/// The texts of a report as received. An empty text counts as missing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RawReport<'a> {
    pub(super) status: &'a str,
    pub(super) key_set: &'a str,
    pub(super) digest: &'a str,
    pub(super) synced: &'a str,
    pub(super) detail: &'a str,
}

impl RawReport<'_> {
    /// Parses the texts. The error is a clause that follows "its report makes no sense".
    pub(super) fn report(self) -> Result<NodeReport, String> {
        if self.status.is_empty() {
            return Err("it has no status".to_owned());
        }
        if self.synced.is_empty() {
            return Err("it has no time".to_owned());
        }
        let mut digests = Vec::new();
        for digest in self.digest.split_whitespace() {
            digests.push(ShortDigest::parse(digest)?);
        }
        let mut sets = self.key_set.split_whitespace().map(KeySet::parse);
        let key_set = sets.next();
        let mut further = Vec::new();
        for (at, set) in sets.enumerate() {
            further.push((set, digests.get(at + 1).copied()));
        }
        Ok(NodeReport {
            further,
            digest: digests.first().copied(),
            key_set,
            status: self
                .status
                .parse()
                .map_err(|_| format!("it has the unknown status {:?}", self.status))?,
            synced: self
                .synced
                .parse()
                .map_err(|_| format!("{:?} is not a time", self.synced))?,
            detail: self.detail.to_owned(),
            source: None,
            version: None,
        })
    }
}

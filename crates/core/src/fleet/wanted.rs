//! The document that all nodes shall have: `NAME/SERIAL`, or its digest.

use std::fmt;
use std::str::FromStr;

use super::node::{KeySet, Report, ShortDigest};
use crate::document::{Name, Serial};
use crate::outcome::Status;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// That serial of that name, or a later one: who published again meanwhile need not wait for
    /// ever.
    Numbered {
        /// The document's name.
        name: Name,
        /// The lowest serial that will do.
        serial: Serial,
    },
    /// Exactly the document with that digest.
    Digest(ShortDigest),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let KeySet::Numbered { name, serial } = KeySet::parse(text) {
            return Ok(Self::Numbered { name, serial });
        }
        ShortDigest::parse(text).map(Self::Digest).map_err(|_| {
            format!(
                "{text:?} is neither NAME/SERIAL nor a digest: 16 hex digits, or sha256: and 64"
            )
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbered { name, serial } => write!(f, "{name}/{serial}"),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Wanted {
    /// Whether the node's document is what is asked for, be it applied everywhere or not.
    pub fn is_followed(&self, report: &Report) -> bool {
        let further = report.further.iter().map(|(set, digest)| (set, *digest));
        let first = report.key_set.iter().map(|set| (set, report.digest));
        first.chain(further).any(|(set, its_digest)| match self {
            Self::Numbered { name, serial } => matches!(set,
                KeySet::Numbered { name: its, serial: of } if its == name && of >= serial),
            Self::Digest(digest) => its_digest == Some(*digest),
        })
    }

    /// Whether the node has it in force, for all accounts. A `stale` node has: it says what became
    /// of the source later.
    pub fn is_met(&self, report: &Report) -> bool {
        self.is_followed(report) && matches!(report.status, Status::Ok | Status::Stale)
    }
}

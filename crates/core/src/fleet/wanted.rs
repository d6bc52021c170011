//! The document that every node should have: `NAME/SERIAL`, or its digest.

use std::fmt;
use std::str::FromStr;

use super::node::{KeySet, NodeReport, ShortDigest};
use crate::document::{Name, Serial};
use crate::outcome::Status;

/// The wanted document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// That serial of that name, or a later one, so that a wait also ends if a newer document is
    /// published meanwhile.
    Numbered {
        /// The document's name.
        name: Name,
        /// The lowest accepted serial.
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
        match ShortDigest::parse(text) {
            Ok(digest) => Ok(Self::Digest(digest)),
            Err(_) => Err(format!(
                "{text:?} is neither NAME/SERIAL nor a digest: 16 hex digits, or sha256: and 64"
            )),
        }
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
    /// Whether the node follows the wanted document, even if it is not applied to every account.
    pub fn is_followed(&self, report: &NodeReport) -> bool {
        if let Some(set) = &report.key_set
            && self.accepts(set, report.digest)
        {
            return true;
        }
        let mut further = report.further.iter();
        further.any(|(set, digest)| self.accepts(set, *digest))
    }

    /// Whether a key set is the wanted document or a later one.
    fn accepts(&self, set: &KeySet, its_digest: Option<ShortDigest>) -> bool {
        match self {
            Self::Numbered { name, serial } => matches!(set,
                KeySet::Numbered { name: its, serial: of } if its == name && of >= serial),
            Self::Digest(digest) => its_digest == Some(*digest),
        }
    }

    /// Whether the wanted document is in force on the node for all accounts. A `stale` node counts:
    /// its status is about the source, not about the document.
    pub fn is_met(&self, report: &NodeReport) -> bool {
        self.is_followed(report) && matches!(report.status, Status::Ok | Status::Stale)
    }
}

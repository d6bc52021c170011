//! Whether a good document may be taken for the truth: is it meant for us, and is it not older than what we have seen?

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::document::{Digest, Document, Name, Serial};

pub use pattern::Patterns;
pub use signature::{BadSignature, NAMESPACE, signed_by, verify_signature};
pub use signers::{NotAllowed, Signer, SignerRules, Signers, SignersFault};

mod pattern;
mod signature;
mod signers;

/// What a document must prove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// The audience that documents must name; where it is `None` they must not name any.
    pub audience: Option<Name>,
}

/// The highest serial ever accepted from a source, and what came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The serial.
    pub serial: Serial,
    /// Of the payload that bore it.
    pub digest: Digest,
}

/// Why a good document is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Distrust {
    /// Staging's documents do not pass in production.
    #[error(
        "its audience is {theirs}, this node's [trust] audience is {ours}; publish the document that is meant for this node, or correct the configuration"
    )]
    Audience {
        /// The document's.
        theirs: String,
        /// The configuration's.
        ours: String,
    },
    /// A replay, or a publisher that lost count.
    #[error(
        "its serial {serial} is lower than {seen}, the highest accepted; publish with a higher serial, or run `authkeysd sync --accept-rollback` to go back on purpose"
    )]
    Rollback {
        /// The document's.
        serial: Serial,
        /// The highest accepted.
        seen: Serial,
    },
    /// Two publishers, or a forgery.
    #[error(
        "its serial {0} was seen with another content; publish with a higher serial, or run `authkeysd sync --accept-rollback`"
    )]
    SameSerial(Serial),
    /// The order of documents would be lost.
    #[error(
        "it has no serial, but one with serial {0} was accepted before; publish with a higher serial, or run `authkeysd sync --accept-rollback`"
    )]
    NoSerial(Serial),
}

/// Whether the document of one of a secret's further stages counts beside the current one. A pending one does so only
/// when its serial says that it is the newer: its stage is often left behind on what was current long ago.
pub fn counts_beside(pending: bool, document: &Document, current: &Document) -> bool {
    let without = document.serial.is_none() && current.serial.is_none();
    !pending || without || document.serial > current.serial
}

/// Judges a document; `mark` is `None` where nothing was accepted yet or a rollback was asked for.
pub fn verify(document: &Document, trust: &Trust, mark: Option<&Mark>) -> Result<Option<Mark>, Distrust> {
    if document.audience != trust.audience {
        let shown = |name: &Option<Name>| name.as_ref().map_or("not set".to_owned(), Name::to_string);
        return Err(Distrust::Audience { theirs: shown(&document.audience), ours: shown(&trust.audience) });
    }
    match (document.serial, mark) {
        (None, None) => Ok(None),
        (None, Some(mark)) => Err(Distrust::NoSerial(mark.serial)),
        (Some(serial), Some(mark)) if serial < mark.serial => Err(Distrust::Rollback { serial, seen: mark.serial }),
        (Some(serial), Some(mark)) if serial == mark.serial && document.digest != mark.digest => {
            Err(Distrust::SameSerial(serial))
        }
        (Some(serial), _) => Ok(Some(Mark { serial, digest: document.digest })),
    }
}

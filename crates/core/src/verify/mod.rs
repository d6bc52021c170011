//! Whether a valid document can be trusted: it must be meant for this node, and must not be older
//! than what the node has already seen.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::document::{self, Digest, Document, Envelope, Form, Name, Serial};
use crate::fault::FaultCode;

pub use pattern::{Patterns, matches_pattern};
pub use signature::{BadSignature, signed_by, verify_signature};
pub(crate) use signature::{armored, covered};
pub use signers::{NotAllowed, Signer, SignerRules, Signers, SignersFault};

mod pattern;
mod signature;
mod signers;

/// The namespace of document signatures (`ssh-keygen -n`). A signature made for another purpose
/// proves nothing here.
pub const NAMESPACE: &str = "authkeysd";

/// The largest RSA modulus whose signatures are checked, which is ring's limit.
const MAX_RSA_BITS: usize = 8_192;

/// What a document must prove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// The audience that documents must name; if `None`, they must not name one.
    pub audience: Option<Name>,
}

/// The highest serial ever accepted from a source, and the digest of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The serial.
    pub serial: Serial,
    /// The digest of the payload with that serial.
    pub digest: Digest,
}

/// Why a valid document is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Distrust {
    /// Not signed.
    #[error(
        "it is not signed, and [trust] allowed_signers asks for a signature; sign it (`ssh-keygen \
         -Y sign -n {NAMESPACE}`) and publish it together with its signature"
    )]
    Unsigned,
    /// A form that cannot be signed.
    #[error(
        "{0} cannot be signed, and [trust] allowed_signers asks for a signature; publish the key \
         set as JSON, signed"
    )]
    Unsignable(&'static str),
    /// The signature is invalid, or its signer is not allowed.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// Signed, but without a serial. A signature is valid forever, so an old document could be
    /// published again.
    #[error(
        "it is signed but has no serial, and could be put back when it is old; publish it with a \
         `serial`, signed"
    )]
    SerialNeeded,
    /// A document for staging must not be accepted in production.
    #[error(
        "its audience is {theirs}, this node's [trust] audience is {ours}; publish the document \
         that is meant for this node, or correct the configuration"
    )]
    Audience {
        /// The document's.
        theirs: String,
        /// The configuration's.
        ours: String,
    },
    /// A replay, or a publisher that lost track of its serials.
    #[error(
        "its serial {serial} is lower than {seen}, the highest accepted; publish with a higher \
         serial, or run `authkeysd sync --accept-rollback` to go back on purpose"
    )]
    Rollback {
        /// The document's.
        serial: Serial,
        /// The highest accepted.
        seen: Serial,
    },
    /// Two publishers used the same serial, or the document is forged.
    #[error(
        "its serial {0} was seen with another content; publish with a higher serial, or run \
         `authkeysd sync --accept-rollback`"
    )]
    SameSerial(Serial),
    /// Without a serial, the order of documents would be lost.
    #[error(
        "it has no serial, but one with serial {0} was accepted before; publish with a higher \
         serial, or run `authkeysd sync --accept-rollback`"
    )]
    NoSerial(Serial),
}

impl Distrust {
    /// Its code.
    pub fn code(&self) -> FaultCode {
        match self {
            Self::Unsigned | Self::Unsignable(_) => FaultCode::DocumentUnsigned,
            Self::Signature(BadSignature::NotAllowed(_)) => FaultCode::SignerNotAllowed,
            Self::Signature(_) => FaultCode::SignatureInvalid,
            Self::SerialNeeded | Self::NoSerial(_) => FaultCode::SerialMissing,
            Self::Audience { .. } => FaultCode::AudienceWrong,
            Self::Rollback { .. } => FaultCode::SerialLower,
            Self::SameSerial(_) => FaultCode::SerialReused,
        }
    }
}

/// Whether the document at one of a secret's further stages is in force beside the current one. A
/// pending document is, only if its serial is higher than the current one's: the pending stage is
/// often left on a version that was current long ago.
pub fn counts_beside(pending: bool, document: &Document, current: &Document) -> bool {
    let without = document.serial.is_none() && current.serial.is_none();
    !pending || without || document.serial > current.serial
}

/// Finds who signed a valid document, given its bytes. Returns `None` if `signers` is `None`: then
/// no signature is required, and a present one is ignored.
pub fn verify_signer(
    document: &Document,
    bytes: &[u8],
    signers: Option<&Signers>,
    now: Timestamp,
) -> Result<Option<String>, Distrust> {
    let Some(signers) = signers else {
        return Ok(None);
    };
    match document::form(bytes) {
        Form::Json => {}
        Form::Text => return Err(Distrust::Unsignable("authorized_keys text")),
        Form::RotationSecret => return Err(Distrust::Unsignable("a rotation secret")),
    }
    let envelope = Envelope::split(bytes).map_err(|_| Distrust::Unsigned)?;
    let signature = envelope.signature.ok_or(Distrust::Unsigned)?;
    let signer = verify_signature(envelope.payload, signature, signers, now)?;
    if document.serial.is_none() {
        return Err(Distrust::SerialNeeded);
    }
    Ok(Some(signer))
}

/// Judges a document. `mark` is `None` if nothing was accepted yet, or if a rollback was requested.
pub fn verify(
    document: &Document,
    trust: &Trust,
    mark: Option<&Mark>,
) -> Result<Option<Mark>, Distrust> {
    if document.audience != trust.audience {
        return Err(Distrust::Audience {
            theirs: shown_audience(&document.audience),
            ours: shown_audience(&trust.audience),
        });
    }
    match (document.serial, mark) {
        (None, None) => Ok(None),
        (None, Some(mark)) => Err(Distrust::NoSerial(mark.serial)),
        (Some(serial), Some(mark)) if serial < mark.serial => Err(Distrust::Rollback {
            serial,
            seen: mark.serial,
        }),
        (Some(serial), Some(mark)) if serial == mark.serial && document.digest != mark.digest => {
            Err(Distrust::SameSerial(serial))
        }
        (Some(serial), _) => Ok(Some(Mark {
            serial,
            digest: document.digest,
        })),
    }
}

fn shown_audience(name: &Option<Name>) -> String {
    match name {
        Some(name) => name.to_string(),
        None => "not set".to_owned(),
    }
}

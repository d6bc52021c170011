//! Signatures made by AWS KMS: which key is used, what it signs, and how KMS' answers are converted
//! to the format of `ssh-keygen -Y sign` (PROTOCOL.sshsig).

use sha2::{Digest as _, Sha512};

use crate::key::KeyBlob;
use crate::verify::{NAMESPACE, armored, covered};

pub use der::{BadKey, key_of_spki};
pub use kms::KmsKey;

mod der;
mod kms;

/// The hash of the payload, as named in the frame; ssh-keygen's default.
const HASH: &[u8] = b"sha512";

/// How keys of each type sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, with SHA-512.
    Rsa,
    /// ECDSA on P-256, P-384 or P-521, each with its matching hash.
    Ecdsa(&'static str),
    /// Ed25519 over the message itself.
    Ed25519,
}

impl Algorithm {
    /// The algorithm of a key; `None` for types that KMS does not have.
    pub fn of(key: &KeyBlob) -> Option<Self> {
        match key.kind() {
            "ssh-rsa" => Some(Self::Rsa),
            "ecdsa-sha2-nistp256" => Some(Self::Ecdsa("ECDSA_SHA_256")),
            "ecdsa-sha2-nistp384" => Some(Self::Ecdsa("ECDSA_SHA_384")),
            "ecdsa-sha2-nistp521" => Some(Self::Ecdsa("ECDSA_SHA_512")),
            "ssh-ed25519" => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// Its name in KMS.
    pub fn kms_name(self) -> &'static str {
        match self {
            Self::Rsa => "RSASSA_PKCS1_V1_5_SHA_512",
            Self::Ecdsa(name) => name,
            Self::Ed25519 => "ED25519_SHA_512",
        }
    }
}

/// The bytes to sign for a payload: its frame and its hash, under 200 bytes.
pub fn message(payload: &[u8]) -> Vec<u8> {
    covered(HASH, &Sha512::digest(payload))
}

/// The armored signature of a document, made from KMS' answer for [`message`]; `None` if the answer
/// is not a signature of the key's type.
pub fn armored_signature(key: &KeyBlob, answer: &[u8]) -> Option<Vec<u8>> {
    let kind = key.kind().as_bytes();
    let signature = match Algorithm::of(key)? {
        Algorithm::Rsa => strings(&[b"rsa-sha2-512", answer]),
        Algorithm::Ecdsa(_) => {
            let (r, s) = der::pair(answer)?;
            strings(&[kind, &strings(&[r, s])])
        }
        Algorithm::Ed25519 => strings(&[kind, answer]),
    };
    let mut frame = b"SSHSIG".to_vec();
    frame.extend_from_slice(&1_u32.to_be_bytes());
    let fields = [key.bytes(), NAMESPACE.as_bytes(), b"", HASH, &signature];
    frame.extend_from_slice(&strings(&fields));
    Some(armored(&frame))
}

/// Consecutive strings in RFC 4251 encoding.
fn strings(fields: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for field in fields {
        let length = u32::try_from(field.len()).unwrap_or_default();
        all.extend_from_slice(&length.to_be_bytes());
        all.extend_from_slice(field);
    }
    all
}

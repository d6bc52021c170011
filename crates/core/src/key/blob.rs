//! Public key blobs: the identity of a key, whatever text surrounds it.
//!
//! sshd compares keys, not bytes: it accepts a blob whose type is spelled `RSA` or `rsa-sha2-512`,
//! or whose modulus has spare leading zeros, as the same key. A revoked key must not survive under
//! another encoding, so foreign blobs are converted to the canonical form before they are compared.
//! Only canonical blobs are ever written.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::material::{self, Weakness};
use super::reader::{Reader, digits};
use crate::words::{brief, cut, plain};

/// Plain key types that sshd knows; these may be installed.
const KNOWN: [&str; 9] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-mldsa44-ed25519@openssh.com",
    "ssh-mldsa44-ed25519",
];

/// The bytes of an ML-DSA-44 key and the Ed25519 key after it.
const MLDSA44_ED25519: usize = 1_312 + 32;

/// The first bytes of every Ed25519 blob in canonical form; 32 bytes follow.
const ED25519: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";

/// A shorter blob is not a key: the shortest that any sshd accepts is an Ed25519 key, of 32 bytes
/// and its name. Without this limit a user could fill a file with 70,000 "keys".
const MIN_BLOB: usize = 40;

/// sshd rejects longer moduli (OPENSSL_RSA_MAX_MODULUS_BITS).
const MAX_RSA_BITS: usize = 16_384;

/// A public key, identified by its canonical wire form (RFC 4253, section 6.6).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyBlob {
    fingerprint: Fingerprint,
    kind: Cow<'static, str>,
    bytes: Vec<u8>,
}

impl Hash for KeyBlob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// Why a blob is not a key that may be installed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadBlob {
    /// Not base64 in the form that sshd reads.
    #[error("the key's base64 is broken or cut off")]
    Base64,
    /// The bytes are not a key of the type that they name.
    #[error("the key's bytes are damaged or cut off")]
    Damaged,
    /// The type before the blob differs from the type inside it.
    #[error("the line says {said} but the key is {is}")]
    TypeMismatch {
        /// The type before the blob.
        said: String,
        /// The type inside the blob.
        is: String,
    },
    /// DSA.
    #[error("DSA keys are refused by sshd")]
    Dsa,
    /// A certificate instead of a key.
    #[error(
        "{0} is a certificate, not a key; publish the key itself (FILE.pub, not FILE-cert.pub), or \
         let sshd trust its CA with TrustedUserCAKeys"
    )]
    Certificate(String),
    /// The name of a signature algorithm instead of the key's type.
    #[error("{said} names a kind of signature, not a key type; write {is} before the same base64")]
    SignatureType {
        /// The type before the blob.
        said: String,
        /// The type of the keys that make such signatures.
        is: &'static str,
    },
    /// A type that sshd does not know.
    #[error("key type {0:?} is not known")]
    UnknownType(String),
    /// The numbers in it are not those of a sound key.
    #[error(
        "the key is weak: {0}; make a new key pair with `ssh-keygen` and publish its public half"
    )]
    Weak(#[from] Weakness),
    /// An RSA modulus outside the accepted sizes.
    #[error("RSA key of {bits} bits: {min} to {MAX_RSA_BITS} are accepted")]
    RsaBits {
        /// Bits of the modulus.
        bits: usize,
        /// The minimum of the policy.
        min: usize,
    },
    /// The blob encodes a valid key, but not in canonical form.
    #[error(
        "the key's bytes are not in canonical form; publish it as `ssh-keygen -e`/`-i` or `ssh-add \
         -L` print it"
    )]
    NotCanonical,
}

impl KeyBlob {
    /// Decodes a key that may be installed: a known type, canonical bytes, RSA of `min_rsa_bits` to
    /// 16,384 bits, and numbers that a sound generator makes.
    pub fn parse(said: &str, base64: &str, min_rsa_bits: usize) -> Result<Self, BadBlob> {
        let key = Self::decode(said, base64, min_rsa_bits)?;
        material::check(key.kind(), key.bytes())?;
        Ok(key)
    }

    /// Like [`KeyBlob::parse`], but without examining the key's numbers, for a key that was found
    /// sound before: at each poll the examination would cost many times as much as everything else.
    pub(super) fn decode(said: &str, base64: &str, min_rsa_bits: usize) -> Result<Self, BadBlob> {
        if said == "ssh-dss" {
            return Err(BadBlob::Dsa);
        }
        if said.contains("-cert-v") {
            return Err(BadBlob::Certificate(said.to_owned()));
        }
        if let Some(is) = signing_type(said) {
            return Err(BadBlob::SignatureType {
                said: said.to_owned(),
                is,
            });
        }
        if !KNOWN.contains(&said) {
            return Err(BadBlob::UnknownType(said.to_owned()));
        }
        let bytes = STANDARD.decode(base64).map_err(|_| BadBlob::Base64)?;
        let is = Reader(&bytes).text().ok_or(BadBlob::Damaged)?;
        if is != said {
            return Err(BadBlob::TypeMismatch {
                said: said.to_owned(),
                is: shown(is),
            });
        }
        let key = canonical(&bytes).ok_or(BadBlob::Damaged)?;
        if key.bytes != bytes {
            return Err(BadBlob::NotCanonical);
        }
        if let Some(bits) = key.rsa_bits()
            && !(min_rsa_bits..=MAX_RSA_BITS).contains(&bits)
        {
            return Err(BadBlob::RsaBits {
                bits,
                min: min_rsa_bits,
            });
        }
        Ok(key)
    }

    /// The key in a blob that someone else wrote, in any spelling that sshd would accept; `None` if
    /// it is not a blob. Types that this version does not know count as well: the list of what sshd
    /// accepts is never assumed to be closed.
    pub fn recognise(base64: &[u8]) -> Option<Self> {
        // OpenSSH's decoder skips white space inside the base64. Blanks and tabs have already ended
        // the word.
        let mut packed = base64.to_vec();
        packed.retain(|b| !matches!(b, b'\r' | b'\x0b' | b'\x0c'));
        let bytes = STANDARD.decode(packed).ok()?;
        if bytes.len() < MIN_BLOB {
            return None;
        }
        canonical(&bytes)
    }

    /// The key in these bytes, in any spelling that sshd would accept; `None` if they are not a
    /// key.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        canonical(bytes)
    }

    fn new(kind: String, bytes: Vec<u8>) -> Self {
        let kind = match KNOWN.iter().find(|known| **known == kind) {
            Some(known) => Cow::Borrowed(*known),
            None => Cow::Owned(kind),
        };
        Self {
            fingerprint: Fingerprint(Sha256::digest(&bytes).into()),
            kind,
            bytes,
        }
    }

    /// The key's type, as it is written before the blob: `ssh-ed25519`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The canonical wire form.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The blob in base64.
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.bytes)
    }

    /// How many characters [`KeyBlob::base64`] has.
    pub fn base64_len(&self) -> usize {
        self.bytes.len().div_ceil(3) * 4
    }

    /// Appends the blob in base64.
    pub fn push_base64(&self, text: &mut String) {
        STANDARD.encode_string(&self.bytes, text);
    }

    /// The key's SHA-256 fingerprint, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// An RSA key's exponent and modulus, big-endian and without leading zeros; `None` for other
    /// types.
    pub fn rsa(&self) -> Option<(&[u8], &[u8])> {
        let mut reader = Reader(&self.bytes);
        if reader.text()? != "ssh-rsa" {
            return None;
        }
        Some((digits(reader.string()?), digits(reader.string()?)))
    }

    /// The bits of an RSA key's modulus; `None` for other types.
    pub fn rsa_bits(&self) -> Option<usize> {
        self.rsa().map(|(_, modulus)| bit_length(modulus))
    }
}

impl fmt::Debug for KeyBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.fingerprint())
    }
}

/// A key's SHA-256 fingerprint: `SHA256:` and 43 characters of unpadded base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Fingerprint([u8; 32]);

const PREFIX: &str = "SHA256:";
/// The bytes of a fingerprint's text.
const SHOWN: usize = 50;

/// The value is a hash already, and plans look keys up by the thousand, so a part of it is enough.
impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let number = match self.0.first_chunk::<8>() {
            Some(first) => u64::from_ne_bytes(*first),
            None => 0,
        };
        state.write_u64(number);
    }
}

/// Why a text is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not a fingerprint: write SHA256: and 43 base64 characters, as `ssh-keygen -l` prints \
     it"
)]
pub struct BadFingerprint(String);

impl Fingerprint {
    /// The fingerprint with this SHA-256 digest; `None` if the length is wrong.
    pub fn from_digest(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }

    /// Parses what `ssh-keygen -l` prints.
    pub fn parse(text: &str) -> Result<Self, BadFingerprint> {
        if let Some(base64) = text.strip_prefix(PREFIX)
            && let Ok(digest) = STANDARD_NO_PAD.decode(base64)
            && let Some(fingerprint) = Self::from_digest(&digest)
        {
            return Ok(fingerprint);
        }
        Err(BadFingerprint(brief(text)))
    }

    /// Calls `show` with the text. Fingerprints are written by the hundred thousand, so this does
    /// not allocate.
    fn with_text<T>(self, show: impl FnOnce(&str) -> T) -> T {
        let mut text = [0; SHOWN];
        if let Some((prefix, encoded)) = text.split_first_chunk_mut::<7>() {
            prefix.copy_from_slice(PREFIX.as_bytes());
            let _fits = STANDARD_NO_PAD.encode_slice(self.0, encoded);
        }
        show(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = BadFingerprint;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// The type of the keys that make signatures of this name, if it differs from the name.
fn signing_type(name: &str) -> Option<&'static str> {
    match name {
        "rsa-sha2-256" | "rsa-sha2-512" => Some("ssh-rsa"),
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com" => Some("sk-ecdsa-sha2-nistp256@openssh.com"),
        _ => None,
    }
}

/// Converts a blob to the form in which sshd itself would write the key that it reads from it.
fn canonical(bytes: &[u8]) -> Option<KeyBlob> {
    // By far the most common case, and there is only one way to write it, so it need not be decoded
    // and encoded again.
    if bytes.len() == ED25519.len() + 32 && bytes.starts_with(ED25519) {
        return Some(KeyBlob::new("ssh-ed25519".to_owned(), bytes.to_vec()));
    }
    let mut reader = Reader(bytes);
    let spelled = reader.text()?;
    // sshd matches full names exactly and short names case-insensitively (sshkey_type_from_name).
    let kind = match spelled.to_ascii_lowercase().as_str() {
        "rsa" => "ssh-rsa",
        "ed25519" => "ssh-ed25519",
        "ed25519-sk" => "sk-ssh-ed25519@openssh.com",
        "ecdsa-sk" => "sk-ecdsa-sha2-nistp256@openssh.com",
        "ecdsa" => "ecdsa",
        _ => signing_type(spelled).unwrap_or(spelled),
    };
    let mut kind = kind.to_owned();
    let mut fields: Vec<Vec<u8>> = Vec::new();
    match kind.as_str() {
        "ssh-rsa" => {
            fields.push(reader.mpint()?);
            fields.push(reader.mpint()?);
        }
        "ssh-ed25519" => fields.push(reader.fixed(32)?),
        "ssh-mldsa44-ed25519" | "ssh-mldsa44-ed25519@openssh.com" => {
            fields.push(reader.fixed(MLDSA44_ED25519)?)
        }
        "sk-ssh-ed25519@openssh.com" => {
            fields.push(reader.fixed(32)?);
            fields.push(reader.string()?.to_vec());
        }
        "sk-ecdsa-sha2-nistp256@openssh.com" => {
            fields.push(reader.string()?.to_vec());
            fields.push(reader.string()?.to_vec());
            fields.push(reader.string()?.to_vec());
        }
        k if k == "ecdsa" || k.starts_with("ecdsa-sha2-nistp") && !k.contains("-cert-v") => {
            let curve = reader.text()?.to_owned();
            if !is_shown(&curve) {
                return None;
            }
            let point = reader.string()?.to_vec();
            // sshd uses the curve inside the blob, and requires the outer name to agree if it names
            // one.
            let named = format!("ecdsa-sha2-{curve}");
            if k != "ecdsa" && k != named {
                return None;
            }
            kind = named;
            fields.push(curve.into_bytes());
            fields.push(point);
        }
        _ => {
            // A type unknown to us: any sequence of strings. The bytes themselves are the identity.
            if !is_shown(spelled) {
                return None;
            }
            if reader.0.is_empty() {
                return None;
            }
            while !reader.0.is_empty() {
                reader.string()?;
            }
            return Some(KeyBlob::new(kind, bytes.to_vec()));
        }
    }
    if !reader.0.is_empty() {
        return None;
    }
    let mut canonical = Vec::with_capacity(bytes.len());
    for field in std::iter::once(kind.as_bytes()).chain(fields.iter().map(Vec::as_slice)) {
        canonical.extend_from_slice(&u32::try_from(field.len()).ok()?.to_be_bytes());
        canonical.extend_from_slice(field);
    }
    Some(KeyBlob::new(kind, canonical))
}

fn bit_length(mpint: &[u8]) -> usize {
    let digits = digits(mpint);
    match digits.first() {
        Some(first) => digits.len() * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

/// Whether sshd could know a type of this name, and it is safe to display. A user's own file may
/// contain anything.
fn is_shown(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_graphic())
}

/// A type's name from inside a blob, made safe for a message.
fn shown(kind: &str) -> String {
    plain(&cut(kind, 64), '?')
}

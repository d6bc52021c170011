//! Armored SSH signatures as `ssh-keygen -Y sign` makes them (PROTOCOL.sshsig). They are checked in
//! this process, so that an upgrade of another program cannot lock anybody out (row 31 of
//! docs/failures.md).
//!
//! The frame is parsed here, exactly as in OpenSSH's sshsig.c; the signature itself is checked by
//! well-maintained crates. RSA uses ring, which is needed for TLS anyway: `ssh-key` does not
//! support RSA above 4,096 bits, and its `rsa` crate has an unfixed advisory (RUSTSEC-2023-0071).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RsaPublicKeyComponents,
};
use sha2::{Digest as _, Sha256, Sha512};
use signature::Verifier as _;
use ssh_key::{Algorithm, PublicKey, Signature};
use thiserror::Error;

use super::NAMESPACE;
use super::signers::{NotAllowed, Signers};
use crate::key::{KeyBlob, Reader};
use crate::words::{cut, plain};

const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----";
const END: &[u8] = b"\n-----END SSH SIGNATURE-----";
const MAGIC: &[u8] = b"SSHSIG";
const ARMOR_WIDTH: usize = 70;
/// The only existing version of the frame. OpenSSH also accepts lower ones.
const VERSION: u32 = 1;

/// Why a signature is rejected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadSignature {
    /// Not an OpenSSH signature.
    #[error("its signature is damaged ({0}); sign it again")]
    Damaged(&'static str),
    /// A form that is not supported here.
    #[error("its signature cannot be checked: {0}; sign it with another key or program")]
    Unsupported(String),
    /// Made for another namespace.
    #[error(
        "its signature is for the namespace {0:?}; sign it with `ssh-keygen -Y sign -n {NAMESPACE}`"
    )]
    Namespace(String),
    /// Made over other bytes, or with another key than it names.
    #[error(
        "its signature does not fit: not one byte may change after signing, line ends included; \
         sign it again as it is to be published"
    )]
    Wrong,
    /// The signature is valid, but its signer is not allowed. This is not the `source()` of the
    /// error, because it is already part of the text.
    #[error("{0}; have it signed by one who may, or correct [trust]")]
    NotAllowed(NotAllowed),
}

/// Checks an armored signature over `payload` and returns its signer.
pub fn verify_signature(
    payload: &[u8],
    armored: &[u8],
    signers: &Signers,
    now: Timestamp,
) -> Result<String, BadSignature> {
    let key = signed_by(payload, armored)?;
    signers.admit(&key, now).map_err(BadSignature::NotAllowed)
}

/// The key that made an armored signature over `payload`. Whether the key is allowed to sign is not
/// checked.
pub fn signed_by(payload: &[u8], armored: &[u8]) -> Result<KeyBlob, BadSignature> {
    let bytes = dearmor(armored)?;
    let frame = SignatureFields::parse(&bytes)?;
    if frame.namespace != NAMESPACE.as_bytes() {
        return Err(BadSignature::Namespace(shown(frame.namespace)));
    }
    let hash = match frame.hash {
        b"sha256" => Sha256::digest(payload).to_vec(),
        b"sha512" => Sha512::digest(payload).to_vec(),
        other => {
            return Err(BadSignature::Unsupported(format!(
                "hash algorithm {:?}",
                shown(other)
            )));
        }
    };
    let signed = covered(frame.hash, &hash);
    check(&frame.key, frame.signature, &signed)?;
    Ok(frame.key)
}

/// The bytes that a signature covers, for a payload with that hash.
pub(crate) fn covered(algorithm: &[u8], hash: &[u8]) -> Vec<u8> {
    let mut signed = MAGIC.to_vec();
    for field in [NAMESPACE.as_bytes(), b"", algorithm, hash] {
        signed.extend_from_slice(&u32::try_from(field.len()).unwrap_or_default().to_be_bytes());
        signed.extend_from_slice(field);
    }
    signed
}

/// A frame as ssh-keygen writes it, on lines of 70 characters.
pub(crate) fn armored(frame: &[u8]) -> Vec<u8> {
    let base64 = STANDARD.encode(frame);
    let mut armored = BEGIN.to_vec();
    for line in base64.as_bytes().chunks(ARMOR_WIDTH) {
        armored.push(b'\n');
        armored.extend_from_slice(line);
    }
    armored.extend_from_slice(END);
    armored.push(b'\n');
    armored
}

/// The decoded fields of the base64.
struct SignatureFields<'a> {
    key: KeyBlob,
    namespace: &'a [u8],
    hash: &'a [u8],
    signature: &'a [u8],
}

impl<'a> SignatureFields<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, BadSignature> {
        const CUT: BadSignature = BadSignature::Damaged("its frame is cut off");
        let rest = bytes.strip_prefix(MAGIC).ok_or(BadSignature::Damaged(
            "its frame does not begin with SSHSIG",
        ))?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let version = u32::from_be_bytes(*version);
        if version > VERSION {
            return Err(BadSignature::Unsupported(format!(
                "version {version} of the frame"
            )));
        }
        let mut reader = Reader(rest);
        let key = reader.string().ok_or(CUT)?;
        let namespace = reader.string().ok_or(CUT)?;
        // Reserved. OpenSSH neither checks it nor includes it in what is signed.
        let _reserved = reader.string().ok_or(CUT)?;
        let hash = reader.string().ok_or(CUT)?;
        let signature = reader.string().ok_or(CUT)?;
        if !reader.0.is_empty() {
            return Err(BadSignature::Damaged("something follows its frame"));
        }
        let key = KeyBlob::from_bytes(key).ok_or(BadSignature::Damaged("its key is none"))?;
        Ok(Self {
            key,
            namespace,
            hash,
            signature,
        })
    }
}

/// Checks the inner signature: `algorithm`, the bytes, and for security keys the flags and the
/// counter.
fn check(key: &KeyBlob, signature: &[u8], signed: &[u8]) -> Result<(), BadSignature> {
    const CUT: BadSignature = BadSignature::Damaged("it is cut off");
    let mut reader = Reader(signature);
    let algorithm = reader.text().ok_or(CUT)?;
    let bytes = reader.string().ok_or(CUT)?;
    // RFC 8332: signatures of an RSA key are named for their hash. SHA-1 (`ssh-rsa`) is rejected,
    // as in OpenSSH.
    let fits = match key.kind() {
        "ssh-rsa" => matches!(algorithm, "rsa-sha2-256" | "rsa-sha2-512"),
        kind => algorithm == kind,
    };
    if !fits {
        return Err(BadSignature::Unsupported(format!(
            "{} made by a key of type {}",
            shown(algorithm.as_bytes()),
            key.kind()
        )));
    }
    let trailer = if key.kind().starts_with("sk-") { 5 } else { 0 };
    if reader.0.len() != trailer {
        return Err(BadSignature::Damaged("it has another length than it says"));
    }
    if key.kind() == "ssh-rsa" {
        return check_rsa(key, algorithm, bytes, signed);
    }
    let Ok(algorithm) = Algorithm::new(algorithm) else {
        return Err(unsupported_type(key));
    };
    let Ok(public) = PublicKey::from_bytes(key.bytes()) else {
        return Err(BadSignature::Damaged("its key is none"));
    };
    if matches!(public.algorithm(), Algorithm::Other(_) | Algorithm::Dsa) {
        return Err(unsupported_type(key));
    }
    let Ok(signature) = Signature::new(algorithm, [bytes, reader.0].concat()) else {
        return Err(BadSignature::Damaged("it has another length than it says"));
    };
    match public.key_data().verify(signed, &signature) {
        Ok(()) => Ok(()),
        Err(_) => Err(BadSignature::Wrong),
    }
}

fn unsupported_type(key: &KeyBlob) -> BadSignature {
    BadSignature::Unsupported(format!("key type {}", shown(key.kind().as_bytes())))
}

fn check_rsa(
    key: &KeyBlob,
    algorithm: &str,
    bytes: &[u8],
    signed: &[u8],
) -> Result<(), BadSignature> {
    let (e, n) = key.rsa().ok_or(BadSignature::Damaged("its key is none"))?;
    // The size of the signers' keys was already checked by the policy.
    let hash = match algorithm {
        "rsa-sha2-256" => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        _ => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    };
    // OpenSSH accepts signatures whose leading zeros were stripped.
    let missing = n.len().saturating_sub(bytes.len());
    let mut padded = vec![0; missing];
    padded.extend_from_slice(bytes);
    match (RsaPublicKeyComponents { n, e }).verify(hash, signed, &padded) {
        Ok(()) => Ok(()),
        Err(_) => Err(BadSignature::Wrong),
    }
}

/// OpenSSH's `sshsig_dearmor`.
fn dearmor(armored: &[u8]) -> Result<Vec<u8>, BadSignature> {
    let body = match armored.strip_prefix(BEGIN) {
        Some([b'\n', ..]) => armored.get(BEGIN.len()..).unwrap_or_default(),
        Some([b'\r', b'\n', ..]) => {
            return Err(BadSignature::Damaged(
                "its lines end in CR and LF instead of LF",
            ));
        }
        _ => return Err(BadSignature::Damaged("its BEGIN line holds something else")),
    };
    let end = body.windows(END.len()).position(|window| window == END);
    let Some(base64) = end.and_then(|end| body.get(..end)) else {
        return Err(BadSignature::Damaged("its END line is missing"));
    };
    let mut packed = base64.to_vec();
    // White space as in `isspace`; \x0b is the vertical tab.
    packed.retain(|b| !b.is_ascii_whitespace() && *b != 0x0b);
    match STANDARD.decode(packed) {
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(BadSignature::Damaged("its base64 is broken or cut off")),
    }
}

/// A text from a signature, made safe for a message.
fn shown(bytes: &[u8]) -> String {
    plain(&cut(&String::from_utf8_lossy(bytes), 64), '?')
}

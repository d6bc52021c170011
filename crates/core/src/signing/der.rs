//! The small part of DER that KMS writes: a public key (RFC 5280, SubjectPublicKeyInfo) and the two
//! numbers of an ECDSA signature.

use thiserror::Error;

use super::strings;
use crate::key::KeyBlob;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT: u8 = 0x06;

/// 1.2.840.113549.1.1.1
const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// 1.2.840.10045.2.1
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
/// 1.3.101.112
const ED25519: &[u8] = b"\x2b\x65\x70";
/// The curves that sshd supports, with their SSH names.
const CURVES: [(&[u8], &str); 3] = [
    (b"\x2a\x86\x48\xce\x3d\x03\x01\x07", "nistp256"),
    (b"\x2b\x81\x04\x00\x22", "nistp384"),
    (b"\x2b\x81\x04\x00\x23", "nistp521"),
];

/// Why a public key cannot sign documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadKey {
    /// Not a SubjectPublicKeyInfo.
    #[error("its public key is damaged or cut off")]
    Damaged,
    /// A type or a curve that OpenSSH does not support.
    #[error("OpenSSH does not have keys of its type")]
    Type,
}

/// The key in a SubjectPublicKeyInfo.
pub fn key_of_spki(der: &[u8]) -> Result<KeyBlob, BadKey> {
    let (algorithm, key) = parts(der).ok_or(BadKey::Damaged)?;
    let mut algorithm = Der(algorithm);
    let kind = algorithm.take(OBJECT).ok_or(BadKey::Damaged)?;
    let blob = match kind {
        RSA => {
            let (modulus, exponent) = pair(key).ok_or(BadKey::Damaged)?;
            strings(&[b"ssh-rsa", exponent, modulus])
        }
        EC => {
            let curve = algorithm.take(OBJECT).ok_or(BadKey::Damaged)?;
            let found = CURVES.iter().find(|(object, _)| *object == curve);
            let (_, name) = found.ok_or(BadKey::Type)?;
            let kind = format!("ecdsa-sha2-{name}");
            strings(&[kind.as_bytes(), name.as_bytes(), key])
        }
        ED25519 => strings(&[b"ssh-ed25519", key]),
        _ => return Err(BadKey::Type),
    };
    KeyBlob::from_bytes(&blob).ok_or(BadKey::Damaged)
}

/// The algorithm's fields, and the bytes of the key.
fn parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut whole = Der(der);
    let mut inside = Der(whole.take(SEQUENCE)?);
    let algorithm = inside.take(SEQUENCE)?;
    // All bits of the last byte are used.
    let key = inside.take(BIT_STRING)?.strip_prefix(&[0])?;
    if !whole.0.is_empty() || !inside.0.is_empty() {
        return None;
    }
    Some((algorithm, key))
}

/// The two positive integers of a sequence, encoded as in an `mpint`.
pub(super) fn pair(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut whole = Der(der);
    let mut inside = Der(whole.take(SEQUENCE)?);
    let first = inside.take(INTEGER)?;
    let second = inside.take(INTEGER)?;
    if !whole.0.is_empty() || !inside.0.is_empty() {
        return None;
    }
    if first.first()? & 0x80 != 0 || second.first()? & 0x80 != 0 {
        return None;
    }
    Some((first, second))
}

/// The unread rest.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of the next value, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(*length), rest),
            // No key has more than 65,535 bytes.
            0x81 | 0x82 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let mut length = 0;
                for byte in bytes {
                    length = length << 8 | usize::from(*byte);
                }
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        if *found == tag { Some(content) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPKI: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a\x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a";

    #[test]
    fn a_key_is_read_whole_or_not_at_all() {
        assert_eq!(key_of_spki(SPKI).unwrap().kind(), "ssh-ed25519");
        for at in 0..SPKI.len() {
            assert_eq!(
                key_of_spki(&SPKI[..at]),
                Err(BadKey::Damaged),
                "cut at {at}"
            );
        }
        assert_eq!(key_of_spki(&[SPKI, b"x"].concat()), Err(BadKey::Damaged));
        let mut other = SPKI.to_vec();
        other[8] = 0x71;
        assert_eq!(key_of_spki(&other), Err(BadKey::Type));
    }

    #[test]
    fn a_signature_has_two_positive_numbers_and_nothing_else() {
        assert_eq!(
            pair(b"\x30\x07\x02\x01\x05\x02\x02\x00\xff"),
            Some((&[5][..], &[0, 255][..]))
        );
        for bad in [
            &b""[..],
            b"\x30\x03\x02\x01\x05",
            b"\x30\x06\x02\x01\x05\x02\x01\xff",
            b"\x30\x06\x02\x01\x05\x02\x01\x06x",
            b"\x30\x05\x02\x01\x05\x02\x00",
            b"\x30\x84\xff\xff\xff\xff\x02",
            b"\x31\x06\x02\x01\x05\x02\x01\x06",
        ] {
            assert_eq!(pair(bad), None, "{bad:?}");
        }
    }
}

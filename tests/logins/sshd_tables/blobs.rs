//! How a key's type may be spelled, before the blob and in it, and blobs made by hand.

use authkeys_testing::{Key, KeyType, sshd_version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{measure, row};

/// How the type may be spelled, before the blob and in it.
pub(crate) fn types_and_blobs() {
    // Since 9.9 the type in a blob has its full name only.
    let short_names = sshd_version() < (9, 9);
    let rsa = Key::of_type(KeyType::Rsa2048, "r");
    let fields = fields_of(&rsa);
    let (exponent, modulus) = (fields[1].clone(), fields[2].clone());
    let zero = [&[0][..], &modulus].concat();
    let short = encode(&[b"RSA", &exponent, &modulus]);
    let blob = rsa.base64();
    let trailing = STANDARD.encode([STANDARD.decode(blob).unwrap(), vec![0]].concat());
    measure(
        &rsa,
        &[
            row(
                "RSA, rsa-sha2-512 as the word",
                format!("rsa-sha2-512 {blob}\n"),
                true,
            ),
            row(
                "RSA, rsa-sha2-256 as the word",
                format!("rsa-sha2-256 {blob}\n"),
                true,
            ),
            row("RSA, RSA as the word", format!("RSA {blob}\n"), false),
            row("RSA, rsa as the word", format!("rsa {blob}\n"), false),
            row(
                "RSA, SSH-RSA as the word",
                format!("SSH-RSA {blob}\n"),
                false,
            ),
            row(
                "RSA inside the blob",
                format!("ssh-rsa {short}\n"),
                short_names,
            ),
            row(
                "rsa-sha2-512 inside the blob",
                format!(
                    "ssh-rsa {}\n",
                    encode(&[b"rsa-sha2-512", &exponent, &modulus])
                ),
                true,
            ),
            row(
                "a leading zero too many in the modulus",
                format!("ssh-rsa {}\n", encode(&[b"ssh-rsa", &exponent, &zero])),
                true,
            ),
            row(
                "a leading zero too many in the exponent",
                format!(
                    "ssh-rsa {}\n",
                    encode(&[b"ssh-rsa", &[&[0][..], &exponent].concat(), &modulus])
                ),
                true,
            ),
            row(
                "a byte after the end",
                format!("ssh-rsa {trailing}\n"),
                false,
            ),
        ],
    );

    let ed = Key::of_type(KeyType::Ed25519, "e");
    let public = fields_of(&ed)[1].clone();
    let blob = ed.base64();
    measure(
        &ed,
        &[
            row("ED25519 as the word", format!("ED25519 {blob}\n"), false),
            row("ed25519 as the word", format!("ed25519 {blob}\n"), false),
            row(
                "ED25519 inside the blob",
                format!("ssh-ed25519 {}\n", encode(&[b"ED25519", &public])),
                short_names,
            ),
            row(
                "a byte after the end",
                format!("ssh-ed25519 {}\n", encode(&[b"ssh-ed25519", &public, b""])),
                false,
            ),
        ],
    );

    let ec = Key::of_type(KeyType::Ecdsa256, "c");
    let fields = fields_of(&ec);
    measure(
        &ec,
        &[
            row(
                "ECDSA as the word",
                format!("ECDSA {}\n", ec.base64()),
                false,
            ),
            row(
                "another curve as the word",
                format!("ecdsa-sha2-nistp384 {}\n", ec.base64()),
                false,
            ),
            row(
                "ECDSA inside the blob",
                format!(
                    "ecdsa-sha2-nistp256 {}\n",
                    encode(&[b"ECDSA", &fields[1], &fields[2]])
                ),
                false,
            ),
            row(
                "a compressed point",
                format!(
                    "ecdsa-sha2-nistp256 {}\n",
                    encode(&[&fields[0], &fields[1], &compressed(&fields[2])])
                ),
                false,
            ),
        ],
    );
}

/// The length-prefixed fields of a key's blob.
pub(crate) fn fields_of(key: &Key) -> Vec<Vec<u8>> {
    let blob = STANDARD.decode(key.base64()).unwrap();
    let (mut rest, mut fields) = (blob.as_slice(), Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (field, after) = after.split_at(u32::from_be_bytes(*length).try_into().unwrap());
        fields.push(field.to_vec());
        rest = after;
    }
    fields
}

/// The blob of these fields, in base64.
pub(crate) fn encode(fields: &[&[u8]]) -> String {
    let mut blob = Vec::new();
    for field in fields {
        blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend_from_slice(field);
    }
    STANDARD.encode(blob)
}

/// The point in SEC 1's short form.
fn compressed(point: &[u8]) -> Vec<u8> {
    let half = (point.len() - 1) / 2;
    let parity = 2 + (point[point.len() - 1] & 1);
    [&[parity][..], &point[1..=half]].concat()
}

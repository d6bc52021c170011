//! Keys for tests, generated from numbers.

use authkeys_core::key::{KeyBlob, KeyLine, LineRules, OptionPolicy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The wire form of some strings, in base64.
pub fn wire(fields: &[&[u8]]) -> String {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(field);
    }
    STANDARD.encode(bytes)
}

/// An Ed25519 key, without a comment.
pub fn ed(number: u16) -> String {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    format!("ssh-ed25519 {}", wire(&[b"ssh-ed25519", &on_curve(key)]))
}

/// The next point after this one that is on the curve.
pub fn on_curve(mut key: [u8; 32]) -> [u8; 32] {
    while KeyBlob::parse("ssh-ed25519", &wire(&[b"ssh-ed25519", &key]), 0).is_err() {
        key[16] += 1;
    }
    key
}

/// The modulus of an RSA key of that many bits, as an mpint. Its factors are large and unknown.
pub fn modulus(bits: usize, number: u8) -> Vec<u8> {
    let mut random = u64::from(number) << 32 | u64::try_from(bits).unwrap();
    loop {
        let mut modulus: Vec<u8> = (0..bits.div_ceil(8))
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                random.to_be_bytes()[0]
            })
            .collect();
        let high = 1_u8 << ((bits - 1) % 8);
        modulus[0] = modulus[0] & (high - 1) | high;
        *modulus.last_mut().unwrap() |= 1;
        if bits.is_multiple_of(8) {
            modulus.insert(0, 0);
        }
        if KeyBlob::parse("ssh-rsa", &wire(&[b"ssh-rsa", &[1, 0, 1], &modulus]), 0).is_ok() {
            return modulus;
        }
    }
}

/// An RSA key of that many bits, without a comment.
pub fn rsa(bits: usize, number: u8) -> String {
    format!(
        "ssh-rsa {}",
        wire(&[b"ssh-rsa", &[1, 0, 1], &modulus(bits, number)])
    )
}

/// An ECDSA key's point on its curve, for a small secret.
pub fn p256_point(secret: u8) -> Vec<u8> {
    let mut scalar = [0; 32];
    scalar[31] = secret;
    let secret = p256::SecretKey::from_slice(&scalar).unwrap();
    p256::EncodedPoint::from(secret.public_key())
        .as_bytes()
        .to_vec()
}

/// The rules of the default policy.
pub fn rules() -> LineRules {
    LineRules {
        min_rsa_bits: 2_048,
        options: OptionPolicy::Restricting,
    }
}

/// Parses a line that must be valid.
pub fn line(text: &str) -> KeyLine {
    KeyLine::parse(text.as_bytes(), &rules()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

/// The fingerprint of a line.
pub fn print(text: &str) -> String {
    line(text).key.fingerprint().to_string()
}

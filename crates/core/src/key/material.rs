//! Keys with numbers that no sound generator makes: with such a key everybody can log in, or nobody
//! can.
//!
//! sshd accepts the numbers in a key as they are. An Ed25519 point of small order, or an RSA
//! exponent of 1, accepts signatures made without a private key. A point off its curve, or an even
//! modulus, accepts none: such a key would replace a working one and count for `min_keys`. Not
//! examined here, because it is too expensive: whether a modulus is itself a prime, or shares a
//! factor with another key's.

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use thiserror::Error;

use super::reader::{Reader, digits};

/// Increased whenever this file checks for more. A document that was found sound under a lower
/// number is examined again.
pub const CHECKS: u32 = 4;

/// What is wrong with a key's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Weakness {
    /// The point is one of the eight whose multiples are known, such as the identity.
    #[error("its Ed25519 point has a small order, so that anybody can sign for it")]
    SmallOrder,
    /// The base point itself, or its negative.
    #[error(
        "its point is the curve's base point, so that its private key is 1 and anybody can sign \
         for it"
    )]
    BasePoint,
    /// Not the one encoding that RFC 8032 has for each point.
    #[error("its Ed25519 point is not encoded as RFC 8032 demands")]
    Encoding,
    /// Not a point on the curve: no signature would verify.
    #[error("its point is not on the curve, so that nobody can log in with it")]
    NotOnCurve,
    /// `x^1` is `x`: the signature is the message.
    #[error("its RSA exponent is 1, so that anybody can sign for it")]
    ExponentOne,
    /// No private exponent exists for it.
    #[error("its RSA exponent is even or zero, so that nobody can log in with it")]
    ExponentEven,
    /// OpenSSL rejects such an exponent, and with it every login.
    #[error("its RSA exponent is larger than OpenSSL accepts, so that nobody can log in with it")]
    ExponentLarge,
    /// Not a product of two primes.
    #[error("its RSA modulus is even")]
    ModulusEven,
    /// Not a product of two large primes.
    #[error("its RSA modulus is divisible by {0}")]
    SmallFactor(u32),
    /// The square root gives the factors away.
    #[error("its RSA modulus is a square")]
    Square,
    /// A prime, and so its own factor.
    #[error("its RSA modulus is a prime number, so that anybody can sign for it")]
    Prime,
    /// Fermat's method finds them at once.
    #[error(
        "the two primes of its RSA modulus are close together, so that anybody can find them and \
         sign for it"
    )]
    ClosePrimes,
    /// Everybody can find the shared factor, and with it both private keys.
    #[error("its RSA modulus shares a factor with another key's, so that anybody can sign for it")]
    SharedFactor,
    /// A long run of one byte, as in 2^2048 - 1 and in a file that was padded.
    #[error("its bytes repeat and are not random")]
    Repetition,
}

/// Examines the numbers of a key in canonical form. Types unknown to this function pass.
pub(super) fn check(kind: &str, bytes: &[u8]) -> Result<(), Weakness> {
    let mut reader = Reader(bytes);
    let _kind = reader.string();
    let first = reader.string().unwrap_or_default();
    let second = reader.string().unwrap_or_default();
    match kind {
        "ssh-rsa" => check_rsa(digits(first), digits(second)),
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" => check_ed25519(first),
        "ssh-mldsa44-ed25519" | "ssh-mldsa44-ed25519@openssh.com" => check_composite(first),
        "ecdsa-sha2-nistp256" | "sk-ecdsa-sha2-nistp256@openssh.com" => {
            let base = p256::AffinePoint::GENERATOR.to_encoded_point(false);
            check_ecdsa(second, base.x(), |point| {
                p256::PublicKey::from_sec1_bytes(point).is_ok()
            })
        }
        "ecdsa-sha2-nistp384" => {
            let base = p384::AffinePoint::GENERATOR.to_encoded_point(false);
            check_ecdsa(second, base.x(), |point| {
                p384::PublicKey::from_sec1_bytes(point).is_ok()
            })
        }
        "ecdsa-sha2-nistp521" => {
            let base = p521::AffinePoint::GENERATOR.to_encoded_point(false);
            check_ecdsa(second, base.x(), |point| {
                p521::PublicKey::from_sec1_bytes(point).is_ok()
            })
        }
        _ => Ok(()),
    }
}

/// sshd accepts only uncompressed points. The point at infinity, a single zero, is not one of them.
/// `base` is the x coordinate of the curve's base point, which its negative shares.
fn check_ecdsa(
    point: &[u8],
    base: Option<impl AsRef<[u8]>>,
    is_on_curve: fn(&[u8]) -> bool,
) -> Result<(), Weakness> {
    if point.first() != Some(&4) || !is_on_curve(point) {
        return Err(Weakness::NotOnCurve);
    }
    if let (Some(base), Some(x_and_y)) = (base, point.get(1..))
        && x_and_y.starts_with(base.as_ref())
    {
        return Err(Weakness::BasePoint);
    }
    Ok(())
}

fn check_ed25519(point: &[u8]) -> Result<(), Weakness> {
    let Ok(encoded) = CompressedEdwardsY::from_slice(point) else {
        return Err(Weakness::Encoding);
    };
    let decoded = encoded.decompress().ok_or(Weakness::NotOnCurve)?;
    if decoded.is_small_order() {
        return Err(Weakness::SmallOrder);
    }
    if !is_reduced(point) {
        return Err(Weakness::Encoding);
    }
    let is_base = decoded == ED25519_BASEPOINT_POINT || -decoded == ED25519_BASEPOINT_POINT;
    if is_base {
        Err(Weakness::BasePoint)
    } else {
        Ok(())
    }
}

/// Whether the y coordinate, little-endian below the sign bit, is smaller than the field's prime
/// 2^255 - 19.
fn is_reduced(point: &[u8]) -> bool {
    match point {
        [low, middle @ .., high] => {
            *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
        }
        _ => false,
    }
}

/// An ML-DSA-44 key of 1,312 bytes, followed by an Ed25519 key. Both must sign.
fn check_composite(key: &[u8]) -> Result<(), Weakness> {
    let (mldsa, ed25519) = key.split_last_chunk::<32>().ok_or(Weakness::Encoding)?;
    if repeats(mldsa) {
        return Err(Weakness::Repetition);
    }
    check_ed25519(ed25519)
}

/// OpenSSL's limits for the exponent: 64 bits if the modulus has more than 3,072 bits. With a
/// smaller modulus, the modulus is the only limit; FIPS 186 allows 256 bits.
const MAX_EXPONENT: usize = 32;
const MAX_EXPONENT_OF_LARGE: usize = 8;
const LARGE_MODULUS: usize = 384;

/// Both are big-endian, without leading zeros.
fn check_rsa(exponent: &[u8], modulus: &[u8]) -> Result<(), Weakness> {
    if exponent == [1] {
        return Err(Weakness::ExponentOne);
    }
    if !is_odd(exponent) {
        return Err(Weakness::ExponentEven);
    }
    let most = if modulus.len() > LARGE_MODULUS {
        MAX_EXPONENT_OF_LARGE
    } else {
        MAX_EXPONENT
    };
    if exponent.len() > most {
        return Err(Weakness::ExponentLarge);
    }
    if !is_odd(modulus) {
        return Err(Weakness::ModulusEven);
    }
    if repeats(modulus) {
        return Err(Weakness::Repetition);
    }
    check_factors(modulus)
}

fn is_odd(big_endian: &[u8]) -> bool {
    matches!(big_endian, [.., low] if low % 2 == 1)
}

/// Trial division uses the odd primes below this. One in eight odd numbers passes it.
const MOST_FACTOR: u32 = 1 << 12;

/// Checks an odd modulus. A sound one is a square modulo each of these primes with a probability of
/// one half, so a modulus that is a square modulo all 563 is a square.
fn check_factors(modulus: &[u8]) -> Result<(), Weakness> {
    let words: Vec<u32> = modulus.rchunks(4).rev().map(big_endian).collect();
    let mut is_square = true;
    for prime in (3..MOST_FACTOR).step_by(2) {
        if !is_prime(prime) {
            continue;
        }
        let remainder = remainder(&words, prime);
        if remainder == 0 {
            return Err(Weakness::SmallFactor(prime));
        }
        is_square = is_square && is_square_modulo(remainder, prime);
    }
    if is_square {
        Err(Weakness::Square)
    } else {
        Ok(())
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    let mut number = 0;
    for byte in bytes {
        number = number << 8 | u32::from(*byte);
    }
    number
}

fn remainder(words: &[u32], divisor: u32) -> u32 {
    let divisor = u64::from(divisor);
    let mut rest = 0;
    for word in words {
        rest = (rest << 32 | u64::from(*word)) % divisor;
    }
    u32::try_from(rest).unwrap_or_default()
}

fn is_prime(odd: u32) -> bool {
    let mut factor = 3;
    while factor * factor <= odd {
        if odd.is_multiple_of(factor) {
            return false;
        }
        factor += 2;
    }
    true
}

/// Euler's criterion.
fn is_square_modulo(number: u32, prime: u32) -> bool {
    let mut power = 1;
    let mut base = number;
    let mut exponent = prime / 2;
    while exponent > 0 {
        if exponent % 2 == 1 {
            power = power * base % prime;
        }
        base = base * base % prime;
        exponent /= 2;
    }
    power == 1
}

/// Whether there are sixteen equal bytes in a row, which has a probability of one in 2^109 for a
/// random modulus of 16,384 bits.
fn repeats(bytes: &[u8]) -> bool {
    bytes
        .chunk_by(|one, next| one == next)
        .any(|run| run.len() >= 16)
}

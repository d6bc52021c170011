//! A new key pair, in the format that OpenSSH, paramiko and others read.

use std::fmt;

use crypto_bigint::{BoxedUint, NonZero, Resize as _};
use crypto_primes::hazmat::{SetBits, SmallFactorsSieveFactory};
use crypto_primes::{Flavor, is_prime, sieve_and_find};
use ssh_key::private::{KeypairData, RsaKeypair, RsaPrivateKey};
use ssh_key::public::RsaPublicKey;
use ssh_key::{Algorithm, EcdsaCurve, LineEnding, Mpint, PrivateKey};
use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

use super::random::Randomness;
use authkeys_core::document::KeyPair;
use authkeys_core::key::KeyLine;

/// The public exponent of every RSA key.
const EXPONENT: u32 = 65_537;

/// What kind of key a new pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PairKeyType {
    /// The default where there is no key yet.
    Ed25519,
    /// NIST P-256.
    EcdsaP256,
    /// NIST P-384.
    EcdsaP384,
    /// 3,072 bits.
    #[value(name = "rsa-3072")]
    Rsa3072,
    /// 4,096 bits.
    #[value(name = "rsa-4096")]
    Rsa4096,
}

/// As on the command line.
impl fmt::Display for PairKeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        })
    }
}

/// Why no pair could be generated.
#[derive(Debug, Error)]
pub(super) enum NoPair {
    /// The system returned none.
    #[error("the system gave no randomness for a new key")]
    Randomness,
    /// The key could not be made.
    #[error("no new key could be made ({0})")]
    Made(String),
}

impl From<ssh_key::Error> for NoPair {
    fn from(fault: ssh_key::Error) -> Self {
        Self::Made(fault.to_string())
    }
}

impl From<crypto_primes::Error> for NoPair {
    fn from(fault: crypto_primes::Error) -> Self {
        Self::Made(fault.to_string())
    }
}

impl PairKeyType {
    /// The type of a key, if we generate that type; a smaller RSA key is followed by a larger one.
    pub(super) fn of(line: &KeyLine) -> Option<Self> {
        match line.key.kind() {
            "ssh-ed25519" => Some(Self::Ed25519),
            "ecdsa-sha2-nistp256" => Some(Self::EcdsaP256),
            "ecdsa-sha2-nistp384" => Some(Self::EcdsaP384),
            "ssh-rsa" if line.key.rsa_bits()? <= 3_072 => Some(Self::Rsa3072),
            "ssh-rsa" => Some(Self::Rsa4096),
            _ => None,
        }
    }

    /// Generates a pair.
    pub(super) fn pair(self, comment: &str) -> Result<KeyPair, NoPair> {
        let mut randomness = Randomness::default();
        let mut key = match self {
            Self::Ed25519 => PrivateKey::random(&mut randomness, Algorithm::Ed25519)?,
            Self::EcdsaP256 => ecdsa(&mut randomness, EcdsaCurve::NistP256)?,
            Self::EcdsaP384 => ecdsa(&mut randomness, EcdsaCurve::NistP384)?,
            Self::Rsa3072 => rsa(&mut randomness, 3_072)?,
            Self::Rsa4096 => rsa(&mut randomness, 4_096)?,
        };
        if randomness.failed() {
            return Err(NoPair::Randomness);
        }
        key.set_comment(comment);
        Ok(KeyPair {
            private: key.to_openssh(LineEnding::LF)?,
            public: key.public_key().to_openssh()?,
        })
    }
}

fn ecdsa(randomness: &mut Randomness, curve: EcdsaCurve) -> Result<PrivateKey, NoPair> {
    Ok(PrivateKey::random(randomness, Algorithm::Ecdsa { curve })?)
}

fn rsa(randomness: &mut Randomness, bits: u32) -> Result<PrivateKey, NoPair> {
    let one = BoxedUint::one_with_precision(bits);
    let exponent = BoxedUint::from(EXPONENT).resize(bits);
    loop {
        let mut first = prime(randomness, bits / 2)?.resize(bits);
        let mut second = prime(randomness, bits / 2)?.resize(bits);
        if randomness.failed() {
            return Err(NoPair::Randomness);
        }
        // The larger one first, as most programs have it.
        if first < second {
            std::mem::swap(&mut first, &mut second);
        }
        let modulus = first.wrapping_mul(&second);
        let mut totient = first
            .wrapping_sub(&one)
            .wrapping_mul(second.wrapping_sub(&one));
        let private = inverse(&exponent, &totient);
        totient.zeroize();
        let coefficient = inverse(&second, &first);
        if let (Some(private), Some(coefficient), true) =
            (private, coefficient, modulus.bit_width() == bits)
        {
            let numbers = [modulus, private, coefficient, first, second].map(Zeroizing::new);
            let [modulus, private, coefficient, first, second] = &numbers;
            let public = RsaPublicKey {
                e: mpint(&exponent)?,
                n: mpint(modulus)?,
            };
            let private = RsaPrivateKey {
                d: mpint(private)?,
                iqmp: mpint(coefficient)?,
                p: mpint(first)?,
                q: mpint(second)?,
            };
            let pair = KeypairData::Rsa(RsaKeypair { public, private });
            return Ok(PrivateKey::new(pair, "")?);
        }
        // For about one pair in tens of thousands the exponent has no inverse; try another.
        first.zeroize();
        second.zeroize();
    }
}

/// A prime whose two highest bits are set: the product of two has all of its bits.
fn prime(randomness: &mut Randomness, bits: u32) -> Result<BoxedUint, NoPair> {
    let sieve = SmallFactorsSieveFactory::new(Flavor::Any, bits, SetBits::TwoMsb)?;
    let found = sieve_and_find(randomness, sieve, |_, candidate: &BoxedUint| {
        is_prime(Flavor::Any, candidate)
    });
    match found? {
        Some(prime) => Ok(prime),
        None => Err(NoPair::Made("no prime was found".to_owned())),
    }
}

/// The inverse of a number, if it has one.
fn inverse(number: &BoxedUint, modulus: &BoxedUint) -> Option<BoxedUint> {
    let modulus = NonZero::new(modulus.clone()).into_option()?;
    number.invert_mod(&modulus).into_option()
}

fn mpint(number: &BoxedUint) -> Result<Mpint, NoPair> {
    let bytes = Zeroizing::new(number.to_be_bytes());
    Ok(Mpint::from_positive_bytes(&bytes)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;
    use authkeys_core::key::LineRules;

    const ALL: [PairKeyType; 5] = [
        PairKeyType::Ed25519,
        PairKeyType::EcdsaP256,
        PairKeyType::EcdsaP384,
        PairKeyType::Rsa3072,
        PairKeyType::Rsa4096,
    ];

    #[test]
    fn ssh_keygen_reads_every_kind_and_finds_the_same_public_half() {
        for kind in ALL {
            let pair = kind.pair("rotation of web").unwrap();
            let line = KeyLine::parse(pair.public.as_bytes(), &LineRules::default()).unwrap();
            assert_eq!(PairKeyType::of(&line), Some(kind), "{}", pair.public);
            assert_eq!(line.comment, "rotation of web");
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(pair.private.as_bytes()).unwrap();
            let mode = std::fs::Permissions::from_mode(0o600);
            file.as_file().set_permissions(mode).unwrap();
            let output = Command::new("ssh-keygen")
                .args(["-y", "-f"])
                .arg(file.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{kind}: {output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), pair.public);
        }
    }

    #[test]
    fn no_two_pairs_are_alike() {
        let pairs = [(); 8].map(|()| PairKeyType::Ed25519.pair("c").unwrap().public);
        let different: std::collections::BTreeSet<&String> = pairs.iter().collect();
        assert_eq!(different.len(), pairs.len());
    }
}

//! The proof that a test login gives: signatures by a secret's private key, in any supported
//! format.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crypto_bigint::{BoxedUint, NonZero};
use ring::error::KeyRejected;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaPair, KeyPairComponents, PublicKeyComponents};
use ring::signature::RSA_PKCS1_SHA512;
use signature::Signer as _;
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::{Mpint, PrivateKey};
use thiserror::Error;
use zeroize::Zeroizing;

const RSA: &str = "rsa-sha2-512";

/// Why a private key cannot sign. It contains nothing of the key.
#[derive(Debug, Error)]
pub(super) enum Unusable {
    /// Not in a supported format.
    #[error(
        "its PrivateKey is not a key that can be read; expected OpenSSH's format, or PEM of an RSA \
         key"
    )]
    Format,
    /// It has a passphrase, and nobody can be asked for it.
    #[error("its PrivateKey has a passphrase")]
    Encrypted,
    /// RSA with fewer than 2,048 or more than 4,096 bits.
    #[error("its RSA key cannot sign ({0})")]
    Rejected(String),
}

impl From<KeyRejected> for Unusable {
    fn from(fault: KeyRejected) -> Self {
        Self::Rejected(fault.to_string())
    }
}

/// A private key that signs.
pub(super) enum Proof {
    Key(Box<PrivateKey>),
    Rsa(Box<RsaPair>),
}

/// Never prints the key.
impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof")
    }
}

impl Proof {
    /// Reads a private key in the formats that rotation functions write.
    pub(super) fn read(pem: &str) -> Result<Self, Unusable> {
        if let Some(der) = decoded(pem, "RSA PRIVATE KEY") {
            let pair = RsaPair::from_der(&der)?;
            return Ok(Self::Rsa(Box::new(pair)));
        }
        if let Some(der) = decoded(pem, "PRIVATE KEY") {
            let Ok(pair) = RsaPair::from_pkcs8(&der) else {
                return Err(Unusable::Format);
            };
            return Ok(Self::Rsa(Box::new(pair)));
        }
        let Ok(key) = PrivateKey::from_openssh(pem) else {
            return Err(Unusable::Format);
        };
        if key.is_encrypted() {
            return Err(Unusable::Encrypted);
        }
        match key.key_data() {
            KeypairData::Rsa(pair) => Ok(Self::Rsa(Box::new(rsa(pair)?))),
            _ => Ok(Self::Key(Box::new(key))),
        }
    }

    /// A signature in the form that SSH's authentication uses: its algorithm and its bytes.
    pub(super) fn sign(&self, message: &[u8]) -> Option<(String, Vec<u8>)> {
        match self {
            Self::Key(key) => {
                let signature: ssh_key::Signature = key.try_sign(message).ok()?;
                let algorithm = signature.algorithm().as_str().to_owned();
                Some((algorithm, signature.as_bytes().to_vec()))
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA512,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .ok()?;
                Some((RSA.to_owned(), signature))
            }
        }
    }
}

/// The content of an unencrypted PEM block.
fn decoded(pem: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let rest = pem
        .trim()
        .strip_prefix(&format!("-----BEGIN {label}-----"))?;
    let body = rest.split(&format!("-----END {label}-----")).next()?;
    let mut text = Zeroizing::new(String::with_capacity(body.len()));
    for sign in body.chars() {
        if !sign.is_ascii_whitespace() {
            text.push(sign);
        }
    }
    let content = BASE64_STANDARD.decode(text.as_bytes()).ok()?;
    Some(Zeroizing::new(content))
}

/// Computes the two numbers that ring requires and OpenSSH's format omits.
fn rsa(pair: &RsaKeypair) -> Result<RsaPair, Unusable> {
    let public = &pair.public;
    let private = &pair.private;
    let n = bytes(&public.n)?;
    let e = bytes(&public.e)?;
    let d = bytes(&private.d)?;
    let p = bytes(&private.p)?;
    let q = bytes(&private.q)?;
    let to_p = remainder(&d, &p);
    let to_q = remainder(&d, &q);
    let to_p = to_p.ok_or(Unusable::Format)?;
    let to_q = to_q.ok_or(Unusable::Format)?;
    let inverse = bytes(&private.iqmp)?;
    let components = KeyPairComponents {
        public_key: PublicKeyComponents {
            n: n.as_slice(),
            e: e.as_slice(),
        },
        d: d.as_slice(),
        p: p.as_slice(),
        q: q.as_slice(),
        dP: to_p.as_slice(),
        dQ: to_q.as_slice(),
        qInv: inverse.as_slice(),
    };
    Ok(RsaPair::from_components(&components)?)
}

fn bytes(number: &Mpint) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    match number.as_positive_bytes() {
        Some(bytes) => Ok(Zeroizing::new(bytes.to_vec())),
        None => Err(Unusable::Format),
    }
}

/// `exponent` modulo `prime - 1`, without leading zeros.
fn remainder(exponent: &[u8], prime: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let exponent = Zeroizing::new(BoxedUint::from_be_slice_vartime(exponent));
    let prime = Zeroizing::new(BoxedUint::from_be_slice_vartime(prime));
    let one = BoxedUint::one_with_precision(prime.bits_precision());
    let modulus = NonZero::new(prime.wrapping_sub(&one)).into_option()?;
    let remainder = Zeroizing::new(exponent.rem(&modulus));
    let bytes = Zeroizing::new(remainder.to_be_bytes());
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Some(Zeroizing::new(bytes.get(zeros..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use ssh_key::PublicKey;

    use super::super::pair::PairKeyType;
    use super::*;

    #[test]
    fn the_keys_that_we_make_sign_and_others_are_named() {
        for kind in [
            PairKeyType::Ed25519,
            PairKeyType::EcdsaP256,
            PairKeyType::EcdsaP384,
            PairKeyType::Rsa3072,
        ] {
            let pair = kind.pair("c").unwrap();
            let proof = Proof::read(&pair.private).unwrap();
            let (algorithm, signature) = proof.sign(b"message").unwrap();
            let public = PublicKey::from_openssh(&pair.public).unwrap();
            match public.key_data().rsa() {
                None => {
                    use signature::Verifier as _;
                    let algorithm = algorithm.parse().unwrap();
                    let signature = ssh_key::Signature::new(algorithm, signature).unwrap();
                    public.key_data().verify(b"message", &signature).unwrap();
                }
                Some(key) => {
                    assert_eq!(algorithm, RSA);
                    let components = PublicKeyComponents {
                        n: key.n.as_positive_bytes().unwrap(),
                        e: key.e.as_positive_bytes().unwrap(),
                    };
                    components
                        .verify(
                            &ring::signature::RSA_PKCS1_2048_8192_SHA512,
                            b"message",
                            &signature,
                        )
                        .unwrap();
                }
            }
        }
        for pem in [
            "",
            "hunter2",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            let fault = Proof::read(pem).unwrap_err().to_string();
            assert!(fault.contains("can be read"), "{fault}");
        }
    }
}

//! The signing key as given on a command line: a file for ssh-keygen, or a key in AWS KMS.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::progress;
use authkeys_aws::client::Limits;
use authkeys_aws::kms::KmsSigner;
use authkeys_core::key::{KeyBlob, identify};
use authkeys_core::origin::FetchError;
use authkeys_core::signing::KmsKey;
use authkeys_terminal::bounded;

/// The most bytes of a key's file that are read.
const MAX_KEY: u64 = 1 << 16;

/// A signing key.
#[derive(Debug, Clone)]
pub(super) enum SigningKey {
    /// A private key's file; or a public key's, whose private half ssh-agent has.
    File(PathBuf),
    /// A key whose private half never leaves AWS KMS.
    Kms(KmsKey),
}

impl SigningKey {
    /// The parser for the command line. A file whose name begins with `kms:` is written
    /// `./kms:...`.
    pub(super) fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().try_map(Self::parse)
    }

    fn parse(text: OsString) -> Result<Self, String> {
        match text.to_str().and_then(KmsKey::parse) {
            Some(key) => Ok(Self::Kms(key?)),
            None => Ok(Self::File(PathBuf::from(text))),
        }
    }

    /// The public half, if it is available without a passphrase: always for a key in KMS; for a
    /// file, if the file or its `.pub` has it unencrypted.
    pub(super) async fn public_half(&self) -> Result<Option<KeyBlob>, FetchError> {
        match self {
            Self::File(path) => Ok(public_half_of_file(path)),
            Self::Kms(key) => public_half_of_kms(key).await.map(Some),
        }
    }
}

/// The public half of a signing key, if it is not encrypted: in the file itself, or beside it as
/// `.pub`.
fn public_half_of_file(key: &Path) -> Option<KeyBlob> {
    let mut beside = key.as_os_str().to_owned();
    beside.push(".pub");
    for file in [key, Path::new(&beside)] {
        let Ok(Some(found)) = bounded::read(file, MAX_KEY) else {
            continue;
        };
        for line in found.content.split(|byte| *byte == b'\n') {
            if let Some(found) = identify(line) {
                return Some(found.key);
            }
        }
    }
    None
}

/// The public half of a key in KMS.
pub(super) async fn public_half_of_kms(key: &KmsKey) -> Result<KeyBlob, FetchError> {
    let signer = KmsSigner::new(Limits::default(), key.clone());
    progress::shown(&format!("asking KMS for {key}"), signer.public_key()).await
}

/// The payload and its signature, made by KMS.
pub(super) async fn signed_by_kms(payload: &[u8], key: &KmsKey) -> Result<Vec<u8>, FetchError> {
    let signer = KmsSigner::new(Limits::default(), key.clone());
    progress::shown(&format!("signing with {key}"), signer.sign(payload)).await
}

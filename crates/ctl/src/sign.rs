//! `authkeysctl sign`: runs the stock `ssh-keygen -Y sign`, which knows passphrases, ssh-agent,
//! security keys and tokens.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use thiserror::Error;

use super::fault::failed;
use super::input::{self, shown};
use super::lint::Judge;
use super::signing_key::{SigningKey, signed_by_kms};
use super::{Exit, Sign, complain, print_bytes, started};
use crate::output::replace;
use authkeys_core::document::{self, Envelope, Form};
use authkeys_core::origin::FetchError;
use authkeys_core::outcome::chain;
use authkeys_core::verify::NAMESPACE;
use authkeys_terminal::{block_on, clock};

/// The size limit of an armored signature in bytes; one by RSA with 16,384 bits takes about 6 KB.
const MAX_SIGNATURE: u64 = 1 << 16;

/// Why a document cannot be signed, or was not.
#[derive(Debug, Error)]
pub(super) enum SignError {
    /// It is authorized_keys text or a rotation secret.
    #[error("only JSON documents can be signed; write it as JSON, version 1")]
    Form,
    /// The signature would not start on a new line.
    #[error(
        "it does not end in a line feed, so that no signature can follow it; add one at its end"
    )]
    LineFeed,
    /// Nodes that check signatures would refuse it.
    #[error(
        "it has no serial, and nodes that ask for a signature ask for a serial too; add \
         `\"serial\": 1`, or higher"
    )]
    Serial,
    /// The key cannot be read.
    #[error(
        "cannot read the key {path}; name a private key's file, or a public key's whose private \
         half ssh-agent has"
    )]
    Key {
        /// The key's file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// ssh-keygen is not installed, or could not be run for another reason.
    #[error("cannot run ssh-keygen: install the OpenSSH client")]
    Run(#[source] io::Error),
    /// The payload could not be written for ssh-keygen, or its signature could not be read.
    #[error("cannot work in a temporary directory: free some space, or set TMPDIR")]
    Temporary(#[source] io::Error),
    /// ssh-keygen refused.
    #[error("ssh-keygen did not sign: {0}")]
    Refused(String),
    /// KMS did not sign.
    #[error(transparent)]
    Kms(#[from] FetchError),
}

/// Runs the command.
pub(super) fn run(options: &Sign) -> Result<Exit, Exit> {
    let judge = Judge::before_signing(&options.judging)?;
    let bytes = input::read(&options.document)?;
    let name = shown(&options.document);
    // An existing signature is replaced, whether valid or not.
    let payload = Envelope::split(&bytes).map_or(bytes.as_slice(), |envelope| envelope.payload);
    let (report, document) = judge.examine(&name, payload, clock());
    // Keys that nodes leave out are reported; they do not keep the others from being published.
    report.tell();
    let unfit = report.unfit();
    let document = match (document, unfit) {
        (Some(document), None) => document,
        (_, unfit) => {
            let why = unfit.unwrap_or_default();
            complain(&format!("{name} is not signed: {why}"));
            return Err(Exit::Failed);
        }
    };
    if document::form(payload) == Form::Json && document.serial.is_none() {
        return Err(SignError::Serial.tell(&name));
    }
    let signed = match started(block_on(signed(payload, &options.key)))? {
        Ok(signed) => signed,
        Err(fault) => return Err(fault.tell(&name)),
    };
    match &options.output {
        Some(path) => write(path, &signed)?,
        None if print_bytes(&signed) => {}
        None => return Err(Exit::Failed),
    }
    Ok(Exit::Good)
}

impl SignError {
    /// Reports why `what` is not signed, or not published.
    pub(super) fn tell(&self, what: &str) -> Exit {
        match self {
            Self::Kms(fault) => failed(fault),
            _ => {
                complain(&format!("{what}: {}", chain(self)));
                Exit::Failed
            }
        }
    }
}

/// A document with its signature by `key`, byte for byte as `ssh-keygen -Y sign` and `cat` would
/// make it.
pub(super) async fn signed(payload: &[u8], key: &SigningKey) -> Result<Vec<u8>, SignError> {
    if document::form(payload) != Form::Json {
        return Err(SignError::Form);
    }
    if !payload.ends_with(b"\n") {
        return Err(SignError::LineFeed);
    }
    match key {
        SigningKey::Kms(key) => Ok(signed_by_kms(payload, key).await?),
        SigningKey::File(path) => signed_by_file(payload, path),
    }
}

fn signed_by_file(payload: &[u8], key: &Path) -> Result<Vec<u8>, SignError> {
    // Checked before a prompt for a passphrase, with a clearer message than ssh-keygen's.
    File::open(key).map_err(|source| SignError::Key {
        path: key.to_owned(),
        source,
    })?;
    let directory = tempfile::Builder::new()
        .prefix("authkeysctl-")
        .tempdir()
        .map_err(SignError::Temporary)?;
    let file = directory.path().join("document");
    write_payload(&file, payload).map_err(SignError::Temporary)?;
    keygen(key, &file)?;
    let signature = read_signature(&directory.path().join("document.sig"));
    let signature = signature.map_err(SignError::Temporary)?;
    Ok([payload, &signature].concat())
}

fn write_payload(file: &Path, payload: &[u8]) -> io::Result<()> {
    File::create_new(file)?.write_all(payload)
}

fn read_signature(file: &Path) -> io::Result<Vec<u8>> {
    let mut signature = Vec::new();
    let found = File::open(file)?;
    found.take(MAX_SIGNATURE).read_to_end(&mut signature)?;
    Ok(signature)
}

/// Has no time limit, because ssh-keygen may ask for a passphrase, a PIN or a touch. It asks on the
/// terminal, even when our standard input is the document; without a terminal it must not wait.
fn keygen(key: &Path, file: &Path) -> Result<(), SignError> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let stdin = match terminal {
        Ok(terminal) => Stdio::from(terminal),
        Err(_) => Stdio::null(),
    };
    // "Confirm user presence" must be seen while it waits.
    let watched = io::stderr().is_terminal();
    let stderr = if watched {
        Stdio::inherit()
    } else {
        Stdio::piped()
    };
    // `-q` suppresses progress, not errors. With the payload on standard input, ssh-keygen could
    // not ask.
    let output = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .arg(file)
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(stderr)
        .output()
        .map_err(SignError::Run)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // ssh-keygen puts a frame around its warning about a key that others can read.
    let mut lines = Vec::new();
    for line in said.lines() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('@') {
            lines.push(line);
        }
    }
    let why = if said.contains("incorrect passphrase") {
        "the key has a passphrase, and no terminal to ask for it; `ssh-add` the key and \
         name its .pub file"
            .to_owned()
    } else if !lines.is_empty() {
        lines.join("; ")
    } else if watched {
        "its output is above".to_owned()
    } else {
        output.status.to_string()
    };
    Err(SignError::Refused(why))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Exit> {
    replace(path, bytes).map_err(|fault| {
        complain(&format!("cannot write {}: {fault}", path.display()));
        if fault.kind() == io::ErrorKind::PermissionDenied {
            Exit::Denied
        } else {
            Exit::Failed
        }
    })
}

//! `authkeysctl verify`: who signed a document, with the verdict that `ssh-keygen -Y verify` would
//! give.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::input::{self, shown};
use super::{Exit, Verify, complain, misconfigured, print, refused};
use authkeys_core::document::{self, Envelope, Form};
use authkeys_core::key::KeyBlob;
use authkeys_core::report::text::one_line;
use authkeys_core::verify::{SignerRules, Signers, signed_by};
use authkeys_terminal::bounded;
use authkeys_terminal::clock;

/// The size limit of an allowed_signers file, in bytes.
const MAX_SIGNERS: u64 = 1 << 20;
/// ssh-keygen's own smallest modulus: whether a signer's key is strong enough is up to the author
/// of the file.
const MIN_RSA_BITS: usize = 1_024;

/// Runs the command.
pub(super) fn run(options: &Verify) -> Result<Exit, Exit> {
    let signers = read_signers(&options.allowed_signers, None, None)?;
    let bytes = input::read(&options.document)?;
    let name = shown(&options.document);
    match signer(&bytes, &signers, clock()) {
        Ok((who, key)) => {
            let line = format!(
                "{name}: good signature by {who}, {} {}",
                key.kind(),
                key.fingerprint()
            );
            Ok(if print(one_line(&line) + "\n") {
                Exit::Good
            } else {
                Exit::Failed
            })
        }
        Err(why) => Err(refused(name, &why)),
    }
}

/// Reads an allowed_signers file; its faults are reported. A configuration may restrict whose
/// signatures count, and require larger RSA keys.
pub(super) fn read_signers(
    path: &Path,
    principals: Option<&[String]>,
    min_rsa_bits: Option<usize>,
) -> Result<Signers, Exit> {
    let found = match bounded::read(path, MAX_SIGNERS) {
        Ok(Some(found)) => found,
        Ok(None) => {
            return Err(misconfigured(
                path,
                "no such file; --allowed-signers names one in ssh-keygen's \
                 allowed_signers format",
            ));
        }
        Err(fault) => return Err(misconfigured(path, &fault.beside(path))),
    };
    // Like ssh-keygen, read a time without Z as local time.
    let rules = SignerRules {
        principals,
        zone: &TimeZone::system(),
        min_rsa_bits: min_rsa_bits.unwrap_or(MIN_RSA_BITS),
    };
    Signers::parse(&found.content, &rules).map_err(|faults| {
        for fault in faults {
            let line = if fault.line == 0 {
                String::new()
            } else {
                format!("{}:", fault.line)
            };
            complain(&format!("{}:{line} {fault}", path.display()));
        }
        Exit::Config
    })
}

/// Who signed a document, and with which key; or why it counts as unsigned.
pub(super) fn signer(
    bytes: &[u8],
    signers: &Signers,
    now: Timestamp,
) -> Result<(String, KeyBlob), String> {
    let Some(key) = signing_key(bytes)? else {
        let how = if document::form(bytes) == Form::Json {
            ""
        } else {
            "; only JSON documents can be"
        };
        return Err(format!("it is not signed{how}: `authkeysctl sign` does it"));
    };
    match signers.admit(&key, now) {
        Ok(who) => Ok((who, key)),
        Err(fault) => Err(fault.to_string()),
    }
}

/// The key whose signature of the document is valid, if it has one.
pub(super) fn signing_key(bytes: &[u8]) -> Result<Option<KeyBlob>, String> {
    if document::form(bytes) == Form::Text {
        return Ok(None);
    }
    let envelope = Envelope::split(bytes).map_err(|fault| fault.to_string())?;
    let Some(signature) = envelope.signature else {
        return Ok(None);
    };
    match signed_by(envelope.payload, signature) {
        Ok(key) => Ok(Some(key)),
        Err(fault) => Err(fault.to_string()),
    }
}

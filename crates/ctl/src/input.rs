//! Reads the document given to a command: a file, a pipe, or standard input.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::{Exit, complain};
use authkeys_core::origin::MAX_DOCUMENT;

/// The bytes of a document, wiped when dropped: it may contain a private key by mistake.
pub(super) type Bytes = Zeroizing<Vec<u8>>;

/// The document's name in messages.
pub(super) fn shown(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads a document of at most 1 MiB; `-` is standard input. A failure is reported.
pub(super) fn read(path: &Path) -> Result<Bytes, Exit> {
    read_named(path, "name the document's file, or - for standard input")
}

/// Reads a public key's file.
pub(super) fn read_key(path: &Path) -> Result<Bytes, Exit> {
    read_named(
        path,
        "name a public key's file, - for standard input, or a key line",
    )
}

fn read_named(path: &Path, remedy: &str) -> Result<Bytes, Exit> {
    let name = shown(path);
    let found = if path == Path::new("-") {
        bounded(io::stdin().lock())
    } else {
        // A pipe works like a file: `authkeysctl lint <(jq ... keys.json)`.
        File::open(path).and_then(bounded)
    };
    let bytes = found.map_err(|fault| {
        complain(&format!("cannot read {name}: {fault}; {remedy}"));
        if fault.kind() == io::ErrorKind::PermissionDenied {
            Exit::Denied
        } else {
            Exit::Failed
        }
    })?;
    if bytes.len() > MAX_DOCUMENT {
        complain(&format!(
            "{name} has more than 1 MiB, which no node reads; is it a key set at all?"
        ));
        return Err(Exit::Failed);
    }
    Ok(bytes)
}

/// Reads one byte more than a document may have, to detect one that is too large.
fn bounded(from: impl io::Read) -> io::Result<Bytes> {
    // Reserve all the space: a vector that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_DOCUMENT + 2));
    let limit = u64::try_from(MAX_DOCUMENT + 1).unwrap_or(u64::MAX);
    from.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

//! `status.json` in the runtime directory: the last outcome, for monitors, `authkeysd status` and
//! the next start.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::file;
use crate::host::HostError;
use authkeys_core::outcome::{AccountOutcome, Outcome};
use authkeys_core::report::json;
use authkeys_terminal::bounded;

const NAME: &str = "status.json";
/// The most bytes that are read, 256 MiB: many times what a configuration of 1 MiB can produce,
/// because the lists of keys are shortened.
const MAX_STATUS: u64 = 256 << 20;

/// Why the status file could not be read or written.
#[derive(Debug, Error)]
pub enum StatusFileError {
    /// The directory is not writable, or the disk is full.
    #[error("cannot write {path}: make the directory writable for authkeysd, or set runtime_dir")]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] HostError),
    /// The file has unknown content, such as that of a later version.
    #[error("{path} is not the status of this version of authkeysd; the next cycle writes it anew")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// The path of the status file in a runtime directory.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// Reads the last outcome; `None` if the file does not exist.
pub fn read(directory: &Path) -> Result<Option<Outcome>, StatusFileError> {
    let path = path(directory);
    let Some(found) = bounded::read(&path, MAX_STATUS).map_err(HostError::from)? else {
        return Ok(None);
    };
    let parsed = serde_json::from_slice::<Outcome>(&found.content);
    let mut outcome = parsed.map_err(|source| StatusFileError::Unknown { path, source })?;
    // An earlier version listed all keys and had no count.
    outcome
        .accounts
        .iter_mut()
        .for_each(AccountOutcome::count_keys);
    Ok(Some(outcome))
}

/// Replaces the file with an outcome that was shortened. A reader sees either the old one or the
/// new one. It is not durable, because it is written again after a boot.
pub fn write(directory: &Path, outcome: &Outcome) -> Result<(), StatusFileError> {
    let path = path(directory);
    replace(directory, &path, outcome).map_err(|source| StatusFileError::Write { path, source })
}

fn replace(directory: &Path, path: &Path, outcome: &Outcome) -> io::Result<()> {
    file::make_directory(directory)?;
    file::replace(path, |file| {
        json::write_pretty(&mut *file, outcome)?;
        file.write_all(b"\n")
    })
}

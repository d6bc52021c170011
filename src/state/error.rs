//! Why the state could not be read or written.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::store::{LOCK_WAIT, MAX_STATE, SCHEMA};
use crate::host::HostError;
use authkeys_core::fault::{Fault, FaultCode, Subject};

/// Why the state could not be read or written. Nothing on the node was changed.
#[derive(Debug, Error)]
pub enum StateError {
    /// The directory does not exist and could not be made, or could not be opened.
    #[error(
        "cannot use the state directory {path}: run as root, or set state_dir to a directory of \
         your own, in one that exists"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The directory exists, but nothing can be written to it.
    #[error(
        "cannot write to the state directory {path}: keys are still removed, but none is installed \
         that would have to be remembered; make it writable (`findmnt`, `lsattr -d`)"
    )]
    Unwritable {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Another user could forge the state.
    #[error(
        "the state directory {0} can be written by others: chown it to the user of authkeysd and \
         chmod it 0700"
    )]
    Untrusted(PathBuf),
    /// Another cycle took too long.
    #[error(
        "another authkeysd has been running a cycle for more than {LOCK_WAIT:?} (it holds {0}): \
         look what it waits for"
    )]
    Busy(PathBuf),
    /// The file is damaged.
    #[error(
        "{path} is damaged: restore it, or move it away to start afresh (serials and \
         once-installed keys are then forgotten)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The state would be too large to be read again.
    #[error(
        "{0} would become larger than {MAX_STATE} bytes, for every key ever installed is \
         remembered: correct the document, or move the state away to start afresh (serials and \
         once-installed keys are then forgotten)"
    )]
    TooLarge(PathBuf),
    /// Written by a later version.
    #[error(
        "{path} has schema {schema}, this authkeysd knows {SCHEMA}: it was written by a later \
         version, upgrade again"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        schema: u32,
    },
    /// A read or write failed.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl StateError {
    /// The error as a fault of this node. Denied permission has a code of its own, because it takes
    /// another user to use the state.
    pub fn fault(&self) -> Fault {
        let code = match self {
            Self::Directory { source, .. } | Self::Host(HostError::Io { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                FaultCode::StateDenied
            }
            _ => FaultCode::StateUnusable,
        };
        Fault::from_error(code, Subject::State, self)
    }
}

//! Why a step on the host failed: the operation, the path, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

use super::{Snapshot, enforcement};
use authkeys_core::fault::FaultCode;
use authkeys_core::user::BadUserName;
use authkeys_terminal::bounded::FileError;

/// Why a step on the host failed. The file is the old one, or (only when a named step after the
/// rename failed) the new one, complete.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// NSS answered, and does not know the account.
    #[error("no account {account} exists here: create it, or take it out of the configuration")]
    UnknownAccount {
        /// The name or user id that was looked up.
        account: String,
    },
    /// NSS did not answer. The account may exist.
    #[error(
        "cannot look up account {account}: check nsswitch.conf and the directory service (`getent \
         passwd`)"
    )]
    Lookup {
        /// The name or user id that was looked up.
        account: String,
        /// The error of NSS.
        #[source]
        source: io::Error,
    },
    /// NSS returned a name that is not safe in a path or a log.
    #[error("the account of uid {uid} has a name that cannot be managed")]
    AccountName {
        /// The user id with that name.
        uid: u32,
        /// What is wrong with it.
        #[source]
        source: BadUserName,
    },
    /// Only root can act for another account.
    #[error(
        "uid {running} cannot act for account {account} (uid {uid}): run authkeysd as root or as \
         {account}"
    )]
    NotPermitted {
        /// The account whose file was asked for.
        account: String,
        /// Its user id.
        uid: u32,
        /// The user id that runs authkeysd.
        running: u32,
    },
    /// The kernel did not let the thread act as the account.
    #[error(
        "cannot take the {part} of account {account}: authkeysd needs CAP_SETUID and CAP_SETGID"
    )]
    Identity {
        /// The account that it should have acted as.
        account: String,
        /// Groups, gid or uid.
        part: &'static str,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// A step did not end in time; its thread is left behind.
    #[error(
        "account {account}: no answer for {path} within {limit:?}: is it on a network file system \
         that is down?"
    )]
    Hung {
        /// The step's account.
        account: String,
        /// The file, or the home that was looked up.
        path: PathBuf,
        /// How long the caller waited.
        limit: Duration,
    },
    /// An earlier step of the account still hangs, so no other was started.
    #[error(
        "account {account}: an earlier step on {path} still hangs after {since:?}; nothing new is \
         started before it ends"
    )]
    StillHung {
        /// The step's account.
        account: String,
        /// The file of the step that hangs.
        path: PathBuf,
        /// How long ago that step began.
        since: Duration,
    },
    /// A step's thread could not be started, or died.
    #[error("account {account}: cannot run a step on {path}: check the limits on tasks and memory")]
    Thread {
        /// The step's account.
        account: String,
        /// The file of the step.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// A path that is rejected before anything is opened.
    #[error("{path:?} is refused: {fault}")]
    Path {
        /// The path.
        path: PathBuf,
        /// What it must be.
        fault: &'static str,
    },
    /// A symbolic link where links are not followed.
    #[error("{path} is a symbolic link and is not followed: replace it with the real {wanted}")]
    Link {
        /// The component that is a link.
        path: PathBuf,
        /// What must be there instead.
        wanted: &'static str,
    },
    /// The wrong kind of file.
    #[error("{path} is a {kind}, not a {wanted}: move it away")]
    Kind {
        /// The component.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// What must be there instead.
        wanted: &'static str,
    },
    /// A directory outside a home that users other than root could change.
    #[error("{path} is {fault}: anyone who can change it could give anybody access; {remedy}")]
    Untrusted {
        /// The directory.
        path: PathBuf,
        /// Who can change it.
        fault: String,
        /// What to do about it.
        remedy: String,
    },
    /// A directory on the path to a file of root's that another user could change.
    #[error(
        "{path} {fault}, and account {account} is root: anyone who can change this directory could \
         make root write elsewhere; give the account a home that only root can change (`usermod \
         --home`), or set `layout = \"system\"`"
    )]
    NotRootsAlone {
        /// The directory.
        path: PathBuf,
        /// The account, whose uid is 0.
        account: String,
        /// Who can change it.
        fault: String,
    },
    /// The service's sandbox hides the home of root.
    #[error(
        "{path} is not in the service's sandbox, because the configuration named no account of \
         root's when the service was started: `systemctl restart authkeysd`"
    )]
    HiddenHome {
        /// The home.
        path: PathBuf,
    },
    /// A file over the limit is never read into memory.
    #[error("{path} has more than {limit} bytes: is it the right file?")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The account cannot read its own file.
    #[error(
        "{path} belongs to uid {uid} with mode {mode:04o}: uid {reader} cannot read it, and so \
         sshd, which reads it as that account, could not either: {remedy}"
    )]
    Unreadable {
        /// The user id of the account that must be able to read it.
        reader: u32,
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its permission bits.
        mode: u32,
        /// What to do about it.
        remedy: String,
        /// Its snapshot with empty content, for a caller that can replace it without knowing what
        /// it holds.
        unread: Box<Snapshot>,
    },
    /// The immutable or append-only flag is set.
    #[error("{path} carries the {flag} flag: `chattr {remedy} {path}`")]
    Flagged {
        /// The file or directory.
        path: PathBuf,
        /// Which flag.
        flag: &'static str,
        /// chattr's argument that clears it.
        remedy: &'static str,
    },
    /// Another program held update-ssh-keys' lock all the time.
    #[error("{path} was locked by another program for {waited:?}: does an update-ssh-keys hang?")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long the caller waited.
        waited: Duration,
    },
    /// The caller gave up on this step before it reached the rename, so it did not rename.
    #[error("{path} was not replaced: the step took too long and had been given up")]
    GivenUp {
        /// The file.
        path: PathBuf,
    },
    /// After the rename the file was not what had been written: another program writes it, too.
    #[error("{path} is not what was just written to it: find the other program that writes it")]
    ReadBack {
        /// The file.
        path: PathBuf,
    },
    /// An entry of `authorized_keys.d` on which update-ssh-keys would fail.
    #[error("{path} {fault}: move it away")]
    Obstacle {
        /// The entry, or the directory itself.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// Another program failed.
    #[error("{program} failed for {account}: {said}")]
    Program {
        /// The program.
        program: &'static str,
        /// The account or file that it was run for.
        account: String,
        /// The last line of its output, and how it ended.
        said: String,
    },
    /// A system call failed.
    #[error("cannot {operation} {path}: {remedy}")]
    Io {
        /// What was being done, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What to do about it.
        remedy: String,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}

impl HostError {
    /// The code of the fault.
    pub fn code(&self) -> FaultCode {
        match self {
            Self::UnknownAccount { .. } | Self::AccountName { .. } => FaultCode::AccountUnknown,
            Self::Lookup { .. } => FaultCode::AccountLookupFailed,
            Self::NotPermitted { .. } => FaultCode::AccountDenied,
            Self::Identity { .. } => FaultCode::IdentityFailed,
            Self::Hung { .. } | Self::StillHung { .. } | Self::GivenUp { .. } => {
                FaultCode::StepHung
            }
            Self::Thread { .. } => FaultCode::ThreadFailed,
            Self::Path { .. } => FaultCode::FileMisplaced,
            Self::Link { .. }
            | Self::Kind { .. }
            | Self::Untrusted { .. }
            | Self::NotRootsAlone { .. } => FaultCode::PathUnsafe,
            Self::HiddenHome { .. } => FaultCode::HomeHidden,
            Self::TooLarge { .. } => FaultCode::FileTooLarge,
            Self::Unreadable { .. } => FaultCode::FileUnreadable,
            Self::Flagged { .. } => FaultCode::FileFlagged,
            Self::Locked { .. } => FaultCode::FileLocked,
            Self::ReadBack { .. } => FaultCode::FileContended,
            Self::Obstacle { .. } => FaultCode::FragmentsBlocked,
            Self::Program { .. } => FaultCode::ProgramFailed,
            Self::Io { .. } => FaultCode::FileSystem,
        }
    }

    pub(super) fn io(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        let denied = matches!(errno, Some(Errno::ACCESS | Errno::PERM));
        let remedy = format!(
            "{}{}",
            remedy(errno),
            if denied { enforcement::hint() } else { "" }
        );
        Self::Io {
            operation,
            path: path.to_owned(),
            remedy,
            source,
        }
    }
}

/// An error from reading a file of ours.
impl From<FileError> for HostError {
    fn from(fault: FileError) -> Self {
        match fault {
            FileError::Kind { path, kind } => Self::Kind {
                path,
                kind,
                wanted: "regular file",
            },
            FileError::TooLarge { path, limit } => Self::TooLarge { path, limit },
            FileError::Io {
                operation,
                path,
                source,
            } => Self::io(operation, &path, source),
        }
    }
}

/// What to do about an error of the kernel. Its meaning is the text of the cause.
fn remedy(errno: Option<Errno>) -> &'static str {
    match errno {
        Some(Errno::NOSPC) => "the disk is full (blocks or inodes, `df`, `df -i`): free some space",
        Some(Errno::DQUOT) => "the user's disk quota is used up: free some space or raise it",
        Some(Errno::ROFS) => {
            "the file system is mounted read-only: remount it writable (`findmnt`, `dmesg`); if it \
             is writable elsewhere, the service's sandbox is what holds it: ReadWritePaths= in \
             `systemctl edit authkeysd`"
        }
        Some(Errno::PERM) => {
            "look for an immutable or append-only flag (`lsattr`) or a security module's denial"
        }
        Some(Errno::ACCESS) => {
            "check owner and mode of each directory (`namei -l`) and a security module's denials"
        }
        Some(Errno::NOENT) => "it does not exist: create it",
        Some(Errno::LOOP) => "a symbolic link is in the way: replace it with what it points to",
        Some(Errno::IO) => "the device failed: look into the kernel's log (`dmesg`)",
        Some(Errno::STALE) => "the network file system lost it: mount it again",
        Some(Errno::BUSY) => {
            "something is mounted on it (`findmnt`), as when one file is bound into a container, \
             and nothing can be put in its place: mount its directory instead, or name another \
             `file`"
        }
        Some(Errno::XDEV) => {
            "it is another mount than the `.ssh` it is in (`findmnt`): unmount it, or mount `.ssh` \
             whole"
        }
        Some(Errno::NAMETOOLONG) => {
            "the name is too long for the temporary file beside it: name a `file` of at most 227 \
             bytes"
        }
        Some(Errno::NOKEY) => {
            "the directory is encrypted and locked: unlock it, or set `layout = \"system\"`"
        }
        Some(Errno::UCLEAN) => "the file system is damaged: check it (`fsck`)",
        Some(Errno::TIMEDOUT | Errno::HOSTDOWN | Errno::HOSTUNREACH) => {
            "the network file system does not answer: check its server and the network"
        }
        Some(Errno::FBIG) => {
            "the file would be larger than a limit allows: raise `LimitFSIZE` (`ulimit -f`)"
        }
        Some(Errno::MFILE | Errno::NFILE) => "too many files are open: raise the limit",
        _ => "see the cause",
    }
}

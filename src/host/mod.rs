//! The node: its accounts and their files. This module carries out steps and decides nothing.

mod account;
mod enforcement;
mod error;
mod flags;
mod fragments;
mod identity;
mod lock;
pub mod login;
mod node;
mod pool;
pub mod preflight;
mod program;
mod read;
mod refresh;
mod replace;
pub mod selinux;
pub mod sshd;
pub mod start_options;
pub mod strict;
mod temporary;
mod walk;
mod worker;

use std::path::PathBuf;

use authkeys_core::document::Digest;
use authkeys_core::user::UserName;

pub use error::HostError;
pub use fragments::FoundFragments;
pub use node::Node;
pub use replace::write_durable;

/// The most bytes of an account's file that are ever read or written, 1 MiB.
pub const MAX_FILE: u64 = 1 << 20;

/// An account as NSS describes it now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Account {
    /// Its name.
    pub user: UserName,
    /// Its user id.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its home directory as NSS has it, not resolved.
    pub home: PathBuf,
}

/// The file of an account, and the identity that writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The account that it belongs to.
    pub account: Account,
    /// Where it is.
    pub place: Place,
    /// Whether a read may restore the mode of a file that its owner cannot read. This is allowed
    /// only where keys are to be installed, because the keys in the file become valid again.
    pub repairs: bool,
    /// The digest of what a cycle last left in the file. Such content is the account's own, even if
    /// the file has another owner now.
    pub left: Option<Digest>,
}

impl Target {
    /// A file that is only read.
    pub fn new(account: Account, place: Place) -> Self {
        Self {
            account,
            place,
            repairs: false,
            left: None,
        }
    }

    /// The file's path as people know it. Links in the home's path are not resolved.
    pub fn path(&self) -> PathBuf {
        match &self.place {
            Place::Home { below } => self.account.home.join(below),
            Place::Fragment { name } => self.account.home.join(fragments::DIRECTORY).join(name),
            Place::System { path } => path.clone(),
        }
    }

    /// Whether the account itself reads and writes it.
    fn is_the_accounts(&self) -> bool {
        matches!(self.place, Place::Home { .. } | Place::Fragment { .. })
    }

    /// Whether it is one of the files from which update-ssh-keys generates `authorized_keys`.
    pub fn is_fragment(&self) -> bool {
        matches!(self.place, Place::Fragment { .. })
    }

    /// The file that update-ssh-keys generates from the account's fragments.
    pub fn generated(&self) -> Self {
        Self {
            place: Place::Home {
                below: fragments::GENERATED.into(),
            },
            ..self.clone()
        }
    }
}

/// Where a file is. This decides which identity writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Below the account's home: written as the account, 0600. The directory is made with 0700 if
    /// it does not exist.
    Home {
        /// Relative to the home; only plain names, at least one.
        below: PathBuf,
    },
    /// One of the files from which update-ssh-keys generates `authorized_keys`: written as the
    /// account, 0600, by way of `.ssh`.
    Fragment {
        /// A plain name.
        name: String,
    },
    /// Outside the home: written as the user who runs authkeysd, 0644. The last directory is made
    /// with 0755 if it does not exist.
    System {
        /// Absolute.
        path: PathBuf,
    },
}

/// What was found at a target, and the stamp that shows whether it is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The file's bytes; `None` if the file does not exist.
    pub content: Option<Vec<u8>>,
    /// Owner, group or mode have drifted; a replace repairs them.
    pub drifted: bool,
    /// Identifies what was read: device, inode, size and times.
    pub stamp: Stamp,
    /// Device and inode of the file's directory, by whatever path; `None` if it does not exist yet.
    pub directory: Option<(u64, u64)>,
}

impl Snapshot {
    /// Not even the directory exists.
    pub fn absent() -> Self {
        Self {
            content: None,
            drifted: false,
            stamp: Stamp::absent(),
            directory: None,
        }
    }
}

/// Identity of a file's state between reading it and replacing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(Option<StampInner>);

/// Includes the change time, which nobody can set: it shows a rewrite that restored size and
/// modification time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StampInner {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file that does not exist.
    pub fn absent() -> Self {
        Self(None)
    }

    /// A stamp for a host that counts versions and has no files, such as a test's host.
    pub fn of_version(version: u64) -> Self {
        Self(Some(StampInner {
            device: 0,
            inode: version,
            size: 0,
            modified: (0, 0),
            changed: (0, 0),
        }))
    }
}

/// The result of a replace that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The new content is in place, durable and read back.
    Done,
    /// The file was changed since the snapshot; nothing was written. Read it again.
    ChangedMeanwhile,
}

/// A file to be replaced.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    /// The file.
    pub target: &'a Target,
    /// Its state when the content was decided.
    pub seen: &'a Stamp,
    /// What it must hold.
    pub content: &'a [u8],
}

/// The interface to the node's accounts and files. The steps for many accounts return one answer
/// for each, in the same order. A host on which a step may hang runs them at the same time, and
/// returns `None` for a step that takes longer than the others need to wait. The next call waits
/// for that step, and returns an error at the host's limit.
pub trait Host: Sync {
    /// Looks an account up through NSS; `None` is the user who runs authkeysd.
    fn account(&self, user: Option<&UserName>) -> Result<Account, HostError>;
    /// Reads the file, limited in size and time. Follows no link below the home.
    fn read(&self, target: &Target) -> Result<Snapshot, HostError>;
    /// The major and minor version of the installed OpenSSH server; `None` if it could not be
    /// determined.
    fn sshd_version(&self) -> Option<(u32, u32)>;
    /// Whether the last attempt to determine the version failed. Another attempt may succeed.
    fn sshd_is_unknown(&self) -> bool {
        false
    }
    /// Replaces the file durably if it is still as `seen` describes it.
    fn replace(&self, target: &Target, seen: &Stamp, content: &[u8])
    -> Result<Replaced, HostError>;
    /// Why a replace by `length` bytes would fail, as far as that can be seen without writing. A
    /// host that cannot check reports nothing.
    fn preflight(&self, _target: &Target, _length: u64) -> Result<(), HostError> {
        Ok(())
    }
    /// Reads a target that is a fragment, the other fragments, and `authorized_keys`, in the same
    /// way as `read`.
    fn fragments(&self, target: &Target) -> Result<FoundFragments, HostError>;
    /// Runs update-ssh-keys, if it is installed, to generate `authorized_keys` from the fragments.
    /// The error holds its output. Its success proves nothing: read the generated file.
    fn refresh(&self, target: &Target) -> Result<(), HostError>;

    /// Called whenever a cycle has judged a source or planned an account, to show that a large
    /// cycle makes progress.
    fn step(&self) {}

    /// Looks many accounts up.
    fn accounts(&self, users: &[Option<&UserName>]) -> Vec<Option<Result<Account, HostError>>> {
        users.iter().map(|user| Some(self.account(*user))).collect()
    }

    /// Reads many files.
    fn read_all(&self, targets: &[&Target]) -> Vec<Option<Result<Snapshot, HostError>>> {
        targets
            .iter()
            .map(|target| Some(self.read(target)))
            .collect()
    }

    /// Looks many accounts up again, and reads the files of those that still match their targets;
    /// `Ok(None)` for the others. Changes nothing.
    fn read_again(
        &self,
        files: &[(Option<&UserName>, &Target)],
    ) -> Vec<Option<Result<Option<Snapshot>, HostError>>> {
        let mut read = Vec::with_capacity(files.len());
        for (user, target) in files {
            read.push(Some(self.account(*user).and_then(|account| {
                if account != target.account {
                    return Ok(None);
                }
                self.read(target).map(Some)
            })));
        }
        read
    }

    /// Reads many fragments.
    fn all_fragments(&self, targets: &[&Target]) -> Vec<Option<Result<FoundFragments, HostError>>> {
        targets
            .iter()
            .map(|target| Some(self.fragments(target)))
            .collect()
    }

    /// Replaces many files, and waits for all of them.
    fn replace_all(&self, files: &[Replacement<'_>]) -> Vec<Result<Replaced, HostError>> {
        files
            .iter()
            .map(|file| self.replace(file.target, file.seen, file.content))
            .collect()
    }
}

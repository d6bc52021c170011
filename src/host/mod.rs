//! The node: its accounts and their files. Carries out steps and never decides.

mod account;
mod enforcement;
mod error;
mod flags;
mod fragments;
mod identity;
mod lock;
pub mod login;
mod node;
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

/// An account as NSS describes it at this moment.
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

/// The file of an account, and as whom it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose file it is.
    pub account: Account,
    /// Where it is.
    pub place: Place,
    /// Whether a read may restore the mode of a file that its owner cannot read: only where keys
    /// are to be installed, for what it held counts again.
    pub mends: bool,
    /// What the file held when a cycle last left it. Those bytes are the account's own, whoever
    /// owns the file now.
    pub left: Option<Digest>,
}

impl Target {
    /// A file that is only looked at.
    pub fn new(account: Account, place: Place) -> Self {
        Self {
            account,
            place,
            mends: false,
            left: None,
        }
    }

    /// The file's path as people know it, links in the home's path not resolved.
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

    /// Whether it is one of the files of which update-ssh-keys makes one.
    pub fn is_fragment(&self) -> bool {
        matches!(self.place, Place::Fragment { .. })
    }

    /// The file that update-ssh-keys makes of the account's fragments.
    pub fn made(&self) -> Self {
        Self {
            place: Place::Home {
                below: fragments::MADE.into(),
            },
            ..self.clone()
        }
    }
}

/// Where a file is decides whose identity writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Below the account's home: written as the account, 0600, in a directory that is made 0700
    /// when absent.
    Home {
        /// Relative to the home; only plain names, at least one.
        below: PathBuf,
    },
    /// One of the files of which update-ssh-keys makes `authorized_keys`: written as the account,
    /// 0600, by way of `.ssh`.
    Fragment {
        /// A plain name.
        name: String,
    },
    /// Outside the home: written as whoever runs authkeysd, 0644; its last directory is made 0755
    /// when absent.
    System {
        /// Absolute.
        path: PathBuf,
    },
}

/// What was found at a target, and the stamp that tells whether it is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The file's bytes; `None` when there is no file.
    pub content: Option<Vec<u8>>,
    /// Owner, group or mode are not what they must be; a replace repairs them.
    pub drifted: bool,
    /// Proof of what was read: device, inode, size and times.
    pub stamp: Stamp,
    /// Device and inode of the directory that the file is in, by whatever path; `None` when there
    /// is none yet.
    pub directory: Option<(u64, u64)>,
}

impl Snapshot {
    /// Not even the directory is there.
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

/// The change time is what nobody can set: it tells a rewrite that put size and modification time
/// back.
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

    /// A stamp for a host that counts versions and has no files, as a test's host does.
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

/// How a replace ended, other than by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The new content is in place, durable and read back.
    Done,
    /// Somebody changed the file since the snapshot; nothing was written. Read again.
    ChangedMeanwhile,
}

/// One file that is to be replaced.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    /// Whose file.
    pub target: &'a Target,
    /// What it was when the content was decided.
    pub seen: &'a Stamp,
    /// What it must hold.
    pub content: &'a [u8],
}

/// The seam to the node's accounts and files. The steps for many accounts give an answer for each,
/// in their order; a host on which a step may hang takes them at the same time, and gives `None`
/// for what takes longer than the others need to wait: the next call waits for the step that was
/// begun, and at the host's limit the answer is an error.
pub trait Host: Sync {
    /// Looks an account up through NSS; `None` is the user who runs authkeysd.
    fn account(&self, user: Option<&UserName>) -> Result<Account, HostError>;
    /// Reads the file, bounded in size and time, following no link below the home.
    fn read(&self, target: &Target) -> Result<Snapshot, HostError>;
    /// The major and minor version of the installed OpenSSH server; `None` when it cannot be told.
    fn sshd_version(&self) -> Option<(u32, u32)>;
    /// Whether it could not be told when it was asked for last: another question may find it.
    fn sshd_is_untold(&self) -> bool {
        false
    }
    /// Replaces the file durably if it still is what `seen` saw.
    fn replace(&self, target: &Target, seen: &Stamp, content: &[u8])
    -> Result<Replaced, HostError>;
    /// Why a replace by `length` bytes would fail, as far as that can be seen without writing. A
    /// host that sees nothing beforehand foretells nothing.
    fn preflight(&self, _target: &Target, _length: u64) -> Result<(), HostError> {
        Ok(())
    }
    /// Reads a target that is a fragment, the fragments beside it, and `authorized_keys`, as `read`
    /// does.
    fn fragments(&self, target: &Target) -> Result<FoundFragments, HostError>;
    /// Has update-ssh-keys, if it is installed, make `authorized_keys` of the fragments. An error
    /// is what it said, and a good end proves nothing: what it made is to be read.
    fn refresh(&self, target: &Target) -> Result<(), HostError>;

    /// Called as often as a cycle has judged a source or planned an account: a large cycle that
    /// takes long goes on.
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

    /// Looks many accounts up again, and reads the files of those that are who their targets say;
    /// `Ok(None)` for another. Changes nothing.
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

    /// Replaces many files; waits for all of them.
    fn replace_all(&self, files: &[Replacement<'_>]) -> Vec<Result<Replaced, HostError>> {
        files
            .iter()
            .map(|file| self.replace(file.target, file.seen, file.content))
            .collect()
    }
}

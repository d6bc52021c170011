//! Walks to a file by descriptor, component by component, following no symbolic link.
//!
//! If the kernel gets a whole path, the owner of one of its directories can redirect it
//! (CVE-2011-3870, CVE-2012-1054). Each step here is relative to a directory that is already open.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::{Account, HostError, enforcement, flags, selinux};

mod home;
mod system;

pub(super) use home::{below_home, reach_below_home};
pub(super) use system::{reach_system, system};

use home::install;

/// A directory that is held open, and its path for messages.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) fd: OwnedFd,
    pub(super) path: PathBuf,
    /// The account in whose home it is, with the home resolved; `None` for a directory of the
    /// administrator's.
    account: Option<Arc<Account>>,
}

/// How far the path to a file exists now.
#[derive(Debug)]
pub(super) struct Reach {
    /// The last existing directory on the path.
    pub(super) directory: Directory,
    /// The next one, which would have to be made; `None` if the file's own directory exists.
    pub(super) missing: Option<OsString>,
}

/// What to do about a directory that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    Leave,
    Make,
}

/// The operation that makes a directory, as errors name it.
pub(super) const MAKE: &str = "make the directory";

impl Directory {
    /// Opens a directory of our own configuration and follows links: its path is the
    /// administrator's.
    pub(super) fn open(path: &Path) -> Result<Self, HostError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))
            .map_err(|errno| HostError::io("open the directory", path, errno))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            account: None,
        })
    }

    /// The state of an entry, which may itself be a link; `None` if it does not exist.
    pub(super) fn entry(&self, name: &OsStr) -> Result<Option<Stat>, HostError> {
        match retry_on_intr(|| rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("look at", name, errno)),
        }
    }

    /// Opens the directory for what an O_PATH descriptor cannot do: listing and fsync.
    pub(super) fn readable(&self) -> Result<OwnedFd, HostError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        retry_on_intr(|| rustix::fs::openat(&self.fd, ".", flags, Mode::empty()))
            .map_err(|errno| self.failed("open the directory", OsStr::new(""), errno))
    }

    /// An error about an entry, or about the directory if the name is empty. A denial names the
    /// owner of the directory.
    pub(super) fn failed(&self, operation: &'static str, name: &OsStr, errno: Errno) -> HostError {
        let path = if name.is_empty() {
            self.path.clone()
        } else {
            self.path.join(name)
        };
        let error = HostError::io(operation, &path, errno);
        match (error, rustix::fs::fstat(&self.fd)) {
            (
                HostError::Io {
                    operation,
                    path,
                    source,
                    ..
                },
                Ok(stat),
            ) if errno == Errno::ACCESS => {
                let (directory, uid, mode) =
                    (self.path.display(), stat.st_uid, stat.st_mode & 0o7777);
                let remedy = self.remedy(operation, &path, uid);
                let remedy = format!(
                    "its directory {directory} belongs to uid {uid} with mode {mode:04o}: \
                     {remedy}{}",
                    enforcement::hint()
                );
                HostError::Io {
                    operation,
                    path,
                    remedy,
                    source,
                }
            }
            (error, _) => error,
        }
    }

    /// The directory as the home of an account.
    fn of(self, account: &Account) -> Self {
        let account = Account {
            home: self.path.clone(),
            ..account.clone()
        };
        Self {
            account: Some(Arc::new(account)),
            ..self
        }
    }

    /// Opens the directory above this one.
    fn parent(&self) -> Result<Option<Self>, HostError> {
        let above = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(self.child(OsStr::new(".."))?.map(|directory| Self {
            path: above,
            ..directory
        }))
    }

    /// What to do if the account may not do `operation` in this directory, which `owner` owns. A
    /// home that root owns must stay root's: sshd does not chroot an account into a home of its own
    /// (ChrootDirectory).
    fn remedy(&self, operation: &'static str, path: &Path, owner: u32) -> String {
        let Some(account) = &self.account else {
            return "run authkeysd as root or as its owner".to_owned();
        };
        let user = &account.user;
        let directory = self.path.display();
        if owner == account.uid {
            return format!("`chmod u+rwx {directory}`");
        }
        if self.path != account.home {
            return format!(
                "`chown {user} {directory} && chmod u+rwx {directory}`, or set `layout = \
                 \"system\"`"
            );
        }
        match operation {
            MAKE => format!(
                "leave the home as it is and make the directory for the account (`{}`), or set \
                 `layout = \"system\"`",
                install(account, "0700", path)
            ),
            _ => "leave the home as it is and set `layout = \"system\"`".to_owned(),
        }
    }

    /// Opens a directory below this one; `None` if it does not exist.
    fn child(&self, name: &OsStr) -> Result<Option<Self>, HostError> {
        let path = self.path.join(name);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => Ok(Some(Self {
                fd,
                path,
                account: self.account.clone(),
            })),
            Err(Errno::NOENT) => Ok(None),
            // With O_PATH the kernel reports a link as "not a directory".
            Err(errno @ (Errno::NOTDIR | Errno::LOOP)) => match self.entry(name)? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
                    Err(wrong_kind(path, &stat, "directory"))
                }
                // It was replaced between the two checks.
                _ => Err(self.failed("open the directory", name, errno)),
            },
            Err(errno) => Err(self.failed("open the directory", name, errno)),
        }
    }

    /// Makes a directory below this one, durably, and opens it. `account` is its owner, if that is
    /// not us.
    fn make(&self, name: &OsStr, mode: Mode, account: Option<&Account>) -> Result<Self, HostError> {
        match rustix::fs::mkdirat(&self.fd, name, mode) {
            Ok(()) => {
                // The umask may have removed bits. If the name is a link by now, the directory's
                // owner made it one, and this thread can do no more than that owner.
                retry_on_intr(|| rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty()))
                    .map_err(|errno| self.failed("set the mode of", name, errno))?;
                if let Err(fault) = selinux::restore(&self.path.join(name), account) {
                    // Otherwise the next cycle would find the directory, take it for an existing
                    // one and not set its label.
                    let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR);
                    return Err(fault);
                }
                let parent = self.readable()?;
                retry_on_intr(|| rustix::fs::fsync(&parent))
                    .map_err(|errno| self.failed("sync the directory", OsStr::new(""), errno))?;
            }
            // Somebody else has just made it. It is checked like any other.
            Err(Errno::EXIST) => {}
            Err(errno) => {
                if let (Errno::PERM, Ok(opened)) = (errno, self.readable()) {
                    flags::refuse_immutable(&opened, &self.path)?;
                }
                return Err(self.failed(MAKE, name, errno));
            }
        }
        self.child(name)?
            .ok_or_else(|| self.failed("open the directory", name, Errno::NOENT))
    }
}

/// The file's own name, the last of a path.
pub(super) fn file_name(path: &Path) -> Result<&OsStr, HostError> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Ok(name),
        _ => Err(refused(path, "it must end in the name of a file")),
    }
}

/// The error for an entry that is a link, or not of the kind `wanted`.
pub(super) fn wrong_kind(path: PathBuf, stat: &Stat, wanted: &'static str) -> HostError {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => return HostError::Link { path, wanted },
        FileType::RegularFile => "regular file",
        FileType::Directory => "directory",
        FileType::Fifo => "FIFO",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Unknown => "file of unknown kind",
    };
    HostError::Kind { path, kind, wanted }
}

fn refused(path: &Path, fault: &'static str) -> HostError {
    HostError::Path {
        path: path.to_owned(),
        fault,
    }
}

fn names<'a>(
    components: impl Iterator<Item = Component<'a>>,
    path: &Path,
    fault: &'static str,
) -> Result<Vec<&'a OsStr>, HostError> {
    components
        .map(|component| match component {
            Component::Normal(name) => Ok(name),
            _ => Err(refused(path, fault)),
        })
        .collect()
}

//! Walks to a file by descriptor, component by component, following no symbolic link.
//!
//! If the kernel gets a whole path, the owner of one of its directories can redirect it
//! (CVE-2011-3870, CVE-2012-1054). Each step here is relative to a directory that is already open.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Gid, Group, Uid};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::{Account, HostError, enforcement, flags, selinux};

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

/// More symbolic links than any path to a home has.
const MAX_LINKS: usize = 40;

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
                    "its directory {directory} belongs to uid {uid} with mode {mode:04o}: {remedy}{}",
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
        let (user, directory) = (&account.user, self.path.display());
        if owner == account.uid {
            return format!("`chmod u+rwx {directory}`");
        }
        if self.path != account.home {
            return format!(
                "`chown {user} {directory} && chmod u+rwx {directory}`, or set `layout = \"system\"`"
            );
        }
        match operation {
            MAKE => format!(
                "leave the home as it is and make the directory for the account (`{}`), or set `layout = \"system\"`",
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

/// Walks from the account's home to the directory of its file, as the calling thread's identity.
/// `None`: a directory on the path does not exist. The home and existing directories keep their
/// owner and mode.
pub(super) fn below_home(
    account: &Account,
    below: &Path,
    absent: Absent,
) -> Result<Option<Directory>, HostError> {
    let mut directory = home(account)?;
    for name in names_below(below)? {
        directory = match (directory.child(name)?, absent) {
            (Some(child), _) => child,
            (None, Absent::Leave) => return Ok(None),
            (None, Absent::Make) => directory.make(name, Mode::RWXU, Some(account))?,
        };
        roots_alone(&directory, account)?;
    }
    Ok(Some(directory))
}

/// Walks the same path as far as it exists. Makes nothing.
pub(super) fn reach_below_home(account: &Account, below: &Path) -> Result<Reach, HostError> {
    let mut directory = home(account)?;
    for name in names_below(below)? {
        directory = match directory.child(name)? {
            Some(child) => child,
            None => {
                return Ok(Reach {
                    directory,
                    missing: Some(name.to_owned()),
                });
            }
        };
        roots_alone(&directory, account)?;
    }
    Ok(Reach {
        directory,
        missing: None,
    })
}

/// Opens the account's home. Links on the path *to* it are the administrator's (/home on another
/// disk); below it they are the user's.
fn home(account: &Account) -> Result<Directory, HostError> {
    if !account.home.is_absolute() {
        let fault = "a home must be an absolute path: give the account one (`usermod -d DIRECTORY USER`), or set \
                     `layout = \"system\"`";
        return Err(refused(&account.home, fault));
    }
    if account.uid == 0 {
        return roots_home(account);
    }
    let home = match fs::canonicalize(&account.home) {
        Ok(home) => home,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            let command = install(account, "0755", &account.home);
            let remedy =
                format!("it does not exist: make it (`{command}`), or set `layout = \"system\"`");
            let (operation, path) = ("find the home", account.home.clone());
            return Err(HostError::Io {
                operation,
                path,
                remedy,
                source: fault,
            });
        }
        Err(fault) => return Err(HostError::io("find the home", &account.home, fault)),
    };
    if home == Path::new("/") {
        let fault = "the home leads to `/`, which is nobody's own: set `layout = \"system\"`, or name the account's `file`";
        return Err(refused(&account.home, fault));
    }
    let directory = Directory::open(&home)?;
    Ok(directory.of(account))
}

/// Opens the home of an account with uid 0, starting at `/`. Root can follow a link anywhere, so
/// each directory on the path must be writable only by root, including those that a link leads
/// through. Then each link is root's own, too.
fn roots_home(account: &Account) -> Result<Directory, HostError> {
    let mut directory = Directory::open(Path::new("/"))?;
    roots_alone(&directory, account)?;
    let mut rest: Vec<OsString> = reversed(&account.home);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let found = directory
            .entry(&name)?
            .ok_or_else(|| directory.failed("find the home", &name, Errno::NOENT))?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            links += 1;
            if links > MAX_LINKS {
                return Err(directory.failed("find the home", &name, Errno::LOOP));
            }
            let target = retry_on_intr(|| rustix::fs::readlinkat(&directory.fd, &name, Vec::new()))
                .map_err(|errno| directory.failed("read the link", &name, errno))?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                directory = Directory::open(Path::new("/"))?;
            }
            rest.extend(reversed(&target));
            continue;
        }
        let child = if name == ".." {
            directory.parent()?
        } else {
            directory.child(&name)?
        };
        directory = child.ok_or_else(|| directory.failed("find the home", &name, Errno::NOENT))?;
        roots_alone(&directory, account)?;
    }
    let mode = rustix::fs::fstat(&directory.fd).map_or(0o700, |found| found.st_mode & 0o777);
    if mode == 0 && directory.entry(OsStr::new(".")).is_err() {
        return Err(HostError::HiddenHome {
            path: directory.path,
        });
    }
    if directory.path == Path::new("/") {
        return Err(refused(
            &account.home,
            "the home leads to `/`: set `layout = \"system\"`, or name the account's `file`",
        ));
    }
    Ok(directory.of(account))
}

/// The names of a path, the last one first.
fn reversed(path: &Path) -> Vec<OsString> {
    let names = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut names: Vec<_> = names.map(|part| part.as_os_str().to_owned()).collect();
    names.reverse();
    names
}

/// Checks that only root can change what a directory on the path to a file of root's holds.
fn roots_alone(directory: &Directory, account: &Account) -> Result<(), HostError> {
    if account.uid != 0 {
        return Ok(());
    }
    let stat = rustix::fs::fstat(&directory.fd)
        .map_err(|errno| HostError::io("look at", &directory.path, errno))?;
    let mode = stat.st_mode & 0o7777;
    let fault = if stat.st_uid != 0 {
        format!("belongs to uid {}", stat.st_uid)
    } else if mode & 0o022 != 0 {
        format!("can be written by others (mode {mode:04o})")
    } else {
        return Ok(());
    };
    Err(HostError::NotRootsAlone {
        path: directory.path.clone(),
        account: account.user.to_string(),
        fault,
    })
}

/// The command that makes a directory for the account.
fn install(account: &Account, mode: &str, path: &Path) -> String {
    let group = Group::from_gid(Gid::from_raw(account.gid)).ok().flatten();
    let group = group.map_or_else(|| account.gid.to_string(), |group| group.name);
    format!(
        "install -d -o {} -g {group} -m {mode} {}",
        account.user,
        path.display()
    )
}

fn names_below(below: &Path) -> Result<Vec<&OsStr>, HostError> {
    let fault = "a path below the home must have plain names only, no `..`";
    names(below.parent().unwrap_or(below).components(), below, fault)
}

/// Walks from `/` to the directory of a file that only root may change. Makes only the last
/// directory.
pub(super) fn system(path: &Path, absent: Absent) -> Result<Option<Directory>, HostError> {
    match (reach_system(path)?, absent) {
        (
            Reach {
                directory,
                missing: None,
            },
            _,
        ) => Ok(Some(directory)),
        (
            Reach {
                missing: Some(_), ..
            },
            Absent::Leave,
        ) => Ok(None),
        (
            Reach {
                directory,
                missing: Some(name),
            },
            Absent::Make,
        ) => {
            let made = directory.make(&name, Mode::from_raw_mode(0o755), None)?;
            trusted(&made, true)?;
            Ok(Some(made))
        }
    }
}

/// Walks the same path as far as it exists. Makes nothing.
pub(super) fn reach_system(path: &Path) -> Result<Reach, HostError> {
    let fault = "it must be an absolute path of plain names, no `..`";
    let mut components = path.parent().unwrap_or(path).components();
    if components.next() != Some(Component::RootDir) {
        return Err(refused(path, fault));
    }
    let mut names = names(components, path, fault)?.into_iter().peekable();
    let mut directory = Directory::open(Path::new("/"))?;
    trusted(&directory, names.peek().is_none())?;
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        directory = match directory.child(name)? {
            Some(child) => child,
            None if last => {
                return Ok(Reach {
                    directory,
                    missing: Some(name.to_owned()),
                });
            }
            None => return Err(directory.failed("open the directory", name, Errno::NOENT)),
        };
        trusted(&directory, last)?;
    }
    Ok(Reach {
        directory,
        missing: None,
    })
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

/// Checks that only root (or, without root, the current user) can change what the directory holds.
fn trusted(directory: &Directory, last: bool) -> Result<(), HostError> {
    let stat = rustix::fs::fstat(&directory.fd)
        .map_err(|errno| HostError::io("look at", &directory.path, errno))?;
    let path = directory.path.clone();
    if stat.st_uid != 0 && stat.st_uid != Uid::effective().as_raw() {
        // A directory that somebody works in, such as a home, must stay theirs.
        let remedy = format!(
            "name a `file` in a directory of root's, or, if nobody works in this one, `chown root {}`",
            path.display()
        );
        return Err(HostError::Untrusted {
            path,
            fault: format!("owned by uid {}", stat.st_uid),
            remedy,
        });
    }
    // In a sticky directory others can add names, but not remove or rename ours. The file itself
    // must not be in one: somebody else could create it first, and sshd would not read it
    // (StrictModes).
    if stat.st_mode & 0o022 != 0 && (last || stat.st_mode & 0o1000 == 0) {
        let remedy = match stat.st_mode & 0o1000 {
            0 => format!("`chmod go-w {}`", path.display()),
            // A directory for everybody, such as /tmp, must stay so.
            _ => "name a `file` in a directory of root's".to_owned(),
        };
        let fault = format!("writable by others (mode {:04o})", stat.st_mode & 0o7777);
        return Err(HostError::Untrusted {
            path,
            fault,
            remedy,
        });
    }
    Ok(())
}

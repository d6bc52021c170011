//! The way to a file below an account's home.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::{Gid, Group};
use rustix::fs::{FileType, Mode};
use rustix::io::{Errno, retry_on_intr};

use super::{Absent, Directory, Reach, names, refused};
use crate::host::{Account, HostError};

/// More symbolic links than any path to a home has.
const MAX_LINKS: usize = 40;

/// Walks from the account's home to the directory of its file, as the calling thread's identity.
/// `None`: a directory on the path does not exist. The home and existing directories keep their
/// owner and mode.
pub(in crate::host) fn below_home(
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
pub(in crate::host) fn reach_below_home(
    account: &Account,
    below: &Path,
) -> Result<Reach, HostError> {
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
        let fault = "a home must be an absolute path: give the account one (`usermod -d DIRECTORY \
                     USER`), or set `layout = \"system\"`";
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
            let operation = "find the home";
            let path = account.home.clone();
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
        let fault = "the home leads to `/`, which is nobody's own: set `layout = \"system\"`, or \
                     name the account's `file`";
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
pub(super) fn install(account: &Account, mode: &str, path: &Path) -> String {
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

//! The way to a file outside the homes, in directories that only root may change.

use std::path::{Component, Path};

use nix::unistd::Uid;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::{Absent, Directory, Reach, names, refused};
use crate::host::HostError;

/// Walks from `/` to the directory of a file that only root may change. Makes only the last
/// directory.
pub(in crate::host) fn system(path: &Path, absent: Absent) -> Result<Option<Directory>, HostError> {
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
pub(in crate::host) fn reach_system(path: &Path) -> Result<Reach, HostError> {
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

/// Checks that only root (or, without root, the current user) can change what the directory holds.
fn trusted(directory: &Directory, last: bool) -> Result<(), HostError> {
    let stat = rustix::fs::fstat(&directory.fd)
        .map_err(|errno| HostError::io("look at", &directory.path, errno))?;
    let path = directory.path.clone();
    if stat.st_uid != 0 && stat.st_uid != Uid::effective().as_raw() {
        // A directory that somebody works in, such as a home, must stay theirs.
        let remedy = format!(
            "name a `file` in a directory of root's, or, if nobody works in this one, `chown root \
             {}`",
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

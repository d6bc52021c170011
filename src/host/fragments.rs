//! Reads `~/.ssh/authorized_keys.d`, in which the user can put anything. Each entry is checked
//! before it is opened, and entries on which update-ssh-keys would fail or hang are reported.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Dir;
use rustix::io::Errno;

use super::read::{self, WantedFile};
use super::temporary::sweep;
use super::walk::{Absent, Directory, below_home};
use super::{Account, HostError, MAX_FILE, Snapshot, refresh};

/// The directory of fragments, and `authorized_keys` beside it.
pub(super) const DIRECTORY: &str = ".ssh/authorized_keys.d";
pub(super) const GENERATED: &str = ".ssh/authorized_keys";
/// The name that temporary files start with. They are in `.ssh`, because update-ssh-keys takes
/// everything in the directory itself for keys, even leftovers.
pub(super) const STAGED_AS: &str = "authorized_keys.d";
/// Nodes usually have three.
const MAX_ENTRIES: usize = 128;
/// The most bytes that all entries together may have.
const MAX_ALL: u64 = 4 << 20;

/// What was found in an account's `authorized_keys.d` and beside it.
#[derive(Debug)]
pub struct FoundFragments {
    /// The target's fragment.
    pub ours: Snapshot,
    /// The other readable fragments, by name.
    pub others: Vec<(String, Snapshot)>,
    /// `authorized_keys`.
    pub generated: Snapshot,
    /// What blocks the directory: update-ssh-keys would fail or hang on it.
    pub obstacles: Vec<HostError>,
    /// The directory exists.
    pub exists: bool,
    /// update-ssh-keys is installed.
    pub installed: bool,
}

/// What a fragment must be like. update-ssh-keys rewrites each with the umask of the user who runs
/// it, so others may read it, and with the group that the directory gives it.
pub(super) fn wanted(account: &Account) -> WantedFile {
    WantedFile {
        uid: account.uid,
        gid: None,
        mode: 0o600,
        tolerated: 0o044,
        limit: MAX_FILE,
    }
}

/// Reads all of it as the calling thread's identity.
pub(super) fn read_all(
    account: &Account,
    fragment: &str,
    sweeps: bool,
    repairs: bool,
) -> Result<FoundFragments, HostError> {
    let repairs = sweeps && repairs;
    let mut found = FoundFragments {
        ours: Snapshot::absent(),
        others: Vec::new(),
        generated: Snapshot::absent(),
        obstacles: Vec::new(),
        exists: false,
        installed: refresh::installed().is_some(),
    };
    let wanted = wanted(account);
    let Some(ssh) = below_home(account, Path::new(GENERATED), Absent::Leave)? else {
        return Ok(found);
    };
    if sweeps {
        sweep(&ssh, OsStr::new(STAGED_AS));
        sweep(&ssh, OsStr::new("authorized_keys"));
    }
    found.generated = read::file(&ssh, OsStr::new("authorized_keys"), &wanted, repairs)?;
    let below = Path::new(DIRECTORY).join(fragment);
    let Some(directory) = below_home(account, &below, Absent::Leave)? else {
        return Ok(found);
    };
    found.exists = true;
    found.ours = read::file(&directory, OsStr::new(fragment), &wanted, repairs)?;
    let mut total = found.ours.content.as_deref().unwrap_or_default().len();
    for name in names(&directory)? {
        if name == fragment {
            continue;
        }
        let Some(text) = name.to_str() else {
            let fault = "has a name that is not UTF-8 text";
            found.obstacles.push(obstacle(&directory, &name, fault));
            continue;
        };
        match read::file(&directory, &name, &wanted, repairs) {
            Ok(snapshot) => {
                let content = snapshot.content.as_deref().unwrap_or_default();
                total += content.len();
                if std::str::from_utf8(content).is_err() {
                    let fault = "is not UTF-8 text";
                    found.obstacles.push(obstacle(&directory, &name, fault));
                }
                found.others.push((text.to_owned(), snapshot));
            }
            Err(fault) => found.obstacles.push(fault),
        }
        if u64::try_from(total).map_or(true, |total| total > MAX_ALL) {
            return Err(HostError::TooLarge {
                path: directory.path.clone(),
                limit: MAX_ALL,
            });
        }
    }
    found.others.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

fn names(directory: &Directory) -> Result<Vec<OsString>, HostError> {
    let entries = match Dir::new(directory.readable()?) {
        Ok(entries) => entries,
        Err(errno) => return Err(cannot_list(directory, errno)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|errno| cannot_list(directory, errno))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if names.len() == MAX_ENTRIES {
            return Err(obstacle(
                directory,
                OsStr::new(""),
                "has more than 128 entries",
            ));
        }
        names.push(name.to_owned());
    }
    names.sort();
    Ok(names)
}

fn cannot_list(directory: &Directory, errno: Errno) -> HostError {
    directory.failed("list", OsStr::new(""), errno)
}

fn obstacle(directory: &Directory, name: &OsStr, fault: &'static str) -> HostError {
    let path = if name.is_empty() {
        directory.path.clone()
    } else {
        directory.path.join(name)
    };
    HostError::Obstacle { path, fault }
}

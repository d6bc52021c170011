//! sshd's StrictModes (`safe_path` in misc.c): a user who can change the file or a directory above
//! it could grant themselves access.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group};

use super::Account;

/// Why StrictModes would reject a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrictFault {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub fault: String,
    /// With Debian's patch, sshd accepts write permission for the account's own group if it has no
    /// other member.
    pub debian_accepts: bool,
}

impl fmt::Display for StrictFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.fault)
    }
}

/// Checks the file and every directory of its real path, up to the home or, if the file is outside,
/// up to `/`. A file that does not exist yet is judged by the directory in which it will be made.
pub fn faults(file: &Path, account: &Account) -> Vec<StrictFault> {
    let home = fs::canonicalize(&account.home).ok();
    let Some(real) = file
        .ancestors()
        .find_map(|path| fs::canonicalize(path).ok())
    else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for path in real.ancestors() {
        let Ok(found) = fs::metadata(path) else {
            continue;
        };
        if path == file && !found.is_file() {
            let fault = "is not a regular file: sshd ignores it".to_owned();
            faults.push(StrictFault {
                path: path.to_owned(),
                fault,
                debian_accepts: false,
            });
        }
        let uid = found.uid();
        let mode = found.mode() & 0o7777;
        if uid != 0 && uid != account.uid {
            let owner = match home.as_deref() {
                Some(home) if path.starts_with(home) => format!("{} or root", account.user),
                _ => "root".to_owned(),
            };
            let fault = format!(
                "is owned by uid {uid}: sshd refuses it; chown it to {owner}, or name another \
                 `file`"
            );
            faults.push(StrictFault {
                path: path.to_owned(),
                fault,
                debian_accepts: false,
            });
        }
        if mode & 0o022 != 0 {
            let debian_accepts = mode & 0o002 == 0 && own_group(found.gid(), account);
            let inside = home
                .as_deref()
                .is_some_and(|home| path != home && path.starts_with(home));
            let fault = if mode & 0o1000 != 0 && !inside {
                // For example /tmp, which must stay writable for everybody.
                format!(
                    "is a directory for everybody (mode {mode:04o}): sshd refuses what is in it; \
                     name another `file`"
                )
            } else if debian_accepts {
                format!(
                    "can be written by its group (mode {mode:04o}): Debian's sshd accepts that of \
                     a private group, others refuse; chmod g-w"
                )
            } else {
                format!("can be written by others (mode {mode:04o}): sshd refuses it; chmod go-w")
            };
            faults.push(StrictFault {
                path: path.to_owned(),
                fault,
                debian_accepts,
            });
        }
        if Some(path) == home.as_deref() {
            break;
        }
    }
    faults
}

fn own_group(gid: u32, account: &Account) -> bool {
    let patched = Path::new("/etc/debian_version").exists();
    let members = Group::from_gid(Gid::from_raw(gid))
        .ok()
        .flatten()
        .map(|group| group.mem);
    patched
        && gid == account.gid
        && members.is_some_and(|m| m.iter().all(|member| member == account.user.as_str()))
}

//! SELinux labels: a directory that we make gets the label that the policy has for its path;
//! otherwise sshd may not be able to read it.
//!
//! Files need nothing: they inherit their label from the directory in which they are made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::lgetxattr;

pub use super::enforcement::enforced;
use super::{Account, HostError, program};

const RESTORECON: [&str; 3] = [
    "/usr/sbin/restorecon",
    "/sbin/restorecon",
    "/usr/local/sbin/restorecon",
];
const MATCHPATHCON: [&str; 3] = [
    "/usr/sbin/matchpathcon",
    "/sbin/matchpathcon",
    "/usr/local/sbin/matchpathcon",
];
/// The programs read a policy's file contexts, some megabytes.
const PATIENCE: Duration = Duration::from_secs(3);

/// Gives a new directory the label of its path. If the directory belongs to an account, this runs
/// as the account, so that it can do no more than the account itself through a link in the
/// directory's place.
pub(super) fn restore(path: &Path, account: Option<&Account>) -> Result<(), HostError> {
    let (Some(_), Some(restorecon)) = (enforced(), program::installed(RESTORECON)) else {
        return Ok(());
    };
    let mut command = program::command(restorecon);
    if let Some(account) = account {
        program::as_account(&mut command, account);
    }
    command.arg("-F").arg(path);
    let said = match program::run(&mut command, PATIENCE, account) {
        Ok(answer) if answer.status.success() => return Ok(()),
        Ok(answer) => format!("{} ({})", answer.last_line(), answer.status),
        Err(fault) => fault.to_string(),
    };
    Err(HostError::Program {
        program: restorecon,
        account: path.display().to_string(),
        said,
    })
}

/// A label that differs from the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mislabelled {
    /// The file or directory.
    pub path: PathBuf,
    /// Its type.
    pub is: String,
    /// The type that the policy has for its path.
    pub wanted: String,
}

/// Compares the label of the file, or of the nearest existing directory above it, with the policy.
/// The error says why that could not be done. Only types are compared: users and ranges do not
/// prevent sshd from reading.
pub fn check(path: &Path) -> Result<Option<Mislabelled>, String> {
    let path = path
        .ancestors()
        .find(|path| path.symlink_metadata().is_ok())
        .unwrap_or(path);
    let mut label = [0; 512];
    let length = lgetxattr(path, "security.selinux", &mut label).map_err(|errno| {
        format!(
            "{} has no label ({errno}); `restorecon -v {0}`",
            path.display()
        )
    })?;
    let label = String::from_utf8_lossy(label.get(..length).unwrap_or_default()).into_owned();
    let tool = program::installed(MATCHPATHCON).ok_or(
        "matchpathcon is not installed (libselinux-utils), which knows what the label must be",
    )?;
    let answer = program::run(program::command(tool).arg("-n").arg(path), PATIENCE, None)
        .map_err(|fault| format!("{tool}: {fault}"))?;
    let is = kind(&label);
    let wanted = kind(&answer.stdout);
    if !answer.status.success() || wanted.is_empty() {
        return Err(format!("{tool}: {}", answer.last_line()));
    }
    let wrong = wanted != "<<none>>" && is != wanted;
    Ok(wrong.then(|| Mislabelled {
        path: path.to_owned(),
        is: is.to_owned(),
        wanted: wanted.to_owned(),
    }))
}

/// The type in `user:role:type:range`. A text of another form is returned unchanged.
fn kind(label: &str) -> &str {
    let label = label.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    label.split(':').nth(2).unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_the_third_part() {
        assert_eq!(kind("unconfined_u:object_r:ssh_home_t:s0\0"), "ssh_home_t");
        assert_eq!(
            kind("system_u:object_r:ssh_home_t:s0-s0:c0.c1023\n"),
            "ssh_home_t"
        );
        assert_eq!(kind("<<none>>\n"), "<<none>>");
    }
}

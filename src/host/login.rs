//! What the system knows about an account, beside its files, that decides whether sshd lets it log
//! in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{Gid, Group, User, getgrouplist};

use super::program::{self, ProgramOutput};
use super::{Account, HostError};

/// The longest that the name service may take for a shadow entry.
const PATIENCE: Duration = Duration::from_secs(5);

/// An account's state in NSS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginState {
    /// The names of all its groups.
    pub groups: Vec<String>,
    /// Its login shell.
    pub shell: Shell,
    /// Its shadow entry; `None` if it has none, or the running user may not read it.
    pub shadow: Option<Shadow>,
}

/// A login shell, and whether sshd can start it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shell {
    /// As NSS has it; an empty path means `/bin/sh`.
    pub path: PathBuf,
    /// Why sshd refuses it, if it does.
    pub fault: Option<&'static str>,
}

/// What a shadow entry says about logins. Times are days since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shadow {
    /// The password field begins with `!`.
    pub locked: bool,
    /// The day of the last password change; 0 requires a new password at the next login.
    pub changed: Option<i64>,
    /// For how many days a password is valid.
    pub max: Option<i64>,
    /// For how many days after that it can still be changed.
    pub inactive: Option<i64>,
    /// The day on which the account expires.
    pub expires: Option<i64>,
}

/// May block as long as the NSS services do.
pub(super) fn look_up(account: &Account) -> Result<LoginState, HostError> {
    let user = account.user.as_str();
    match user_and_groups(account) {
        Ok((shell, groups)) => Ok(LoginState {
            groups,
            shell: Shell::of(shell),
            shadow: shadow(user),
        }),
        Err(errno) => Err(HostError::Lookup {
            account: user.to_owned(),
            source: errno.into(),
        }),
    }
}

/// The account's shell, which is empty if the account is not known, and the names of its groups.
fn user_and_groups(account: &Account) -> nix::Result<(PathBuf, Vec<String>)> {
    let user = account.user.as_str();
    let shell = match User::from_name(user)? {
        Some(found) => found.shell,
        None => PathBuf::new(),
    };
    let name = std::ffi::CString::new(user).unwrap_or_default();
    let mut groups = Vec::new();
    for gid in getgrouplist(&name, Gid::from_raw(account.gid))? {
        if let Ok(Some(group)) = Group::from_gid(gid) {
            groups.push(group.name);
        }
    }
    Ok((shell, groups))
}

impl Shell {
    /// Applies the rules of `allowed_user` in sshd's auth.c.
    fn of(path: PathBuf) -> Self {
        let path = if path.as_os_str().is_empty() {
            PathBuf::from("/bin/sh")
        } else {
            path
        };
        let fault = match fs::metadata(&path) {
            Err(_) => Some("does not exist"),
            Ok(found) if !found.is_file() || found.permissions().mode() & 0o111 == 0 => {
                Some("is not an executable file")
            }
            Ok(_) => None,
        };
        Self { path, fault }
    }
}

/// Uses getent, because the name service knows more than /etc/shadow.
fn shadow(user: &str) -> Option<Shadow> {
    let getent = program::installed(["/usr/bin/getent", "/bin/getent"])?;
    let mut command = program::command(getent);
    command.args(["shadow", "--", user]);
    let answer = program::run(&mut command, PATIENCE, None).ok()?;
    let ProgramOutput { status, stdout, .. } = answer;
    if status.success() {
        Shadow::parse(stdout.lines().next()?)
    } else {
        None
    }
}

impl Shadow {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let locked = fields.get(1)?.starts_with('!');
        Some(Self {
            locked,
            changed: days(&fields, 2),
            max: days(&fields, 4),
            inactive: days(&fields, 6),
            expires: days(&fields, 7),
        })
    }
}

/// A number of days; `None` if the field is missing, empty or negative.
fn days(fields: &[&str], at: usize) -> Option<i64> {
    match fields.get(at)?.parse() {
        Ok(days) if days >= 0 => Some(days),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_shadow_entry_is_read_by_its_fields() {
        let read = |line| Shadow::parse(line).unwrap();
        assert_eq!(
            read("a:*:19000::::::"),
            Shadow {
                changed: Some(19_000),
                ..Shadow::default()
            }
        );
        let full = Shadow {
            locked: true,
            changed: Some(0),
            max: Some(90),
            inactive: Some(7),
            expires: Some(1),
        };
        assert_eq!(read("a:!$6$x:0:0:90:7:7:1:"), full);
        assert_eq!(read("a:x:-1:::::-1:"), Shadow::default());
        assert_eq!(Shadow::parse("a"), None);
    }

    #[test]
    fn a_shell_is_an_executable_file_and_none_means_sh() {
        assert_eq!(Shell::of(PathBuf::new()).path, Path::new("/bin/sh"));
        for (path, fault) in [
            ("/bin/sh", false),
            ("/bin/none", true),
            ("/etc", true),
            ("/etc/passwd", true),
        ] {
            assert_eq!(Shell::of(path.into()).fault.is_some(), fault, "{path}");
        }
    }
}

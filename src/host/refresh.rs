//! update-ssh-keys (CoreOS, Flatcar), which makes `authorized_keys` of the files in `authorized_keys.d`.
//!
//! Started as root it would change to the user by itself, but keep root's groups and real uid while it works in a
//! directory that the user can change under it. So it is started as the user, which it permits, without any privilege.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use rustix::io::retry_on_intr;

use super::walk::{Absent, Directory, below_home};
use super::{Account, HostError, program, read};

/// Where it is looked for, in this order.
const PROGRAMS: [&str; 3] = ["/usr/bin/update-ssh-keys", "/usr/local/bin/update-ssh-keys", "/opt/bin/update-ssh-keys"];

/// Without an action it rebuilds the file; what it makes on the way is for the user alone.
const SCRIPT: &str = "umask 077 && exec \"$0\" -u \"$1\"";

/// The installed program.
pub(super) fn installed() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|program| Path::new(program).is_file())
}

/// Runs it for the account. A good end proves nothing: what it made is to be read.
pub(super) fn run(account: &Account, limit: Duration) -> Result<(), HostError> {
    let Some(program) = installed() else { return Ok(()) };
    let mut command = program::command("/bin/sh");
    program::as_account(&mut command, account);
    command.args(["-c", SCRIPT, program, account.user.as_str()]);
    let failed = |said: String| HostError::Program { program, account: account.user.to_string(), said };
    match program::run(&mut command, limit, Some(account)) {
        Ok(answer) if answer.status.success() => Ok(()),
        Ok(answer) => Err(failed(format!("{} ({})", answer.last_line(), answer.status))),
        Err(fault) => Err(failed(fault.to_string())),
    }
}

/// Makes durable what it wrote, for its own writes are not in every version; as the calling thread's identity.
pub(super) fn make_durable(account: &Account, fragment: &OsStr) -> Result<(), HostError> {
    let below = Path::new(".ssh/authorized_keys.d").join(fragment);
    if let Some(directory) = below_home(account, &below, Absent::Leave)? {
        sync(&directory, fragment)?;
    }
    if let Some(directory) = below_home(account, Path::new(".ssh/authorized_keys"), Absent::Leave)? {
        sync(&directory, OsStr::new("authorized_keys"))?;
    }
    Ok(())
}

fn sync(directory: &Directory, name: &OsStr) -> Result<(), HostError> {
    let opened = directory.readable()?;
    if let Some(found) = directory.entry(name)?
        && read::regular(directory, name, &found).is_ok()
        && let Ok(file) = read::open(directory, name)
    {
        retry_on_intr(|| rustix::fs::fsync(&file)).map_err(|errno| directory.failed("sync", name, errno))?;
    }
    retry_on_intr(|| rustix::fs::fsync(&opened))
        .map_err(|errno| directory.failed("sync the directory", OsStr::new(""), errno))
}

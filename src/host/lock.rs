//! The lock of update-ssh-keys, which writes the same file: `~/.authorized_keys.d.lock`, in the
//! home, not in `.ssh`.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::walk::{Absent, below_home};
use super::{Account, HostError, read};

pub(super) const NAME: &str = ".authorized_keys.d.lock";
const POLL: Duration = Duration::from_millis(20);

/// Whether the account's home has the lock file.
pub(super) fn exists(account: &Account) -> Result<bool, HostError> {
    match below_home(account, Path::new(NAME), Absent::Leave)? {
        Some(home) => Ok(home.entry(OsStr::new(NAME))?.is_some()),
        None => Ok(false),
    }
}

/// Takes the lock if the file exists, and holds it until the descriptor is dropped. The file is
/// created only if update-ssh-keys, which would create it, is installed: the file is a sign of that
/// program.
pub(super) fn take(
    account: &Account,
    wait: Duration,
    absent: Absent,
) -> Result<Option<OwnedFd>, HostError> {
    let name = OsStr::new(NAME);
    let Some(home) = below_home(account, Path::new(NAME), Absent::Leave)? else {
        return Ok(None);
    };
    // Network file systems lock exclusively only files that are open for writing.
    let mut flags =
        OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match (home.entry(name)?, absent) {
        (Some(found), _) => read::regular(&home, name, &found)?,
        (None, Absent::Leave) => return Ok(None),
        (None, Absent::Make) => flags |= OFlags::CREATE,
    }
    let mode = Mode::RUSR | Mode::WUSR;
    let fd = match retry_on_intr(|| rustix::fs::openat(&home.fd, name, flags, mode)) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(home.failed("open the lock", name, errno)),
    };
    let started = Instant::now();
    loop {
        // Polled with a limit, because a hostile user could hold the lock for ever.
        match retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => return Ok(Some(fd)),
            Err(Errno::WOULDBLOCK) if started.elapsed() < wait => thread::sleep(POLL),
            Err(Errno::WOULDBLOCK) => {
                return Err(HostError::Locked {
                    path: home.path.join(name),
                    waited: started.elapsed(),
                });
            }
            Err(errno) => return Err(home.failed("lock", name, errno)),
        }
    }
}

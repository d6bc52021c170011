//! The lock of update-ssh-keys, which writes the same file: `~/.authorized_keys.d.lock`, in the home, not in `.ssh`.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use super::walk::{Absent, below_home};
use super::{Account, HostError, read};

const NAME: &str = ".authorized_keys.d.lock";
const POLL: Duration = Duration::from_millis(20);

/// Takes the lock where the file exists, and holds it until the descriptor is dropped. The file is never made: it is
/// a sign of a program that is not installed everywhere.
pub(super) fn take(account: &Account, wait: Duration) -> Result<Option<OwnedFd>, HostError> {
    let name = OsStr::new(NAME);
    let Some(home) = below_home(account, Path::new(NAME), Absent::Leave)? else { return Ok(None) };
    let Some(found) = home.entry(name)? else { return Ok(None) };
    read::regular(&home, name, &found)?;
    // Network file systems lock exclusively only what is open for writing.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match retry_on_intr(|| rustix::fs::openat(&home.fd, name, flags, Mode::empty())) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(home.failed("open the lock", name, errno)),
    };
    let begun = Instant::now();
    loop {
        // Polled, for a lock that is waited for could be held by a hostile user for ever.
        match retry_on_intr(|| rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => return Ok(Some(fd)),
            Err(Errno::WOULDBLOCK) if begun.elapsed() < wait => thread::sleep(POLL),
            Err(Errno::WOULDBLOCK) => {
                return Err(HostError::Locked { path: home.path.join(name), waited: begun.elapsed() });
            }
            Err(errno) => return Err(home.failed("lock", name, errno)),
        }
    }
}

//! Whether the service runs, told by a lock on a file beside status.json: it ends with the process,
//! however that ends, and needs no service manager.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::file::make_directory;

const NAME: &str = "service.lock";
/// Two processes that look at the same time are in each other's way for an instant: longer if one
/// of them gets no CPU time.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// Holds the lock for as long as the file lives. It is shared, so that nobody who may read the file
/// keeps a service, or a second one with the same directory, from starting.
pub fn hold(directory: &Path) -> io::Result<File> {
    make_directory(directory)?;
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .custom_flags(flags);
    let file = options.open(directory.join(NAME))?;
    // Monitors are not root, whatever the umask is.
    file.set_permissions(Permissions::from_mode(0o644))?;
    for _ in 0..LOOKS {
        match file.try_lock_shared() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(fault)) => return Err(fault),
        }
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Whether a service holds the lock; `None` where there has been none since the boot, or it cannot
/// be seen.
pub fn is_held(directory: &Path) -> Option<bool> {
    let file = File::open(directory.join(NAME)).ok()?;
    for _ in 0..LOOKS {
        match file.try_lock() {
            Ok(()) => return Some(false),
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_seen_while_it_is_held_and_keeps_no_second_service_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made");
        assert_eq!(is_held(&path), None);
        let (one, two) = (hold(&path).unwrap(), hold(&path).unwrap());
        assert_eq!(is_held(&path), Some(true));
        drop(one);
        assert_eq!(is_held(&path), Some(true));
        drop(two);
        assert_eq!(is_held(&path), Some(false));
        assert!(hold(&path).is_ok());
    }
}

//! Shows whether the service runs, by a lock on a file beside status.json. The lock ends with the
//! process, however that ends, and needs no service manager.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;

use super::file::make_directory;

const NAME: &str = "service.lock";
/// Two processes that check at the same time see each other's lock for a moment, or longer if one
/// of them gets no CPU time, so each tries several times.
const LOOKS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// Takes the lock, which is held until the file is dropped. It is shared, so that a user who may
/// only read the file cannot keep a service, or a second one with the same directory, from
/// starting.
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
    // Monitors must be able to read it without root, whatever the umask is.
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

/// Whether a service holds the lock; `None` if there has been none since the boot, or the file
/// cannot be read.
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
        let one = hold(&path).unwrap();
        let two = hold(&path).unwrap();
        assert_eq!(is_held(&path), Some(true));
        drop(one);
        assert_eq!(is_held(&path), Some(true));
        drop(two);
        assert_eq!(is_held(&path), Some(false));
        assert!(hold(&path).is_ok());
    }
}

//! The file to which new content is written before it gets its name, and the sweep of those that
//! killed runs left behind.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};

use super::walk::Directory;
use super::{HostError, read};

/// The most entries that one sweep looks at: a user who creates millions of names in their
/// directory must not cost us more.
const SWEEP_LIMIT: usize = 4_096;
const RANDOM_DIGITS: usize = 16;

/// The operations, as errors name them.
pub(super) const CREATE: &str = "create a new file beside";
pub(super) const RENAME: &str = "rename the new file to";

/// A temporary file. It is removed when this is dropped, unless [`Temporary::publish`] succeeded.
#[derive(Debug)]
pub(super) struct Temporary<'a> {
    pub(super) file: File,
    pub(super) name: OsString,
    directory: &'a Directory,
    published: bool,
}

impl<'a> Temporary<'a> {
    /// Creates the file under a name that nobody can predict or prepare, accessible only to its
    /// owner.
    pub(super) fn create(directory: &'a Directory, target: &OsStr) -> Result<Self, HostError> {
        let mut random = [0_u8; RANDOM_DIGITS / 2];
        retry_on_intr(|| getrandom(&mut random, GetRandomFlags::empty())).map_err(|errno| {
            directory.failed("get random bytes for a name beside", target, errno)
        })?;
        let mut name = prefix(target);
        name.extend(format!("{:016x}", u64::from_ne_bytes(random)).into_bytes());
        let name = OsString::from_vec(name);

        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = retry_on_intr(|| rustix::fs::openat(&directory.fd, &name, flags, mode))
            // The error does not include the random name: an unchanged fault must keep its text, so
            // that it is reported only once.
            .map_err(|errno| directory.failed(CREATE, target, errno))?;
        // The lock shows a sweep by another process that the file is in use. Without locks (some
        // network file systems) the sweep may remove it; the rename then fails, and the next cycle
        // tries again.
        let _ = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive);
        Ok(Self {
            file: File::from(fd),
            name,
            directory,
            published: false,
        })
    }

    /// Gives the file its final place and name, replacing any file with that name.
    pub(super) fn publish(
        mut self,
        directory: &Directory,
        target: &OsStr,
    ) -> Result<(), HostError> {
        rustix::fs::renameat(&self.directory.fd, &self.name, &directory.fd, target)
            .map_err(|errno| directory.failed(RENAME, target, errno))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.published {
            // The caller already gets an error; a file that stays behind is swept in the next
            // cycle.
            let _ = retry_on_intr(|| {
                rustix::fs::unlinkat(&self.directory.fd, &self.name, AtFlags::empty())
            });
        }
    }
}

/// Removes what killed runs left beside the target. Errors are ignored: leftovers are never read.
pub(super) fn sweep(directory: &Directory, target: &OsStr) {
    let Ok(fd) = directory.readable() else { return };
    let Ok(entries) = Dir::new(fd) else { return };
    for entry in entries.take(SWEEP_LIMIT).flatten() {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if is_leftover(name, target) && abandoned(directory, name) {
            let _ = rustix::fs::unlinkat(&directory.fd, name, AtFlags::empty());
        }
    }
}

/// Whether it is a regular file that no running process is writing.
fn abandoned(directory: &Directory, name: &OsStr) -> bool {
    let Ok(Some(stat)) = directory.entry(name) else {
        return false;
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return false;
    }
    // A file that cannot be opened is not in use: files in use are readable for their owner.
    let Ok(fd) = read::open(directory, name) else {
        return true;
    };
    !matches!(
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive),
        Err(rustix::io::Errno::WOULDBLOCK)
    )
}

fn is_leftover(name: &OsStr, target: &OsStr) -> bool {
    let Some(random) = name.as_bytes().strip_prefix(prefix(target).as_slice()) else {
        return false;
    };
    random.len() == RANDOM_DIGITS && random.iter().all(is_digit)
}

fn is_digit(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// A name as long as that of any temporary file for the target.
pub(super) fn longest(target: &OsStr) -> OsString {
    let mut name = prefix(target);
    name.extend([b'0'; RANDOM_DIGITS]);
    OsString::from_vec(name)
}

fn prefix(target: &OsStr) -> Vec<u8> {
    [b".", target.as_bytes(), b".authkeysd-"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f17_only_names_of_our_own_making_are_leftovers() {
        let leftover = |name: &str| is_leftover(OsStr::new(name), OsStr::new("authorized_keys"));
        assert!(leftover(".authorized_keys.authkeysd-0123456789abcdef"));
        for other in [
            "authorized_keys",
            ".authorized_keys.authkeysd-",
            ".authorized_keys.authkeysd-0123456789ABCDEF",
            ".authorized_keys.authkeysd-0123456789abcdef0",
            ".authorized_keys.authkeysd-0123456789abcde",
            ".authorized_keys2.authkeysd-0123456789abcdef",
            "authorized_keys.authkeysd-0123456789abcdef",
        ] {
            assert!(!leftover(other), "{other}");
        }
    }
}

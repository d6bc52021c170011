//! The file that new content is written to before it gets its name, and the sweep of those that a
//! kill left behind.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};

use super::walk::Directory;
use super::{HostError, read};

/// Entries that one sweep looks at: a user who fills his directory with millions of names must not
/// cost us more.
const SWEEP_LIMIT: usize = 4_096;
const RANDOM_DIGITS: usize = 16;

/// What is done with it, as errors name it.
pub(super) const CREATE: &str = "create a new file beside";
pub(super) const RENAME: &str = "rename the new file to";

/// A temporary file; it is gone when this is dropped before [`Temporary::publish`] succeeded.
#[derive(Debug)]
pub(super) struct Temporary<'a> {
    pub(super) file: File,
    pub(super) name: OsString,
    directory: &'a Directory,
    published: bool,
}

impl<'a> Temporary<'a> {
    /// Makes the file under a name that nobody can predict or prepare, for its owner alone.
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
            // Without the random name: an unchanged fault is told in unchanged words, and so only
            // once.
            .map_err(|errno| directory.failed(CREATE, target, errno))?;
        // Tells a sweep by another process that this one is in use. Without locks (some network
        // file systems) the sweep may take it, the rename then fails, and the next cycle repeats
        // it.
        let _ = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive);
        Ok(Self {
            file: File::from(fd),
            name,
            directory,
            published: false,
        })
    }

    /// Gives the file its final place and name, over whatever bears it.
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
            // An error is on its way to the caller already; what stays behind is swept in the next
            // cycle.
            let _ = retry_on_intr(|| {
                rustix::fs::unlinkat(&self.directory.fd, &self.name, AtFlags::empty())
            });
        }
    }
}

/// Removes what killed runs left beside the target. Nothing about it is worth an error: leftovers
/// are never read.
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

/// A regular file that no living process is writing.
fn abandoned(directory: &Directory, name: &OsStr) -> bool {
    let regular = |mode| FileType::from_raw_mode(mode) == FileType::RegularFile;
    match directory.entry(name) {
        Ok(Some(stat)) if regular(stat.st_mode) => {}
        _ => return false,
    }
    // One that cannot be opened is no living one: those are their owner's to read.
    let Ok(fd) = read::open(directory, name) else {
        return true;
    };
    !matches!(
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive),
        Err(rustix::io::Errno::WOULDBLOCK)
    )
}

fn is_leftover(name: &OsStr, target: &OsStr) -> bool {
    name.as_bytes()
        .strip_prefix(prefix(target).as_slice())
        .is_some_and(|random| {
            random.len() == RANDOM_DIGITS
                && random
                    .iter()
                    .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
        })
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

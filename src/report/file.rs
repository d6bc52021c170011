//! Replaces a file that others read: they see either the old one or the new one. It is not durable,
//! because it is soon written again after a power loss.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufWriter, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, RawDir};

/// The hex digits after the name of a file that is not complete yet.
const RANDOM_DIGITS: usize = 16;
/// The most entries that one sweep looks at: a directory with millions of names must not cost more.
const SWEEP_LIMIT: usize = 4_096;
/// How a directory is opened, to be listed.
const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// Room for one entry at least, and for all of a small directory.
const BUFFER: usize = 1_024;
/// Nobody is writing an incomplete file that is older than this.
const ABANDONED: Duration = Duration::from_secs(60);

/// Makes the runtime directory if it does not exist.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(directory) {
        // Monitors must be able to read it without root, whatever the umask is.
        Ok(()) => fs::set_permissions(directory, Permissions::from_mode(0o755)),
        Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => Err(fault),
        Err(_there) => Ok(()),
    }
}

/// Replaces `path` with what `write` writes, readable for everybody.
pub(super) fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The directory may belong to a monitor's user, who must not be able to redirect the write with
    // a link under a predictable name. The name ends in no suffix that a collector looks for, and
    // it is unique because `sync` may write at the same time as the service.
    let random = RandomState::new().hash_one(0_u8);
    let new = path.with_file_name(format!(".{name}.{random:016x}"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&new)?;
    let filled = fill(&mut file, write).and_then(|()| fs::rename(&new, path));
    if filled.is_err() {
        let _ = fs::remove_file(&new);
        return filled;
    }
    sweep(path, &name);
    Ok(())
}

fn fill(
    file: &mut File,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> io::Result<()> {
    // Monitors must be able to read it without root, whatever the umask is.
    file.set_permissions(Permissions::from_mode(0o644))?;
    let mut buffered = BufWriter::new(file);
    write(&mut buffered)?;
    buffered.flush()
}

/// Removes what killed runs left beside the file. Errors are ignored: leftovers are never read.
fn sweep(path: &Path, name: &str) {
    // Uses the file system's own clock, which may be that of another machine.
    let Some(now) = modified(path) else {
        return;
    };
    let Some(directory) = path.parent() else {
        return;
    };
    let Ok(opened) = rustix::fs::open(directory, OPEN, Mode::empty()) else {
        return;
    };
    // The iterator of the standard library takes 32 KiB for this, with each poll.
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut entries = RawDir::new(opened, &mut buffer);
    for _ in 0..SWEEP_LIMIT {
        let Some(Ok(entry)) = entries.next() else {
            return;
        };
        let found = OsStr::from_bytes(entry.file_name().to_bytes());
        if !is_leftover(&found.to_string_lossy(), name) {
            continue;
        }
        let leftover = directory.join(found);
        if let Some(modified) = modified(&leftover)
            && let Ok(age) = now.duration_since(modified)
            && age > ABANDONED
        {
            let _ = fs::remove_file(leftover);
        }
    }
}

/// When a file was written last; `None` for anything but a file.
fn modified(path: &Path) -> Option<SystemTime> {
    let found = fs::symlink_metadata(path).ok()?;
    if !found.is_file() {
        return None;
    }
    found.modified().ok()
}

fn is_leftover(found: &str, name: &str) -> bool {
    match found.strip_prefix(&format!(".{name}.")) {
        Some(random) => random.len() == RANDOM_DIGITS && random.bytes().all(is_digit),
        None => false,
    }
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "throw-away files need no durability"
    )]
    fn what_a_killed_run_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        let old = |name: &str| {
            let file = fs::File::create(place(name)).unwrap();
            file.set_modified(SystemTime::now() - 2 * ABANDONED)
                .unwrap();
        };
        let others = [
            ".status.json.0123456789ABCDEF",
            ".status.json.0123456789abcde",
            ".status.json.0123456789abcdef0",
            ".status.json",
            ".other.json.0123456789abcdef",
            "status.json.0123456789abcdef",
        ];
        others.iter().for_each(|name| old(name));
        // One that is being written, a directory, and a link to what is old.
        fs::write(place(".status.json.00000000000000aa"), "half").unwrap();
        fs::create_dir(place(".status.json.00000000000000bb")).unwrap();
        std::os::unix::fs::symlink(
            place(".status.json"),
            place(".status.json.00000000000000cc"),
        )
        .unwrap();
        let names = || -> std::collections::BTreeSet<String> {
            fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        let mut stay = names();
        stay.insert("status.json".to_owned());
        old(".status.json.0123456789abcdef");
        old(".status.json.fedcba9876543210");
        replace(&place("status.json"), |file| file.write_all(b"{}")).unwrap();
        assert_eq!(names(), stay);
        assert_eq!(fs::read(place("status.json")).unwrap(), b"{}");
    }
}

//! The durable replace: at every moment, even after a kill or a power loss, the file is either the
//! old one or the new one.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::retry_on_intr;

use super::read::{self, WantedFile};
use super::temporary::{Temporary, sweep};
use super::walk::{Directory, file_name};
use super::{HostError, Replaced, flags};

/// The result of the last check before the rename.
#[derive(Debug)]
pub(super) enum Gate {
    /// Go on, and keep the lock, if any, until the new file is durable.
    Open(Option<OwnedFd>),
    /// The file has changed since the content was decided.
    Changed,
}

/// Writes a file of our own state with the same care as an account's file: owned by the user who
/// runs authkeysd, with `mode` set before it gets its name. Links in the directory's path are
/// followed. The caller holds the lock of the state directory.
pub fn write_durable(
    directory: &Path,
    name: &str,
    content: &[u8],
    mode: u32,
) -> Result<(), HostError> {
    let uid = nix::unistd::geteuid().as_raw();
    let gid = nix::unistd::getegid().as_raw();
    let path = directory.join(name);
    if path.parent() != Some(directory) {
        return Err(HostError::Path {
            path,
            fault: "the name of a file must be one plain name",
        });
    }
    let directory = Directory::open(directory)?;
    let name = file_name(&path)?;
    sweep(&directory, name);
    let wanted = WantedFile {
        uid,
        gid: Some(gid),
        mode,
        tolerated: 0,
        limit: u64::try_from(content.len()).unwrap_or(u64::MAX),
    };
    file(&directory, name, &wanted, content, || Ok(Gate::Open(None)))?;
    Ok(())
}

/// Replaces one file of an open directory. `gate` is called when the new content is durable and
/// only the rename is left.
pub(super) fn file(
    directory: &Directory,
    name: &OsStr,
    wanted: &WantedFile,
    content: &[u8],
    gate: impl FnOnce() -> Result<Gate, HostError>,
) -> Result<Replaced, HostError> {
    file_by_way_of((directory, name), directory, name, wanted, content, gate)
}

/// Replaces the file with the temporary file in another directory of the same file system, and
/// named after another file.
pub(super) fn file_by_way_of(
    (staging, staged_as): (&Directory, &OsStr),
    directory: &Directory,
    name: &OsStr,
    wanted: &WantedFile,
    content: &[u8],
    gate: impl FnOnce() -> Result<Gate, HostError>,
) -> Result<Replaced, HostError> {
    if u64::try_from(content.len()).map_or(true, |length| length > wanted.limit) {
        return Err(wanted.too_large(directory, name));
    }
    let synced = directory.readable()?;
    refuse_flags(directory, name, &synced)?;
    refuse_flags(staging, staged_as, &staging.readable()?)?;

    let mut temporary = Temporary::create(staging, staged_as)?;
    prepare(staging, &temporary, wanted)?;
    if let Err(fault) = temporary.file.write_all(content) {
        return Err(HostError::io(
            "write the new",
            &directory.path.join(name),
            fault,
        ));
    }
    // Without this a file system may order the rename before the data: an empty file after a hard
    // reset (coreos/bugs#2350).
    if let Err(fault) = temporary.file.sync_all() {
        return Err(HostError::io(
            "sync the new",
            &directory.path.join(name),
            fault,
        ));
    }

    let lock = match gate()? {
        Gate::Open(lock) => lock,
        Gate::Changed => return Ok(Replaced::ChangedMeanwhile),
    };
    temporary.publish(directory, name)?;
    // Without this a power loss may restore the old file, including revoked keys, after we reported
    // the new one.
    retry_on_intr(|| rustix::fs::fsync(&synced))
        .map_err(|errno| directory.failed("sync the directory of the new", name, errno))?;

    // Some network file systems have no groups. With these modes the group grants nothing, and the
    // keys are in force.
    let wanted = WantedFile {
        gid: None,
        ..*wanted
    };
    // Before the lock ends: a program that waits for it may write the file.
    let is_there = read::holds(directory, name, &wanted, content)?;
    drop(lock);
    if !is_there {
        return Err(HostError::ReadBack {
            path: directory.path.join(name),
        });
    }
    Ok(Replaced::Done)
}

/// Sets owner and mode before anybody can open the file under its final name: sshd refuses a file
/// with a wrong owner.
fn prepare(
    directory: &Directory,
    temporary: &Temporary<'_>,
    wanted: &WantedFile,
) -> Result<(), HostError> {
    let file = &temporary.file;
    let name = &temporary.name;
    let stat = rustix::fs::fstat(file).map_err(|errno| directory.failed("look at", name, errno))?;
    // A set-group-id directory gives its own group, and on some systems users other than root may
    // not chown at all.
    if stat.st_uid != wanted.uid || wanted.gid.is_some_and(|gid| gid != stat.st_gid) {
        let uid = Uid::from_raw(wanted.uid);
        let gid = wanted.gid.map(Gid::from_raw);
        retry_on_intr(|| rustix::fs::fchown(file, Some(uid), gid))
            .map_err(|errno| directory.failed("set the owner of", name, errno))?;
    }
    // Always set, because the umask changed it.
    retry_on_intr(|| rustix::fs::fchmod(file, Mode::from_raw_mode(wanted.mode)))
        .map_err(|errno| directory.failed("set the mode of", name, errno))
}

/// Reports the flags that make a rename fail before anything is written: in an append-only
/// directory every cycle could create a temporary file, but never remove it.
pub(super) fn refuse_flags(
    directory: &Directory,
    name: &OsStr,
    opened: &OwnedFd,
) -> Result<(), HostError> {
    // A file system without flags answers with an error; a denial is then reported by the rename.
    flags::refuse_any(opened, &directory.path)?;
    let regular = directory
        .entry(name)?
        .is_some_and(|stat| read::regular(directory, name, &stat).is_ok());
    if regular && let Ok(fd) = read::open(directory, name) {
        flags::refuse_any(&fd, &directory.path.join(name))?;
    }
    Ok(())
}

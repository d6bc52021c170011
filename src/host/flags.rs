//! The flags of a file or directory (`chattr`) that prevent it from being replaced.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::IFlags;

use super::HostError;

/// Returns an error that names the flag which makes a rename fail. On a file system without flags
/// it finds nothing; a denial is then reported by the rename.
pub(super) fn refuse_any(opened: &OwnedFd, path: &Path) -> Result<(), HostError> {
    rustix::fs::ioctl_getflags(opened).map_or(Ok(()), |flags| refuse(flags, path))
}

/// Returns an error that names the flag which prevents a directory from being made in this one.
pub(super) fn refuse_immutable(opened: &OwnedFd, path: &Path) -> Result<(), HostError> {
    rustix::fs::ioctl_getflags(opened)
        .map_or(Ok(()), |flags| refuse(flags & IFlags::IMMUTABLE, path))
}

fn refuse(flags: IFlags, path: &Path) -> Result<(), HostError> {
    let (flag, remedy) = if flags.contains(IFlags::IMMUTABLE) {
        ("immutable", "-i")
    } else if flags.contains(IFlags::APPEND) {
        ("append-only", "-a")
    } else {
        return Ok(());
    };
    Err(HostError::Flagged {
        path: path.to_owned(),
        flag,
        remedy,
    })
}

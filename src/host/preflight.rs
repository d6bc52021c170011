//! Checks whether a replace would fail, as far as that can be seen without writing, so that `check`
//! and dry runs promise only what a write can keep. Some obstacles cannot be seen beforehand (a
//! quota, a denial by a security module).

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, StatVfs, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::walk::{self, Absent, Directory, MAKE, Reach, file_name};
use super::{HostError, Place, Target, flags, fragments, lock, refresh, replace, temporary};

/// Checks the path to the target's file as the calling thread's identity. `length` is the size of
/// the new content.
pub(super) fn target(target: &Target, length: u64, lock_wait: Duration) -> Result<(), HostError> {
    let account = &target.account;
    match &target.place {
        Place::Home { below } => {
            file(
                &walk::reach_below_home(account, below)?,
                file_name(below)?,
                length,
                Payer::Account,
            )?;
            lock::take(account, lock_wait, Absent::Leave).map(drop)
        }
        Place::Fragment { name } => {
            let generated = Path::new(fragments::GENERATED);
            let ours = Path::new(fragments::DIRECTORY).join(name);
            file(
                &walk::reach_below_home(account, generated)?,
                file_name(generated)?,
                length,
                Payer::Account,
            )?;
            let reach = walk::reach_below_home(account, &ours)?;
            file(&reach, OsStr::new(name), length, Payer::Account)?;
            if reach.missing.is_none() && is_mount(&reach.directory, OsStr::new("."))? {
                // New content is written to `.ssh` first.
                return Err(HostError::io(
                    "rename a new file into",
                    &reach.directory.path,
                    Errno::XDEV,
                ));
            }
            if refresh::installed().is_some() && !lock::exists(account)? {
                let home = walk::reach_below_home(account, Path::new(lock::NAME))?.directory;
                writable(&home, "create the lock", OsStr::new(lock::NAME))?;
            }
            lock::take(account, lock_wait, Absent::Leave).map(drop)
        }
        Place::System { path } => file(
            &walk::reach_system(path)?,
            file_name(path)?,
            length,
            Payer::Root,
        ),
    }
}

/// Checks a directory of our own, such as the state's, in which `name` is to be written. If it does
/// not exist, checks the directory in which it would be made.
pub fn own_directory(path: &Path, name: &str) -> Result<(), HostError> {
    let (directory, missing) = match (Directory::open(path), path.parent(), path.file_name()) {
        (Err(HostError::Io { source, .. }), Some(parent), Some(last))
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            (Directory::open(parent)?, Some(last.to_owned()))
        }
        (opened, ..) => (opened?, None),
    };
    file(
        &Reach { directory, missing },
        OsStr::new(name),
        0,
        Payer::Root,
    )
}

/// Whose blocks a new file uses: file systems keep a reserve for root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payer {
    Account,
    Root,
}

fn file(reach: &Reach, name: &OsStr, length: u64, payer: Payer) -> Result<(), HostError> {
    let Reach { directory, missing } = reach;
    let synced = directory.readable()?;
    if let Some(missing) = missing {
        // A directory can be made in one that is append-only.
        flags::refuse_immutable(&synced, &directory.path)?;
        writable(directory, MAKE, missing)?;
        return room(directory, MAKE, missing, length, payer);
    }
    let create = temporary::CREATE;
    replace::refuse_flags(directory, name, &synced)?;
    writable(directory, create, name)?;
    directory
        .entry(&temporary::longest(name))
        .map_err(|_| directory.failed(create, name, Errno::NAMETOOLONG))?;
    if let Some(found) = directory.entry(name)? {
        if is_mount(directory, name)? {
            return Err(directory.failed(temporary::RENAME, name, Errno::BUSY));
        }
        sticky(directory, name, found.st_uid)?;
    }
    room(directory, create, name, length, payer)
}

/// Whether the calling thread may create entries in the directory, by modes, ACLs and mount
/// options.
fn writable(directory: &Directory, operation: &'static str, name: &OsStr) -> Result<(), HostError> {
    // Both flags: with the first alone, rustix uses the real ids if the kernel (before 5.8) cannot
    // check the effective ones.
    let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
    let errno = match rustix::fs::accessat(
        &directory.fd,
        ".",
        Access::WRITE_OK | Access::EXEC_OK,
        flags,
    ) {
        Ok(()) => return Ok(()),
        Err(Errno::NOSYS) => match by_mode(directory) {
            true => return Ok(()),
            false => Errno::ACCESS,
        },
        Err(errno) => errno,
    };
    Err(directory.failed(operation, name, errno))
}

/// The same check by owner and mode alone.
fn by_mode(directory: &Directory) -> bool {
    let Ok(stat) = rustix::fs::fstat(&directory.fd) else {
        return true;
    };
    let (uid, gid) = super::identity::of_thread();
    let shift = match (stat.st_uid == uid, stat.st_gid == gid) {
        (true, _) => 6,
        (false, true) => 3,
        (false, false) => 0,
    };
    uid == 0 || stat.st_mode >> shift & 0o3 == 0o3
}

/// In a sticky directory only the owner of the file, or of the directory, may replace it.
fn sticky(directory: &Directory, name: &OsStr, owner: u32) -> Result<(), HostError> {
    let stat = rustix::fs::fstat(&directory.fd)
        .map_err(|errno| directory.failed("look at", name, errno))?;
    let (uid, _) = super::identity::of_thread();
    if stat.st_mode & 0o1000 == 0 || uid == 0 || [owner, stat.st_uid].contains(&uid) {
        return Ok(());
    }
    Err(directory.failed(temporary::RENAME, name, Errno::PERM))
}

/// Whether something is mounted on the entry itself: nothing can be renamed over it.
fn is_mount(directory: &Directory, name: &OsStr) -> Result<bool, HostError> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    if let Ok(found) = rustix::fs::statx(&directory.fd, name, flags, StatxFlags::TYPE)
        && found
            .stx_attributes_mask
            .contains(StatxAttributes::MOUNT_ROOT)
    {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    // Before kernel 5.8 only mounts of another file system can be detected.
    let of_directory = rustix::fs::fstat(&directory.fd)
        .map_err(|errno| directory.failed("look at", name, errno))?;
    Ok(directory
        .entry(name)?
        .is_some_and(|found| found.st_dev != of_directory.st_dev))
}

/// Checks blocks and inodes for one more file, if the file system counts them.
fn room(
    directory: &Directory,
    operation: &'static str,
    name: &OsStr,
    length: u64,
    payer: Payer,
) -> Result<(), HostError> {
    let Ok(found) = rustix::fs::fstatvfs(&directory.fd) else {
        return Ok(());
    };
    let StatVfs {
        f_blocks,
        f_bfree,
        f_bavail,
        f_files,
        f_ffree,
        f_favail,
        f_frsize,
        ..
    } = found;
    let (blocks, inodes) = match payer {
        Payer::Account => (f_bavail, f_favail),
        Payer::Root => (f_bfree, f_ffree),
    };
    let needed = length.div_ceil(f_frsize.max(1)).max(1);
    if f_blocks > 0 && blocks < needed || f_files > 0 && inodes == 0 {
        return Err(directory.failed(operation, name, Errno::NOSPC));
    }
    Ok(())
}

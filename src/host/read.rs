//! Reads one file of an open directory: regular files only, limited in size, never blocking.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::walk::{Directory, wrong_kind};
use super::{HostError, Snapshot, Stamp, StampInner, identity};
use authkeys_core::document::Digest;
use authkeys_terminal::bounded;

/// The required attributes of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedFile {
    pub(super) uid: u32,
    /// Its group; `None` if another program writes the file as well and any group is acceptable.
    pub(super) gid: Option<u32>,
    pub(super) mode: u32,
    /// Permissions of others beyond `mode` that do no harm.
    pub(super) tolerated: u32,
    /// The most bytes that are read.
    pub(super) limit: u64,
}

impl WantedFile {
    pub(super) fn too_large(&self, directory: &Directory, name: &OsStr) -> HostError {
        HostError::TooLarge {
            path: directory.path.join(name),
            limit: self.limit,
        }
    }
}

/// Reads the file. If its owner cannot read it and `repairs` is set, its mode is repaired first.
pub(super) fn file(
    directory: &Directory,
    name: &OsStr,
    wanted: &WantedFile,
    repairs: bool,
) -> Result<Snapshot, HostError> {
    let within = rustix::fs::fstat(&directory.fd)
        .map_err(|errno| directory.failed("look at", OsStr::new(""), errno))?;
    let within = Some((widened(within.st_dev), widened(within.st_ino)));
    let absent = Snapshot {
        content: None,
        drifted: false,
        stamp: Stamp::absent(),
        directory: within,
    };
    let Some(found) = directory.entry(name)? else {
        return Ok(absent);
    };
    // Checked before opening, because opening a device can have effects.
    regular(directory, name, &found)?;
    let mut repaired = false;
    let mut opened = open(directory, name);
    if opened.as_ref().err() == Some(&Errno::ACCESS) && repairs && found.st_mode & 0o400 == 0 {
        repaired = make_readable(directory, name, wanted).is_ok();
        opened = open(directory, name);
    }
    let fd = match opened {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(absent),
        Err(Errno::ACCESS) => {
            let path = directory.path.join(name);
            let mode = found.st_mode & 0o7777;
            // Root does not read it for the account either: a user who can give a file of root's a
            // name in their own directory, by a hard link, would get its content.
            let unread = Snapshot {
                content: Some(Vec::new()),
                drifted: true,
                stamp: stamp(&found),
                directory: within,
            };
            let unread = Box::new(unread);
            let reader = wanted.uid;
            let shown = path.display();
            // A file that has another name may be somebody else's secret: the account must not
            // become its owner.
            let remedy = match found.st_nlink {
                1 => format!("`chown {reader} {shown} && chmod 0600 {shown}`"),
                _ => format!(
                    "it has another name too, so move this one away: `mv {shown} {shown}.away`"
                ),
            };
            return Err(HostError::Unreadable {
                reader,
                path,
                uid: found.st_uid,
                mode,
                remedy,
                unread,
            });
        }
        Err(errno) => return Err(directory.failed("open", name, errno)),
    };
    let stat = rustix::fs::fstat(&fd).map_err(|errno| directory.failed("look at", name, errno))?;
    regular(directory, name, &stat)?;

    if u64::try_from(stat.st_size).is_ok_and(|size| size > wanted.limit) {
        return Err(wanted.too_large(directory, name));
    }
    // The stamp is from before the read: if the file changes meanwhile, its stamp differs, and the
    // replace detects that.
    let content = match bounded::all(File::from(fd), wanted.limit) {
        Ok(Some(content)) => content,
        Ok(None) => return Err(wanted.too_large(directory, name)),
        Err(fault) => return Err(HostError::io("read", &directory.path.join(name), fault)),
    };
    let drifted = repaired || is_drifted(&stat, wanted);
    Ok(Snapshot {
        content: Some(content),
        drifted,
        stamp: stamp(&stat),
        directory: within,
    })
}

/// Whether the file has the wanted attributes and holds `content`. Makes no second copy of it.
pub(super) fn holds(
    directory: &Directory,
    name: &OsStr,
    wanted: &WantedFile,
    content: &[u8],
) -> Result<bool, HostError> {
    let fd = match open(directory, name) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(directory.failed("read back", name, errno)),
    };
    let stat =
        rustix::fs::fstat(&fd).map_err(|errno| directory.failed("read back", name, errno))?;
    regular(directory, name, &stat)?;
    if is_drifted(&stat, wanted) {
        return Ok(false);
    }
    let mut file = File::from(fd);
    let (mut rest, mut piece) = (content, vec![0; 64 << 10]);
    loop {
        let read = match file.read(&mut piece) {
            Ok(read) => read,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(fault) => {
                return Err(HostError::io(
                    "read back",
                    &directory.path.join(name),
                    fault,
                ));
            }
        };
        let after = match piece.get(..read) {
            Some(piece) => rest.strip_prefix(piece),
            None => None,
        };
        let Some(after) = after else {
            return Ok(false);
        };
        if read == 0 {
            return Ok(after.is_empty());
        }
        rest = after;
    }
}

fn is_drifted(stat: &Stat, wanted: &WantedFile) -> bool {
    let other_owner = stat.st_uid != wanted.uid || wanted.gid.is_some_and(|gid| gid != stat.st_gid);
    other_owner || stat.st_mode & 0o7777 & !wanted.tolerated != wanted.mode
}

/// Reads the file like `file`. If it was given another owner, it is read as that owner, but only
/// returned if it holds what was left in it: those bytes are the account's own. Any other content
/// is not returned, because a user who can give another user's file a name in their own directory,
/// by a hard link or a rename, would get its content.
pub(super) fn file_as_left(
    directory: &Directory,
    name: &OsStr,
    wanted: &WantedFile,
    repairs: bool,
    left: Option<Digest>,
) -> Result<Snapshot, HostError> {
    let read = file(directory, name, wanted, repairs);
    let (Err(HostError::Unreadable { unread, uid, .. }), Some(left)) = (&read, left) else {
        return read;
    };
    match content_as_owner(directory, name, *uid, wanted.limit) {
        Ok(Some(content)) if Digest::of(&content) == left => Ok(Snapshot {
            content: Some(content),
            ..(**unread).clone()
        }),
        _ => read,
    }
}

/// Reads the file as its owner; `None` if it is larger than `limit`. Searching the directory needs
/// the account's permission, reading the file that of its owner.
fn content_as_owner(
    directory: &Directory,
    name: &OsStr,
    owner: u32,
    limit: u64,
) -> io::Result<Option<Vec<u8>>> {
    let found = path_only(directory, name, owner)?;
    identity::reading_as(owner, || {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(by_descriptor(&found), flags, Mode::empty()))?;
        bounded::all(File::from(fd), limit)
    })
}

/// Gives a file of the account's own the wanted mode. By descriptor, so that no link is followed,
/// and as the account, which could do it itself: the kernel refuses it on files of others.
fn make_readable(directory: &Directory, name: &OsStr, wanted: &WantedFile) -> Result<(), Errno> {
    let fd = path_only(directory, name, wanted.uid)?;
    // fchmod does not work on an O_PATH descriptor.
    retry_on_intr(|| rustix::fs::chmod(by_descriptor(&fd), Mode::from_raw_mode(wanted.mode)))
}

/// Opens a regular file of that owner, for neither reading nor writing.
fn path_only(directory: &Directory, name: &OsStr, owner: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = retry_on_intr(|| rustix::fs::openat(&directory.fd, name, flags, Mode::empty()))?;
    let stat = rustix::fs::fstat(&fd)?;
    if stat.st_uid != owner || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::PERM);
    }
    Ok(fd)
}

/// A path to the open file. It is not a link that anybody could redirect.
fn by_descriptor(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// The stamp of whatever has the name now.
pub(super) fn current_stamp(directory: &Directory, name: &OsStr) -> Result<Stamp, HostError> {
    match directory.entry(name)? {
        Some(stat) => Ok(stamp(&stat)),
        None => Ok(Stamp::absent()),
    }
}

/// Opens an existing file for reading. Never waits for a FIFO's writer and never takes a terminal.
pub(super) fn open(directory: &Directory, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(&directory.fd, name, flags, Mode::empty()))
}

/// Refuses everything that is not a regular file.
pub(super) fn regular(directory: &Directory, name: &OsStr, stat: &Stat) -> Result<(), HostError> {
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        return Ok(());
    }
    Err(wrong_kind(directory.path.join(name), stat, "regular file"))
}

#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the fields have other widths on other architectures"
)]
fn stamp(stat: &Stat) -> Stamp {
    Stamp(Some(StampInner {
        device: widened(stat.st_dev),
        inode: widened(stat.st_ino),
        size: stat.st_size as u64,
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }))
}

/// The fields have different widths on other architectures.
fn widened(number: impl Into<u64>) -> u64 {
    number.into()
}

//! Bounded reads of our own files: configuration, state, documents. A FIFO or a sparse giant in their place costs nothing.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use super::{HostError, read};

/// A file's bytes, and who can change them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded {
    /// What it holds.
    pub content: Vec<u8>,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits, `0o7777`.
    pub mode: u32,
    /// Owner and permission bits of the directory it is in; who can write that can put another file in its place.
    pub directory: (u32, u32),
}

impl Bounded {
    /// Others than root and `user` can change the file, or put another in its place.
    pub fn writable_by_others(&self, user: u32) -> bool {
        open_to_others((self.uid, self.mode), self.directory, user)
    }
}

fn open_to_others(file: (u32, u32), directory: (u32, u32), user: u32) -> bool {
    let foreign = |uid: u32| uid != 0 && uid != user;
    let (owner, mode) = directory;
    // In a sticky directory others can add names, but not take away or rename what is not theirs.
    let open = foreign(owner) || mode & 0o022 != 0 && mode & 0o1000 == 0;
    file.1 & 0o022 != 0 || foreign(file.0) || open
}

/// The same of a file that is not read here; `false` also where that cannot be told.
pub fn writable_by_others(path: &Path, user: u32) -> bool {
    let owner = |path: &Path| path.metadata().ok().map(|found| (found.uid(), found.mode() & 0o7777));
    let (file, directory) = (owner(path), owner(parent(path)));
    file.zip(directory).is_some_and(|(file, directory)| open_to_others(file, directory, user))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a regular file of at most `limit` bytes, links followed; `None` when there is no such file.
pub fn read(path: &Path, limit: u64) -> Result<Option<Bounded>, HostError> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(HostError::io("open", path, fault)),
    };
    let found = file.metadata().map_err(|fault| HostError::io("look at", path, fault))?;
    if !found.is_file() {
        let kind = match FileType::from_raw_mode(found.mode()) {
            FileType::Directory => "directory",
            FileType::Fifo => "FIFO",
            _ => "device",
        };
        return Err(HostError::Kind { path: path.to_owned(), kind, wanted: "regular file" });
    }
    let too_large = || HostError::TooLarge { path: path.to_owned(), limit };
    if found.len() > limit {
        return Err(too_large());
    }
    let content = read::all(file, limit).map_err(|fault| HostError::io("read", path, fault))?.ok_or_else(too_large)?;
    let directory = parent(path);
    let directory = directory.metadata().map_err(|fault| HostError::io("look at", directory, fault))?;
    let directory = (directory.uid(), directory.mode() & 0o7777);
    Ok(Some(Bounded { content, uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777, directory }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fitting_and_too_large_are_three_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        assert_eq!(read(&path, 4).unwrap(), None);
        super::super::write_durable(directory.path(), "state", b"1234", 0o640).unwrap();
        let found = read(&path, 4).unwrap().unwrap();
        assert_eq!((found.content.as_slice(), found.mode), (&b"1234"[..], 0o640));
        assert!(!found.writable_by_others(found.uid));
        assert!(matches!(read(&path, 3), Err(HostError::TooLarge { .. })));
        assert!(matches!(read(directory.path(), 4), Err(HostError::Kind { kind: "directory", .. })));
    }

    #[test]
    fn f15_a_fifo_in_place_of_a_configuration_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&path, 4), Err(HostError::Kind { kind: "FIFO", .. })));
    }
}

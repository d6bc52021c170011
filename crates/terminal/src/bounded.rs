//! Bounded reads of our own files: configuration, state, documents. A FIFO or a huge sparse file in
//! their place does no harm.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use thiserror::Error;

/// Why a file could not be read.
#[derive(Debug, Error)]
pub enum FileError {
    /// It is not a regular file.
    #[error("{path} is a {kind}, not a regular file: move it away")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A file over the limit is never read into memory.
    #[error("{path} has more than {limit} bytes: is it the right file?")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A system call failed.
    #[error("cannot {operation} {path}: {}", remedy(.source))]
    Io {
        /// What was being done, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    }

    /// The error and its cause in one line, for a message that already names the file.
    pub fn beside(&self, named: &Path) -> String {
        match self {
            Self::Kind { path, kind } if path == named => {
                format!("it is a {kind}, not a regular file: move it away")
            }
            Self::TooLarge { path, limit } if path == named => {
                format!("it has more than {limit} bytes: is it the right file?")
            }
            Self::Io {
                operation,
                path,
                source,
            } if path == named => {
                format!("cannot {operation} it: {}: {source}", remedy(source))
            }
            Self::Io { source, .. } => format!("{self}: {source}"),
            Self::Kind { .. } | Self::TooLarge { .. } => self.to_string(),
        }
    }
}

/// What to do about a file that cannot be read.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM) => {
            "check owner and mode of each directory (`namei -l`) and a security module's denials"
        }
        Some(Errno::LOOP) => "a symbolic link is in the way: replace it with what it points to",
        Some(Errno::IO) => "the device failed: look into the kernel's log (`dmesg`)",
        Some(Errno::STALE) => "the network file system lost it: mount it again",
        Some(Errno::MFILE | Errno::NFILE) => "too many files are open: raise the limit",
        _ => "see the cause",
    }
}

/// Everything up to the limit; `None` if there is more.
pub fn all(file: File, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let expected = file.metadata().map_or(0, |found| found.len()).min(limit);
    let mut content = Vec::with_capacity(
        usize::try_from(expected)
            .unwrap_or_default()
            .saturating_add(1),
    );
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    let fits = u64::try_from(content.len()).is_ok_and(|length| length <= limit);
    Ok(fits.then_some(content))
}

/// A file's bytes, and the facts that show who can change them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded {
    /// Its content.
    pub content: Vec<u8>,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits, `0o7777`.
    pub mode: u32,
    /// Owner and permission bits of its directory; a user who can write the directory can replace
    /// the file.
    pub directory: (u32, u32),
}

impl Bounded {
    /// Whether users other than root and `user` can change or replace the file.
    pub fn writable_by_others(&self, user: u32) -> bool {
        open_to_others((self.uid, self.mode), self.directory, user)
    }
}

fn open_to_others(file: (u32, u32), directory: (u32, u32), user: u32) -> bool {
    let trusted = [0, user];
    let (owner, mode) = file;
    if !trusted.contains(&owner) || mode & 0o022 != 0 {
        return true;
    }
    let (owner, mode) = directory;
    // In a sticky directory others can add names, but cannot remove or rename what is not theirs.
    !trusted.contains(&owner) || mode & 0o022 != 0 && mode & 0o1000 == 0
}

/// The fault of a file that decides who may log in, but that others can write; and the remedy.
pub const OPEN: &str = "others can write it or its directory, and so decide who may log in; chown \
                        both to root and chmod go-w";

/// Reads a file that decides who may log in, as [`read`] does. A file that users other than root
/// and `user` can write is refused. The error is one line that does not name the file.
pub fn read_trusted(path: &Path, limit: u64, user: u32) -> Result<Option<Vec<u8>>, String> {
    match read(path, limit).map_err(|fault| fault.beside(path))? {
        Some(found) if found.writable_by_others(user) => Err(OPEN.to_owned()),
        found => Ok(found.map(|found| found.content)),
    }
}

/// The same check for a file that is not read here; `false` also if the answer is unknown.
pub fn writable_by_others(path: &Path, user: u32) -> bool {
    match (path.metadata(), parent(path).metadata()) {
        (Ok(file), Ok(directory)) => open_to_others(access(&file), access(&directory), user),
        _ => false,
    }
}

/// Owner and permission bits.
fn access(found: &Metadata) -> (u32, u32) {
    (found.uid(), found.mode() & 0o7777)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Reads a regular file of at most `limit` bytes, following links; `None` if the file does not
/// exist.
pub fn read(path: &Path, limit: u64) -> Result<Option<Bounded>, FileError> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(FileError::io("open", path, source)),
    };
    let found = file
        .metadata()
        .map_err(|source| FileError::io("look at", path, source))?;
    if !found.is_file() {
        let kind = match FileType::from_raw_mode(found.mode()) {
            FileType::Directory => "directory",
            FileType::Fifo => "FIFO",
            _ => "device",
        };
        return Err(FileError::Kind {
            path: path.to_owned(),
            kind,
        });
    }
    let mut content = None;
    if found.len() <= limit {
        content = all(file, limit).map_err(|source| FileError::io("read", path, source))?;
    }
    let Some(content) = content else {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    };
    let directory = parent(path);
    let holder = directory
        .metadata()
        .map_err(|source| FileError::io("look at", directory, source))?;
    Ok(Some(Bounded {
        content,
        uid: found.uid(),
        gid: found.gid(),
        mode: found.mode() & 0o7777,
        directory: access(&holder),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fitting_and_too_large_are_three_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        assert_eq!(read(&path, 4).unwrap(), None);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)
            .unwrap();
        io::Write::write_all(&mut file, b"1234").unwrap();
        let found = read(&path, 4).unwrap().unwrap();
        assert_eq!(
            (found.content.as_slice(), found.mode),
            (&b"1234"[..], 0o640)
        );
        assert!(!found.writable_by_others(found.uid));
        assert!(matches!(read(&path, 3), Err(FileError::TooLarge { .. })));
        assert!(matches!(
            read(directory.path(), 4),
            Err(FileError::Kind {
                kind: "directory",
                ..
            })
        ));
    }

    #[test]
    fn f15_a_fifo_in_place_of_a_configuration_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(
            read(&path, 4),
            Err(FileError::Kind { kind: "FIFO", .. })
        ));
    }
}

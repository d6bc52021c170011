//! The state directory. One file, `state.json`, is replaced as a whole. The documents are beside
//! it, named by the SHA-256 of their bytes. A corrupt state is not treated as an absent one, and a
//! state that a later version wrote is rejected: both could restore a revoked key or an old
//! document.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{State, StateError};
use crate::host::{HostError, write_durable};
use authkeys_core::document::Digest;
use authkeys_core::origin::MAX_DOCUMENT;
use authkeys_core::user::UserName;
use authkeys_terminal::bounded;

/// The schema of `state.json` that this version reads and writes.
pub(super) const SCHEMA: u32 = 1;
/// The most bytes of `state.json` that are read: 64 MiB hold a million fingerprints.
pub(super) const MAX_STATE: u64 = 64 << 20;
/// The most contents of one account's files that are saved before `exclusive` replaces them.
const MAX_REPLACED: usize = 16;
/// How long to wait for another cycle before giving up.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(30);

/// The state directory, locked against other cycles as long as this value exists.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    saved: State,
    access: DirectoryAccess,
    /// Nothing has ever been saved there.
    new: bool,
    /// The state on disk lacks something that should have been recorded.
    outdated: bool,
    /// Something was saved through this value.
    written: bool,
}

/// What may be done with the directory.
#[derive(Debug)]
enum DirectoryAccess {
    /// Nothing is written, on purpose.
    Look,
    /// It is locked against other cycles.
    Write { _lock: File },
    /// Nothing can be written: the lock cannot be taken, or the state cannot be read.
    Broken,
}

impl Store {
    /// Opens the directory and waits for its lock. A directory that does not exist is made with
    /// 0700.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        let opened = Self::open_while(directory, &|| true)?;
        opened.ok_or_else(|| StateError::Busy(directory.join("lock")))
    }

    /// Opens it and waits as long as it is still `wanted`; `None` if it no longer is.
    pub fn open_while(
        directory: &Path,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, StateError> {
        // A user without rights there must get an error; root and the owner continue without
        // memory.
        let foreign = is_foreign(directory);
        if let Err(fault) = make(directory) {
            return if foreign {
                Err(unusable(directory, fault))
            } else {
                Ok(Some(Self::broken(directory)))
            };
        }
        check_owner(directory)?;
        if foreign {
            check_access(directory).map_err(|fault| unusable(directory, fault))?;
        }
        let access = match open_lock(directory) {
            Ok(file) => match lock(directory, file, wanted)? {
                Some(access) => access,
                None => return Ok(None),
            },
            Err(_) => DirectoryAccess::Broken,
        };
        let store = match Self::load(directory, access) {
            Err(StateError::Host(HostError::Io { .. })) if !foreign => {
                return Ok(Some(Self::broken(directory)));
            }
            loaded => loaded?,
        };
        // A run that was killed after its last save did not do this.
        store.sweep_documents(&store.saved);
        Ok(Some(store))
    }

    /// A directory of which nothing is known. Its file is never overwritten, because it may hold
    /// the whole state.
    fn broken(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            saved: empty(),
            access: DirectoryAccess::Broken,
            new: false,
            outdated: true,
            written: false,
        }
    }

    /// Opens the directory only to read it: nothing is made, locked or written. A directory that
    /// does not exist is an empty state.
    pub fn peek(directory: &Path) -> Result<Self, StateError> {
        if directory.exists() {
            check_owner(directory)?;
        }
        Self::load(directory, DirectoryAccess::Look)
    }

    fn load(directory: &Path, access: DirectoryAccess) -> Result<Self, StateError> {
        let found = load(directory)?;
        let new = found.is_none();
        let saved = found.unwrap_or_else(empty);
        Ok(Self {
            directory: directory.to_owned(),
            saved,
            access,
            new,
            outdated: false,
            written: false,
        })
    }

    /// Whether something was saved since it was opened.
    pub fn has_written(&self) -> bool {
        self.written
    }

    /// The directory's path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The files that make up the state in force: the state itself, and the documents last
    /// accepted.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.directory.join("state.json")];
        for accepted in self.saved.sources.values() {
            for kept in accepted.documents() {
                files.push(self.document_path(kept.bytes));
            }
        }
        files
    }

    fn document_path(&self, bytes: Digest) -> PathBuf {
        self.directory.join("documents").join(bytes.hex())
    }

    /// Whether a cycle could save the state, even if it has nothing to save.
    pub fn can_write(directory: &Path) -> bool {
        check_access(directory).is_ok()
    }

    /// Whether the state on disk may be older than what was accepted last, because that could not
    /// be written.
    pub fn is_outdated(&self) -> bool {
        self.outdated
    }

    /// Called when the state on disk has what all sources have now.
    pub fn has_caught_up(&mut self) {
        self.outdated = false;
    }

    /// Takes over what an earlier cycle of the same process found.
    pub fn set_outdated(&mut self, outdated: bool) {
        self.outdated |= outdated;
    }

    /// Whether nothing has ever been saved there: this is the node's first cycle, or its state was
    /// lost.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// The state as it is on disk.
    pub fn state(&self) -> &State {
        &self.saved
    }

    /// Writes the state if it differs from what is on disk; durable when this returns. Returns an
    /// error if the directory cannot be written, even if nothing differs.
    pub fn save(&mut self, state: &State) -> Result<(), StateError> {
        if matches!(self.access, DirectoryAccess::Look) {
            return Ok(());
        }
        match self.write(state) {
            Ok(()) => {}
            Err(error) => {
                self.outdated |= !state.equals_but_for_times(&self.saved);
                // On a full disk names can still be removed. A document that this state replaces
                // must not be restored from the old state by another process that cannot reach the
                // source.
                self.sweep_documents(state);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the state if it differs. Fails if the directory cannot be written, even if nothing
    /// differs.
    fn write(&mut self, state: &State) -> Result<(), StateError> {
        self.check_writable()?;
        if *state == self.saved {
            return Ok(());
        }
        let state = State {
            schema: SCHEMA,
            ..state.clone()
        };
        let path = self.directory.join("state.json");
        // Count first and then write directly: a growing buffer would for a moment exist twice.
        let mut length = Length(0);
        write_json(&mut length, &state, &path)?;
        if u64::try_from(length.0).map_or(true, |length| length > MAX_STATE) {
            return Err(StateError::TooLarge(path));
        }
        let mut bytes = Vec::with_capacity(length.0);
        write_json(&mut bytes, &state, &path)?;
        write_durable(&self.directory, "state.json", &bytes, 0o600)?;
        self.saved = state;
        self.new = false;
        self.written = true;
        self.sweep_documents(&self.saved);
        Ok(())
    }

    /// The error says why nothing can be written.
    fn check_writable(&self) -> Result<(), StateError> {
        if let Err(fault) = check_access(&self.directory) {
            return Err(self.unwritable(fault));
        }
        if matches!(self.access, DirectoryAccess::Broken) {
            if let Err(fault) = open_lock(&self.directory) {
                return Err(self.unwritable(fault));
            }
            load(&self.directory)?;
            let fault = io::Error::other("it could not be used when the cycle began");
            return Err(self.unwritable(fault));
        }
        Ok(())
    }

    fn unwritable(&self, source: io::Error) -> StateError {
        StateError::Unwritable {
            path: self.directory.clone(),
            source,
        }
    }

    /// Saves a document's bytes, durably.
    pub fn keep(&self, bytes: &[u8]) -> Result<(), StateError> {
        let digest = Digest::of(bytes);
        if !matches!(self.access, DirectoryAccess::Look) && self.document(digest).is_none() {
            self.check_writable()?;
            write_durable(
                &self.directory.join("documents"),
                &digest.hex(),
                bytes,
                0o600,
            )?;
        }
        Ok(())
    }

    /// The bytes of a saved document; `None` if they are missing or changed.
    pub fn document(&self, bytes: Digest) -> Option<Vec<u8>> {
        let path = self.document_path(bytes);
        let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
        match bounded::read(&path, limit) {
            Ok(Some(found)) if Digest::of(&found.content) == bytes => Some(found.content),
            _ => None,
        }
    }

    /// Saves what an account's file held before `exclusive` replaced it, beside what its other
    /// files held. If the content keeps changing, as in a file that cannot be replaced and changes
    /// all the time, the first and the last contents are kept.
    pub fn keep_replaced(&self, user: &UserName, content: &[u8]) -> Result<PathBuf, StateError> {
        let limit = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let mut name = format!("replaced-{user}");
        for number in 2..=MAX_REPLACED {
            let path = self.directory.join(&name);
            if !path.exists() {
                break;
            }
            if matches!(bounded::read(&path, limit), Ok(Some(kept)) if kept.content == content) {
                return Ok(path);
            }
            // The name of an account cannot contain a colon.
            name = format!("replaced-{user}:{number}");
        }
        if !matches!(self.access, DirectoryAccess::Look) {
            write_durable(&self.directory, &name, content, 0o600)?;
        }
        Ok(self.directory.join(name))
    }

    /// Removes documents to which `state` does not refer. One that stays behind does no harm.
    fn sweep_documents(&self, state: &State) {
        let mut wanted = BTreeSet::new();
        for source in state.sources.values() {
            for kept in source.documents() {
                wanted.insert(kept.bytes.hex());
            }
        }
        for account in state.accounts.values() {
            if let Some(judged) = &account.judged {
                for kept in judged.documents() {
                    wanted.insert(kept.bytes.hex());
                }
            }
        }
        let Ok(entries) = fs::read_dir(self.directory.join("documents")) else {
            return;
        };
        for entry in entries.flatten() {
            match entry.file_name().to_str() {
                Some(name) if wanted.contains(name) => {}
                _ => {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}

/// Makes the directory and the one for documents.
fn make(directory: &Path) -> io::Result<()> {
    for path in [directory, &directory.join("documents")] {
        match DirBuilder::new().mode(0o700).create(path) {
            // If one cannot be made although the directory exists, that is reported when it is
            // needed.
            Err(_) if directory.is_dir() => {}
            made => made?,
        }
    }
    Ok(())
}

/// Opens the lock file, or the directory itself if the file cannot be made or written.
fn open_lock(directory: &Path) -> io::Result<File> {
    let path = directory.join("lock");
    let for_writing = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    if for_writing.is_ok() {
        return for_writing;
    }
    match File::open(&path) {
        Ok(file) => Ok(file),
        Err(fault) => File::open(directory).map_err(|_| fault),
    }
}

/// Waits for the lock as long as it is still `wanted`; `None` if it no longer is.
fn lock(
    directory: &Path,
    file: File,
    wanted: &dyn Fn() -> bool,
) -> Result<Option<DirectoryAccess>, StateError> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            _ if !wanted() => return Ok(None),
            Ok(()) => return Ok(Some(DirectoryAccess::Write { _lock: file })),
            Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_WAIT => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::Busy(directory.join("lock")));
            }
            Err(TryLockError::Error(_)) => return Ok(Some(DirectoryAccess::Broken)),
        }
    }
}

/// A state in which nothing is recorded.
fn empty() -> State {
    State {
        schema: SCHEMA,
        ..State::default()
    }
}

fn unusable(directory: &Path, source: io::Error) -> StateError {
    StateError::Directory {
        path: directory.to_owned(),
        source,
    }
}

/// Whether another user would have to let us use the directory, or make it.
fn is_foreign(directory: &Path) -> bool {
    let us = nix::unistd::geteuid();
    if us.is_root() {
        return false;
    }
    match fs::metadata(directory) {
        Ok(found) => found.uid() != us.as_raw(),
        Err(_) => true,
    }
}

/// Whether entries of the directory can be written.
fn check_access(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(
        directory,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )?)
}

/// Writes the state as JSON. `path` is the file that it is for.
fn write_json(writer: impl io::Write, state: &State, path: &Path) -> Result<(), StateError> {
    match serde_json::to_writer_pretty(writer, state) {
        Ok(()) => Ok(()),
        Err(source) => Err(StateError::Corrupt {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Counts the bytes that are written to it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the state; `None` if the file does not exist.
fn load(directory: &Path) -> Result<Option<State>, StateError> {
    #[derive(Deserialize)]
    struct SchemaProbe {
        schema: u32,
    }
    let path = directory.join("state.json");
    let Some(found) = bounded::read(&path, MAX_STATE).map_err(HostError::from)? else {
        return Ok(None);
    };
    match serde_json::from_slice::<State>(&found.content) {
        Ok(state) if state.schema == SCHEMA => Ok(Some(state)),
        Ok(State { schema, .. }) => Err(StateError::Newer { path, schema }),
        // The state of a later version cannot be read as a whole, but its schema can.
        Err(source) => match serde_json::from_slice(&found.content) {
            Ok(SchemaProbe { schema }) if schema != SCHEMA => {
                Err(StateError::Newer { path, schema })
            }
            _ => Err(StateError::Corrupt { path, source }),
        },
    }
}

fn check_owner(directory: &Path) -> Result<(), StateError> {
    let found = fs::metadata(directory).map_err(|source| unusable(directory, source))?;
    let us = nix::unistd::geteuid().as_raw();
    if found.uid() != us && found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Err(StateError::Untrusted(directory.to_owned()));
    }
    Ok(())
}

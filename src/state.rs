//! What authkeysd must remember between cycles: the last good documents, the serials seen, the keys once installed.
//!
//! One file, `state.json`, replaced whole; the documents lie beside it under the SHA-256 of their bytes. Corrupt is not
//! absent, and a state that a later version wrote is refused: both could bring a revoked key or an old document back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::document::Digest;
use crate::guard::Guard;
use crate::host::{HostError, bounded, write_durable};
use crate::key::FingerprintSet;
use crate::source::{MAX_DOCUMENT, SourceUrl, Stage, Version};
use crate::user::UserName;
use crate::verify::Mark;

/// The form of `state.json` that this version reads and writes.
const SCHEMA: u32 = 1;
/// The most bytes of `state.json` that are read: 64 MiB hold a million fingerprints.
const MAX_STATE: u64 = 64 << 20;
/// How long another cycle may take before this one gives up.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// Everything that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    schema: u32,
    /// The document last accepted from each source, by the source's whole URL.
    pub sources: BTreeMap<String, Accepted>,
    /// The highest serial accepted, by the source's URL without its query. It outlives the source in the configuration;
    /// only a rollback that was asked for lowers or removes it.
    pub marks: BTreeMap<String, Mark>,
    /// By account.
    pub accounts: BTreeMap<UserName, AccountState>,
    /// The pinned keys as they were last read.
    pub pinned: Option<String>,
    /// The latest time that was recorded: a clock that stands before it is wrong.
    #[serde(default)]
    pub clock: Option<Timestamp>,
}

/// A document that was accepted from a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Which published state it was.
    pub version: Version,
    /// Where it is kept, and what it is.
    pub document: Kept,
    /// When its bytes came.
    pub fetched: Timestamp,
    /// The documents of a secret's further stages that were accepted beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub further: BTreeMap<Stage, AcceptedStage>,
}

/// A document of one of a secret's further stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedStage {
    /// Which published state it was.
    pub version: Version,
    /// When that was made, as far as it is known.
    pub created: Option<Timestamp>,
    /// Where it is kept, and what it is.
    pub document: Kept,
}

/// A document in the state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// Of the document as published, without its signature.
    pub digest: Digest,
    /// Of the bytes that were kept; the name of their file.
    pub bytes: Digest,
}

/// The most contents of one account's files that are kept for `exclusive` having replaced them.
const MAX_REPLACED: usize = 16;

/// What is remembered of an account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountState {
    /// Every key that authkeysd ever installed for it. When such a key leaves the set, it leaves every line.
    pub installed: FingerprintSet,
    /// The document that the policy let through for this account.
    pub judged: Option<Judged>,
    /// The files of which is kept what stood in them before `exclusive` first replaced it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub adopted: BTreeSet<PathBuf>,
    /// What the file held when a cycle last left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Digest>,
}

/// A document, with those of further stages, that passed the guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// The document.
    pub document: Kept,
    /// Those of a secret's further stages, in the order of their importance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<Kept>,
    /// The limits that let it through; under others it is judged anew.
    pub guard: Guard,
}

impl State {
    /// The document last accepted from a source; if none was, that of the same URL with another query: a region that was
    /// added to it takes no key away.
    pub fn accepted(&self, url: &SourceUrl) -> Option<&Accepted> {
        let mark = url.mark();
        let same = || self.sources.iter().find(|(other, _)| without_query(other) == mark).map(|(_, accepted)| accepted);
        self.sources.get(&url.to_string()).or_else(same)
    }

    /// Forgets the documents that none of these sources needs.
    pub fn keep_sources<'a>(&mut self, sources: impl Iterator<Item = &'a SourceUrl>) {
        let (mut names, mut marks) = (BTreeSet::new(), BTreeSet::new());
        for url in sources {
            let name = url.to_string();
            if !self.sources.contains_key(&name) {
                marks.insert(url.mark());
            }
            names.insert(name);
        }
        self.sources.retain(|name, _| names.contains(name) || marks.contains(without_query(name)));
    }
}

/// What a canonical URL shows as `?` begins its query.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}

impl Accepted {
    /// All documents, the most important first.
    pub fn documents(&self) -> impl Iterator<Item = Kept> {
        std::iter::once(self.document).chain(self.further.values().map(|stage| stage.document))
    }
}

impl Judged {
    /// Whether the same documents passed the same limits.
    pub fn same(&self, other: &Self) -> bool {
        self.guard == other.guard && self.documents().map(|k| k.digest).eq(other.documents().map(|k| k.digest))
    }

    /// All documents, the most important first.
    pub fn documents(&self) -> impl Iterator<Item = Kept> {
        std::iter::once(self.document).chain(self.further.iter().copied())
    }
}

/// Why the state could not be read or written. Nothing on the node was changed.
#[derive(Debug, Error)]
pub enum StateError {
    /// The directory is not there and could not be made, or not be opened.
    #[error(
        "cannot use the state directory {path}: run as root, or set state_dir to a directory of your own, in one that exists"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else could forge the state.
    #[error("the state directory {0} can be written by others: chown it to the user of authkeysd and chmod it 0700")]
    Untrusted(PathBuf),
    /// Another cycle took too long.
    #[error(
        "another authkeysd has been running a cycle for more than {LOCK_WAIT:?} (it holds {0}): look what it waits for"
    )]
    Busy(PathBuf),
    /// The file is damaged.
    #[error(
        "{path} is damaged: restore it, or move it away to start afresh (serials and once-installed keys are then forgotten)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// What would be written could not be read again.
    #[error(
        "{0} would become larger than {MAX_STATE} bytes, for every key ever installed is remembered: correct the document, or move the state away to start afresh (serials and once-installed keys are then forgotten)"
    )]
    TooLarge(PathBuf),
    /// Written by a later version.
    #[error(
        "{path} has schema {schema}, this authkeysd knows {SCHEMA}: it was written by a later version, upgrade again"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        schema: u32,
    },
    /// A read or write failed.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// The state directory, locked against other cycles as long as this lives.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    saved: State,
    lock: Option<File>,
    /// Nothing has ever been saved there.
    new: bool,
}

impl Store {
    /// Opens the directory, made 0700 when absent, and waits for its lock.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        let failed = |source| StateError::Directory { path: directory.to_owned(), source };
        let documents = directory.join("documents");
        for path in [directory, &documents] {
            match DirBuilder::new().mode(0o700).create(path) {
                Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => return Err(failed(fault)),
                _ => {}
            }
        }
        check_owner(directory)?;
        let path = directory.join("lock");
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WAIT => {
                    thread::sleep(Duration::from_millis(20))
                }
                Err(TryLockError::WouldBlock) => return Err(StateError::Busy(path)),
                Err(TryLockError::Error(fault)) => return Err(failed(fault)),
            }
        }
        let store = Self::load(directory, Some(file))?;
        // A run that was killed after its last save did not come to this.
        store.sweep_documents();
        Ok(store)
    }

    /// Opens the directory to look at it only: nothing is made, locked or written. An absent one is an empty state.
    pub fn peek(directory: &Path) -> Result<Self, StateError> {
        if directory.exists() {
            check_owner(directory)?;
        }
        Self::load(directory, None)
    }

    fn load(directory: &Path, lock: Option<File>) -> Result<Self, StateError> {
        let found = load(directory)?;
        let new = found.is_none();
        let saved = found.unwrap_or_else(|| State { schema: SCHEMA, ..State::default() });
        Ok(Self { directory: directory.to_owned(), saved, lock, new })
    }

    /// Whether nothing has ever been saved there: this is the node's first cycle, or its memory was lost.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// The state as it is on disk.
    pub fn state(&self) -> &State {
        &self.saved
    }

    /// Writes the state if it differs from what is on disk; durable when this returns.
    pub fn save(&mut self, state: &State) -> Result<(), StateError> {
        if self.lock.is_none() || *state == self.saved {
            return Ok(());
        }
        let state = State { schema: SCHEMA, ..state.clone() };
        let path = self.directory.join("state.json");
        let corrupt = |source| StateError::Corrupt { path: path.clone(), source };
        // Counted first, and then written at once: a buffer that grows would for a moment be there twice.
        let mut length = Length(0);
        serde_json::to_writer_pretty(&mut length, &state).map_err(corrupt)?;
        if u64::try_from(length.0).map_or(true, |length| length > MAX_STATE) {
            return Err(StateError::TooLarge(path));
        }
        let mut bytes = Vec::with_capacity(length.0);
        serde_json::to_writer_pretty(&mut bytes, &state).map_err(corrupt)?;
        write_durable(&self.directory, "state.json", &bytes, 0o600)?;
        self.saved = state;
        self.new = false;
        self.sweep_documents();
        Ok(())
    }

    /// Keeps a document's bytes, durably.
    pub fn keep(&self, bytes: &[u8]) -> Result<(), StateError> {
        let digest = Digest::of(bytes);
        if self.lock.is_some() && self.document(digest).is_none() {
            write_durable(&self.directory.join("documents"), &digest.hex(), bytes, 0o600)?;
        }
        Ok(())
    }

    /// A kept document's bytes; `None` when they are gone or not what they were.
    pub fn document(&self, bytes: Digest) -> Option<Vec<u8>> {
        let path = self.directory.join("documents").join(bytes.hex());
        let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
        let content = bounded::read(&path, limit).ok()??.content;
        (Digest::of(&content) == bytes).then_some(content)
    }

    /// Keeps what an account's file held before `exclusive` took it over, beside what others of its files held. Of ever
    /// new contents, as of a file that cannot be replaced and is changed all the time, the first and the last are kept.
    pub fn keep_replaced(&self, user: &UserName, content: &[u8]) -> Result<PathBuf, StateError> {
        let limit = u64::try_from(content.len()).unwrap_or(u64::MAX);
        // No account's name has a colon.
        let names = (2..=MAX_REPLACED).map(|number| format!("replaced-{user}:{number}"));
        let mut name = format!("replaced-{user}");
        for next in names {
            let path = self.directory.join(&name);
            if !path.exists() {
                break;
            }
            if matches!(bounded::read(&path, limit), Ok(Some(kept)) if kept.content == content) {
                return Ok(path);
            }
            name = next;
        }
        if self.lock.is_some() {
            write_durable(&self.directory, &name, content, 0o600)?;
        }
        Ok(self.directory.join(name))
    }

    /// Removes documents that nothing refers to. One that stays behind does no harm.
    fn sweep_documents(&self) {
        let sources = self.saved.sources.values().flat_map(Accepted::documents);
        let judged = self.saved.accounts.values().filter_map(|a| a.judged.as_ref()).flat_map(Judged::documents);
        let wanted: BTreeSet<String> = sources.chain(judged).map(|kept| kept.bytes.hex()).collect();
        let Ok(entries) = fs::read_dir(self.directory.join("documents")) else {
            return;
        };
        for entry in entries.flatten() {
            if !entry.file_name().to_str().is_some_and(|name| wanted.contains(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Counts what is written to it.
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

/// `None` when there is no file.
fn load(directory: &Path) -> Result<Option<State>, StateError> {
    #[derive(Deserialize)]
    struct Probe {
        schema: u32,
    }
    let path = directory.join("state.json");
    let Some(found) = bounded::read(&path, MAX_STATE)? else {
        return Ok(None);
    };
    let corrupt = |source| StateError::Corrupt { path: path.clone(), source };
    let newer = |schema| StateError::Newer { path: path.clone(), schema };
    let mut state = match serde_json::from_slice::<State>(&found.content) {
        Ok(state) if state.schema == SCHEMA => state,
        Ok(state) => return Err(newer(state.schema)),
        // What a later version wrote cannot be read as a whole, and its schema still says so.
        Err(fault) => match serde_json::from_slice(&found.content) {
            Ok(Probe { schema }) if schema != SCHEMA => return Err(newer(schema)),
            _ => return Err(corrupt(fault)),
        },
    };
    // Accounts of one document had the same keys installed: they share them.
    let mut last = FingerprintSet::default();
    for account in state.accounts.values_mut() {
        if account.installed == last {
            account.installed = last.clone();
        } else {
            last = account.installed.clone();
        }
    }
    Ok(Some(state))
}

fn check_owner(directory: &Path) -> Result<(), StateError> {
    let found =
        fs::metadata(directory).map_err(|source| StateError::Directory { path: directory.to_owned(), source })?;
    let us = nix::unistd::geteuid().as_raw();
    if found.uid() != us && found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Err(StateError::Untrusted(directory.to_owned()));
    }
    Ok(())
}

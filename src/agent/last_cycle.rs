//! Detects that nothing has changed since the last cycle, so that there is nothing to decide.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::acquire::open_to_others;
use super::acquired::KnownVersions;
use super::together::all_of;
use super::{Agent, Answered, RECORD_EVERY};
use crate::host::{Host, Snapshot, Target, sshd};
use crate::state::{State, Store};
use authkeys_core::document::Digest;
use authkeys_core::origin::Fetch;
use authkeys_core::outcome::{FaultCode, Outcome, Status};

/// How many accounts' files are read at the same time. More would only take more memory.
const AT_ONCE: usize = 32;
/// The system's time zone, in which an old sshd reads times.
const ZONE: &str = "/etc/localtime";
/// The groups by which accounts reach their files. A poll that finds nothing new uses those of the
/// last whole cycle.
const GROUPS: &str = "/etc/group";

/// What a cycle that had nothing to write looked at. As long as none of it changes, another cycle
/// would come to the same result.
#[derive(Debug)]
pub struct LastCycle {
    /// The versions in force, of each source in the order of the configuration.
    known: Vec<KnownVersions>,
    own_files: OwnFiles,
    /// In the order of the configuration.
    left: Vec<Left>,
    /// When something changes by itself, or the time has to be recorded.
    until: Timestamp,
    outcome: Outcome,
}

/// An account's file as a cycle left it.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) target: Target,
    /// Device and inode of the file's directory.
    pub(super) directory: Option<(u64, u64)>,
    /// The digest of the content; `None` if the file does not exist.
    pub(super) content: Option<Digest>,
}

/// The files that only root can change, each with a trace that shows a change: the state, the kept
/// documents, the pinned keys, the allowed signers, the zone, the groups, sshd.
#[derive(Debug)]
pub(super) struct OwnFiles {
    state: PathBuf,
    /// Of each file, and of each directory above one.
    traces: BTreeMap<PathBuf, Trace>,
}

/// What is known of a path without reading what is there.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    entry: Option<FoundEntry>,
    /// If the entry is a link.
    target: Option<FoundEntry>,
}

/// What is found under a name.
#[derive(Debug, PartialEq, Eq)]
struct FoundEntry {
    device: u64,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    /// The fields that differ when the content has changed; `None` for a directory, in which names
    /// come and go.
    content: Option<Content>,
}

/// Includes the change time, which nobody can set.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl<F: Fetch, H: Host> Agent<F, H> {
    pub(super) fn own_files(&self, store: &Store) -> OwnFiles {
        let mut paths = store.files();
        if let Some(pinned) = &self.config.pinned_keys {
            paths.push(pinned.clone());
        }
        if let Some(signers) = &self.config.signers {
            paths.push(signers.path.clone());
        }
        paths.extend([ZONE, GROUPS].map(PathBuf::from));
        paths.extend(sshd::looked_at().into_iter().map(PathBuf::from));
        let mut traces = BTreeMap::new();
        for path in paths.iter().flat_map(|path| path.ancestors()) {
            if !traces.contains_key(path) {
                traces.insert(path.to_owned(), Trace::of(path));
            }
        }
        OwnFiles {
            state: store.directory().to_owned(),
            traces,
        }
    }

    /// What the next cycle can reuse of this one; `None` if the next one has to look for itself.
    pub(super) fn last_cycle(
        &self,
        outcome: &Outcome,
        store: &Store,
        (known, own_files, left): (Vec<KnownVersions>, OwnFiles, Vec<Left>),
    ) -> Option<LastCycle> {
        let idle = !store.has_written() && !store.is_outdated() && !outcome.news && !outcome.first;
        let all_left = left.len() == self.config.accounts.len();
        if !idle || !all_left || !comes_again(outcome) || self.host.sshd_is_unknown() {
            return None;
        }
        let earliest = earliest_recorded(store.state())?;
        let mut until = earliest.checked_add(RECORD_EVERY).ok()?;
        if let Some(change) = outcome.next_change {
            until = until.min(change);
        }
        Some(LastCycle {
            known,
            own_files,
            left,
            until,
            outcome: outcome.clone(),
        })
    }

    /// Whether nothing that this node alone decides about has changed since.
    pub fn is_current(&self, last: &LastCycle, now: Timestamp) -> bool {
        (last.outcome.started..last.until).contains(&now) && last.own_files.are_unchanged()
    }

    /// Asks the sources for anything newer than what the last cycle had.
    pub async fn ask_again(&self, last: &LastCycle) -> Answered {
        let sources = self.config.sources();
        let mut asked = Vec::with_capacity(sources.len());
        for (source, known) in sources.iter().zip(&last.known) {
            asked.push(async move {
                let answers = self.ask(source, known).await;
                (known.clone(), answers)
            });
        }
        Answered(all_of(asked.into_iter()).await)
    }

    /// Whether the sources have nothing new, and the accounts and their files are as they were
    /// left. The files are read, because their owners could change one without leaving a trace.
    pub fn nothing_is_new(&self, last: &LastCycle, answered: &Answered) -> bool {
        for (_, answers) in &answered.0 {
            if !answers.are_unchanged() {
                return false;
            }
        }
        for source in self.config.sources() {
            if open_to_others(&source.url).is_some() {
                return false;
            }
        }
        let mut files = Vec::new();
        for (account, left) in self.config.accounts.iter().zip(&last.left) {
            files.push((account.user.as_ref(), &left.target));
        }
        let chunks = files.chunks(AT_ONCE).zip(last.left.chunks(AT_ONCE));
        for (files, left) in chunks {
            for (read, left) in self.host.read_again(files).into_iter().zip(left) {
                match read {
                    Some(Ok(Some(file))) if left.is(&file) => {}
                    _ => return false,
                }
            }
        }
        true
    }
}

impl LastCycle {
    /// The outcome of a cycle that found nothing changed.
    pub fn again(&self, started: Timestamp, finished: Timestamp) -> Outcome {
        let mut outcome = self.outcome.clone();
        (outcome.started, outcome.finished) = (started, finished);
        for source in &mut outcome.sources {
            source.fetched = Some(started);
        }
        outcome
    }
}

impl Left {
    fn is(&self, file: &Snapshot) -> bool {
        !file.drifted
            && file.directory == self.directory
            && file.content.as_deref().map(Digest::of) == self.content
    }
}

impl OwnFiles {
    fn are_unchanged(&self) -> bool {
        if !Store::can_write(&self.state) {
            return false;
        }
        for (path, trace) in &self.traces {
            if Trace::of(path) != *trace {
                return false;
            }
        }
        true
    }
}

impl Trace {
    fn of(path: &Path) -> Self {
        let Ok(found) = fs::symlink_metadata(path) else {
            return Self {
                entry: None,
                target: None,
            };
        };
        let mut target = None;
        if found.is_symlink()
            && let Ok(found) = fs::metadata(path)
        {
            target = Some(FoundEntry::from(found));
        }
        Self {
            entry: Some(FoundEntry::from(found)),
            target,
        }
    }
}

impl From<Metadata> for FoundEntry {
    fn from(of: Metadata) -> Self {
        let content = Content {
            size: of.size(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        };
        Self {
            device: of.dev(),
            inode: of.ino(),
            mode: of.mode(),
            owner: (of.uid(), of.gid()),
            content: if of.is_dir() { None } else { Some(content) },
        }
    }
}

/// The earliest of the times that the state has recorded.
fn earliest_recorded(state: &State) -> Option<Timestamp> {
    let mut recorded = Vec::with_capacity(state.sources.len() + 1);
    for source in state.sources.values() {
        recorded.push(source.fetched);
    }
    recorded.extend(state.clock);
    recorded.into_iter().min()
}

/// Whether another cycle on an unchanged node would have this outcome: nothing failed, and what is
/// left out of a document would be left out again.
fn comes_again(outcome: &Outcome) -> bool {
    for fault in &outcome.faults {
        if !is_of_the_document(fault.code) {
            return false;
        }
    }
    for account in &outcome.accounts {
        let known = account.status == Status::Ok || account.code.is_some_and(is_of_the_document);
        if !known || account.changed {
            return false;
        }
    }
    true
}

fn is_of_the_document(code: FaultCode) -> bool {
    matches!(code, FaultCode::KeyLeftOut | FaultCode::KeyTooNew)
}

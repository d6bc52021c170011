//! Tells a cycle that takes long from one that hangs: each step of source and host is bounded, so steps must go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::host::{Account, FoundFragments, Host, HostError, Replaced, Replacement, Snapshot, Stamp, Target};
use authkeys_core::origin::{Fetch, FetchError, Fetched, SourceUrl, Versions};
use authkeys_core::user::UserName;

/// Longer than any single step may take: 30 s for a fetch or for the state's lock.
const LONGEST_STEP: Duration = Duration::from_secs(90);

/// Where the running cycle is, and since when.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Instant,
    last: AtomicU64,
    phase: AtomicU8,
}

/// The phases of a cycle as far as a signal is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No cycle runs.
    Idle,
    /// Nothing of the node is touched yet: it may be given up at any moment.
    Gathering,
    /// Files are written.
    Installing,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(Inner { origin: Instant::now(), last: AtomicU64::new(0), phase: AtomicU8::new(0) }))
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::SeqCst);
        self.step();
    }

    pub(super) fn is_installing(&self) -> bool {
        self.0.phase.load(Ordering::SeqCst) == Phase::Installing as u8
    }

    /// No cycle runs, or it took a step lately.
    pub(super) fn goes_on(&self) -> bool {
        let idle = self.0.phase.load(Ordering::SeqCst) == Phase::Idle as u8;
        let last = Duration::from_millis(self.0.last.load(Ordering::SeqCst));
        idle || self.0.origin.elapsed().saturating_sub(last) < LONGEST_STEP
    }

    fn step(&self) {
        let now = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::SeqCst);
    }
}

/// A source or a host whose every step is noted. It outlives a reload: a connection, or an account that hangs, is kept.
#[derive(Debug)]
pub(super) struct Noted<T> {
    pub(super) inner: Arc<T>,
    pub(super) progress: Progress,
}

impl<T> Noted<T> {
    pub(super) fn new(inner: T, progress: &Progress) -> Self {
        Self { inner: Arc::new(inner), progress: progress.clone() }
    }

    fn step(&self) -> &T {
        self.progress.step();
        &self.inner
    }
}

impl<T> Clone for Noted<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), progress: self.progress.clone() }
    }
}

impl<F: Fetch> Fetch for Noted<F> {
    async fn fetch(&self, url: &SourceUrl, known: Option<&Versions>) -> Result<Fetched, FetchError> {
        self.step().fetch(url, known).await
    }
}

impl<H: Host + Send> Host for Noted<H> {
    fn account(&self, user: Option<&UserName>) -> Result<Account, HostError> {
        self.step().account(user)
    }

    fn read(&self, target: &Target) -> Result<Snapshot, HostError> {
        self.step().read(target)
    }

    fn sshd_version(&self) -> Option<(u32, u32)> {
        self.step().sshd_version()
    }

    fn replace(&self, target: &Target, seen: &Stamp, content: &[u8]) -> Result<Replaced, HostError> {
        self.step().replace(target, seen, content)
    }

    fn fragments(&self, target: &Target) -> Result<FoundFragments, HostError> {
        self.step().fragments(target)
    }

    fn refresh(&self, target: &Target) -> Result<(), HostError> {
        self.step().refresh(target)
    }

    fn accounts(&self, users: &[Option<&UserName>]) -> Vec<Option<Result<Account, HostError>>> {
        self.step().accounts(users)
    }

    fn read_all(&self, targets: &[&Target]) -> Vec<Option<Result<Snapshot, HostError>>> {
        self.step().read_all(targets)
    }

    fn all_fragments(&self, targets: &[&Target]) -> Vec<Option<Result<FoundFragments, HostError>>> {
        self.step().all_fragments(targets)
    }

    fn replace_all(&self, files: &[Replacement<'_>]) -> Vec<Result<Replaced, HostError>> {
        self.step().replace_all(files)
    }
}

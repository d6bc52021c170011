//! Distinguishes a cycle that takes long from one that hangs: each step of source and host has a
//! limit, so a cycle that makes progress takes steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::host::{
    Account, FoundFragments, Host, HostError, Replaced, Replacement, Snapshot, Stamp, Target,
};
use authkeys_core::origin::{Fetch, FetchError, Fetched, SourceUrl, Versions};
use authkeys_core::user::UserName;

/// Longer than any single step may take: 30 s for a fetch or for the state's lock.
const LONGEST_STEP: Duration = Duration::from_secs(90);

/// Whether a cycle runs, and when it took its last step.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Steps>);

#[derive(Debug)]
struct Steps {
    origin: Instant,
    last: AtomicU64,
    running: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let last = AtomicU64::new(0);
        let running = AtomicBool::new(false);
        Self(Arc::new(Steps {
            origin: Instant::now(),
            last,
            running,
        }))
    }

    /// A cycle begins.
    pub(super) fn begin(&self) {
        self.0.running.store(true, Ordering::SeqCst);
        self.step();
    }

    /// The cycle has ended.
    pub(super) fn end(&self) {
        self.0.running.store(false, Ordering::SeqCst);
    }

    /// Whether no cycle runs, or it took a step recently.
    pub(super) fn goes_on(&self) -> bool {
        let last = Duration::from_millis(self.0.last.load(Ordering::SeqCst));
        !self.0.running.load(Ordering::SeqCst)
            || self.0.origin.elapsed().saturating_sub(last) < LONGEST_STEP
    }

    fn step(&self) {
        let now = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::SeqCst);
    }
}

/// How far one cycle is, and the request that it make room for something that cannot wait. It makes
/// room only while it is waiting, so that work that it has started is never lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    leave_lock: AtomicBool,
    leave_sources: AtomicBool,
    left: Notify,
    installing: AtomicBool,
}

impl Turn {
    /// Tells the cycle to stop waiting for the state's lock.
    pub(super) fn leave_lock(&self) {
        self.0.leave_lock.store(true, Ordering::SeqCst);
    }

    /// Tells the cycle to stop waiting for its sources.
    pub(super) fn leave_sources(&self) {
        self.0.leave_sources.store(true, Ordering::SeqCst);
        self.0.left.notify_one();
    }

    pub(super) fn waits_for_lock(&self) -> bool {
        !self.0.leave_lock.load(Ordering::SeqCst)
    }

    /// Ends when the cycle must stop waiting for its sources.
    pub(super) async fn sources_left(&self) {
        while !self.0.leave_sources.load(Ordering::SeqCst) {
            self.0.left.notified().await;
        }
    }

    /// Files are written from now on. The writes are completed even if the service stops.
    pub(super) fn begin_to_install(&self) {
        self.0.installing.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_installing(&self) -> bool {
        self.0.installing.load(Ordering::SeqCst)
    }
}

/// A source or a host whose every step is recorded. It outlives a reload, so that a connection, or
/// an account that hangs, is kept.
#[derive(Debug)]
pub(super) struct Noted<T> {
    pub(super) inner: Arc<T>,
    pub(super) progress: Progress,
}

impl<T> Noted<T> {
    pub(super) fn new(inner: T, progress: &Progress) -> Self {
        Self {
            inner: Arc::new(inner),
            progress: progress.clone(),
        }
    }

    fn noted(&self) -> &T {
        self.progress.step();
        &self.inner
    }
}

impl<T> Clone for Noted<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            progress: self.progress.clone(),
        }
    }
}

impl<F: Fetch> Fetch for Noted<F> {
    async fn fetch(
        &self,
        url: &SourceUrl,
        known: Option<&Versions>,
    ) -> Result<Fetched, FetchError> {
        self.noted().fetch(url, known).await
    }
}

impl<H: Host + Send> Host for Noted<H> {
    fn step(&self) {
        self.progress.step();
    }

    fn account(&self, user: Option<&UserName>) -> Result<Account, HostError> {
        self.noted().account(user)
    }

    fn read(&self, target: &Target) -> Result<Snapshot, HostError> {
        self.noted().read(target)
    }

    fn sshd_version(&self) -> Option<(u32, u32)> {
        self.noted().sshd_version()
    }

    fn sshd_is_unknown(&self) -> bool {
        self.noted().sshd_is_unknown()
    }

    fn replace(
        &self,
        target: &Target,
        seen: &Stamp,
        content: &[u8],
    ) -> Result<Replaced, HostError> {
        self.noted().replace(target, seen, content)
    }

    fn fragments(&self, target: &Target) -> Result<FoundFragments, HostError> {
        self.noted().fragments(target)
    }

    fn refresh(&self, target: &Target) -> Result<(), HostError> {
        self.noted().refresh(target)
    }

    fn accounts(&self, users: &[Option<&UserName>]) -> Vec<Option<Result<Account, HostError>>> {
        self.noted().accounts(users)
    }

    fn read_all(&self, targets: &[&Target]) -> Vec<Option<Result<Snapshot, HostError>>> {
        self.noted().read_all(targets)
    }

    fn read_again(
        &self,
        files: &[(Option<&UserName>, &Target)],
    ) -> Vec<Option<Result<Option<Snapshot>, HostError>>> {
        self.noted().read_again(files)
    }

    fn all_fragments(&self, targets: &[&Target]) -> Vec<Option<Result<FoundFragments, HostError>>> {
        self.noted().all_fragments(targets)
    }

    fn replace_all(&self, files: &[Replacement<'_>]) -> Vec<Result<Replaced, HostError>> {
        self.noted().replace_all(files)
    }
}

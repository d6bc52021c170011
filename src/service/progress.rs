//! Tells a cycle that takes long from one that hangs: each step of source and host is bounded, so steps must go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::host::{Account, FoundFragments, Host, HostError, Replaced, Replacement, Snapshot, Stamp, Target};
use crate::source::{Fetch, FetchError, Fetched, SourceUrl, Versions};
use crate::user::UserName;

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
        let (last, running) = (AtomicU64::new(0), AtomicBool::new(false));
        Self(Arc::new(Steps { origin: Instant::now(), last, running }))
    }

    /// A cycle begins.
    pub(super) fn begin(&self) {
        self.0.running.store(true, Ordering::SeqCst);
        self.step();
    }

    /// No cycle runs any more.
    pub(super) fn end(&self) {
        self.0.running.store(false, Ordering::SeqCst);
    }

    /// No cycle runs, or it took a step lately.
    pub(super) fn goes_on(&self) -> bool {
        let last = Duration::from_millis(self.0.last.load(Ordering::SeqCst));
        !self.0.running.load(Ordering::SeqCst) || self.0.origin.elapsed().saturating_sub(last) < LONGEST_STEP
    }

    fn step(&self) {
        let now = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::SeqCst);
    }
}

/// One cycle's right to go on: until it writes it may be given up at any moment, and then it writes nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<(AtomicU8, Notify)>);

const GATHERING: u8 = 0;
const INSTALLING: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Turn {
    /// Whether it may write. From then on it is not given up any more.
    pub(super) fn begin_to_install(&self) -> bool {
        self.change(INSTALLING)
    }

    /// Gives the cycle up; `false` when it writes already.
    pub(super) fn give_up(&self) -> bool {
        let given_up = self.change(GIVEN_UP);
        self.0.1.notify_one();
        given_up
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.0.0.load(Ordering::SeqCst) == GIVEN_UP
    }

    pub(super) fn is_installing(&self) -> bool {
        self.0.0.load(Ordering::SeqCst) == INSTALLING
    }

    /// Ends when the cycle is given up.
    pub(super) async fn given_up(&self) {
        while !self.is_given_up() {
            self.0.1.notified().await;
        }
    }

    fn change(&self, to: u8) -> bool {
        self.0.0.compare_exchange(GATHERING, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
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

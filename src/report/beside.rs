//! Writes files about this node on a thread of its own, so that a file system that hangs delays
//! neither a cycle nor a stop.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::locked::locked;

/// For a write of the service: many times what a write takes. Two of them and the end of a cycle
/// fit into the 2 s of a stop.
pub const WRITE_PATIENCE: Duration = Duration::from_millis(150);

/// For a command that does nothing after it.
const COMMAND_PATIENCE: Duration = Duration::from_secs(2);

type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// The result of a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Written<T> {
    /// It ended with this result.
    Ended(T),
    /// It takes longer than usual and continues.
    Slow,
    /// An earlier write has not ended. This one follows it, unless a later one replaces it first.
    Hangs,
}

/// Reads or writes once, for a command; `None` if the file system does not answer within 2 s.
pub fn once<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match Beside::new(COMMAND_PATIENCE).write(work) {
        Written::Ended(result) => Some(result),
        Written::Slow | Written::Hangs => None,
    }
}

/// The message about a file that cannot be written because its file system does not answer.
pub fn no_answer(path: &Path) -> String {
    format!(
        "cannot write {}: its file system does not answer",
        path.display()
    )
}

/// Writes one job after the other. If several are waiting, only the latest is written.
pub struct Beside<T> {
    shared: Arc<Shared<T>>,
    patience: Duration,
}

struct Shared<T> {
    slot: Mutex<Slot<T>>,
    changed: Condvar,
}

struct Slot<T> {
    job: Option<Job<T>>,
    result: Option<T>,
    busy: bool,
    /// The thread has been started.
    started: bool,
    /// Nothing more will be written.
    over: bool,
}

impl<T: Send + 'static> Beside<T> {
    /// `patience` is how long a caller waits for the end of a write. Only one caller waits for a
    /// write that hangs.
    pub fn new(patience: Duration) -> Self {
        let slot = Slot {
            job: None,
            result: None,
            busy: false,
            started: false,
            over: false,
        };
        Self {
            shared: Arc::new(Shared {
                slot: Mutex::new(slot),
                changed: Condvar::new(),
            }),
            patience,
        }
    }

    /// Hands the job to the thread and waits for its end, at most for `patience`.
    pub fn write(&self, work: impl FnOnce() -> T + Send + 'static) -> Written<T> {
        let mut slot = self.shared.slot();
        if !slot.started {
            let shared = Arc::clone(&self.shared);
            slot.started = thread::Builder::new()
                .name("files".to_owned())
                .spawn(move || shared.write_all())
                .is_ok();
        }
        if !slot.started {
            // Without a thread, write here rather than not at all.
            return Written::Ended(work());
        }
        slot.job = Some(Box::new(work));
        slot.result = None;
        if slot.busy {
            return Written::Hangs;
        }
        self.shared.changed.notify_all();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(slot, self.patience, |slot| slot.is_unfinished());
        let (mut slot, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match slot.result.take() {
            Some(result) => Written::Ended(result),
            None => Written::Slow,
        }
    }
}

impl<T> Slot<T> {
    fn is_unfinished(&self) -> bool {
        self.busy || self.job.is_some()
    }
}

impl<T> Shared<T> {
    fn slot(&self) -> MutexGuard<'_, Slot<T>> {
        locked(&self.slot)
    }

    fn write_all(&self) {
        let mut slot = self.slot();
        loop {
            let Some(job) = slot.job.take() else {
                if slot.over {
                    return;
                }
                slot = self
                    .changed
                    .wait(slot)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            slot.busy = true;
            drop(slot);
            let result = catch_unwind(AssertUnwindSafe(job)).ok();
            slot = self.slot();
            slot.busy = false;
            slot.result = result;
            self.changed.notify_all();
        }
    }
}

impl<T> Drop for Beside<T> {
    fn drop(&mut self) {
        self.shared.slot().over = true;
        self.shared.changed.notify_all();
    }
}

impl<T> fmt::Debug for Beside<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beside").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(150);

    #[test]
    fn f54_a_write_that_hangs_is_waited_for_once_and_the_latest_follows_it() {
        let beside = Beside::new(PATIENCE);
        let ((go, gone), (told, order)) = (channel::<()>(), channel());
        let hangs = move || gone.recv().map_or(2, |()| 2);
        assert_eq!(beside.write(hangs), Written::Slow);
        while !beside.shared.slot().busy {
            thread::yield_now();
        }
        let started = Instant::now();
        for number in 3..100 {
            let told = told.clone();
            let later = move || told.send(number).map_or(number, |()| number);
            assert_eq!(beside.write(later), Written::Hangs);
        }
        // Nearly a hundred times as long, if each were waited for.
        assert!(started.elapsed() < PATIENCE * 40, "{:?}", started.elapsed());
        drop(go);
        assert_eq!(order.recv(), Ok(99));
        assert_eq!(order.recv_timeout(PATIENCE).ok(), None);
    }

    #[test]
    fn a_write_that_ends_tells_what_came_of_it() {
        let beside = Beside::new(Duration::from_secs(60));
        for number in 0..3 {
            assert_eq!(beside.write(move || number), Written::Ended(number));
        }
    }

    #[test]
    fn a_write_that_panics_ends_no_later_one() {
        let beside = Beside::new(PATIENCE);
        assert_eq!(beside.write(|| panic!("in a write")), Written::Slow);
        // To say where it panicked may take longer than the patience.
        let mut next = beside.write(|| 1);
        while next != Written::Ended(1) {
            thread::sleep(PATIENCE);
            next = beside.write(|| 1);
        }
    }
}

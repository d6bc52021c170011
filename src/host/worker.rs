//! Steps with a time limit: each runs on a thread of its own, and a step that hangs costs only its own account.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::HostError;

/// Whether the caller still waits for a step. One that wakes up after hours must not publish what was right then.
#[derive(Debug, Clone, Default)]
pub(super) struct Awaited(Arc<AtomicBool>);

impl Awaited {
    pub(super) fn still(&self, path: &Path) -> Result<(), HostError> {
        if self.0.load(Ordering::SeqCst) {
            return Err(HostError::GivenUp { path: path.to_owned() });
        }
        Ok(())
    }
}

/// A step that did not end within its limit.
#[derive(Debug)]
struct Stuck {
    thread: JoinHandle<()>,
    path: PathBuf,
    begun: Instant,
}

/// Starts the steps and remembers those that hang.
#[derive(Debug, Default)]
pub(super) struct Workers {
    stuck: Mutex<HashMap<String, Stuck>>,
}

impl Workers {
    /// Runs one step of the account, or refuses when an earlier one of the same account hangs.
    pub(super) fn run<T: Send + 'static>(
        &self,
        account: &str,
        path: &Path,
        limit: Duration,
        step: impl FnOnce(&Awaited) -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        self.refuse_if_stuck(account)?;
        let broken = |source| HostError::Thread { account: account.to_owned(), path: path.to_owned(), source };
        let begun = Instant::now();
        let awaited = Awaited::default();
        let (sender, receiver) = mpsc::sync_channel(1);
        let thread = {
            let awaited = awaited.clone();
            thread::Builder::new().name("account".to_owned()).spawn(move || {
                // Nobody receives it when the caller gave up.
                let _ = sender.send(step(&awaited));
            })
        }
        .map_err(broken)?;
        match receiver.recv_timeout(limit) {
            Ok(result) => {
                // Nothing of the step, neither descriptor nor identity, outlives this call.
                let _ = thread.join();
                result
            }
            Err(RecvTimeoutError::Disconnected) => Err(broken(io::Error::other("the thread died"))),
            Err(RecvTimeoutError::Timeout) => {
                awaited.0.store(true, Ordering::SeqCst);
                let stuck = Stuck { thread, path: path.to_owned(), begun };
                self.stuck.lock().unwrap_or_else(PoisonError::into_inner).insert(account.to_owned(), stuck);
                Err(HostError::Hung { account: account.to_owned(), path: path.to_owned(), limit })
            }
        }
    }

    fn refuse_if_stuck(&self, account: &str) -> Result<(), HostError> {
        let mut all = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, stuck| !stuck.thread.is_finished());
        match all.get(account) {
            None => Ok(()),
            Some(stuck) => Err(HostError::StillHung {
                account: account.to_owned(),
                path: stuck.path.clone(),
                since: stuck.begun.elapsed(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f37_a_step_that_hangs_is_named_blocks_only_its_account_and_publishes_nothing_late() {
        let workers = Workers::default();
        let limit = Duration::from_millis(50);
        let (wake, sleep) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let path = Path::new("/home/hung/.ssh/authorized_keys");

        let hung = workers.run("hung", path, limit, move |awaited| {
            let _ = sleep.recv();
            tell.send(awaited.still(Path::new("/x")).is_err()).unwrap();
            Ok(())
        });
        assert!(matches!(hung, Err(HostError::Hung { .. })), "{hung:?}");
        let text = hung.unwrap_err().to_string();
        assert!(text.contains("account hung") && text.contains("/home/hung") && text.contains("50ms"), "{text}");

        let again = workers.run("hung", path, limit, |_| -> Result<(), _> { panic!("must not be begun") });
        assert!(matches!(again, Err(HostError::StillHung { .. })), "{again:?}");
        assert!(workers.run("other", path, limit, |_| Ok(1)).is_ok());

        wake.send(()).unwrap();
        assert!(told.recv().unwrap(), "the late step knew that it had been given up");
        while workers.run("hung", path, limit, |_| Ok(())).is_err() {
            thread::yield_now();
        }
    }
}

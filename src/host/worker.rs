//! Steps with a time limit: those of different accounts run on different threads, so that a step
//! that hangs delays only its own account.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::HostError;
use super::pool::Pool;
use crate::locked::locked;

/// The most steps that are started at the same time; those that hang run in addition.
const AT_ONCE: usize = 32;

/// Whether the caller still waits for a step. A step that continues after hours must not publish
/// what was correct then. The step and its caller have one each.
#[derive(Debug, Clone, Default)]
pub(super) struct Awaited(Arc<AtomicBool>);

impl Awaited {
    pub(super) fn still(&self, path: &Path) -> Result<(), HostError> {
        if self.0.load(Ordering::SeqCst) {
            return Err(HostError::GivenUp {
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    /// For the caller: whether the step has ended.
    fn is_over(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A step that did not end within its limit.
#[derive(Debug)]
struct Stuck {
    awaited: Awaited,
    path: PathBuf,
    started: Instant,
}

/// One step of one account.
pub(super) struct AccountStep<T> {
    account: String,
    path: PathBuf,
    work: Box<Work<T>>,
}

type Work<T> = dyn FnOnce(&Awaited) -> Result<T, HostError> + Send;

impl<T> AccountStep<T> {
    /// `path` is what the step is about, for messages.
    pub(super) fn new(
        account: String,
        path: PathBuf,
        work: impl FnOnce(&Awaited) -> Result<T, HostError> + Send + 'static,
    ) -> Self {
        Self {
            account,
            path,
            work: Box::new(work),
        }
    }
}

/// A running step.
#[derive(Debug)]
struct StartedStep<T> {
    account: String,
    path: PathBuf,
    at: Instant,
    awaited: Awaited,
    receiver: Receiver<Result<T, HostError>>,
}

impl<T> StartedStep<T> {
    /// The result, if it is ready by `then`; otherwise the running step.
    fn until(self, then: Instant) -> Result<Result<T, HostError>, Self> {
        match self
            .receiver
            .recv_timeout(then.saturating_duration_since(Instant::now()))
        {
            Ok(result) => Ok(result),
            Err(RecvTimeoutError::Disconnected) => {
                let source = io::Error::other("the thread died");
                Ok(Err(HostError::Thread {
                    account: self.account,
                    path: self.path,
                    source,
                }))
            }
            Err(RecvTimeoutError::Timeout) => Err(self),
        }
    }
}

/// Steps still running after the shared patience ran out, by account and path so that they are not
/// mixed up.
#[derive(Debug)]
pub(super) struct Late<T>(Mutex<HashMap<(String, PathBuf), StartedStep<T>>>);

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Late<T> {
    /// Whether a step still hangs. Steps that have ended are forgotten, with their results.
    pub(super) fn hang(&self) -> bool {
        let mut steps = self.steps();
        steps.retain(|_, started| !started.awaited.is_over());
        !steps.is_empty()
    }

    fn steps(&self) -> MutexGuard<'_, HashMap<(String, PathBuf), StartedStep<T>>> {
        locked(&self.0)
    }
}

/// Starts the steps and remembers those that hang.
#[derive(Debug, Default)]
pub(super) struct Workers {
    pool: Pool,
    stuck: Mutex<HashMap<String, Stuck>>,
}

impl Workers {
    /// Runs one step, or waits for the late one of the same account. Refuses if an earlier one
    /// hangs.
    pub(super) fn run<T: Send + 'static>(
        &self,
        step: AccountStep<T>,
        limit: Duration,
        late: &Late<T>,
    ) -> Result<T, HostError> {
        let started = self.begin_or_find(step, limit, late)?;
        let last = started.at + limit;
        match started.until(last) {
            Ok(result) => result,
            Err(started) => Err(self.give_up(started, limit)),
        }
    }

    /// Runs steps of different accounts at the same time, or continues to wait for late ones.
    /// `patience` is shared: the first step that does not end within it uses it up for all of them.
    /// From then on a step that has not ended is late, and its result is `None`. So any number of
    /// hanging steps delays the others only once, and a slow machine makes no step late. After
    /// `limit` a step is given up.
    pub(super) fn run_all<T: Send + 'static>(
        &self,
        steps: impl IntoIterator<Item = AccountStep<T>>,
        mut patience: Duration,
        limit: Duration,
        late: &Late<T>,
    ) -> Vec<Option<Result<T, HostError>>> {
        let mut steps = steps.into_iter();
        let mut results = Vec::new();
        loop {
            let started: Vec<_> = steps
                .by_ref()
                .take(AT_ONCE)
                .map(|step| self.begin_or_find(step, limit, late))
                .collect();
            if started.is_empty() {
                return results;
            }
            for started in started {
                let started = match started {
                    Ok(started) => started,
                    Err(refused) => {
                        results.push(Some(Err(refused)));
                        continue;
                    }
                };
                let last = started.at + limit;
                let then = Instant::now() + patience;
                results.push(match started.until(then.min(last)) {
                    Ok(result) => Some(result),
                    Err(started) if last <= then => Some(Err(self.give_up(started, limit))),
                    Err(started) => {
                        patience = Duration::ZERO;
                        late.steps()
                            .insert((started.account.clone(), started.path.clone()), started);
                        None
                    }
                });
            }
        }
    }

    fn begin_or_find<T: Send + 'static>(
        &self,
        step: AccountStep<T>,
        limit: Duration,
        late: &Late<T>,
    ) -> Result<StartedStep<T>, HostError> {
        let started = late
            .steps()
            .remove(&(step.account.clone(), step.path.clone()));
        match started {
            // An earlier cycle left it behind: its result is not that of today.
            Some(old) if old.awaited.is_over() && old.at.elapsed() > limit => self.begin(step),
            Some(started) => Ok(started),
            None => self.begin(step),
        }
    }

    /// Remembers a step that hangs.
    fn give_up<T>(&self, started: StartedStep<T>, limit: Duration) -> HostError {
        let StartedStep {
            account,
            path,
            at,
            awaited,
            ..
        } = started;
        awaited.0.store(true, Ordering::SeqCst);
        let stuck = Stuck {
            awaited,
            path: path.clone(),
            started: at,
        };
        locked(&self.stuck).insert(account.clone(), stuck);
        HostError::Hung {
            account,
            path,
            limit,
        }
    }

    fn begin<T: Send + 'static>(&self, step: AccountStep<T>) -> Result<StartedStep<T>, HostError> {
        let AccountStep {
            account,
            path,
            work,
        } = step;
        self.refuse_if_stuck(&account)?;
        let at = Instant::now();
        let awaited = Awaited::default();
        let (sender, receiver) = mpsc::sync_channel(1);
        let given = awaited.clone();
        let handed_over = self.pool.run(Box::new(move || {
            // The caller may have given up.
            let _ = sender.send(work(&given));
        }));
        match handed_over {
            Ok(()) => Ok(StartedStep {
                account,
                path,
                at,
                awaited,
                receiver,
            }),
            Err(source) => Err(HostError::Thread {
                account,
                path,
                source,
            }),
        }
    }

    fn refuse_if_stuck(&self, account: &str) -> Result<(), HostError> {
        let mut all = locked(&self.stuck);
        all.retain(|_, stuck| !stuck.awaited.is_over());
        match all.get(account) {
            None => Ok(()),
            Some(stuck) => Err(HostError::StillHung {
                account: account.to_owned(),
                path: stuck.path.clone(),
                since: stuck.started.elapsed(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;

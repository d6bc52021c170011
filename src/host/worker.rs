//! Steps with a time limit: each runs on a thread of its own, so that a step that hangs delays only
//! its own account.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::HostError;

/// The most steps that are started at the same time; those that hang run in addition.
const AT_ONCE: usize = 32;

/// Whether the caller still waits for a step. A step that continues after hours must not publish
/// what was correct then.
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
}

/// A step that did not end within its limit.
#[derive(Debug)]
struct Stuck {
    thread: JoinHandle<()>,
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
    thread: JoinHandle<()>,
    receiver: Receiver<Result<T, HostError>>,
}

impl<T> StartedStep<T> {
    /// The result, if it is ready by `then`; otherwise the running step.
    fn until(self, then: Instant) -> Result<Result<T, HostError>, Self> {
        match self
            .receiver
            .recv_timeout(then.saturating_duration_since(Instant::now()))
        {
            Ok(result) => {
                // No part of the step, neither descriptor nor identity, outlives this call.
                let _ = self.thread.join();
                Ok(result)
            }
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
        steps.retain(|_, started| !started.thread.is_finished());
        !steps.is_empty()
    }

    fn steps(&self) -> MutexGuard<'_, HashMap<(String, PathBuf), StartedStep<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the steps and remembers those that hang.
#[derive(Debug, Default)]
pub(super) struct Workers {
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
        let started = self.begin_or_find(step, late)?;
        let last = started.at + limit;
        started
            .until(last)
            .unwrap_or_else(|started| Err(self.give_up(started, limit)))
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
                .map(|step| self.begin_or_find(step, late))
                .collect();
            if started.is_empty() {
                return results;
            }
            let mut wait = |started: StartedStep<T>| {
                let last = started.at + limit;
                let then = Instant::now() + patience;
                match started.until(then.min(last)) {
                    Ok(result) => Some(result),
                    Err(started) if last <= then => Some(Err(self.give_up(started, limit))),
                    Err(started) => {
                        patience = Duration::ZERO;
                        late.steps()
                            .insert((started.account.clone(), started.path.clone()), started);
                        None
                    }
                }
            };
            results.extend(
                started
                    .into_iter()
                    .map(|started| started.map_or_else(|refused| Some(Err(refused)), &mut wait)),
            );
        }
    }

    fn begin_or_find<T: Send + 'static>(
        &self,
        step: AccountStep<T>,
        late: &Late<T>,
    ) -> Result<StartedStep<T>, HostError> {
        let started = late
            .steps()
            .remove(&(step.account.clone(), step.path.clone()));
        started.map_or_else(|| self.begin(step), Ok)
    }

    /// Remembers a step that hangs.
    fn give_up<T>(&self, started: StartedStep<T>, limit: Duration) -> HostError {
        let StartedStep {
            account,
            path,
            at,
            awaited,
            thread,
            ..
        } = started;
        awaited.0.store(true, Ordering::SeqCst);
        let stuck = Stuck {
            thread,
            path: path.clone(),
            started: at,
        };
        self.stuck
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(account.clone(), stuck);
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
        let (at, awaited) = (Instant::now(), Awaited::default());
        let (sender, receiver) = mpsc::sync_channel(1);
        let thread = {
            let awaited = awaited.clone();
            thread::Builder::new()
                .name("account".to_owned())
                .spawn(move || {
                    // The caller may have given up.
                    let _ = sender.send(work(&awaited));
                })
        };
        match thread {
            Ok(thread) => Ok(StartedStep {
                account,
                path,
                at,
                awaited,
                thread,
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
        let mut all = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, stuck| !stuck.thread.is_finished());
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
mod tests {
    use super::*;

    fn step<T>(
        account: &str,
        work: impl FnOnce(&Awaited) -> Result<T, HostError> + Send + 'static,
    ) -> AccountStep<T> {
        AccountStep::new(
            account.to_owned(),
            Path::new("/home")
                .join(account)
                .join(".ssh/authorized_keys"),
            work,
        )
    }

    #[test]
    fn f37_a_step_that_hangs_is_named_blocks_only_its_account_and_publishes_nothing_late() {
        let workers = Workers::default();
        let limit = Duration::from_millis(50);
        let (wake, sleep) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();

        let hung = step("hung", move |awaited| {
            let _ = sleep.recv();
            tell.send(awaited.still(Path::new("/x")).is_err()).unwrap();
            Ok(())
        });
        let hung = workers.run(hung, limit, &Late::default());
        assert!(matches!(hung, Err(HostError::Hung { .. })), "{hung:?}");
        let text = hung.unwrap_err().to_string();
        assert!(
            text.contains("account hung") && text.contains("/home/hung") && text.contains("50ms"),
            "{text}"
        );

        let again = workers.run(
            step("hung", |_| -> Result<(), _> { panic!("must not be begun") }),
            limit,
            &Late::default(),
        );
        assert!(
            matches!(again, Err(HostError::StillHung { .. })),
            "{again:?}"
        );
        assert!(
            workers
                .run(step("other", |_| Ok(1)), limit, &Late::default())
                .is_ok()
        );

        wake.send(()).unwrap();
        assert!(
            told.recv().unwrap(),
            "the late step knew that it had been given up"
        );
        while workers
            .run(step("hung", |_| Ok(())), limit, &Late::default())
            .is_err()
        {
            thread::yield_now();
        }
    }

    #[test]
    fn f37_accounts_that_hang_hold_nobody_up_and_cost_one_limit_together() {
        let (workers, late) = (Workers::default(), Late::default());
        let (patience, limit) = (Duration::from_millis(100), Duration::from_millis(500));
        let (wake, sleep) = mpsc::channel::<()>();
        let sleep = Arc::new(Mutex::new(sleep));
        let started = Instant::now();
        let hang = |number: usize| {
            let sleep = Arc::clone(&sleep);
            step(&format!("a{number}"), move |_| {
                if number < 10 {
                    let _ = sleep.lock().map(|sleep| sleep.recv());
                }
                Ok(number)
            })
        };
        let results = workers.run_all((0..20).map(hang), patience, limit, &late);
        assert!(started.elapsed() < limit, "{:?}", started.elapsed());
        for (number, result) in results.iter().enumerate() {
            match result {
                Some(result) => assert!(
                    number >= 10 && result.as_ref().is_ok_and(|told| *told == number),
                    "{number}"
                ),
                None => assert!(number < 10, "{number}"),
            }
        }
        // Those that are late are waited for again and again, and given up together.
        let mut waiting: Vec<usize> = (0..10).collect();
        let mut rounds = 0;
        while !waiting.is_empty() {
            let ended = workers.run_all(
                waiting.iter().map(|number| hang(*number)),
                patience,
                limit,
                &late,
            );
            let hung = ended
                .iter()
                .flatten()
                .all(|ended| matches!(ended, Err(HostError::Hung { .. })));
            assert!(hung, "{ended:?}");
            waiting = waiting
                .into_iter()
                .zip(ended)
                .filter_map(|(number, ended)| ended.is_none().then_some(number))
                .collect();
            rounds += 1;
        }
        assert!((4..8).contains(&rounds), "{rounds}");
        assert!(
            started.elapsed() < 2 * limit,
            "their limits run at the same time: {:?}",
            started.elapsed()
        );
        drop(wake);
    }

    #[test]
    fn f37_a_slow_machine_makes_nobody_late_as_long_as_steps_end() {
        let (workers, late) = (Workers::default(), Late::default());
        let patience = Duration::from_millis(400);
        let slow = (0..10 * AT_ONCE).map(|number| {
            step(&format!("a{number}"), move |_| {
                thread::sleep(patience / 8);
                Ok(number)
            })
        });
        let results = workers.run_all(slow, patience, Duration::from_secs(60), &late);
        assert!(results.iter().all(Option::is_some), "{results:?}");
    }

    #[test]
    fn f37_one_that_hangs_among_every_few_costs_all_of_them_one_patience() {
        let (workers, late) = (Workers::default(), Late::default());
        let (patience, rounds) = (Duration::from_millis(200), 10);
        let (wake, sleep) = mpsc::channel::<()>();
        let sleep = Arc::new(Mutex::new(sleep));
        let steps = (0..rounds * AT_ONCE).map(|number| {
            let sleep = Arc::clone(&sleep);
            step(&format!("a{number}"), move |_| {
                if number % AT_ONCE == 0 {
                    let _ = sleep.lock().map(|sleep| sleep.recv());
                }
                Ok(number)
            })
        });
        let started = Instant::now();
        let results = workers.run_all(steps, patience, Duration::from_secs(60), &late);
        assert_eq!(results.len(), rounds * AT_ONCE);
        assert!(started.elapsed() < 4 * patience, "{:?}", started.elapsed());
        drop(wake);
    }

    #[test]
    fn f37_hundreds_that_hang_before_an_account_cost_it_no_more_than_one() {
        let (workers, late) = (Workers::default(), Late::default());
        let (patience, limit) = (Duration::from_millis(200), Duration::from_secs(60));
        let (wake, sleep) = mpsc::channel::<()>();
        let sleep = Arc::new(Mutex::new(sleep));
        let steps = || {
            (0..201).map(|number| {
                let sleep = Arc::clone(&sleep);
                step(&format!("a{number}"), move |_| {
                    if number < 200 {
                        let _ = sleep.lock().map(|sleep| sleep.recv());
                    }
                    Ok(number)
                })
            })
        };
        let started = Instant::now();
        let mut rounds = 0;
        // In the first round it may be too late to be begun and asked; in the second it has ended
        // long ago.
        while workers
            .run_all(steps(), patience, limit, &late)
            .pop()
            .unwrap()
            .is_none()
        {
            rounds += 1;
        }
        assert!(
            rounds < 2 && started.elapsed() < 4 * patience,
            "{rounds} rounds, {:?}",
            started.elapsed()
        );
        drop(wake);
    }

    #[test]
    fn a_late_step_is_never_taken_for_another_of_its_account() {
        let (workers, late) = (Workers::default(), Late::default());
        let (wake, sleep) = mpsc::channel::<()>();
        let slow = step("a", move |_| Ok(sleep.recv().is_ok()));
        assert!(matches!(
            workers.run_all([slow], Duration::ZERO, Duration::from_secs(9), &late)[..],
            [None]
        ));
        let other = AccountStep::new("a".to_owned(), PathBuf::from("/srv/keys/a"), |_| Ok(false));
        assert!(!workers.run(other, Duration::from_secs(9), &late).unwrap());
        drop(wake);
    }

    #[test]
    fn late_steps_hang_until_they_end_and_are_then_forgotten() {
        let (workers, late) = (Workers::default(), Late::default());
        let (wake, sleep) = mpsc::channel::<()>();
        let slow = step("slow", move |_| Ok(sleep.recv().is_ok()));
        workers.run_all([slow], Duration::ZERO, Duration::from_secs(9), &late);
        assert!(late.hang());
        wake.send(()).unwrap();
        while late.hang() {
            thread::yield_now();
        }
        let other = workers.run(step("slow", |_| Ok(false)), Duration::from_secs(9), &late);
        assert!(!other.unwrap(), "the late result is nobody's");
    }

    #[test]
    fn a_step_that_is_only_slow_is_waited_for() {
        let (workers, late) = (Workers::default(), Late::default());
        let (wake, sleep) = mpsc::channel::<()>();
        let slow = step("slow", move |_| Ok(sleep.recv().is_ok()));
        assert!(matches!(
            workers.run_all([slow], Duration::ZERO, Duration::from_secs(9), &late)[..],
            [None]
        ));
        wake.send(()).unwrap();
        let again = step("slow", |_| -> Result<bool, _> {
            panic!("must not be begun twice")
        });
        assert!(workers.run(again, Duration::from_secs(9), &late).unwrap());
    }
}

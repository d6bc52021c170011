//! Threads for steps that may hang. A thread that has ended its step waits for the next one, as
//! itself again.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::identity::OwnIdentity;
use crate::locked::locked;

/// How long a thread without a step waits for one if another thread waits too.
const REST: Duration = Duration::from_secs(1);

type Step = Box<dyn FnOnce() + Send>;

/// Runs each step at once: on a thread that waits, or on a new one.
#[derive(Default)]
pub(super) struct Pool(Arc<SharedSteps>);

#[derive(Default)]
struct SharedSteps {
    queue: Mutex<StepQueue>,
    changed: Condvar,
}

#[derive(Default)]
struct StepQueue {
    /// Never more than threads that wait.
    steps: VecDeque<Step>,
    waiting: usize,
    /// No further step comes.
    over: bool,
}

impl Pool {
    /// An error means that the system allows no further thread; the step is dropped.
    pub(super) fn run(&self, step: Step) -> io::Result<()> {
        let mut queue = self.0.queue();
        if queue.steps.len() < queue.waiting {
            queue.steps.push_back(step);
            self.0.changed.notify_one();
            return Ok(());
        }
        drop(queue);
        let shared = Arc::clone(&self.0);
        thread::Builder::new()
            .name("account".to_owned())
            .spawn(move || shared.run_all(step))?;
        Ok(())
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.queue().over = true;
        self.0.changed.notify_all();
    }
}

impl SharedSteps {
    fn queue(&self) -> MutexGuard<'_, StepQueue> {
        locked(&self.queue)
    }

    fn run_all(&self, first: Step) {
        let own = OwnIdentity::of_thread();
        let mut next = Some(first);
        while let Some(step) = next {
            if catch_unwind(AssertUnwindSafe(step)).is_err() || !own.is_restored() {
                return;
            }
            next = self.wait();
        }
    }

    /// The next step; `None` if this thread is not needed any more. One thread stays.
    fn wait(&self) -> Option<Step> {
        let mut queue = self.queue();
        queue.waiting += 1;
        let mut rested = false;
        loop {
            if let Some(step) = queue.steps.pop_front() {
                queue.waiting -= 1;
                return Some(step);
            }
            if queue.over || rested && queue.waiting > 1 {
                queue.waiting -= 1;
                return None;
            }
            if queue.waiting > 1 {
                let waited = self.changed.wait_timeout(queue, REST);
                let (woken, ended) = waited.unwrap_or_else(PoisonError::into_inner);
                (queue, rested) = (woken, ended.timed_out());
            } else {
                let woken = self.changed.wait(queue);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc::channel;
    use std::thread::ThreadId;

    use super::*;

    /// The thread on which a step ran.
    fn thread_of_a_step(pool: &Pool) -> ThreadId {
        let (sender, receiver) = channel();
        pool.run(Box::new(move || {
            let _ = sender.send(thread::current().id());
        }))
        .unwrap();
        receiver.recv().unwrap()
    }

    /// Until there is one thread, which waits.
    fn wait_for_one(pool: &Pool) {
        while Arc::strong_count(&pool.0) != 2 || pool.0.queue().waiting != 1 {
            thread::yield_now();
        }
    }

    #[test]
    fn a_thread_that_waits_gets_the_next_step() {
        let pool = Pool::default();
        let mut threads = HashSet::new();
        for _ in 0..100 {
            threads.insert(thread_of_a_step(&pool));
            wait_for_one(&pool);
        }
        assert_eq!(threads.len(), 1);
    }

    #[test]
    fn steps_run_at_the_same_time_and_then_one_thread_stays() {
        let pool = Pool::default();
        let (wake, sleep) = channel::<()>();
        let sleep = Arc::new(Mutex::new(sleep));
        let (ran, runs) = channel();
        for number in 0..20 {
            let (sleep, ran) = (Arc::clone(&sleep), ran.clone());
            pool.run(Box::new(move || {
                ran.send(number).unwrap();
                let _ = sleep.lock().map(|sleep| sleep.recv());
            }))
            .unwrap();
        }
        let mut numbers: Vec<i32> = runs.iter().take(20).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(0..20));
        drop(wake);
        wait_for_one(&pool);
        let first = thread_of_a_step(&pool);
        wait_for_one(&pool);
        assert_eq!(thread_of_a_step(&pool), first);
    }

    #[test]
    fn a_step_that_panics_ends_its_thread_and_nothing_else() {
        let pool = Pool::default();
        pool.run(Box::new(|| panic!("in a step"))).unwrap();
        let thread = thread_of_a_step(&pool);
        wait_for_one(&pool);
        assert_eq!(thread_of_a_step(&pool), thread);
    }

    #[test]
    fn no_thread_stays_behind_a_pool() {
        let pool = Pool::default();
        thread_of_a_step(&pool);
        wait_for_one(&pool);
        let shared = Arc::downgrade(&pool.0);
        drop(pool);
        while shared.strong_count() > 0 {
            thread::yield_now();
        }
    }
}

//! The one thread on which cycles run, one after the other, so that the service's loop never waits
//! for a lock, a disk or an account. It is begun with the first cycle and stays: to begin one for
//! each costs more than an unchanged poll.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::thread;

use tokio::sync::oneshot::{self, Receiver};

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs. Not the runtime's own threads: it panics where the system lets no further one begin.
#[derive(Debug, Default)]
pub(super) struct Worker(Option<Sender<Job>>);

impl Worker {
    /// Runs a job after those before it. The receiver gets nothing when the job panics. An error
    /// means that no thread can be begun now.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Receiver<T>> {
        let jobs = match self.0.take() {
            Some(jobs) => jobs,
            None => begin()?,
        };
        let (answer, receiver) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody receives what was given up.
            let _ = answer.send(work());
        });
        // It ends with this sender and not before.
        if jobs.send(job).is_ok() {
            self.0 = Some(jobs);
        }
        Ok(receiver)
    }
}

fn begin() -> io::Result<Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("cycles".to_owned())
        .spawn(move || {
            for job in jobs {
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn f42_a_job_that_panics_ends_alone() {
        let mut worker = Worker::default();
        let panics = worker.run(|| panic!("in a cycle")).unwrap();
        let next = worker.run(|| thread::current().id()).unwrap();
        assert!(panics.await.map(|(): ()| ()).is_err());
        let first = next.await.unwrap();
        assert_eq!(
            worker.run(|| thread::current().id()).unwrap().await,
            Ok(first)
        );
    }
}

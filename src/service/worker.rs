//! The single thread on which cycles run, one after the other, so that the service's loop never
//! waits for a lock, a disk or an account. It is started with the first cycle and kept: starting
//! one for each cycle costs more than an unchanged poll.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::thread;

use tokio::sync::oneshot::{self, Receiver};

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs. Not a thread of the runtime, because the runtime panics if the system allows no
/// further thread.
#[derive(Debug, Default)]
pub(super) struct Worker(Option<Sender<Job>>);

impl Worker {
    /// Runs a job after the earlier ones. The receiver gets nothing if the job panics. An error
    /// means that no thread can be started now.
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
            // The caller may have given up.
            let _ = answer.send(work());
        });
        // The thread ends with this sender and not before.
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

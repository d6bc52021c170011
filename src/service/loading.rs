//! Reads the configuration for a reload on a thread of its own: its file system may hang, and then
//! cycles, the watchdog and a stop must not wait for it.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot::{self, Receiver};
use tokio::time::{Instant, timeout_at};

use super::ServiceSetup;

/// How long a reload waits for the file, which has 1 MiB at most.
const PATIENCE: Duration = Duration::from_secs(5);

const NO_ANSWER: &str = "it cannot be read: its file system does not answer";

type Answer = Result<ServiceSetup, String>;

/// Reads the configuration, once at a time: while a read hangs, no second one is started.
pub(super) struct Loading<L> {
    load: Arc<L>,
    /// A read that has not ended, even if nobody waits for it any more.
    read: Option<Receiver<Answer>>,
    /// Until when to wait for its end; `None` if nobody waits.
    until: Option<Instant>,
}

impl<L> fmt::Debug for Loading<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loading")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl<L: Fn() -> Answer + Send + Sync + 'static> Loading<L> {
    pub(super) fn new(load: L) -> Self {
        Self {
            load: Arc::new(load),
            read: None,
            until: None,
        }
    }

    /// Whether somebody waits for a read. A change meanwhile needs a read of its own.
    pub(super) fn is_under_way(&self) -> bool {
        self.until.is_some()
    }

    /// Starts a read. If an earlier read still hangs, that is the answer at once.
    pub(super) fn begin(&mut self) {
        if let Some(read) = &self.read
            && !read.is_terminated()
            && read.is_empty()
        {
            self.until = Some(Instant::now());
            return;
        }
        let (sender, receiver) = oneshot::channel();
        let load = Arc::clone(&self.load);
        self.until = Some(Instant::now() + PATIENCE);
        self.read = Some(receiver);
        let started = thread::Builder::new()
            .name("configuration".to_owned())
            .spawn(move || {
                // Nobody receives it if it took too long.
                let _ = sender.send(load());
            });
        if let Err(fault) = started {
            let (sender, receiver) = oneshot::channel();
            let _ = sender.send(Err(format!(
                "cannot begin a thread to read it: {fault}; check the limits on tasks"
            )));
            self.read = Some(receiver);
        }
    }

    /// The configuration, or why it could not be read. Never ends if nobody waits for a read.
    pub(super) async fn ended(&mut self) -> Answer {
        let (Some(until), Some(read)) = (self.until, &mut self.read) else {
            return pending().await;
        };
        let answer = timeout_at(until, read).await;
        self.until = None;
        match answer {
            Ok(answer) => {
                self.read = None;
                match answer {
                    Ok(answer) => answer,
                    Err(_) => {
                        Err("a panic ended the reading of it; report this as a bug".to_owned())
                    }
                }
            }
            Err(_) => Err(NO_ANSWER.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn f54_a_read_that_hangs_is_given_up_and_no_second_one_joins_it() {
        let (go, gone) = mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let mut loading = Loading::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = gone.lock().unwrap().recv();
            Err("read".to_owned())
        });
        for _ in 0..3 {
            loading.begin();
            while reads.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            assert_eq!(loading.ended().await.unwrap_err(), NO_ANSWER);
            assert!(!loading.is_under_way());
        }
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        drop(go);
        while reads.load(Ordering::SeqCst) == 1 {
            loading.begin();
            let said = loading.ended().await.unwrap_err();
            assert!(said == NO_ANSWER || said == "read", "{said}");
        }
    }

    #[tokio::test]
    async fn f42_a_read_that_panics_is_an_answer() {
        let mut loading = Loading::new(|| panic!("in a read"));
        loading.begin();
        assert!(loading.ended().await.unwrap_err().contains("a panic"));
    }
}

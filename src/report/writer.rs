//! Writes entries on a thread of its own. A reader that does not read (journald, or the other end
//! of a pipe) blocks only that thread, and nobody who reports something. Entries for which the
//! queue has no room are dropped and counted.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::locked::locked;
use authkeys_core::report::entries::Entry;
use authkeys_core::report::kind::Kind;

/// The most bytes that may wait: what a large first cycle reports about 20,000 keys.
const MOST_WAITING: usize = 8 << 20;

/// Where entries go.
pub(super) trait EntryOutput: Send + Sync + 'static {
    /// Writes one entry; may block.
    fn write(&self, entry: &Entry);
    /// Writes one entry if that is possible at once. Returns whether it was written.
    fn write_at_once(&self, entry: &Entry) -> bool;
}

/// Queues entries for a thread that writes them.
pub(super) struct Writer(Arc<SharedQueue>);

struct SharedQueue {
    output: Box<dyn EntryOutput>,
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Entry>,
    bytes: usize,
    dropped: u64,
    /// The thread is writing an entry.
    writing: bool,
    /// The thread has been started.
    started: bool,
}

impl Writer {
    pub(super) fn new(output: impl EntryOutput) -> Self {
        let queue = Mutex::default();
        let changed = Condvar::new();
        Self(Arc::new(SharedQueue {
            output: Box::new(output),
            queue,
            changed,
        }))
    }

    /// Queues an entry. Never blocks.
    pub(super) fn tell(&self, entry: &Entry) {
        let mut queue = self.0.queue();
        if !queue.started {
            queue.started = self.begin();
        }
        let size = size(entry);
        // If the system allows no thread to start, write what can be written at once.
        if !queue.started && queue.waiting.is_empty() && self.0.output.write_at_once(entry) {
            return;
        }
        if queue.bytes.saturating_add(size) > MOST_WAITING {
            queue.dropped = queue.dropped.saturating_add(1);
        } else {
            queue.bytes += size;
            queue.waiting.push_back(entry.clone());
        }
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than `limit`.
    pub(super) fn finish(&self, limit: Duration) {
        let queue = self.0.queue();
        let waited = self
            .0
            .changed
            .wait_timeout_while(queue, limit, |queue| queue.is_busy());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn begin(&self) -> bool {
        let shared = Arc::clone(&self.0);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_all())
            .is_ok()
    }
}

impl SharedQueue {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    fn write_all(&self) {
        let mut queue = self.queue();
        loop {
            let Some(entry) = queue.next() else {
                queue = self
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.writing = true;
            drop(queue);
            self.output.write(&entry);
            queue = self.queue();
            queue.writing = false;
            self.changed.notify_all();
        }
    }
}

impl Queue {
    /// Whether a thread still has something to write.
    fn is_busy(&self) -> bool {
        self.started && (self.writing || !self.is_empty())
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0
    }

    /// The next entry. After all waiting entries, the number of dropped ones.
    fn next(&mut self) -> Option<Entry> {
        if let Some(entry) = self.waiting.pop_front() {
            self.bytes = self.bytes.saturating_sub(size(&entry));
            return Some(entry);
        }
        let dropped = std::mem::take(&mut self.dropped);
        let text = format!(
            "{dropped} log {} dropped here because the log was not read in time; `authkeysd \
             status` has the current state",
            if dropped == 1 {
                "entry was"
            } else {
                "entries were"
            }
        );
        (dropped > 0).then(|| Entry::new(Kind::Warning, text))
    }
}

/// The approximate memory that an entry takes.
fn size(entry: &Entry) -> usize {
    let optional = [
        &entry.account,
        &entry.path,
        &entry.fingerprint,
        &entry.key_type,
        &entry.comment,
        &entry.document,
        &entry.serial,
        &entry.digest,
        &entry.source,
        &entry.keys,
    ];
    let texts: usize = optional.into_iter().flatten().map(String::len).sum();
    size_of::<Entry>() + entry.message.len() + texts
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    use super::*;

    /// Writes an entry whenever the test lets it.
    struct Slow(Mutex<Receiver<()>>, Sender<String>);

    impl EntryOutput for Slow {
        fn write(&self, entry: &Entry) {
            let _ = self.0.lock().unwrap().recv();
            let _ = self.1.send(entry.message.chars().take(40).collect());
        }

        fn write_at_once(&self, _: &Entry) -> bool {
            false
        }
    }

    #[test]
    fn f54_a_reader_that_does_not_read_holds_nobody_up_and_what_is_dropped_is_counted() {
        let ((allow, allowed), (written, lines)) = (channel(), channel());
        let writer = Writer::new(Slow(Mutex::new(allowed), written));
        let started = Instant::now();
        let mebibyte = "x".repeat(1 << 20);
        writer.tell(&Entry::new(Kind::Started, "started"));
        for number in 0..20 {
            writer.tell(&Entry::new(Kind::Fault, format!("{number} {mebibyte}")));
        }
        writer.finish(Duration::from_millis(50));
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
        drop(allow);
        writer.finish(Duration::from_secs(20));
        let lines: Vec<String> = lines.try_iter().collect();
        assert_eq!(lines[0], "started");
        assert!(
            lines[1].starts_with("0 x") && lines[7].starts_with("6 x"),
            "{lines:?}"
        );
        assert!(
            lines
                .last()
                .unwrap()
                .starts_with("13 log entries were dropped"),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 9);
    }
}

//! Writes entries to the journal with their fields, or as lines to stderr without a journal. A
//! caller never waits for the reader.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::{Errno, retry_on_intr};
use tracing::{Dispatch, Level};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry;

use super::writer::{EntryOutput, Writer};
use authkeys_core::report::entries::Entry;
use authkeys_core::report::text::one_line;

/// The target of our own entries. Entries of libraries are not published.
const TARGET: &str = "authkeysd";

/// The pause before a full stream is tried again.
const BUSY: Duration = Duration::from_millis(50);

/// Where [`tell`] sends entries; unset until the destination is chosen.
static WRITER: OnceLock<Writer> = OnceLock::new();

/// Whether stderr goes to the journal, as systemd says in `$JOURNAL_STREAM`. A shell that was
/// started by a service inherits the variable but not the stream, so device and inode must match.
pub fn is_journal(journal_stream: Option<&str>) -> bool {
    let found = rustix::fs::fstat(std::io::stderr());
    found.is_ok_and(|found| {
        journal_stream == Some(format!("{}:{}", found.st_dev, found.st_ino).as_str())
    })
}

/// Sends entries from [`tell`] to the journal from now on. Returns `false` if the journal does not
/// answer.
pub fn to_journal() -> bool {
    let Ok(layer) = tracing_journald::layer() else {
        return false;
    };
    let priorities = PriorityMappings {
        info: Priority::Informational,
        ..PriorityMappings::new()
    };
    // Without a prefix, so that the field is the MESSAGE_ID that journalctl knows.
    let layer = layer
        .with_field_prefix(None)
        .with_syslog_identifier(TARGET.to_owned());
    let ours = Targets::new().with_target(TARGET, Level::INFO);
    let subscriber = registry()
        .with(layer.with_priority_mappings(priorities))
        .with(ours);
    WRITER
        .set(Writer::new(Journal(Dispatch::new(subscriber))))
        .is_ok()
}

/// Prints entries from [`tell`] on stderr from now on.
pub fn to_stderr() -> bool {
    WRITER.set(Writer::new(Stderr)).is_ok()
}

/// Queues one entry, to be written soon. Never blocks.
pub fn tell(entry: &Entry) {
    if let Some(writer) = WRITER.get() {
        writer.tell(entry);
    }
}

/// Waits until all entries are written, but no longer than `limit`.
pub fn finish(limit: Duration) {
    if let Some(writer) = WRITER.get() {
        writer.finish(limit);
    }
}

/// The journal's native protocol.
struct Journal(Dispatch);

impl EntryOutput for Journal {
    fn write(&self, entry: &Entry) {
        tracing::dispatcher::with_default(&self.0, || emit(entry));
    }

    fn write_at_once(&self, _: &Entry) -> bool {
        false
    }
}

/// Lines on stderr.
struct Stderr;

impl EntryOutput for Stderr {
    /// Does not use the lock of the standard library's stderr, which a panic needs as well.
    fn write(&self, entry: &Entry) {
        let stderr = io::stderr();
        let line = line(entry);
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match retry_on_intr(|| rustix::io::write(stderr.as_fd(), rest)) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                // Another process that shares the stream made it non-blocking.
                Err(Errno::AGAIN) => thread::sleep(BUSY),
                Err(_) => return,
            }
        }
    }

    /// Opens stderr again: making the shared stream non-blocking would affect every process that
    /// shares it.
    fn write_at_once(&self, entry: &Entry) -> bool {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let stderr = OpenOptions::new()
            .append(true)
            .custom_flags(flags)
            .open("/proc/self/fd/2");
        stderr.is_ok_and(|mut stderr| stderr.write_all(line(entry).as_bytes()).is_ok())
    }
}

fn line(entry: &Entry) -> String {
    format!("{TARGET}: {}\n", one_line(&entry.message))
}

/// Writes one entry.
fn emit(entry: &Entry) {
    let entry = entry.shown();
    let message_id = entry.kind.message_id();
    let message = entry.message.as_str();
    let code = entry.code.map(|code| code.to_string());
    // tracing fixes the level of each call in the code, so there are two calls.
    if entry.kind.is_warning() {
        tracing::event!(
            target: TARGET,
            Level::WARN,
            message,
            message_id,
            authkeysd_code = code.as_deref(),
            account = entry.account.as_deref(),
            path = entry.path.as_deref(),
            fingerprint = entry.fingerprint.as_deref(),
            key_type = entry.key_type.as_deref(),
            comment = entry.comment.as_deref(),
            document = entry.document.as_deref(),
            serial = entry.serial.as_deref(),
            digest = entry.digest.as_deref(),
            source = entry.source.as_deref(),
            keys = entry.keys.as_deref(),
        );
    } else {
        tracing::event!(
            target: TARGET,
            Level::INFO,
            message,
            message_id,
            authkeysd_code = code.as_deref(),
            account = entry.account.as_deref(),
            path = entry.path.as_deref(),
            fingerprint = entry.fingerprint.as_deref(),
            key_type = entry.key_type.as_deref(),
            comment = entry.comment.as_deref(),
            document = entry.document.as_deref(),
            serial = entry.serial.as_deref(),
            digest = entry.digest.as_deref(),
            source = entry.source.as_deref(),
            keys = entry.keys.as_deref(),
        );
    }
}

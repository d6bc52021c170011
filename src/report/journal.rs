//! Entries to the journal with their fields, or the same lines to stderr where there is no journal.

use std::fmt::Debug;
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry;

use super::entries::Entry;

/// The target of our own entries; what libraries say is not ours to publish.
const TARGET: &str = "authkeysd";

/// Whether stderr goes to the journal, as systemd tells in `$JOURNAL_STREAM`. A shell that was started by a service
/// inherits the variable but not the stream, so device and inode must agree.
pub fn is_journal(journal_stream: Option<&str>) -> bool {
    let found = rustix::fs::fstat(std::io::stderr());
    found.is_ok_and(|found| journal_stream == Some(format!("{}:{}", found.st_dev, found.st_ino).as_str()))
}

/// Sends what [`tell`] is given to the journal from now on. `false` where it does not answer.
pub fn to_journal() -> bool {
    let Ok(layer) = tracing_journald::layer() else {
        return false;
    };
    let priorities = PriorityMappings { info: Priority::Informational, ..PriorityMappings::new() };
    // Without a prefix, so that MESSAGE_ID is the one that journalctl knows.
    let layer = layer.with_field_prefix(None).with_syslog_identifier(TARGET.to_owned());
    install(registry().with(layer.with_priority_mappings(priorities)).with(ours()))
}

/// Prints what [`tell`] is given on stderr from now on.
pub fn to_stderr() -> bool {
    install(registry().with(Lines).with(ours()))
}

fn install(subscriber: impl Subscriber + Send + Sync) -> bool {
    tracing::subscriber::set_global_default(subscriber).is_ok()
}

fn ours() -> Targets {
    Targets::new().with_target(TARGET, Level::INFO)
}

/// Writes one entry.
pub fn tell(entry: &Entry) {
    let entry = entry.shown();
    let (message_id, message) = (entry.kind.message_id(), entry.message.as_str());
    // The level belongs to the place in the code, so there are two of them.
    if entry.kind.is_warning() {
        tracing::event!(
            target: TARGET,
            Level::WARN,
            message,
            message_id,
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

/// Prints the messages.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        event.record(&mut Message);
    }
}

struct Message;

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            let _ = writeln!(std::io::stderr(), "authkeysd: {value}");
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

//! `authkeysd sync`: one cycle, with the diff printed.

use std::io;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{Exit, Sync, colour, complain, load, print};
use crate::agent::{Agent, Intent};
use crate::history::History;
use crate::host::Node;
use crate::outcome::{FaultClass, Outcome, chain};
use crate::report::entries::entries;
use crate::report::{journal, status_file, text};
use crate::service::Setup;
use crate::source::Sources;
use crate::state::{StateError, Store};

/// Runs the command.
pub(super) fn run(path: &Path, options: &Sync) -> Exit {
    let config = match load::config_or_exit(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let Setup { config, state, runtime: directory } = load::setup(config);
    let max_stale = config.max_stale;
    let store = if options.dry_run { Store::peek(&state) } else { Store::open(&state) };
    let store = store.map(|store| store.not_before(load::built()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match (store, runtime) {
        (Ok(mut store), Ok(runtime)) => {
            let agent = Agent { config, fetch: Sources::default(), host: Node::default(), zone: TimeZone::system() };
            let intent = Intent { dry_run: options.dry_run, accept_rollback: options.accept_rollback };
            runtime.block_on(agent.cycle(&mut store, intent, clock))
        }
        (Err(fault), _) => Err(fault),
        (_, Err(fault)) => {
            complain(&format!("cannot start: {fault}"));
            return Exit::Failed;
        }
    };
    match outcome {
        Ok(outcome) if options.dry_run => show(&outcome, options),
        Ok(outcome) => show(&report(outcome, &directory, max_stale), options),
        Err(fault) => {
            complain(&chain(&fault));
            denied(&fault)
        }
    }
}

/// Writes the status file, and to the journal where there is one. What cannot be written is said and changes nothing.
fn report(outcome: Outcome, directory: &Path, max_stale: Option<SignedDuration>) -> Outcome {
    let history = &mut History::new(status_file::read(directory).unwrap_or_default());
    let outcome = history.complete(outcome, max_stale);
    if journal::is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) && journal::to_journal() {
        entries(history.last(), &outcome, false).iter().for_each(journal::tell);
    }
    if let Err(fault) = status_file::write(directory, &outcome) {
        complain(&chain(&fault));
    }
    outcome
}

fn show(outcome: &Outcome, options: &Sync) -> Exit {
    if options.json {
        match serde_json::to_string_pretty(outcome) {
            Ok(json) => print(&(json + "\n")),
            Err(fault) => complain(&format!("cannot write JSON: {fault}")),
        }
    } else {
        print(&text::render(outcome, options.dry_run, colour()));
    }
    outcome.faults.iter().for_each(|fault| complain(&fault.text));
    match outcome.faults.iter().map(|fault| fault.class).max() {
        Some(FaultClass::Denied) => Exit::Denied,
        Some(FaultClass::Unreachable) => Exit::Unreachable,
        Some(FaultClass::Failed) => Exit::Failed,
        None if options.dry_run && outcome.changed() => Exit::Changes,
        None => Exit::Good,
    }
}

fn denied(fault: &StateError) -> Exit {
    match fault {
        StateError::Directory { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Exit::Denied,
        _ => Exit::Failed,
    }
}

#[expect(clippy::disallowed_methods, reason = "the composition root is where the clock is read")]
pub(super) fn clock() -> Timestamp {
    // Milliseconds are what people and the status file need.
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

//! `authkeysd sync`: one cycle, with the diff printed.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Exit, Sync, colour, complain, load, print};
use crate::agent::{Agent, Intent};
use crate::host::Node;
use crate::outcome::{FaultClass, Outcome, chain};
use crate::report::text;
use crate::source::Sources;
use crate::state::{StateError, Store};

/// Runs the command.
pub(super) fn run(path: &Path, options: &Sync) -> Exit {
    let config = match load::config_or_exit(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let directory = load::state_directory(&config);
    let store = if options.dry_run { Store::peek(&directory) } else { Store::open(&directory) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match (store, runtime) {
        (Ok(mut store), Ok(runtime)) => {
            let mut host = Node::default();
            host.sweeps = !options.dry_run;
            let agent = Agent { config, fetch: Sources::default(), host, zone: TimeZone::system() };
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
        Ok(outcome) => show(&outcome, options),
        Err(fault) => {
            complain(&chain(&fault));
            denied(&fault)
        }
    }
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

//! `authkeysd sync`: one cycle, with the diff printed.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Exit, Sync, block_on, colour, complain, load, print};
use crate::agent::{Agent, Intent};
use crate::host::{HostError, Node, bounded};
use crate::outcome::{FaultClass, Outcome, chain};
use crate::report::text;
use crate::source::Sources;
use crate::state::{StateError, Store};

/// The most bytes of a zone's description; the longest have some 4 KB.
const MAX_ZONE: u64 = 1 << 16;

/// Runs the command.
pub(super) fn run(path: &Path, options: &Sync) -> Exit {
    let config = match load::config_or_exit(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let directory = load::state_directory(&config);
    let store = if options.dry_run { Store::peek(&directory) } else { Store::open(&directory) };
    let outcome = store.map(|mut store| {
        let mut host = Node::default();
        host.sweeps = !options.dry_run;
        let (fetch, zone, built) = (Sources::default(), sshd_zone(), built());
        let agent = Agent { config, fetch, host, zone, built };
        let intent = Intent { dry_run: options.dry_run, accept_rollback: options.accept_rollback };
        block_on(agent.cycle(&mut store, intent, clock))
    });
    match outcome {
        Ok(Ok(Ok(outcome))) => show(&outcome, options),
        Ok(Err(fault)) => {
            complain(&format!("cannot start: {fault}"));
            Exit::Failed
        }
        Err(fault) | Ok(Ok(Err(fault))) => {
            complain(&chain(&fault));
            denied(&fault)
        }
    }
}

fn show(outcome: &Outcome, options: &Sync) -> Exit {
    let printed = if options.json {
        match serde_json::to_string_pretty(outcome) {
            Ok(json) => print(&(json + "\n")),
            Err(fault) => {
                complain(&format!("cannot write JSON: {fault}"));
                false
            }
        }
    } else {
        print(&text::render(outcome, options.dry_run, colour()))
    };
    outcome.faults.iter().for_each(|fault| complain(&fault.text));
    match outcome.faults.iter().map(|fault| fault.class).max() {
        Some(FaultClass::Denied) => Exit::Denied,
        Some(FaultClass::Unreachable) => Exit::Unreachable,
        Some(FaultClass::Failed) => Exit::Failed,
        None if !printed => Exit::Failed,
        None if options.dry_run && outcome.changed() => Exit::Changes,
        None => Exit::Good,
    }
}

fn denied(fault: &StateError) -> Exit {
    match fault {
        StateError::Directory { source, .. } | StateError::Host(HostError::Io { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Exit::Denied
        }
        _ => Exit::Failed,
    }
}

/// The zone in which sshd reads times: the system's, whatever TZ says in the session of who runs us.
fn sshd_zone() -> TimeZone {
    let file = bounded::read(Path::new("/etc/localtime"), MAX_ZONE).ok().flatten();
    file.and_then(|file| TimeZone::tzif("local", &file.content).ok()).unwrap_or(TimeZone::UTC)
}

/// When this program was built.
pub(super) fn built() -> Timestamp {
    let seconds = env!("AUTHKEYSD_BUILT").parse().unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "the composition root is where the clock is read")]
pub(super) fn clock() -> Timestamp {
    // Milliseconds are what people and the status file need.
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

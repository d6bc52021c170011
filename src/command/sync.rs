//! `authkeysd sync`: one cycle, with the diff printed.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Exit, Sync, block_on, colour, complain, load, print};
use crate::agent::{Agent, Intent};
use crate::config::Config;
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
    let mut store = match store {
        Ok(store) => store,
        Err(fault) => {
            complain(&chain(&fault));
            return denied(&fault);
        }
    };
    warn_of_private_keys(&config);
    let mut host = Node::default();
    host.sweeps = !options.dry_run;
    let agent = Agent { config, fetch: Sources::default(), host, zone: sshd_zone, built: built() };
    let intent = Intent { dry_run: options.dry_run, accept_rollback: options.accept_rollback };
    match block_on(agent.cycle(&mut store, intent, clock)) {
        Ok(outcome) => show(&outcome, options),
        Err(fault) => {
            complain(&format!("cannot start: {fault}"));
            Exit::Failed
        }
    }
}

/// The operator chose it, and is told at every start what it means.
fn warn_of_private_keys(config: &Config) {
    let sources: BTreeSet<_> = config.accounts.iter().filter(|a| a.allow_private_key).map(|a| &a.source).collect();
    for source in sources {
        complain(&format!(
            "warning: {source}: allow_private_key lets every node read a private key that opens every other node; \
             publish the public half alone"
        ));
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

pub(super) fn denied(fault: &StateError) -> Exit {
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

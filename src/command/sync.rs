//! `authkeysd sync`: runs one cycle and prints the changes.

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use super::{Exit, Sync, block_on, colour, complain, load, print, print_json, system, tell};
use crate::agent::{Agent, Intent};
use crate::fetch::{Remote, Sources};
use crate::host::{Node, preflight};
use crate::report::{beside, journal, status_file};
use crate::service::ServiceSetup;
use crate::state::{StateError, Store};
use authkeys_core::config::{Config, Report};
use authkeys_core::history::{History, RIVALRY};
use authkeys_core::outcome::{Fault, FaultClass, Outcome, chain};
use authkeys_core::report::entries::each_entry;
use authkeys_core::report::text;
use authkeys_core::words::counted;
use authkeys_terminal::clock;

/// How long a finished command waits for the metadata service, and for its last log entries.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the command.
pub(super) fn run(path: &Path, options: &Sync) -> Exit {
    let config = match load::config_or_exit(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if let Err(exit) = load::signers_or_exit(&config) {
        return exit;
    }
    let ServiceSetup {
        config,
        state,
        runtime,
    } = load::setup(config);
    let max_stale = config.max_stale;
    let reports = config.report.clone();
    let store = if options.dry_run {
        Store::peek(&state)
    } else {
        Store::open(&state)
    };
    let mut store = store.map_err(|fault| fault.fault());
    let mut warnings = Vec::new();
    if store.is_ok() {
        warnings.extend(private_keys(&config));
    }
    let mut host = Node::default();
    host.sweeps = !options.dry_run;
    let remote = Remote::by_environment();
    let agent = Agent {
        config,
        fetch: Sources::new(remote.clone()),
        host,
        zone: system::sshd_zone,
        built: system::built(),
    };
    let intent = Intent {
        dry_run: options.dry_run,
        accept_rollback: options.accept_rollback,
    };
    let work = async {
        let place = runtime.clone();
        let last = beside::once(move || status_file::read(&place));
        let history = History::new(last.and_then(Result::ok).flatten());
        let mut outcome = match &mut store {
            Ok(store) => with_instance(&remote, agent.cycle(store, intent, clock)).await,
            Err(fault) => history.not_begun(fault.clone(), clock(), clock()),
        };
        if options.dry_run && store.is_ok() {
            outcome.faults.extend(unwritable_state(&state));
        }
        // If even reading the state is denied, nothing was learned about the node.
        let denied = matches!(&store, Err(fault) if fault.class() == FaultClass::Denied);
        if options.dry_run || denied {
            return outcome;
        }
        if store.is_ok() {
            outcome = history.complete(outcome, max_stale);
        }
        // The reports of the last cycle are kept until there are new ones.
        let reports_something = reports != Report::default();
        outcome.reports = match history.last() {
            Some(last) if reports_something => last.reports.clone(),
            _ => Default::default(),
        };
        record(&history, &outcome, &runtime);
        if reports_something {
            tell::tell(&remote, &reports, &mut outcome).await;
            write_status(&runtime, &outcome);
        }
        outcome
    };
    let ended = block_on(work);
    let started = store.is_ok();
    // Release the state before printing: a reader that does not read must not lock the service out.
    drop(store);
    for text in warnings {
        complain(&format!("warning: {text}"));
    }
    let exit = match ended {
        Ok(outcome) => show(&outcome, options, started),
        Err(fault) => {
            complain(&format!("cannot start: {fault}"));
            Exit::Failed
        }
    };
    journal::finish(GRACE);
    exit
}

/// Why the state could not be saved, as far as that can be seen without writing.
pub(super) fn unwritable_state(directory: &Path) -> Option<Fault> {
    let source = preflight::own_directory(directory, "state.json").err()?;
    Some(StateError::Host(source).fault())
}

/// Warns at every start what `allow_private_key` means, although the operator chose it.
pub(super) fn private_keys(config: &Config) -> impl Iterator<Item = String> {
    let sources = config.sources().into_iter();
    sources.filter(|source| source.allow_private_key).map(|source| {
        format!(
            "{}: allow_private_key lets every node read a private key that opens every other node; \
             publish the public half alone",
            source.url
        )
    })
}

/// Runs a cycle, and meanwhile finds out which instance this is.
async fn with_instance(remote: &Remote, cycle: impl Future<Output = Outcome>) -> Outcome {
    let mut cycle = pin!(cycle);
    let mut asking = pin!(remote.instance(true));
    let mut answer = None;
    let mut outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut cycle => break outcome,
            instance = &mut asking, if answer.is_none() => answer = Some(instance),
        }
    };
    if answer.is_none() {
        answer = timeout(GRACE, asking).await.ok();
    }
    if let Some(Ok(instance)) = answer {
        outcome.instance_id = Some(instance.id);
    }
    outcome
}

/// Writes the status file, and to the journal if there is one. A failure is reported and changes
/// nothing else.
fn record(history: &History, outcome: &Outcome, directory: &Path) {
    if journal::is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) && journal::to_journal()
    {
        each_entry(history.last(), outcome, false, journal::tell);
    }
    write_status(directory, outcome);
}

/// Writes the status file with a time limit, because the state's lock is held and others need it.
fn write_status(directory: &Path, outcome: &Outcome) {
    let place = directory.to_owned();
    let short = outcome.shortened();
    let fault = match beside::once(move || status_file::write(&place, &short)) {
        Some(Ok(())) => None,
        Some(Err(fault)) => Some(chain(&fault)),
        None => Some(beside::no_answer(&status_file::path(directory))),
    };
    if let Some(fault) = fault {
        // A user who serves only their own account did not ask for a file in a directory of root's.
        if nix::unistd::geteuid().is_root() || directory != Path::new(load::RUNTIME) {
            complain(&format!("warning: {fault}"));
        }
    }
}

/// If the cycle was not `started`, only its fault is shown: the rest of the outcome is what the
/// previous cycle did.
fn show(outcome: &Outcome, options: &Sync, started: bool) -> Exit {
    let printed = if options.json {
        print_json(outcome)
    } else if started {
        let mut shown = text::render(outcome, options.dry_run, colour());
        shown.push_str(&closing(outcome, options));
        print(&shown)
    } else {
        true
    };
    if started {
        for text in text::warnings(outcome) {
            complain(&format!("warning: {text}"));
        }
    }
    for account in &outcome.accounts {
        if account.changed && account.repairs >= RIVALRY {
            complain(&format!("warning: {}", account.detail));
        }
    }
    for fault in &outcome.faults {
        complain(&fault.to_string());
    }
    match outcome.faults.iter().map(Fault::class).max() {
        Some(class) => class.into(),
        None if !printed => Exit::Failed,
        None if options.dry_run && outcome.changed() => Exit::Changes,
        None => Exit::Good,
    }
}

/// The last line of a dry run.
fn closing(outcome: &Outcome, options: &Sync) -> String {
    if !options.dry_run {
        return String::new();
    }
    let accounts = outcome.accounts.iter().filter(|account| account.changed);
    let accounts = counted(accounts.count(), "account");
    format!("nothing was written; {accounts} would change\n")
}

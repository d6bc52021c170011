//! `authkeysd status`: shows what the last cycle did. The exit code is 0 only if it is recent and
//! ok.

use std::collections::HashSet;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Exit, StatusOptions, colour, complain, load, print, print_json};
use crate::agent;
use crate::host::{Host as _, Node};
use crate::report::{presence, status_file};
use crate::service::ServiceSetup;
use authkeys_core::config::{AccountConfig, Config};
use authkeys_core::document::Rules;
use authkeys_core::key::Fingerprint;
use authkeys_core::outcome::{AccountOutcome, KeyList, Outcome, Status, chain};
use authkeys_core::plan::{Mode, our_keys};
use authkeys_core::report::text;

/// How old an outcome may be if `--max-age` is not given and no next cycle is due.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(10);
/// How long a cycle that is due may take before it counts as missed.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);

/// Runs the command.
pub(super) fn run(path: &Path, options: &StatusOptions) -> Exit {
    let ServiceSetup {
        config,
        runtime: directory,
        ..
    } = match load::config_or_exit(path) {
        Ok(config) => load::setup(config),
        Err(exit) => return exit,
    };
    let mut outcome = match status_file::read(&directory) {
        Ok(Some(outcome)) => outcome,
        Ok(None) => {
            let file = status_file::path(&directory);
            complain(&format!(
                "{} does not exist: no cycle has ended yet; start the service, or run `authkeysd \
                 sync`",
                file.display()
            ));
            return Exit::Failed;
        }
        Err(fault) => {
            complain(&chain(&fault));
            return Exit::Failed;
        }
    };
    let listed = !options.keys || list_all_keys(&config, &mut outcome);
    let now = authkeys_terminal::clock();
    let present = presence::is_held(&directory);
    // `sync` announces no next cycle, so a missing service is an error only if there was one.
    let running = present.filter(|held| *held || outcome.next_cycle.is_some());
    let age = now.duration_since(outcome.finished);
    let fresh = match options.max_age {
        Some(most) => age <= most,
        None => match outcome.next_cycle {
            Some(next) if now.duration_since(next) <= OVERDUE => true,
            _ => age <= MAX_AGE,
        },
    };
    let printed = if options.json {
        print_json(&StatusJson {
            outcome: &outcome,
            running,
        })
    } else {
        let headline = headline(&outcome, running, now, fresh);
        let warnings = text::warning_lines(&outcome, colour());
        let keys = if options.keys {
            text::keys_in_force(&outcome)
        } else {
            String::new()
        };
        let parts = [
            text::render(&outcome, false, colour()),
            keys,
            warnings,
            text::failed_reports(&outcome, colour()),
        ];
        print(&(headline + &parts.concat()))
    };
    if running == Some(false) {
        complain(
            "the service is not running: nothing is fetched, and no window opens or closes; start \
             it",
        );
    }
    match verdict(&outcome, fresh, now) {
        Exit::Good if !(printed && listed) || running == Some(false) => Exit::Failed,
        exit => exit,
    }
}

/// The content of the status file, and whether the service runs.
#[derive(Serialize)]
struct StatusJson<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    /// Omitted if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<bool>,
}

/// If the service is not running there is no next cycle, and the last cycle says little.
fn headline(outcome: &Outcome, running: Option<bool>, now: Timestamp, fresh: bool) -> String {
    let line = |outcome: &Outcome| text::headline(outcome, now, fresh, colour());
    match running {
        Some(true) => format!("{}, the service is running\n", line(outcome)),
        Some(false) => {
            let last = Outcome {
                next_cycle: None,
                ..outcome.clone()
            };
            format!(
                "the service is not running; its last cycle: {}\n",
                line(&last)
            )
        }
        None if outcome.next_cycle.is_none() => {
            format!("{}, no service is running\n", line(outcome))
        }
        None => line(outcome) + "\n",
    }
}

/// Completes the lists of keys in force from the accounts' files, which are read as the accounts.
/// Returns whether all could be read.
fn list_all_keys(config: &Config, outcome: &mut Outcome) -> bool {
    let host = Node::read_only();
    let mut all = true;
    for account in &mut outcome.accounts {
        if account.lists_all_in_force() {
            continue;
        }
        match keys_in_file(&host, config, account) {
            Ok(keys) => account.in_force = keys,
            Err(fault) => {
                complain(&format!(
                    "account {}: its keys cannot be listed: {fault}",
                    account.user
                ));
                all = false;
            }
        }
    }
    all
}

fn keys_in_file(host: &Node, config: &Config, outcome: &AccountOutcome) -> Result<KeyList, String> {
    let accounts = config.accounts.iter();
    let (named, others): (Vec<_>, Vec<_>) =
        accounts.partition(|account| is_named(account, &outcome.user));
    // Try the others, too: the name service may spell the account differently from the
    // configuration.
    for account in named.into_iter().chain(others) {
        let Ok(found) = host.account(account.user.as_ref()) else {
            continue;
        };
        let Ok(target) = agent::located(account, Ok(found)) else {
            continue;
        };
        if target.path().display().to_string() != outcome.file {
            continue;
        }
        // A fragment has no markers: all of it is ours.
        let mode = if target.is_fragment() {
            Mode::Exclusive
        } else {
            account.mode
        };
        let found = host.read(&target).map_err(|fault| chain(&fault))?;
        let content = found.content.unwrap_or_default();
        let pinned = pinned_keys(config);
        let keys = our_keys(&content, mode).into_iter();
        return Ok(keys.map(|key| key.marked(&pinned)).collect());
    }
    Err(format!("the configuration no longer has {}", outcome.file))
}

fn is_named(account: &AccountConfig, name: &str) -> bool {
    match &account.user {
        Some(user) => user.as_str() == name,
        None => false,
    }
}

/// The pinned keys, so that they can be marked. Empty if their file cannot be read, which each
/// cycle reports.
fn pinned_keys(config: &Config) -> HashSet<Fingerprint> {
    let Some(path) = &config.pinned_keys else {
        return HashSet::new();
    };
    let rules = Rules {
        line: config.line_rules.clone(),
        allow_private_key: false,
    };
    let Ok((document, _)) = agent::read_pinned(path, &rules) else {
        return HashSet::new();
    };
    let keys = document.keys.iter();
    keys.map(|published| published.line.key.fingerprint())
        .collect()
}

fn verdict(outcome: &Outcome, fresh: bool, now: Timestamp) -> Exit {
    if !fresh {
        let finished = outcome.finished;
        let age = text::span(now.duration_since(finished));
        complain(&format!(
            "the last cycle ended {age} ago, at {finished}: is the service running?"
        ));
    }
    for fault in faults(outcome) {
        complain(&fault);
    }
    if fresh && outcome.status == Status::Ok {
        Exit::Good
    } else {
        Exit::Failed
    }
}

/// All faults, the most severe first and each once, because accounts share the faults of their
/// source.
fn faults(outcome: &Outcome) -> Vec<String> {
    let mut all = vec![(outcome.status, &outcome.detail, outcome.code)];
    for source in &outcome.sources {
        all.push((source.status, &source.detail, source.code));
    }
    for account in &outcome.accounts {
        all.push((account.status, &account.detail, account.code));
    }
    let mut lines: Vec<String> = Vec::new();
    for (status, detail, code) in all {
        let line = match code {
            Some(code) => format!("{detail} [{code}]"),
            None => detail.clone(),
        };
        if status != Status::Ok && !detail.is_empty() && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Parses the option `--max-age`.
pub(super) fn max_age(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(age) if !age.is_negative() => Ok(age),
        _ => Err(format!("{text:?} is not a time such as \"10m\"")),
    }
}

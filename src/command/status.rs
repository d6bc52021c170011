//! `authkeysd status`: what the last cycle did. It exits with 0 only if that was lately, and good.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Exit, Status as Options, colour, complain, load, print, print_json};
use crate::report::{presence, status_file};
use authkeys_core::outcome::{Outcome, Status, chain};
use authkeys_core::report::text;

/// How old an outcome may be when nothing else is asked for and no next cycle is due.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(10);
/// How long a cycle that is due may take before it counts as missed.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);

/// Runs the command.
pub(super) fn run(path: &Path, options: &Options) -> Exit {
    let directory = match load::config_or_exit(path) {
        Ok(config) => load::setup(config).runtime,
        Err(exit) => return exit,
    };
    let outcome = match status_file::read(&directory) {
        Ok(Some(outcome)) => outcome,
        Ok(None) => {
            let file = status_file::path(&directory);
            complain(&format!(
                "there is no {}: no cycle has ended yet; start the service, or run `authkeysd sync`",
                file.display()
            ));
            return Exit::Failed;
        }
        Err(fault) => {
            complain(&chain(&fault));
            return Exit::Failed;
        }
    };
    let now = authkeys_terminal::clock();
    // Of what `sync` wrote no service is to be asked: it makes no plan for a next cycle.
    let running = outcome.next_cycle.and_then(|_| presence::is_held(&directory));
    let age = now.duration_since(outcome.finished);
    let fresh = match options.max_age {
        Some(most) => age <= most,
        None => age <= MAX_AGE || outcome.next_cycle.is_some_and(|next| now.duration_since(next) <= OVERDUE),
    };
    let printed = if options.json {
        print_json(&Shape { outcome: &outcome, running })
    } else {
        let headline = headline(&outcome, running, now, fresh);
        let warnings = text::warning_lines(&outcome, colour());
        let parts = [text::render(&outcome, false, colour()), warnings, text::failed_reports(&outcome, colour())];
        print(&(headline + &parts.concat()))
    };
    if running == Some(false) {
        complain("the service is not running: nothing is fetched, and no window opens or closes; start it");
    }
    match verdict(&outcome, fresh, now) {
        Exit::Good if !printed || running == Some(false) => Exit::Failed,
        exit => exit,
    }
}

/// The status file's shape, and what only a look at the service shows.
#[derive(Serialize)]
struct Shape<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    /// Left out where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<bool>,
}

/// Without a service there is no next cycle, and the last one says little.
fn headline(outcome: &Outcome, running: Option<bool>, now: Timestamp, fresh: bool) -> String {
    if running != Some(false) {
        return text::headline(outcome, now, fresh, colour());
    }
    let last = Outcome { next_cycle: None, ..outcome.clone() };
    format!("the service is not running; its last cycle: {}", text::headline(&last, now, fresh, colour()))
}

fn verdict(outcome: &Outcome, fresh: bool, now: Timestamp) -> Exit {
    if !fresh {
        let finished = outcome.finished;
        let age = text::span(now.duration_since(finished));
        complain(&format!("the last cycle ended {age} ago, at {finished}: is the service running?"));
    }
    if outcome.status != Status::Ok {
        complain(&outcome.detail);
    }
    if fresh && outcome.status == Status::Ok { Exit::Good } else { Exit::Failed }
}

/// Reads the option `--max-age`.
pub(super) fn max_age(text: &str) -> Result<SignedDuration, String> {
    let age = text.parse::<SignedDuration>().ok().filter(|age| !age.is_negative());
    age.ok_or_else(|| format!("{text:?} is no time such as \"10m\""))
}

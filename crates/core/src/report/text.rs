//! The outcome of a cycle as text for people.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use crate::origin::Stage;
use crate::outcome::{
    AccountOutcome, DocumentRef, FaultCode, KeyShown, Outcome, SourceOutcome, Status,
};
use crate::words::{counted, plain};

/// Whether colours may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Yes,
    /// Everywhere else.
    No,
}

impl Colour {
    /// Puts a text into one of the terminal's eight colours.
    pub fn paint(self, code: u8, text: &str) -> String {
        match self {
            Self::Yes => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::No => text.to_owned(),
        }
    }
}

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

/// The status of the last cycle on one line, without a line end.
pub fn headline(outcome: &Outcome, now: Timestamp, fresh: bool, colour: Colour) -> String {
    let status = colour.paint(code(outcome.status), &outcome.status.to_string());
    let mut line = format!(
        "{status}, {} ago",
        span(now.duration_since(outcome.finished))
    );
    if !fresh {
        line.push_str(&colour.paint(RED, " (too long ago)"));
    }
    if let Some(next) = outcome.next_cycle {
        let wait = next.duration_since(now);
        let when = if wait.is_negative() {
            "was due"
        } else {
            "next"
        };
        let _ = write!(line, ", {when} at {next:.0}");
    }
    match outcome.last_success {
        Some(last) if outcome.status != Status::Ok => {
            let _ = write!(line, ", last ok at {last:.0}");
        }
        _ => {}
    }
    line
}

fn code(status: Status) -> u8 {
    match status {
        Status::Ok => GREEN,
        Status::Stale | Status::Degraded => YELLOW,
        Status::Failed => RED,
    }
}

/// The line that `systemctl status` shows.
pub fn service_line(outcome: &Outcome) -> String {
    let mut sets = Vec::new();
    for source in &outcome.sources {
        sets.extend(source.document.key_set(source.version.as_deref()));
    }
    let next = match outcome.next_cycle {
        Some(next) => format!(", next at {next:.0}"),
        None => String::new(),
    };
    let detail = if outcome.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", outcome.detail)
    };
    let accounts = counted(outcome.accounts.len(), "account");
    let sets = if sets.is_empty() {
        "no key set".to_owned()
    } else {
        sets.join(" ")
    };
    format!("{}, {accounts}, {sets}{next}{detail}", outcome.status)
}

/// A duration for people, to the second.
pub fn span(duration: SignedDuration) -> String {
    let rounded = SignedDuration::from_secs(duration.as_secs().max(0));
    format!("{rounded:#}")
}

/// Renders the sources, then the accounts with their `+` and `-` lines. Faults are not included:
/// they go to stderr.
pub fn render(outcome: &Outcome, dry_run: bool, colour: Colour) -> String {
    let mut text = String::new();
    for source in &outcome.sources {
        let _ = writeln!(text, "{}", source_line(source, colour));
        for stage in &source.stages {
            if stage.stage == Stage::Current {
                continue;
            }
            let set = set(&stage.document);
            let _ = writeln!(
                text,
                "  and {}{set}, version {}",
                stage.stage, stage.version
            );
        }
    }
    for account in &outcome.accounts {
        let _ = writeln!(text, "{}", account_line(account, dry_run, colour));
        let counts = &account.counts;
        for (sign, code, keys, count) in [
            ('+', GREEN, &account.added, counts.added),
            ('~', YELLOW, &account.updated, counts.updated),
            ('-', RED, &account.removed, counts.removed),
        ] {
            for key in keys.iter() {
                let _ = writeln!(text, "{}", colour.paint(code, &key_line(sign, key)));
            }
            text.push_str(&more(sign, code, count, keys.len(), colour));
        }
        for bad in &account.left_out {
            let line = format!("  ! line {} left out: {}", bad.line, bad.reason);
            let _ = writeln!(text, "{}", colour.paint(YELLOW, &line));
        }
        text.push_str(&more(
            '!',
            YELLOW,
            counts.left_out,
            account.left_out.len(),
            colour,
        ));
    }
    text
}

/// Lists the keys in force of each account.
pub fn keys_in_force(outcome: &Outcome) -> String {
    let mut text = String::new();
    for account in &outcome.accounts {
        let _ = writeln!(text, "keys in force for {}:", account.user);
        for key in account.in_force.iter() {
            let _ = writeln!(text, "{}", key_line(' ', key));
        }
        text.push_str(&more(
            ' ',
            0,
            account.counts.in_force,
            account.in_force.len(),
            Colour::No,
        ));
    }
    text
}

/// A line that counts the keys that the status does not list.
fn more(sign: char, code: u8, count: usize, listed: usize, colour: Colour) -> String {
    match count.checked_sub(listed) {
        None | Some(0) => String::new(),
        Some(more) => colour.paint(code, &format!("  {sign} and {more} more")) + "\n",
    }
}

/// The warnings of each source: nothing failed, but an operator should take a look.
pub fn warnings(outcome: &Outcome) -> impl Iterator<Item = String> {
    outcome.sources.iter().flat_map(|source| {
        let notes = source
            .notes
            .iter()
            .map(|note| format!("{}: {note}", source.source));
        let fallback = source.answered_by.iter();
        let fallback = fallback.map(|by| by.warning(&source.source));
        source.warnings.iter().cloned().chain(fallback).chain(notes)
    })
}

/// The warnings, one per line.
pub fn warning_lines(outcome: &Outcome, colour: Colour) -> String {
    let code = FaultCode::SourceWarning;
    let mut lines = String::new();
    for text in warnings(outcome) {
        let line = one_line(&format!("warning: {text} [{code}]"));
        let _ = writeln!(lines, "{}", colour.paint(YELLOW, &line));
    }
    lines
}

/// The reports that could not be delivered, one per line.
pub fn failed_reports(outcome: &Outcome, colour: Colour) -> String {
    let mut text = String::new();
    for report in &outcome.reports {
        if report.delivered != Some(false) {
            continue;
        }
        let last = match report.last_success {
            Some(last) => format!(", last good at {last:.0}"),
            None => String::new(),
        };
        let times = if report.failures == 1 {
            "once".to_owned()
        } else {
            format!("{} times in a row", report.failures)
        };
        let line = format!(
            "report {}: failed {times}{last}: {} [{}]",
            report.report,
            report.detail,
            FaultCode::ReportFailed
        );
        let _ = writeln!(text, "{}", colour.paint(YELLOW, &one_line(&line)));
    }
    text
}

fn source_line(source: &SourceOutcome, colour: Colour) -> String {
    let mut line = format!("source {}", source.source);
    line.push_str(&set(&source.document));
    if let Some(version) = &source.version {
        let _ = write!(line, ", version {version}");
    }
    if let Some(signer) = &source.signer {
        let _ = write!(line, ", signed by {signer}");
    }
    if let Some(fallback) = &source.answered_by {
        let _ = write!(line, ", from its fallback {}", fallback.source);
    }
    match source.status {
        Status::Ok | Status::Degraded => line,
        Status::Stale if source.document.digest.is_none() => {
            line + &colour.paint(
                YELLOW,
                " (stale: not read yet; until then only revoked keys are removed)",
            )
        }
        Status::Stale => {
            line + &colour.paint(YELLOW, " (stale: the last good key set stays in force)")
        }
        Status::Failed => line + &colour.paint(RED, " (failed: no valid key set is known)"),
    }
}

/// A key set's name and serial, after a colon.
pub fn set(document: &DocumentRef) -> String {
    match (&document.name, document.serial) {
        (Some(name), Some(serial)) => format!(": {name}/{serial}"),
        (Some(name), None) => format!(": {name}"),
        (None, Some(serial)) => format!(": serial {serial}"),
        (None, None) => String::new(),
    }
}

fn account_line(account: &AccountOutcome, dry_run: bool, colour: Colour) -> String {
    let who = if account.user.is_empty() {
        "(unknown account)"
    } else {
        &account.user
    };
    let mut line = colour.paint(1, who);
    if !account.file.is_empty() {
        line.extend([" ", &account.file]);
    }
    line.push_str(": ");
    match (account.status, account.changed) {
        (Status::Failed, true) => {
            line.push_str(&colour.paint(RED, "failed, only pinned keys are installed"))
        }
        (Status::Failed, false) => line.push_str(&colour.paint(RED, "failed, left as it is")),
        (_, true) if dry_run => line.push_str("would be changed, "),
        (_, true) => line.push_str("changed, "),
        (_, false) => line.push_str("unchanged, "),
    }
    if account.status != Status::Failed {
        let keys = account.counts.in_force;
        let _ = write!(
            line,
            "{keys} {} in force",
            if keys == 1 { "key" } else { "keys" }
        );
    }
    if account.changed && account.repairs > 0 {
        line.push_str(&colour.paint(YELLOW, ", drift repaired: somebody else had changed it"));
    }
    if account.status == Status::Stale {
        let why = match account.code {
            Some(FaultCode::NoKeySet) => " (one of its sources was not read yet)",
            _ => " (the new document was refused)",
        };
        line.push_str(&colour.paint(YELLOW, why));
    }
    line
}

fn key_line(sign: char, key: &KeyShown) -> String {
    let line = format!("  {sign} {} {} {}", key.fingerprint, key.kind, key.comment);
    let mut line = line.trim_end().to_owned();
    if let Some(source) = &key.source {
        let _ = write!(line, " (from {source})");
    }
    if key.pinned {
        line.push_str(" (pinned)");
    }
    line
}

/// A text that stays on one line, whatever a document or a server contains.
pub fn one_line(text: &str) -> String {
    plain(text, ' ')
}

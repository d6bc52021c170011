//! The outcome of a cycle as a person likes to read it.

use std::fmt::Write as _;

use crate::outcome::{AccountOutcome, KeyShown, Outcome, SourceOutcome, Status};

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

/// Renders sources, then accounts with their `+` and `-` lines. Faults are not repeated here: they go to stderr.
pub fn render(outcome: &Outcome, dry_run: bool, colour: Colour) -> String {
    let mut text = String::new();
    for source in &outcome.sources {
        let _ = writeln!(text, "{}", source_line(source, colour));
    }
    for account in &outcome.accounts {
        let _ = writeln!(text, "{}", account_line(account, dry_run, colour));
        for (sign, code, keys) in
            [('+', GREEN, &account.added), ('~', YELLOW, &account.updated), ('-', RED, &account.removed)]
        {
            for key in keys {
                let _ = writeln!(text, "{}", colour.paint(code, &key_line(sign, key)));
            }
        }
        for bad in &account.left_out {
            let line = format!("  ! line {} left out: {}", bad.line, bad.reason);
            let _ = writeln!(text, "{}", colour.paint(YELLOW, &line));
        }
    }
    text
}

fn source_line(source: &SourceOutcome, colour: Colour) -> String {
    let mut line = format!("source {}", source.source);
    let set = match (&source.name, source.serial) {
        (Some(name), Some(serial)) => format!(": {name}/{serial}"),
        (Some(name), None) => format!(": {name}"),
        (None, Some(serial)) => format!(": serial {serial}"),
        (None, None) => String::new(),
    };
    line.push_str(&set);
    if let Some(version) = &source.version {
        let _ = write!(line, ", version {version}");
    }
    match source.status {
        Status::Ok | Status::Degraded => line,
        Status::Stale => line + &colour.paint(YELLOW, " (stale: the last good key set stays in force)"),
        Status::Failed => line + &colour.paint(RED, " (failed: no good key set is known)"),
    }
}

fn account_line(account: &AccountOutcome, dry_run: bool, colour: Colour) -> String {
    let who = if account.user.is_empty() { "(unknown account)" } else { &account.user };
    let mut line = colour.paint(1, who);
    if !account.file.is_empty() {
        line.extend([" ", &account.file]);
    }
    line.push_str(": ");
    match (account.status, account.changed) {
        (Status::Failed, true) => line.push_str(&colour.paint(RED, "failed, only pinned keys are added")),
        (Status::Failed, false) => line.push_str(&colour.paint(RED, "failed, left as it is")),
        (_, true) if dry_run => line.push_str("would be changed, "),
        (_, true) => line.push_str("changed, "),
        (_, false) => line.push_str("unchanged, "),
    }
    if account.status != Status::Failed {
        let keys = account.in_force.len();
        let _ = write!(line, "{keys} {} in force", if keys == 1 { "key" } else { "keys" });
    }
    if account.status == Status::Stale {
        line.push_str(&colour.paint(YELLOW, " (the new document was refused)"));
    }
    line
}

fn key_line(sign: char, key: &KeyShown) -> String {
    format!("  {sign} {} {} {}", key.fingerprint, key.kind, key.comment).trim_end().to_owned()
}

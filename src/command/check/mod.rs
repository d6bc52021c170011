//! `authkeysd check`: reports everything that could prevent keys from working, before it does.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::{Check, Exit, colour, load, print, print_json, system};
use crate::agent::open_to_others;
use crate::state::{StateError, Store};
use authkeys_core::config::Config;
use authkeys_core::origin::SourceUrl;
use authkeys_core::outcome::{Fault, FaultCode, Subject};
use authkeys_core::report::text::Colour;
use authkeys_core::schedule::Clock;
use authkeys_core::verify::Signers;
use authkeys_core::words::counted;

mod account;
mod adopt;
mod login;
mod nudge;
mod online;
mod pullers;
mod report;
mod signers;
mod sshd;
mod unread;

pub(super) use unread::warn_of_unread;

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Failed,
}

/// The result of one check.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    level: Level,
    /// What was checked: `config`, `sshd`, `login`, `strict_modes`, `selinux`, `bypass`, `puller`,
    /// `adopt`, `state`, `clock`, `account`, `pinned_keys`, `signers`, `source`, `nudge`, `report`.
    check: &'static str,
    /// The account, file or source that it is about.
    subject: String,
    message: String,
    /// The code of the fault, if a cycle found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<FaultCode>,
    /// The line of the configuration file, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// Decides the exit code together with the level.
    #[serde(skip)]
    exit: Exit,
}

/// What `check --json` prints: `schema` 1. Fields may be added, never changed.
#[derive(Debug, Serialize)]
struct CheckReport<'a> {
    schema: u8,
    version: &'static str,
    status: Level,
    findings: &'a [Finding],
    /// Only with `--adopt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    adoption: Option<&'a adopt::Adoption>,
}

impl Finding {
    /// The message need not name the subject. A subject at its start is cut off.
    fn new(level: Level, check: &'static str, subject: &str, message: impl Into<String>) -> Self {
        let exit = if level == Level::Failed {
            Exit::Failed
        } else {
            Exit::Good
        };
        let mut message = message.into();
        for named in [format!("account {subject}: "), format!("{subject}: ")] {
            if let Some(rest) = message.strip_prefix(&named) {
                message = rest.to_owned();
            }
        }
        Self {
            level,
            check,
            subject: subject.to_owned(),
            message,
            code: None,
            line: None,
            exit,
        }
    }
}

/// Runs the command.
pub(super) fn run(path: &Path, options: &Check) -> Exit {
    let subject = path.display().to_string();
    let mut adoption = None;
    let findings = match load::config(path) {
        Ok(config) => match load::signers(&config) {
            Ok(signers) => {
                let mut findings = examine(&config, signers.as_ref(), &subject, options.online);
                if options.adopt {
                    let (found, more) = adopt::examine(&config);
                    findings.extend(more);
                    adoption = found;
                }
                findings
            }
            Err(faults) => {
                if !options.json {
                    faults
                        .iter()
                        .for_each(|fault| load::complain_of(FaultCode::SignersInvalid, fault));
                    return Exit::Config;
                }
                let finding = |fault: &String| Finding {
                    exit: Exit::Config,
                    code: Some(FaultCode::SignersInvalid),
                    ..Finding::new(Level::Failed, "signers", &subject, fault)
                };
                faults.iter().map(finding).collect()
            }
        },
        Err(faults) => {
            if !options.json {
                let line = |fault| {
                    load::complain_of(FaultCode::ConfigInvalid, &load::fault_line(path, fault))
                };
                faults.iter().for_each(line);
                return Exit::Config;
            }
            let finding = |fault: &authkeys_core::config::ConfigFault| Finding {
                line: (fault.line > 0).then_some(fault.line),
                exit: Exit::Config,
                code: Some(FaultCode::ConfigInvalid),
                ..Finding::new(Level::Failed, "config", &subject, fault.to_string())
            };
            faults.iter().map(finding).collect()
        }
    };
    let worst = findings
        .iter()
        .map(|finding| finding.level)
        .max()
        .unwrap_or(Level::Ok);
    let printed = if options.json {
        let report = CheckReport {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            status: worst,
            findings: &findings,
            adoption: adoption.as_ref(),
        };
        print_json(&report)
    } else {
        let mut worst_first: Vec<&Finding> = findings.iter().collect();
        worst_first.sort_by_key(|finding| Reverse(finding.level));
        let mut text: String = worst_first
            .into_iter()
            .map(|finding| line(finding, colour()))
            .collect();
        text.extend(adoption.map(|adoption| adopt::render(&adoption, colour())));
        text.push_str(&count(&findings));
        print(&text)
    };
    let unprinted = if printed { Exit::Good } else { Exit::Failed };
    let exits = findings
        .iter()
        .map(|finding| finding.exit)
        .chain([unprinted]);
    // If several apply, the first of 78, 77, 75, 1 is returned.
    exits.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Good)
}

fn examine(config: &Config, signers: Option<&Signers>, path: &str, online: bool) -> Vec<Finding> {
    let mut findings = vec![Finding::new(
        Level::Ok,
        "config",
        path,
        format!("good, {}", counted(config.accounts.len(), "account")),
    )];
    let directory = load::state_directory(config);
    let store = Store::peek(&directory);
    findings.push(clock(
        store.as_ref().ok().and_then(|store| store.state().clock),
    ));
    findings.push(state(&directory, store.as_ref().err()));
    if let Some(pinned) = &config.pinned_keys {
        findings.push(account::pinned_keys(config, pinned));
    }
    findings.extend(
        signers
            .into_iter()
            .flat_map(|signers| signers::examine(config, signers, authkeys_terminal::clock())),
    );
    findings.extend(account::examine_all(config));
    findings.extend(sshd::started_with());
    findings.extend(open_sources(config));
    findings.extend(report::examine(&config.report));
    findings.extend(match online {
        true => online::examine(config, &findings),
        false => online::unreadable_keys(config),
    });
    findings
}

/// What a cycle would say about the clock. `recorded` is the time that the last cycle recorded.
fn clock(recorded: Option<Timestamp>) -> Finding {
    let built = system::built();
    let clock = Clock {
        wall: authkeys_terminal::clock(),
        earliest: recorded.map_or(built, |recorded| recorded.max(built)),
    };
    match clock.fault() {
        Some(text) => fault_finding(
            &Fault::new(FaultCode::ClockBehind, Subject::Clock, text),
            "clock",
            "clock",
        ),
        None => Finding::new(Level::Ok, "clock", "clock", clock.wall.to_string()),
    }
}

/// Reports each source file that others can write, once.
fn open_sources(config: &Config) -> Vec<Finding> {
    let sources = config.sources();
    let urls: BTreeSet<_> = sources.iter().flat_map(|source| source.urls()).collect();
    let finding = |url: &SourceUrl| {
        let subject = url.to_string();
        let text = open_to_others(url)?;
        let message = text.strip_prefix(&format!("{subject}: ")).unwrap_or(&text);
        Some(Finding::new(Level::Warning, "source", &subject, message))
    };
    urls.into_iter().filter_map(finding).collect()
}

fn state(directory: &Path, fault: Option<&StateError>) -> Finding {
    let subject = directory.display().to_string();
    let unreadable = fault.map(StateError::fault);
    match unreadable.or_else(|| super::sync::unwritable_state(directory)) {
        None if directory.exists() => {
            Finding::new(Level::Ok, "state", &subject, "readable and writable")
        }
        None => Finding::new(
            Level::Ok,
            "state",
            &subject,
            "not there yet, will be made by the first sync",
        ),
        Some(fault) => fault_finding(&fault, "state", &subject),
    }
}

fn line(finding: &Finding, colour: Colour) -> String {
    let (code, word) = match finding.level {
        Level::Ok => (32, "ok     "),
        Level::Warning => (33, "warning"),
        Level::Failed => (31, "FAILED "),
    };
    let mut text: String = finding
        .message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    text.extend(finding.code.map(|code| format!(" [{code}]")));
    let word = colour.paint(code, word);
    let check = finding.check;
    let subject = &finding.subject;
    if check == subject {
        format!("{word} {check:<12} {text}\n")
    } else {
        format!("{word} {check:<12} {subject}: {text}\n")
    }
}

/// The number of findings of each level.
fn count(findings: &[Finding]) -> String {
    let of = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let warnings = if of(Level::Warning) == 1 {
        "warning"
    } else {
        "warnings"
    };
    let counts = [
        (of(Level::Failed), "failed"),
        (of(Level::Warning), warnings),
        (of(Level::Ok), "ok"),
    ];
    let shown = counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}"));
    format!("\n{}\n", shown.collect::<Vec<_>>().join(", "))
}

/// A fault of a dry run as a finding.
fn fault_finding(fault: &Fault, check: &'static str, subject: &str) -> Finding {
    let exit = fault.class().into();
    Finding {
        exit,
        code: Some(fault.code),
        ..Finding::new(Level::Failed, check, subject, &fault.text)
    }
}

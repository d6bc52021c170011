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
            Err(faults) if options.json => {
                let mut findings = Vec::new();
                for fault in faults {
                    let mut finding = Finding::new(Level::Failed, "signers", &subject, fault);
                    finding.exit = Exit::Config;
                    finding.code = Some(FaultCode::SignersInvalid);
                    findings.push(finding);
                }
                findings
            }
            Err(faults) => {
                for fault in &faults {
                    load::complain_of(FaultCode::SignersInvalid, fault);
                }
                return Exit::Config;
            }
        },
        Err(faults) if options.json => {
            let mut findings = Vec::new();
            for fault in faults {
                let text = fault.to_string();
                let mut finding = Finding::new(Level::Failed, "config", &subject, text);
                if fault.line > 0 {
                    finding.line = Some(fault.line);
                }
                finding.exit = Exit::Config;
                finding.code = Some(FaultCode::ConfigInvalid);
                findings.push(finding);
            }
            findings
        }
        Err(faults) => {
            for fault in &faults {
                load::complain_of(FaultCode::ConfigInvalid, &load::fault_line(path, fault));
            }
            return Exit::Config;
        }
    };
    let levels = findings.iter().map(|finding| finding.level);
    let worst = levels.max().unwrap_or(Level::Ok);
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
        let mut text = String::new();
        for finding in worst_first {
            text.push_str(&line(finding, colour()));
        }
        if let Some(adoption) = &adoption {
            text.push_str(&adopt::render(adoption, colour()));
        }
        text.push_str(&count(&findings));
        print(&text)
    };
    let mut highest = if printed { Exit::Good } else { Exit::Failed };
    for finding in &findings {
        // If several apply, the first of 78, 77, 75, 1 is returned.
        if finding.exit as u8 > highest as u8 {
            highest = finding.exit;
        }
    }
    highest
}

fn examine(config: &Config, signers: Option<&Signers>, path: &str, online: bool) -> Vec<Finding> {
    let good = format!("good, {}", counted(config.accounts.len(), "account"));
    let mut findings = vec![Finding::new(Level::Ok, "config", path, good)];
    let directory = load::state_directory(config);
    let store = Store::peek(&directory);
    let recorded = match &store {
        Ok(store) => store.state().clock,
        Err(_) => None,
    };
    findings.push(clock(recorded));
    findings.push(state(&directory, store.as_ref().err()));
    if let Some(pinned) = &config.pinned_keys {
        findings.push(account::pinned_keys(config, pinned));
    }
    if let Some(signers) = signers {
        findings.extend(signers::examine(
            config,
            signers,
            authkeys_terminal::clock(),
        ));
    }
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
    let urls: BTreeSet<&SourceUrl> = sources.iter().flat_map(|source| source.urls()).collect();
    let mut findings = Vec::new();
    for url in urls {
        if let Some(text) = open_to_others(url) {
            let subject = url.to_string();
            findings.push(Finding::new(Level::Warning, "source", &subject, text));
        }
    }
    findings
}

fn state(directory: &Path, fault: Option<&StateError>) -> Finding {
    let subject = directory.display().to_string();
    let fault = match fault {
        Some(fault) => Some(fault.fault()),
        None => super::sync::unwritable_state(directory),
    };
    match fault {
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
    let mut text = finding.message.replace(char::is_control, " ");
    if let Some(code) = finding.code {
        text.push_str(&format!(" [{code}]"));
    }
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
    let mut failed = 0;
    let mut warnings = 0;
    let mut good = 0;
    for finding in findings {
        match finding.level {
            Level::Failed => failed += 1,
            Level::Warning => warnings += 1,
            Level::Ok => good += 1,
        }
    }
    let mut counts = Vec::new();
    if failed > 0 {
        counts.push(format!("{failed} failed"));
    }
    if warnings > 0 {
        counts.push(counted(warnings, "warning"));
    }
    if good > 0 {
        counts.push(format!("{good} ok"));
    }
    format!("\n{}\n", counts.join(", "))
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

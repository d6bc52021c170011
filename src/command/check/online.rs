//! `check --online`: runs a cycle that writes nothing, so that sources and documents are judged
//! like in the next `sync`, with what this node has recorded.

use super::sshd::Settings;
use super::{Finding, Level, account, fault_finding, load, login, nudge, report};
use crate::agent::{Agent, Intent};
use crate::command::{block_on, system};
use crate::fetch::{Remote, Sources};
use crate::host::Node;
use crate::state::{StateError, Store};
use authkeys_core::config::Config;
use authkeys_core::outcome::{Fault, FaultCode, Outcome, SourceOutcome, Status, Subject};
use authkeys_core::report::text;
use authkeys_core::words::counted;

/// Checks everything. Findings that are in `earlier` already are not reported again.
pub(super) fn examine(config: &Config, earlier: &[Finding]) -> Vec<Finding> {
    block_on(examine_all(config, earlier)).unwrap_or_else(|fault| {
        vec![Finding::new(
            Level::Failed,
            "source",
            "all",
            format!("cannot start: {fault}"),
        )]
    })
}

async fn examine_all(config: &Config, earlier: &[Finding]) -> Vec<Finding> {
    let remote = Remote::by_environment();
    // A state that cannot be read has been reported already.
    let mut findings = match dry_run(config.clone(), remote.clone()).await {
        Ok(outcome) => {
            let mut findings = judged(&outcome, earlier);
            findings.extend(logins(config, &outcome, earlier));
            findings
        }
        Err(_) => Vec::new(),
    };
    findings.extend(nudge::examine(config, &remote).await);
    findings.extend(report::examine_online(&config.report, &remote).await);
    findings
}

/// Runs a cycle that writes nothing.
pub(super) async fn dry_run(config: Config, remote: Remote) -> Result<Outcome, StateError> {
    let mut store = Store::peek(&load::state_directory(&config))?;
    let host = Node::read_only();
    let agent = Agent {
        config,
        fetch: Sources::new(remote),
        host,
        zone: system::sshd_zone,
        built: system::built(),
    };
    let intent = Intent {
        dry_run: true,
        accept_rollback: false,
    };
    Ok(agent
        .cycle(&mut store, intent, authkeys_terminal::clock)
        .await)
}

/// Keys in the kept documents, and pinned ones, that the sshd of this machine cannot read. Asks no
/// source.
pub(super) fn unreadable_keys(config: &Config) -> Vec<Finding> {
    // A state that cannot be read has been reported already.
    let Ok(mut store) = Store::peek(&load::state_directory(config)) else {
        return Vec::new();
    };
    let config = config.clone();
    let fetch = Sources::new(Remote::by_environment());
    let host = Node::read_only();
    let agent = Agent {
        config,
        fetch,
        host,
        zone: system::sshd_zone,
        built: system::built(),
    };
    let now = authkeys_terminal::clock();
    let intent = Intent {
        dry_run: true,
        accept_rollback: false,
    };
    let gathered = agent.gather_kept(&mut store, &Outcome::new(now, now), intent, now);
    let installed = agent.install(&mut store, gathered, authkeys_terminal::clock);
    let outcome = installed.outcome;
    let too_new = outcome
        .faults
        .iter()
        .filter(|fault| fault.code == FaultCode::KeyTooNew);
    let finding = |fault: &Fault| match &fault.subject {
        Subject::Account(user) => Some(fault_finding(fault, "account", user)),
        _ => None,
    };
    too_new.filter_map(finding).collect()
}

fn judged(outcome: &Outcome, earlier: &[Finding]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of = |source: &SourceOutcome| format!("{}: ", source.source);
    for source in &outcome.sources {
        let subject = &source.source;
        if !outcome
            .faults
            .iter()
            .any(|fault| fault.subject == Subject::Source(subject.clone()))
        {
            findings.push(Finding::new(Level::Ok, "source", subject, good(source)));
        }
        let fallback = source.answered_by.as_ref().map(|by| by.warning(subject));
        for text in source.warnings.iter().chain(&fallback) {
            let text = text.strip_prefix(&of(source)).unwrap_or(text);
            if !earlier.iter().any(|one| one.message == text) {
                findings.push(Finding::new(Level::Warning, "source", subject, text));
            }
        }
    }
    for (source, note) in outcome
        .sources
        .iter()
        .flat_map(|one| one.notes.iter().map(move |note| (one, note)))
    {
        findings.push(Finding::new(Level::Warning, "source", &source.source, note));
    }
    for fault in &outcome.faults {
        let (check, subject) = match &fault.subject {
            Subject::Source(url) => ("source", url.as_str()),
            Subject::Account(user) => ("account", user.as_str()),
            Subject::Clock => ("clock", "clock"),
            Subject::PinnedKeys => ("pinned_keys", "this node"),
            Subject::State | Subject::Node => ("state", "this node"),
        };
        // The account's file, the pinned keys, the state and the clock have been checked already.
        let same = |one: &&Finding| one.code == Some(fault.code) && one.check == check;
        let known = earlier
            .iter()
            .filter(same)
            .any(|one| check != "account" || one.subject == subject);
        if !known {
            findings.push(fault_finding(fault, check, subject));
        }
    }
    for account in outcome
        .accounts
        .iter()
        .filter(|account| account.status == Status::Ok)
    {
        let keys = counted(account.in_force.len(), "key");
        let added = account.added.len();
        let changed = account.updated.len();
        let taken = account.removed.len();
        let message = format!(
            "`sync` would leave {keys} in force: {added} added, {changed} changed, {taken} taken away"
        );
        findings.push(Finding::new(Level::Ok, "account", &account.user, message));
    }
    findings
}

/// Checks whether sshd would accept the keys that a sync would install.
fn logins(config: &Config, outcome: &Outcome, earlier: &[Finding]) -> Vec<Finding> {
    let node = Node::read_only();
    let mut findings = Vec::new();
    for (account, planned) in config.accounts.iter().zip(&outcome.accounts) {
        let earlier: Vec<&Finding> = earlier
            .iter()
            .filter(|one| one.subject == planned.user)
            .collect();
        if planned.in_force.is_empty() || earlier.iter().any(|one| one.level == Level::Failed) {
            continue;
        }
        // An account that cannot be looked up, or an sshd that cannot be asked, has been reported
        // already.
        let Ok(target) = account::locate(&node, account) else {
            continue;
        };
        let Ok(settings) = Settings::by_origin(&planned.user) else {
            continue;
        };
        for new in login::examine_keys(
            &target.account,
            &settings,
            &login::published(&planned.in_force),
        ) {
            if new.level == Level::Failed || !earlier.iter().any(|one| one.message == new.message) {
                findings.push(Finding {
                    message: format!("after the next sync {}", new.message),
                    ..new
                });
            }
        }
    }
    findings
}

fn good(source: &SourceOutcome) -> String {
    let stages = source.stages.iter().map(|one| {
        format!(
            "{}{}, version {}",
            one.stage,
            text::set(&one.document),
            one.version
        )
    });
    let documents = match source.stages.is_empty() {
        true => {
            let version = source.version.as_deref().unwrap_or_default();
            format!(
                "its document is good{}, version {version}",
                text::set(&source.document)
            )
        }
        false => format!(
            "its documents are good: {}",
            stages.collect::<Vec<_>>().join("; ")
        ),
    };
    let signer = source
        .signer
        .as_ref()
        .map(|who| format!(", signed by {who}"))
        .unwrap_or_default();
    documents + &signer
}

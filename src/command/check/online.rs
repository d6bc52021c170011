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
use authkeys_core::outcome::{FaultCode, Outcome, SourceOutcome, Status, Subject};
use authkeys_core::report::text;
use authkeys_core::words::counted;

/// Checks everything. Findings that are in `earlier` already are not reported again.
pub(super) fn examine(config: &Config, earlier: &[Finding]) -> Vec<Finding> {
    match block_on(examine_all(config, earlier)) {
        Ok(findings) => findings,
        Err(fault) => {
            let message = format!("cannot start: {fault}");
            vec![Finding::new(Level::Failed, "source", "all", message)]
        }
    }
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
    let mut findings = Vec::new();
    for fault in &outcome.faults {
        match &fault.subject {
            Subject::Account(user) if fault.code == FaultCode::KeyTooNew => {
                findings.push(fault_finding(fault, "account", user));
            }
            _ => {}
        }
    }
    findings
}

fn judged(outcome: &Outcome, earlier: &[Finding]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &outcome.sources {
        let subject = &source.source;
        let itself = Subject::Source(subject.clone());
        if !outcome.faults.iter().any(|fault| fault.subject == itself) {
            findings.push(Finding::new(Level::Ok, "source", subject, good(source)));
        }
        let fallback = source.answered_by.as_ref().map(|by| by.warning(subject));
        for text in source.warnings.iter().chain(&fallback) {
            let text = text.strip_prefix(&format!("{subject}: ")).unwrap_or(text);
            if !earlier.iter().any(|one| one.message == text) {
                findings.push(Finding::new(Level::Warning, "source", subject, text));
            }
        }
    }
    for source in &outcome.sources {
        for note in &source.notes {
            findings.push(Finding::new(Level::Warning, "source", &source.source, note));
        }
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
        let known = earlier.iter().any(|one| {
            let same = one.code == Some(fault.code) && one.check == check;
            same && (check != "account" || one.subject == subject)
        });
        if !known {
            findings.push(fault_finding(fault, check, subject));
        }
    }
    for account in &outcome.accounts {
        if account.status != Status::Ok {
            continue;
        }
        let keys = counted(account.in_force.len(), "key");
        let added = account.added.len();
        let changed = account.updated.len();
        let taken = account.removed.len();
        let message = format!(
            "`sync` would leave {keys} in force: {added} added, {changed} changed, {taken} taken \
             away"
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
        let mut earlier: Vec<&Finding> = earlier.iter().collect();
        earlier.retain(|one| one.subject == planned.user);
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
        let keys = login::published(&planned.in_force);
        for mut new in login::examine_keys(&target.account, &settings, &keys) {
            let known = earlier.iter().any(|one| one.message == new.message);
            if new.level == Level::Failed || !known {
                new.message = format!("after the next sync {}", new.message);
                findings.push(new);
            }
        }
    }
    findings
}

fn good(source: &SourceOutcome) -> String {
    let mut good = if source.stages.is_empty() {
        let set = text::set(&source.document);
        let version = source.version.as_deref().unwrap_or_default();
        format!("its document is good{set}, version {version}")
    } else {
        let mut stages = Vec::new();
        for one in &source.stages {
            let set = text::set(&one.document);
            stages.push(format!("{}{set}, version {}", one.stage, one.version));
        }
        format!("its documents are good: {}", stages.join("; "))
    };
    if let Some(who) = &source.signer {
        good.push_str(&format!(", signed by {who}"));
    }
    good
}

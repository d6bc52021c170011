//! One account of a cycle: what its file must become, and making it so.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::acquire::{Acquired, load};
use super::pinned::Pinned;
use super::{Agent, Cycle};
use crate::config::{AccountConfig, Placed};
use crate::document::Document;
use crate::host::{Host, HostError, Place, Replaced, Snapshot, Target};
use crate::outcome::{AccountOutcome, Fault, FaultClass, Status, chain};
use crate::plan::{self, Desired, ExpiryForm, Mode, Moment, Plan, desired, plan};
use crate::source::Fetch;
use crate::state::Kept;

/// How often a file that somebody else keeps changing is read again before we give up for this cycle.
const TRIES: usize = 5;

/// An account whose fate is decided.
#[derive(Debug)]
pub(super) struct Prepared {
    outcome: AccountOutcome,
    faults: Vec<Fault>,
    work: Option<Work>,
}

#[derive(Debug)]
struct Work {
    target: Target,
    mode: Mode,
    desired: Desired,
    snapshot: Snapshot,
    plan: Plan,
    /// The document that passed the guard.
    judged: Option<Kept>,
}

/// An account after its turn.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) outcome: AccountOutcome,
    pub(super) faults: Vec<Fault>,
}

impl<F: Fetch, H: Host> Agent<F, H> {
    /// Looks every account up. Two accounts with one file are a fault of both: each would let the other's keys in.
    pub(super) fn targets(&self) -> Vec<(&AccountConfig, Result<Target, Fault>)> {
        let mut targets: Vec<_> = self.config.accounts.iter().map(|account| (account, self.target(account))).collect();
        let mut users: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for target in targets.iter().filter_map(|(_, target)| target.as_ref().ok()) {
            *users.entry(target.path()).or_default() += 1;
        }
        for (_, target) in &mut targets {
            let path = target.as_ref().map(Target::path).unwrap_or_default();
            if users.get(&path).is_some_and(|users| *users > 1) {
                let text = format!("{}: several accounts share this file; give each its own", path.display());
                *target = Err(Fault { class: FaultClass::Failed, text });
            }
        }
        targets
    }

    fn target(&self, account: &AccountConfig) -> Result<Target, Fault> {
        let found = self.host.account(account.user.as_ref()).map_err(|error| host_fault(&error))?;
        let placed = account
            .file
            .place(found.user.as_str(), found.uid, &found.home)
            .map_err(|fault| Fault { class: FaultClass::Failed, text: format!("account {}: {fault}", found.user) })?;
        let place = match placed {
            Placed::BelowHome(below) => Place::Home { below },
            Placed::Elsewhere(path) => Place::System { path },
        };
        Ok(Target { account: found, place })
    }

    /// Decides what the account's file must become and notes in `state` what will be installed. Writes nothing.
    pub(super) fn prepare(
        &self,
        account: &AccountConfig,
        target: Result<Target, Fault>,
        acquired: Option<&Acquired>,
        pinned: &Pinned,
        cycle: &mut Cycle<'_>,
    ) -> Prepared {
        let mut outcome = AccountOutcome::new(account.user.as_ref());
        let target = match target {
            Ok(target) => target,
            Err(fault) => return Prepared::failed(outcome, fault),
        };
        outcome.user = target.account.user.to_string();
        outcome.file = target.path().display().to_string();
        let Some((document, kept)) = acquired.and_then(|got| got.document.as_ref()) else {
            // The source's own fault is reported where it belongs.
            outcome.fault(Status::Failed, "no key set is known yet, the file stays as it is".to_owned());
            return Prepared { outcome, faults: Vec::new(), work: None };
        };
        let snapshot = match self.host.read(&target) {
            Ok(snapshot) => snapshot,
            Err(error) => return Prepared::failed(outcome, host_fault(&error)),
        };
        let mine = cycle.state.accounts.entry(target.account.user.clone()).or_default();
        let moment = Moment { now: cycle.now, zone: self.zone.clone() };
        let draw = |document: &Document| {
            let form = self.expiry_form(document, pinned);
            let desired = desired(&[document], &pinned.lines, &target.account.user, &moment, form);
            let plan = plan(&desired, account.mode, snapshot.content.as_deref(), &mine.installed);
            (desired, plan)
        };

        let policy = format!("{:?}", self.config.guard);
        let known = mine.judged.as_ref().is_some_and(|(judged, by)| judged.digest == kept.digest && *by == policy);
        let (mut desired, mut plan) = draw(document);
        let mut faults = Vec::new();
        let mut judged = (!known).then_some(*kept);
        if !known {
            let rules = self.config.rules(account);
            let last = mine.judged.as_ref().and_then(|(judged, _)| load(cycle.store, *judged, &rules));
            let last = last.map(|last| draw(&last));
            // A document takes away from the set in force, not from what is left of it in a file that was emptied.
            let counted = last.as_ref().map(|(_, repaired)| {
                let present = repaired.content.as_deref().or(snapshot.content.as_deref());
                plan::plan(&desired, account.mode, present, &mine.installed)
            });
            if let Err(held) = self.config.guard.judge(&desired, counted.as_ref().unwrap_or(&plan)) {
                let text = format!("account {}: {held}", outcome.user);
                let held = Fault { class: FaultClass::Failed, text: text.clone() };
                // The document that passed last goes on being enforced: its windows, and repairs.
                let Some(last) = last else { return Prepared::failed(outcome, held) };
                outcome.fault(Status::Stale, text);
                (desired, plan) = last;
                faults.push(held);
                judged = None;
            }
        }
        for bad in &document.left_out {
            outcome.fault(Status::Degraded, format!("line {} was left out: {}", bad.line, bad.reason));
            outcome.left_out.push(bad.clone());
        }
        if !cycle.intent.dry_run {
            mine.installed.extend(desired.entries.iter().map(|entry| entry.key.fingerprint()));
        }
        let work = Work { target, mode: account.mode, desired, snapshot, plan, judged };
        Prepared { outcome, faults, work: Some(work) }
    }

    /// Makes the file what was decided. When it changed since, it is read and planned again.
    pub(super) fn carry_out(&self, prepared: Prepared, cycle: &mut Cycle<'_>) -> Carried {
        let Prepared { mut outcome, mut faults, work } = prepared;
        let Some(mut work) = work else {
            return Carried { outcome, faults };
        };
        let user = work.target.account.user.clone();
        match self.settle(&mut work, cycle) {
            Ok(changed) => {
                outcome.changed = changed;
                if changed && !cycle.intent.dry_run {
                    cycle.state.changed = Some(cycle.now);
                }
                outcome.in_force = work.plan.in_force;
                (outcome.added, outcome.removed) = (work.plan.added, work.plan.removed);
                outcome.updated = work.plan.updated;
                if let (Some(kept), false) = (work.judged, cycle.intent.dry_run) {
                    cycle.state.accounts.entry(user).or_default().judged =
                        Some((kept, format!("{:?}", self.config.guard)));
                }
            }
            Err(failed) => {
                outcome.fault(Status::Failed, failed.text.clone());
                faults.push(failed);
            }
        }
        Carried { outcome, faults }
    }

    /// Returns whether the file was changed, or would be.
    fn settle(&self, work: &mut Work, cycle: &mut Cycle<'_>) -> Result<bool, Fault> {
        for _ in 0..TRIES {
            let old = work.snapshot.content.as_deref();
            let content = match (&work.plan.content, old) {
                (Some(new), _) => new.as_slice(),
                (None, Some(old)) if work.snapshot.drifted => old,
                _ => return Ok(false),
            };
            if cycle.intent.dry_run {
                return Ok(true);
            }
            let mine = cycle.state.accounts.entry(work.target.account.user.clone()).or_default();
            if let (Mode::Exclusive, false, Some(old)) = (work.mode, mine.adopted, old) {
                cycle
                    .store
                    .keep_replaced(&work.target.account.user, old)
                    .map_err(|error| Fault::new(FaultClass::Failed, &error))?;
            }
            match self.host.replace(&work.target, &work.snapshot.stamp, content).map_err(|error| host_fault(&error))? {
                Replaced::Done => {
                    mine.adopted |= work.mode == Mode::Exclusive;
                    return Ok(true);
                }
                Replaced::ChangedMeanwhile => {
                    work.snapshot = self.host.read(&work.target).map_err(|error| host_fault(&error))?;
                    let present = work.snapshot.content.as_deref();
                    work.plan = plan(&work.desired, work.mode, present, &mine.installed);
                }
            }
        }
        let path = work.target.path();
        let text =
            format!("{}: somebody else keeps writing it, it was left alone; stop the other writer", path.display());
        Err(Fault { class: FaultClass::Failed, text })
    }

    /// The installed sshd is asked only when there is a time to be written.
    fn expiry_form(&self, document: &Document, pinned: &Pinned) -> ExpiryForm {
        let lines = document.keys.iter().map(|key| &key.line).chain(&pinned.lines);
        let timed = document.keys.iter().any(|key| key.not_after.is_some())
            || lines.into_iter().any(|line| line.options.has("expiry-time"));
        match self.config.expiry_form {
            Some(form) => form,
            None if timed => ExpiryForm::for_sshd(self.host.sshd_version()),
            None => ExpiryForm::Omit,
        }
    }
}

impl Prepared {
    fn failed(mut outcome: AccountOutcome, fault: Fault) -> Self {
        outcome.fault(Status::Failed, fault.text.clone());
        Self { outcome, faults: vec![fault], work: None }
    }
}

fn host_fault(error: &HostError) -> Fault {
    let class = match error {
        HostError::NotPermitted { .. } => FaultClass::Denied,
        _ => FaultClass::Failed,
    };
    Fault { class, text: chain(error) }
}

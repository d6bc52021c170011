//! One account of a cycle: what its file must become, and making it so.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::acquire::{Acquired, load};
use super::files::{Files, Planner};
use super::fragments::Settled;
use super::pinned::Pinned;
use super::{Agent, Cycle};
use crate::config::{AccountConfig, Placed};
use crate::document::{Document, LeftOut, Rules};
use crate::host::{Account, Host, HostError, Place, Replaced, Target};
use crate::key::Fingerprint;
use crate::outcome::{AccountOutcome, Fault, FaultClass, Status, chain};
use crate::plan::{Desired, ExpiryForm, Mode, Moment, Plan, desired, holds_our_block};
use crate::source::{Fetch, Stage};
use crate::state::{Judged, State, Store};

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
pub(super) struct Work {
    pub(super) target: Target,
    pub(super) mode: Mode,
    pub(super) desired: Desired,
    pub(super) files: Files,
    pub(super) plan: Plan,
    /// What made the plan, and makes it again when the file changes under us.
    pub(super) planner: Planner,
    /// The keys that may go for having been ours.
    pub(super) installed: BTreeSet<Fingerprint>,
    /// The documents that passed the guard.
    judged: Option<Judged>,
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
        let user = found.user.clone();
        target(account, found)
            .map_err(|fault| Fault { class: FaultClass::Failed, text: format!("account {user}: {fault}") })
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
        let files = match Files::read(&self.host, &target) {
            Ok(files) => files,
            Err(error) => return Prepared::failed(outcome, host_fault(&error)),
        };
        let Some(in_force) = acquired.and_then(|got| got.in_force.as_ref()) else {
            // The source's own fault is reported where it belongs.
            outcome.fault(Status::Failed, "no key set is known yet, the file stays as it is".to_owned());
            return self.only_pinned(account, target, files, outcome, pinned, cycle);
        };
        let mine = cycle.state.accounts.entry(target.account.user.clone()).or_default();
        let documents: Vec<&Document> = in_force.all().map(|(_, one)| &one.document).collect();
        let draw = |documents: &[&Document]| {
            let desired = self.desired(documents, pinned, &target, cycle.now);
            let plan = files.plan(&desired, account.mode, &mine.installed);
            (desired, plan)
        };

        let further = in_force.further.values().map(|one| one.kept).collect();
        let candidate = Judged { document: in_force.current.kept, further, guard: self.config.guard };
        let known = mine.judged.as_ref().is_some_and(|judged| judged.same(&candidate));
        let (mut desired, mut plan) = draw(&documents);
        let mut faults = Vec::new();
        let mut judged = (!known).then_some(candidate);
        let mut held_to = None;
        if !known {
            let rules = self.config.rules(account);
            let last = mine.judged.as_ref().and_then(|judged| load_all(cycle.store, judged, &rules));
            let last = last.map(|last| (draw(&last.iter().collect::<Vec<_>>()), last));
            // A document takes away from the set in force, not from what is left of it in a file that was emptied.
            let after = |repaired| files.plan_after(repaired, &desired, account.mode, &mine.installed);
            let counted = last.as_ref().map(|((_, repaired), _)| after(repaired));
            if let Err(held) = self.config.guard.judge(&desired, counted.as_ref().unwrap_or(&plan)) {
                let text = format!("account {}: {held}", outcome.user);
                faults.push(Fault { class: FaultClass::Failed, text: text.clone() });
                // The document that passed last goes on being enforced: its windows, and repairs.
                let Some((drawn, last)) = last else {
                    outcome.fault(Status::Failed, text);
                    let pinned = self.only_pinned(account, target, files, outcome, pinned, cycle);
                    return Prepared { faults, ..pinned };
                };
                outcome.fault(Status::Stale, text);
                (desired, plan) = drawn;
                held_to = Some(last);
                judged = None;
            }
        }
        outcome.follow(held_to.as_ref().and_then(|last| last.first()).unwrap_or(&in_force.current.document));
        outcome.next_change = desired.next_change;
        for (stage, one) in in_force.all() {
            for bad in &one.document.left_out {
                let reason = match stage {
                    Stage::Current => bad.reason.clone(),
                    further => format!("{further}: {}", bad.reason),
                };
                outcome.fault(Status::Degraded, format!("line {} was left out: {reason}", bad.line));
                outcome.left_out.push(LeftOut { line: bad.line, reason });
            }
        }
        if !cycle.intent.dry_run {
            mine.installed.extend(desired.entries.iter().map(|entry| entry.key.fingerprint()));
        }
        let (mode, installed) = (account.mode, mine.installed.clone());
        let work = Work { target, mode, desired, files, plan, planner: Files::plan, installed, judged };
        Prepared { outcome, faults, work: Some(work) }
    }

    /// Break-glass keys are installed also where no key set may be: everything else stays as it is.
    fn only_pinned(
        &self,
        account: &AccountConfig,
        target: Target,
        files: Files,
        outcome: AccountOutcome,
        pinned: &Pinned,
        cycle: &mut Cycle<'_>,
    ) -> Prepared {
        let desired = self.desired(&[], pinned, &target, cycle.now);
        let mine = cycle.state.accounts.entry(target.account.user.clone()).or_default();
        let plan = files.add_pinned(&desired, account.mode, &mine.installed);
        let several = matches!(files, Files::Several(..)) && !desired.entries.is_empty();
        let work = (plan.content.is_some() || several).then(|| {
            mine.installed.extend(desired.entries.iter().map(|entry| entry.key.fingerprint()));
            let (mode, installed) = (account.mode, BTreeSet::new());
            Work { target, mode, desired, files, plan, planner: Files::add_pinned, installed, judged: None }
        });
        Prepared { outcome, faults: Vec::new(), work }
    }

    fn desired(&self, documents: &[&Document], pinned: &Pinned, target: &Target, now: Timestamp) -> Desired {
        let published = || documents.iter().flat_map(|document| &document.keys);
        let timed = published().any(|key| key.not_after.is_some())
            || published().map(|key| &key.line).chain(&pinned.lines).any(|line| line.options.has("expiry-time"));
        // The installed sshd and its time zone are asked for only when there is a time to be written.
        let (zone, form) = if timed {
            let form = self.config.expiry_form.unwrap_or_else(|| ExpiryForm::for_sshd(self.host.sshd_version()));
            ((self.zone)(), form)
        } else {
            (TimeZone::UTC, ExpiryForm::Omit)
        };
        desired(documents, &pinned.lines, &target.account.user, &Moment { now, zone }, form)
    }

    /// Makes the file what was decided. When it changed since, it is read and planned again.
    pub(super) fn carry_out(&self, prepared: Prepared, cycle: &mut Cycle<'_>) -> Carried {
        let Prepared { mut outcome, mut faults, work } = prepared;
        let Some(mut work) = work else {
            return Carried { outcome, faults };
        };
        let user = work.target.account.user.clone();
        match self.settle(&mut work, cycle) {
            Ok(Settled { changed, faults: named }) => {
                for text in named {
                    outcome.fault(Status::Degraded, text.clone());
                    faults.push(Fault { class: FaultClass::Failed, text });
                }
                outcome.changed = changed;
                outcome.in_force = work.plan.in_force;
                (outcome.added, outcome.removed) = (work.plan.added, work.plan.removed);
                outcome.updated = work.plan.updated;
                if let (Some(judged), false) = (work.judged, cycle.intent.dry_run) {
                    cycle.state.accounts.entry(user).or_default().judged = Some(judged);
                }
            }
            Err(failed) => {
                outcome.fault(Status::Failed, failed.text.clone());
                faults.push(failed);
            }
        }
        Carried { outcome, faults }
    }

    fn settle(&self, work: &mut Work, cycle: &mut Cycle<'_>) -> Result<Settled, Fault> {
        for _ in 0..TRIES {
            let Files::One(snapshot) = &work.files else { return self.settle_fragments(work, cycle) };
            let old = snapshot.content.as_deref();
            let content = match (&work.plan.content, old) {
                (Some(new), _) => new.as_slice(),
                (None, Some(old)) if snapshot.drifted => old,
                _ => return Ok(Settled::default()),
            };
            if cycle.intent.dry_run {
                return Ok(Settled { changed: true, ..Settled::default() });
            }
            let mine = cycle.state.accounts.entry(work.target.account.user.clone()).or_default();
            if let (Mode::Exclusive, false, Some(old)) = (work.mode, mine.adopted, old) {
                cycle
                    .store
                    .keep_replaced(&work.target.account.user, old)
                    .map_err(|error| Fault::new(FaultClass::Failed, &error))?;
            }
            match self.host.replace(&work.target, &snapshot.stamp, content).map_err(|error| host_fault(&error))? {
                Replaced::Done => {
                    mine.adopted |= work.mode == Mode::Exclusive;
                    return Ok(Settled { changed: true, ..Settled::default() });
                }
                Replaced::ChangedMeanwhile => {
                    work.files = Files::read(&self.host, &work.target).map_err(|error| host_fault(&error))?;
                    work.plan = (work.planner)(&work.files, &work.desired, work.mode, &work.installed);
                }
            }
        }
        let path = work.target.path();
        let text =
            format!("{}: somebody else keeps writing it, it was left alone; stop the other writer", path.display());
        Err(Fault { class: FaultClass::Failed, text })
    }
}

/// The documents that passed the guard last, under the rules of today; all of them, or none.
fn load_all(store: &Store, judged: &Judged, rules: &Rules) -> Option<Vec<Document>> {
    judged.documents().map(|kept| load(store, kept, rules).map(|(document, _)| document)).collect()
}

/// Where the configuration puts the account's keys.
pub fn target(account: &AccountConfig, found: Account) -> Result<Target, String> {
    let place = match (account.file.place(found.user.as_str(), found.uid, &found.home)?, &account.fragment) {
        (Placed::BelowHome(_), Some(name)) => Place::Fragment { name: name.to_string() },
        (Placed::Elsewhere(_), Some(_)) => {
            return Err("`layout = \"coreos\"` needs a home of the account's own".to_owned());
        }
        (Placed::BelowHome(below), None) => Place::Home { below },
        (Placed::Elsewhere(path), None) => Place::System { path },
    };
    Ok(Target { account: found, place })
}

/// Accounts that come to the same file by whatever path are a fault of each: it would let the others' keys in.
pub(super) fn refuse_shared(prepared: Vec<Prepared>) -> Vec<Prepared> {
    let mut users = BTreeMap::new();
    prepared.iter().filter_map(Prepared::place).for_each(|place| *users.entry(place).or_insert(0_usize) += 1);
    let shared = |one: &Prepared| one.place().is_some_and(|place| users.get(&place).is_some_and(|users| *users > 1));
    let refuse = |one: Prepared| {
        let text = format!("{}: several accounts share this file; give each its own", one.outcome.file);
        if shared(&one) { Prepared::failed(one.outcome, Fault { class: FaultClass::Failed, text }) } else { one }
    };
    prepared.into_iter().map(refuse).collect()
}

impl Prepared {
    /// The directory and name that the account's file really has.
    fn place(&self) -> Option<((u64, u64), OsString)> {
        self.work.as_ref().and_then(|work| work.files.place(&work.target))
    }

    /// Whether an earlier cycle, by what the file holds, wrote it.
    pub(super) fn was_written(&self) -> bool {
        let work = self.work.as_ref().filter(|work| work.mode == Mode::Block);
        match work.map(|work| &work.files) {
            Some(Files::One(snapshot)) => snapshot.content.as_deref().is_some_and(holds_our_block),
            _ => false,
        }
    }

    pub(super) fn file(&self) -> &str {
        &self.outcome.file
    }

    /// Gives up on an account that needs a key which cannot be remembered: nobody could revoke it later. What only takes
    /// keys away goes on.
    pub(super) fn without_memory(self, saved: &State) -> Self {
        let known = |work: &Work| {
            let installed = saved.accounts.get(&work.target.account.user).map(|account| &account.installed);
            work.desired.entries.iter().all(|e| installed.is_some_and(|keys| keys.contains(&e.key.fingerprint())))
        };
        if self.work.as_ref().is_none_or(known) {
            return self;
        }
        let text = format!(
            "account {}: no key is installed that cannot be remembered; the state must be writable",
            self.outcome.user
        );
        Self::failed(self.outcome, Fault { class: FaultClass::Failed, text })
    }

    fn failed(mut outcome: AccountOutcome, fault: Fault) -> Self {
        outcome.fault(Status::Failed, fault.text.clone());
        Self { outcome, faults: vec![fault], work: None }
    }
}

pub(super) fn host_fault(error: &HostError) -> Fault {
    let class = match error {
        HostError::NotPermitted { .. } => FaultClass::Denied,
        _ => FaultClass::Failed,
    };
    Fault { class, text: chain(error) }
}

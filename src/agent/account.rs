//! One account of a cycle: what its file must become.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::acquired::Acquired;
use super::files::{Files, Purpose};
use super::located::located;
use super::pinned::Pinned;
use super::sets::KeySets;
use super::work::{Prepared, Work, host_fault};
use super::{Agent, Cycle};
use crate::host::{Host, HostError, Snapshot, Target};
use authkeys_core::config::AccountConfig;
use authkeys_core::document::{Digest, LeftOut};
use authkeys_core::key::{Fingerprint, FingerprintSet};
use authkeys_core::origin::{Fetch, SourceUrl};
use authkeys_core::outcome::{AccountOutcome, Fault, FaultCode, Status, Subject};
use authkeys_core::plan::{
    Desired, ExpiryForm, Layer, Mode, Moment, PresentLines, Unreadable, desired,
};
use authkeys_core::user::UserName;

/// What was found at the place of an account's keys, or an account that cannot be served.
pub(super) type Found = Result<(Target, Files), Box<Prepared>>;

impl<F: Fetch, H: Host> Agent<F, H> {
    /// Looks accounts up and reads their files. Each account in `waiting` comes with its position
    /// in the configuration. `None` means that the account is slow: try it again when the others
    /// have been served.
    pub(super) fn find(
        &self,
        waiting: &[(usize, &AccountConfig)],
        acquired: &BTreeMap<SourceUrl, Acquired>,
        pinned: &Pinned,
        cycle: &mut Cycle<'_>,
    ) -> Vec<Option<Found>> {
        let Cycle { shared, state, .. } = cycle;
        let mut names = Vec::with_capacity(waiting.len());
        for (_, account) in waiting {
            names.push(account.user.as_ref());
        }
        let looked_up = self.host.accounts(&names);
        let mut targets = Vec::with_capacity(waiting.len());
        for ((_, account), found) in waiting.iter().zip(looked_up) {
            targets.push(found.map(|found| located(account, found)));
        }
        for ((at, account), target) in waiting.iter().zip(&mut targets) {
            let Some(Ok(target)) = target else {
                continue;
            };
            let known = KeySets::of(account, acquired).is_some();
            target.repairs = known || !pinned.lines.is_empty();
            if let Some(mine) = state.accounts.get(&target.account.user) {
                target.left = mine.left;
            }
            shared.note(*at, target);
        }
        // Only when all are noted it is known which files several accounts share.
        for found in &mut targets {
            let Some(Ok(target)) = found else {
                continue;
            };
            if let Some(fault) = shared.by_path(target) {
                *found = Some(Err(fault));
            }
        }
        let mut several = Vec::new();
        let mut one = Vec::new();
        for target in targets.iter().flatten().flatten() {
            if target.is_fragment() {
                several.push(target);
            } else {
                one.push(target);
            }
        }
        let mut several = self.host.all_fragments(&several).into_iter();
        let mut one = self.host.read_all(&one).into_iter();
        let mut found = Vec::with_capacity(waiting.len());
        for ((_, account), target) in waiting.iter().zip(targets) {
            let target = match target {
                Some(Ok(target)) => target,
                Some(Err(fault)) => {
                    found.push(Some(Err(unknown(account, fault))));
                    continue;
                }
                None => {
                    found.push(None);
                    continue;
                }
            };
            let files = if target.is_fragment() {
                match several.next() {
                    Some(Some(read)) => Some(read.map(Files::of_fragments)),
                    _ => None,
                }
            } else {
                let adopted = state.has_adopted(&target.account.user, &target.path());
                let ours = adopted && account.mode == Mode::Exclusive;
                match one.next() {
                    Some(Some(read)) => Some(one_file(read, ours)),
                    _ => None,
                }
            };
            found.push(match files {
                Some(Ok(files)) => Some(Ok((target, files))),
                Some(Err(error)) => Some(Err(unread(&target, &error))),
                None => None,
            });
        }
        found
    }

    /// Decides what the account's file must become and records in `state` what will be installed.
    /// Writes nothing.
    pub(super) fn prepare(
        &self,
        account: &AccountConfig,
        (target, files): (Target, Files),
        acquired: &BTreeMap<SourceUrl, Acquired>,
        pinned: &Pinned,
        cycle: &mut Cycle<'_>,
    ) -> Prepared {
        let mut outcome = outcome_of(&target);
        let sets = KeySets::of(account, acquired);
        let candidate = match &sets {
            Some(sets) => sets.candidate(self.config.guard),
            None => None,
        };
        let (Some(sets), Some(candidate)) = (&sets, candidate) else {
            // The source's own fault is reported with the source.
            let text = "no key set is known yet, the file stays as it is";
            outcome.fault(Status::Failed, FaultCode::NoKeySet, text.to_owned());
            return self.only_pinned(account, target, files, outcome, pinned, cycle);
        };
        let mine = cycle
            .state
            .accounts
            .entry(target.account.user.clone())
            .or_default();
        let layers = sets.layers();
        let purpose = match sets.unread.is_empty() {
            true => Purpose::KeySet,
            false => Purpose::Addition,
        };
        let standing = match cycle.clock.is_wrong() {
            true => Some(files.standing()),
            false => None,
        };
        let draw = |layers: &[Layer<'_>]| {
            let names = names(account, &target);
            let mut desired = self.desired(
                layers,
                pinned,
                &names,
                (cycle.now, standing.clone()),
                &files,
            );
            desired.head = Some(sets.head());
            let plan = files.plan(purpose, &desired, account.mode, &mine.installed);
            (desired, plan)
        };

        let known = match &mine.judged {
            Some(judged) => judged.same(&candidate),
            None => false,
        };
        let (mut desired, mut plan) = draw(&layers);
        // The start or end of a window may make the rejected document acceptable.
        outcome.next_change = desired.next_change;
        let mut faults = note_unreadable(&desired, &layers, &mut outcome);
        let mut judged = if known { None } else { Some(candidate) };
        let mut held_to = None;
        if !known {
            let last = match &mine.judged {
                Some(judged) => self.last_sets(account, cycle.store, judged),
                None => None,
            };
            let last = last.map(|last| (draw(&last.layers()), last));
            // Compare a document with the set in force, not with what is left of it in a file that
            // somebody emptied.
            let after;
            let counted = match (purpose, &last) {
                (Purpose::KeySet, Some(((_, repaired), _))) => {
                    after = files.plan_after(repaired, &desired, account.mode, &mine.installed);
                    &after
                }
                _ => &plan,
            };
            if let Err(held) = self.config.guard.judge(&desired, counted) {
                let text = format!("account {}: {held}", outcome.user);
                faults.push(Fault::new(
                    held.code(),
                    Subject::Account(outcome.user.clone()),
                    text.clone(),
                ));
                // The document that passed the guard last stays enforced, both its windows and
                // repairs.
                let Some((drawn, last)) = last else {
                    outcome.fault(Status::Failed, held.code(), text);
                    let pinned = self.only_pinned(account, target, files, outcome, pinned, cycle);
                    faults.extend(pinned.faults);
                    return Prepared {
                        outcome: pinned.outcome,
                        faults,
                        work: pinned.work,
                    };
                };
                outcome.fault(Status::Stale, held.code(), text);
                (desired, plan) = drawn;
                held_to = Some(last);
                judged = None;
            }
        }
        match &held_to {
            Some(last) => last.are_followed(&mut outcome),
            None => sets.are_followed(&mut outcome),
        }
        if !sets.unread.is_empty() {
            let text = format!(
                "{} has not been read yet: until then only revoked keys are removed",
                sets.unread.join(", ")
            );
            outcome.fault(Status::Stale, FaultCode::NoKeySet, text);
        }
        let changes = [outcome.next_change, desired.next_change];
        outcome.next_change = changes.into_iter().flatten().min();
        let mut lines = Vec::with_capacity(desired.entries.len());
        for entry in &desired.entries {
            lines.push(entry.line.as_str());
        }
        outcome.lines = Some(Digest::of(lines.join("\n").as_bytes()));
        for bad in sets.left_out() {
            let text = format!("line {} was left out: {}", bad.line, bad.reason);
            outcome.fault(Status::Degraded, FaultCode::KeyLeftOut, text);
            outcome.left_out.push(bad);
        }
        if !cycle.intent.dry_run {
            add_keys(&mut mine.installed, &desired);
        }
        mine.installed = cycle.in_common.installed.share(mine.installed.clone());
        let mode = account.mode;
        let installed = mine.installed.clone();
        let least = self.config.guard.min_keys;
        let keys = Some(cycle.in_common.keys_of(&mut plan));
        let desired = cycle.in_common.desired.share(Arc::new(desired));
        let work = Work {
            target,
            mode,
            desired,
            files,
            plan,
            keys,
            purpose,
            installed,
            judged,
            least,
            settled: None,
        };
        Prepared {
            outcome,
            faults,
            work: Some(work),
        }
    }

    /// Installs break-glass keys even where no key set can be installed. Everything else stays as
    /// it is.
    fn only_pinned(
        &self,
        account: &AccountConfig,
        target: Target,
        files: Files,
        mut outcome: AccountOutcome,
        pinned: &Pinned,
        cycle: &mut Cycle<'_>,
    ) -> Prepared {
        let desired = self.desired(
            &[],
            pinned,
            &names(account, &target),
            (cycle.now, None),
            &files,
        );
        let faults = note_unreadable(&desired, &[], &mut outcome);
        let mine = cycle
            .state
            .accounts
            .entry(target.account.user.clone())
            .or_default();
        if desired.entries.is_empty() {
            return Prepared {
                outcome,
                faults,
                work: None,
            };
        }
        let plan = files.plan(Purpose::PinnedOnly, &desired, account.mode, &mine.installed);
        add_keys(&mut mine.installed, &desired);
        let work = Work {
            target,
            mode: account.mode,
            desired: Arc::new(desired),
            files,
            plan,
            keys: None,
            // Nothing is removed.
            purpose: Purpose::PinnedOnly,
            installed: FingerprintSet::default(),
            judged: None,
            least: 0,
            settled: None,
        };
        Prepared {
            outcome,
            faults,
            work: Some(work),
        }
    }

    fn desired(
        &self,
        layers: &[Layer<'_>],
        pinned: &Pinned,
        names: &[&UserName],
        (now, standing): (Timestamp, Option<PresentLines>),
        files: &Files,
    ) -> Desired {
        // The version of the installed sshd and its time zone are looked up only when a time is to
        // be written.
        let mut zone = TimeZone::UTC;
        let mut form = ExpiryForm::Omit;
        if has_times(layers, pinned) {
            zone = (self.zone)();
            form = match self.config.expiry_form {
                Some(form) => form,
                None => ExpiryForm::for_sshd(self.host.sshd_version()),
            };
        }
        let mut desired = desired(
            layers,
            &pinned.lines,
            names,
            &Moment {
                now,
                zone,
                standing,
            },
            form,
        );
        if desired.has_recent() {
            desired.leave_out_unreadable(self.host.sshd_version(), &files.standing());
        }
        desired
    }
}

/// Records that these keys will be installed.
fn add_keys(installed: &mut FingerprintSet, desired: &Desired) {
    installed.extend(desired.entries.iter().map(|entry| entry.key.fingerprint()));
}

/// Whether a key's time may have to be written.
fn has_times(layers: &[Layer<'_>], pinned: &Pinned) -> bool {
    for layer in layers {
        for key in &layer.document.keys {
            if key.not_after.is_some() || key.line.options.has("expiry-time") {
                return true;
            }
        }
    }
    let mut pinned = pinned.lines.iter();
    pinned.any(|line| line.options.has("expiry-time"))
}

/// What was read of an account that has one file. A file that is wholly `ours`, and whose first
/// content has been saved, is replaced whatever its present content is.
fn one_file(read: Result<Snapshot, HostError>, ours: bool) -> Result<Files, HostError> {
    match read {
        Ok(snapshot) => Ok(Files::One(snapshot)),
        Err(HostError::Unreadable { unread, .. }) if ours => Ok(Files::One(*unread)),
        Err(error) => Err(error),
    }
}

/// The outcome of an account whose files could not be read.
fn unread(target: &Target, error: &HostError) -> Box<Prepared> {
    let fault = host_fault(target.account.user.as_str(), error);
    Box::new(Prepared::failed(outcome_of(target), fault))
}

/// The line of the document that publishes a key, with an option of that name if one is given.
fn line_of(layers: &[Layer<'_>], key: Fingerprint, option: Option<&str>) -> Option<usize> {
    for layer in layers {
        for published in &layer.document.keys {
            let line = &published.line;
            let has_option = option.is_none_or(|name| line.options.has(name));
            if has_option && line.key.fingerprint() == key {
                return Some(published.place);
            }
        }
    }
    None
}

/// Reports the lines that the installed sshd cannot read. They are not in the plan.
fn note_unreadable(
    desired: &Desired,
    layers: &[Layer<'_>],
    outcome: &mut AccountOutcome,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for Unreadable {
        key,
        option,
        reason,
    } in &desired.unreadable
    {
        let text = match line_of(layers, *key, *option) {
            Some(line) => {
                let reason = reason.clone();
                let text = format!("line {line} was left out: {reason}");
                outcome.left_out.push(LeftOut { line, reason });
                text
            }
            None => format!("the pinned key {key} was left out: {reason}"),
        };
        let subject = Subject::Account(outcome.user.clone());
        faults.push(Fault::new(
            FaultCode::KeyTooNew,
            subject,
            format!("account {}: {text}", outcome.user),
        ));
        outcome.fault(Status::Degraded, FaultCode::KeyTooNew, text);
    }
    faults
}

/// The account's names in the configuration and in the name service. A directory service may return
/// `jo` for `jo@example.org`, and a publisher may use either.
fn names<'a>(account: &'a AccountConfig, target: &'a Target) -> Vec<&'a UserName> {
    match &account.user {
        Some(configured) => vec![configured, &target.account.user],
        None => vec![&target.account.user],
    }
}

/// The outcome of an account of which only the name is known.
fn unknown(account: &AccountConfig, fault: Fault) -> Box<Prepared> {
    let outcome = AccountOutcome::new(account.user.as_ref());
    Box::new(Prepared::failed(outcome, fault))
}

pub(super) fn outcome_of(target: &Target) -> AccountOutcome {
    AccountOutcome {
        file: target.path().display().to_string(),
        ..AccountOutcome::new(Some(&target.account.user))
    }
}

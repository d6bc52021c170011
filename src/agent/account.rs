//! One account of a cycle: what its file must become.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::acquired::Acquired;
use super::files::{Files, Purpose};
use super::pinned::Pinned;
use super::sets::KeySets;
use super::work::{Prepared, Work, host_fault};
use super::{Agent, Cycle};
use crate::host::{Account, Host, HostError, Place, Target};
use authkeys_core::config::{AccountConfig, Placed};
use authkeys_core::document::{Digest, LeftOut};
use authkeys_core::key::FingerprintSet;
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
        let names: Vec<_> = waiting
            .iter()
            .map(|(_, account)| account.user.as_ref())
            .collect();
        let looked_up = waiting.iter().zip(self.host.accounts(&names));
        let mut targets: Vec<_> = looked_up
            .map(|((_, account), found)| Some(located(account, found?)))
            .collect();
        for ((_, account), target) in waiting.iter().zip(&mut targets) {
            let known = KeySets::of(account, acquired).is_some();
            let installs = known || !pinned.lines.is_empty();
            for target in target.iter_mut().flatten() {
                target.repairs = installs;
                target.left = state
                    .accounts
                    .get(&target.account.user)
                    .and_then(|mine| mine.left);
            }
        }
        for ((at, _), target) in waiting.iter().zip(&targets) {
            target
                .iter()
                .flatten()
                .for_each(|target| shared.note(*at, target));
        }
        for target in targets.iter_mut().flatten() {
            if let Some(fault) = target
                .as_ref()
                .ok()
                .and_then(|target| shared.by_path(target))
            {
                *target = Err(fault);
            }
        }
        let known = targets.iter().flatten().flatten();
        let (several, one): (Vec<&Target>, Vec<&Target>) =
            known.partition(|target| target.is_fragment());
        let mut several = self.host.all_fragments(&several).into_iter();
        let mut one = self.host.read_all(&one).into_iter();
        let mut read = |account: &AccountConfig, target: Target| {
            let mine = state.accounts.get(&target.account.user);
            let adopted = mine.is_some_and(|mine| mine.adopted.contains(&target.path()));
            let files = match target.is_fragment() {
                true => several.next()??.map(Files::of_fragments),
                false => match one.next()?? {
                    // The whole file is ours and its first content has been saved, so its present
                    // content does not matter.
                    Err(HostError::Unreadable { unread, .. })
                        if adopted && account.mode == Mode::Exclusive =>
                    {
                        Ok(Files::One(*unread))
                    }
                    read => read.map(Files::One),
                },
            };
            let user = target.account.user.as_str();
            let failed = |error| {
                Box::new(Prepared::failed(
                    outcome_of(&target),
                    host_fault(user, &error),
                ))
            };
            Some(files.map_err(failed).map(|files| (target, files)))
        };
        let accounts = waiting.iter().zip(targets);
        accounts
            .map(|((_, account), target)| match target? {
                Ok(target) => read(account, target),
                Err(fault) => Some(Err(unknown(account, fault))),
            })
            .collect()
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
        let known = sets.as_ref();
        let with_candidate =
            known.and_then(|sets| Some((sets, sets.candidate(self.config.guard)?)));
        let Some((sets, candidate)) = with_candidate else {
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
        let standing = cycle.clock.is_wrong().then(|| files.standing());
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

        let known = mine
            .judged
            .as_ref()
            .is_some_and(|judged| judged.same(&candidate));
        let (mut desired, mut plan) = draw(&layers);
        // The start or end of a window may make the rejected document acceptable.
        outcome.next_change = desired.next_change;
        let mut faults = note_unreadable(&desired, &layers, &mut outcome);
        let mut judged = (!known).then_some(candidate);
        let mut held_to = None;
        if !known {
            let last = mine
                .judged
                .as_ref()
                .and_then(|judged| self.last_sets(account, cycle.store, judged));
            let last = last.map(|last| (draw(&last.layers()), last));
            // Compare a document with the set in force, not with what is left of it in a file that
            // somebody emptied.
            let after =
                |repaired| files.plan_after(repaired, &desired, account.mode, &mine.installed);
            let counted = match (purpose, &last) {
                (Purpose::KeySet, Some(((_, repaired), _))) => Some(after(repaired)),
                _ => None,
            };
            if let Err(held) = self
                .config
                .guard
                .judge(&desired, counted.as_ref().unwrap_or(&plan))
            {
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
        outcome.next_change = outcome
            .next_change
            .into_iter()
            .chain(desired.next_change)
            .min();
        let lines: Vec<&str> = desired
            .entries
            .iter()
            .map(|entry| entry.line.as_str())
            .collect();
        outcome.lines = Some(Digest::of(lines.join("\n").as_bytes()));
        for bad in sets.left_out() {
            let text = format!("line {} was left out: {}", bad.line, bad.reason);
            outcome.fault(Status::Degraded, FaultCode::KeyLeftOut, text);
            outcome.left_out.push(bad);
        }
        if !cycle.intent.dry_run {
            mine.installed
                .extend(desired.entries.iter().map(|entry| entry.key.fingerprint()));
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
        let work = (!desired.entries.is_empty()).then(|| {
            let plan = files.plan(Purpose::PinnedOnly, &desired, account.mode, &mine.installed);
            mine.installed
                .extend(desired.entries.iter().map(|entry| entry.key.fingerprint()));
            let mode = account.mode;
            let installed = FingerprintSet::default();
            // Nothing is removed.
            let purpose = Purpose::PinnedOnly;
            let desired = Arc::new(desired);
            let least = 0;
            Work {
                target,
                mode,
                desired,
                files,
                plan,
                keys: None,
                purpose,
                installed,
                judged: None,
                least,
                settled: None,
            }
        });
        Prepared {
            outcome,
            faults,
            work,
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
        let published = || layers.iter().flat_map(|layer| &layer.document.keys);
        let timed = published().any(|key| key.not_after.is_some())
            || published()
                .map(|key| &key.line)
                .chain(&pinned.lines)
                .any(|line| line.options.has("expiry-time"));
        // The version of the installed sshd and its time zone are looked up only when a time is to
        // be written.
        let (zone, form) = if timed {
            let form = self
                .config
                .expiry_form
                .unwrap_or_else(|| ExpiryForm::for_sshd(self.host.sshd_version()));
            ((self.zone)(), form)
        } else {
            (TimeZone::UTC, ExpiryForm::Omit)
        };
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
        let mut published = layers.iter().flat_map(|layer| &layer.document.keys);
        let line = published
            .find(|one| {
                let line = &one.line;
                line.key.fingerprint() == *key && option.is_none_or(|name| line.options.has(name))
            })
            .map(|one| one.place);
        let text = match line {
            Some(line) => format!("line {line} was left out: {reason}"),
            None => format!("the pinned key {key} was left out: {reason}"),
        };
        outcome.left_out.extend(line.map(|line| LeftOut {
            line,
            reason: reason.clone(),
        }));
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
    account.user.iter().chain([&target.account.user]).collect()
}

/// Where the configuration puts the account's keys.
fn target(account: &AccountConfig, found: Account) -> Result<Target, String> {
    let place = match (
        account
            .file
            .place(found.user.as_str(), found.uid, &found.home)?,
        &account.fragment,
    ) {
        (Placed::BelowHome(_), Some(name)) => Place::Fragment {
            name: name.to_string(),
        },
        (Placed::Elsewhere(_), Some(_)) => {
            return Err("`layout = \"coreos\"` needs a home of the account's own".to_owned());
        }
        (Placed::BelowHome(below), None) => Place::Home { below },
        (Placed::Elsewhere(path), None) => Place::System { path },
    };
    Ok(Target::new(found, place))
}

/// The account's file, or why its keys cannot be installed anywhere.
pub fn located(
    account: &AccountConfig,
    found: Result<Account, HostError>,
) -> Result<Target, Fault> {
    let named = account
        .user
        .as_ref()
        .map(UserName::to_string)
        .unwrap_or_default();
    let found = found.map_err(|error| host_fault(&named, &error))?;
    let user = found.user.to_string();
    let misplaced = |fault| {
        Fault::new(
            FaultCode::FileMisplaced,
            Subject::Account(user.clone()),
            format!("account {user}: {fault}"),
        )
    };
    target(account, found).map_err(misplaced)
}

/// The outcome of an account of which only the name is known.
fn unknown(account: &AccountConfig, fault: Fault) -> Box<Prepared> {
    Box::new(Prepared::failed(
        AccountOutcome::new(account.user.as_ref()),
        fault,
    ))
}

pub(super) fn outcome_of(target: &Target) -> AccountOutcome {
    AccountOutcome {
        file: target.path().display().to_string(),
        ..AccountOutcome::new(Some(&target.account.user))
    }
}

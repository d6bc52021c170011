//! Applies a plan for fragments: import, write, run update-ssh-keys, and repair what it did not do.

use super::Cycle;
use super::files::Files;
use super::work::{Settled, Work, host_fault};
use crate::host::{FoundFragments, Host, HostError, Place, Replaced, Stamp, Target};
use authkeys_core::outcome::{Fault, FaultCode, KeyShown, Subject, chain};
use authkeys_core::plan::{Fragments, Generator, Mode, Plan, dropped, repair};

/// Import, write, run, repair and a last check, with room for other writers.
const TRIES: usize = 8;

/// What has happened so far.
#[derive(Default)]
struct FragmentProgress {
    settled: Settled,
    /// update-ssh-keys ran after the last write.
    ran: bool,
    /// The error that it reported.
    said: Option<HostError>,
    /// `authorized_keys` had to be repaired without it.
    by_hand: bool,
}

impl FragmentProgress {
    /// Runs update-ssh-keys.
    fn refresh(&mut self, host: &impl Host, target: &Target) {
        self.said = host.refresh(target).err();
        self.ran = true;
    }
}

/// The next step for an account's fragments.
enum FragmentStep {
    /// Our fragment, and what is removed from the others.
    Write,
    /// update-ssh-keys generates `authorized_keys`, from what the file holds if there are no
    /// fragments yet.
    Refresh,
    /// `authorized_keys` becomes this, without update-ssh-keys.
    Repair(Vec<u8>),
}

impl FragmentStep {
    /// `None` if nothing is left to do. `ran` is whether update-ssh-keys ran after the last write.
    fn next(work: &Work, plan: &Plan, ran: bool) -> Option<Self> {
        let Files::Several(found, present) = &work.files else {
            return None;
        };
        // Nothing is written to a directory that update-ssh-keys did not create: it would then
        // never import `authorized_keys`.
        if !present.needs_import()
            && (plan.content.is_some() || !plan.others.is_empty() || found.ours.drifted)
        {
            return Some(Self::Write);
        }
        if plan.refresh && !ran {
            return Some(Self::Refresh);
        }
        repair(&work.desired, present, &work.installed).map(Self::Repair)
    }
}

/// Settles fragments that need no write, and saves the content that will be replaced.
pub(super) fn before_settle(work: &Work, cycle: &mut Cycle<'_>) -> Result<Option<Settled>, Fault> {
    if FragmentStep::next(work, &work.plan, false).is_none() {
        return Ok(Some(finish(work, FragmentProgress::default())));
    }
    if cycle.intent.dry_run {
        let faults = if work.plan.refresh {
            named(work)
        } else {
            finish(work, FragmentProgress::default()).faults
        };
        return Ok(Some(Settled {
            faults,
            changed: true,
        }));
    }
    keep_replaced(work, cycle)?;
    Ok(None)
}

/// Applies what was decided to the fragments and `authorized_keys`.
pub(super) fn settle(host: &impl Host, work: &mut Work) -> Result<Settled, Fault> {
    let target = work.target.clone();
    let mut plan = work.plan.clone();
    let mut progress = FragmentProgress::default();
    for _ in 0..TRIES {
        let Some(step) = FragmentStep::next(work, &plan, progress.ran) else {
            return Ok(finish(work, progress));
        };
        let Files::Several(found, present) = &work.files else {
            return Ok(Settled::default());
        };
        let imports = present.needs_import();
        let was_wrong = repair(&work.desired, present, &work.installed).is_some();
        match step {
            FragmentStep::Write => {
                if write(host, &target, found, present, &plan)? == Replaced::Done {
                    progress.settled.changed = true;
                    if plan.refresh {
                        progress.refresh(host, &target);
                    }
                }
            }
            FragmentStep::Refresh => progress.refresh(host, &target),
            FragmentStep::Repair(content) => {
                let stamp = &found.generated.stamp;
                if replace(host, &target.generated(), stamp, &content)? == Replaced::Done {
                    progress.by_hand = true;
                    progress.settled.changed = true;
                }
            }
        }
        work.files = match Files::read(host, &target) {
            Ok(files) => files,
            Err(error) => return Err(work.host_fault(&error)),
        };
        plan = work.plan_of(&work.files);
        if let Files::Several(_, now) = &work.files {
            let is_right = repair(&work.desired, now, &work.installed).is_none();
            progress.settled.changed |= progress.ran && was_wrong && is_right;
            // If the import has just created the directory, what is written now needs another run.
            progress.ran &= !imports || now.directory_missing;
        }
    }
    Err(work.contended())
}

/// Writes our fragment first: between the two steps a key may be in two files, but it is never
/// missing from all.
fn write(
    host: &impl Host,
    target: &Target,
    found: &FoundFragments,
    present: &Fragments,
    plan: &Plan,
) -> Result<Replaced, Fault> {
    let ours = match &plan.content {
        None if found.ours.drifted => &present.ours,
        planned => planned,
    };
    if let Some(content) = ours {
        let replaced = replace(host, target, &found.ours.stamp, content)?;
        if replaced == Replaced::ChangedMeanwhile {
            return Ok(replaced);
        }
    }
    for (name, content) in &plan.others {
        let mut others = found.others.iter();
        let Some((_, snapshot)) = others.find(|(other, _)| other == name) else {
            continue;
        };
        let mut target = target.clone();
        target.place = Place::Fragment { name: name.clone() };
        let replaced = replace(host, &target, &snapshot.stamp, content)?;
        if replaced == Replaced::ChangedMeanwhile {
            return Ok(replaced);
        }
    }
    Ok(Replaced::Done)
}

/// Replaces one file of an account.
fn replace(
    host: &impl Host,
    target: &Target,
    seen: &Stamp,
    content: &[u8],
) -> Result<Replaced, Fault> {
    match host.replace(target, seen, content) {
        Ok(replaced) => Ok(replaced),
        Err(error) => Err(host_fault(target.account.user.as_str(), &error)),
    }
}

/// Saves, once, what the account held before we first owned its fragment.
fn keep_replaced(work: &Work, cycle: &mut Cycle<'_>) -> Result<(), Fault> {
    let user = &work.target.account.user;
    let mine = cycle.state.accounts.entry(user.clone()).or_default();
    if work.mode == Mode::Exclusive && !mine.adopted.contains(&work.target.path()) {
        if let Some(whole) = work.files.whole() {
            cycle
                .store
                .keep_replaced(user, &whole)
                .map_err(|error| error.fault())?;
        }
        mine.adopted.insert(work.target.path());
    }
    Ok(())
}

/// Reports what update-ssh-keys did not do, for as long as that lasts.
fn finish(work: &Work, progress: FragmentProgress) -> Settled {
    let FragmentProgress {
        mut settled,
        said,
        by_hand,
        ..
    } = progress;
    let Files::Several(_, present) = &work.files else {
        return settled;
    };
    let generated = work.target.generated().path();
    let who = &work.target.account.user;
    let generated = generated.display();
    settled.faults = named(work);
    let dropped = if present.generator == Generator::None {
        Vec::new()
    } else {
        dropped(&work.desired, present)
    };
    let lacks = shown(&dropped);
    match said {
        // Without any key update-ssh-keys does nothing and reports an error. The keys to be removed
        // are gone.
        Some(_) if work.desired.entries.is_empty() => {}
        Some(fault) if by_hand || !dropped.is_empty() => settled.faults.push(work.fault(
            FaultCode::ProgramFailed,
            format!(
                "account {who}: {}; authkeysd wrote {generated} by itself: run it by hand and correct \
                 what it names",
                chain(&fault)
            ),
        )),
        None if !dropped.is_empty() && present.generator == Generator::UpdateSshKeys => {
            settled.faults.push(work.fault(
                FaultCode::FragmentsIncomplete,
                format!(
                    "account {who}: update-ssh-keys leaves out {lacks}, which authkeysd adds to \
                     {generated} by itself until the next run of update-ssh-keys; publish a key of \
                     another type"
                ),
            ));
        }
        None if by_hand && present.generator == Generator::UpdateSshKeys && !settled.faults.is_empty() => {}
        None if by_hand && present.generator == Generator::UpdateSshKeys && !work.desired.entries.is_empty() => {
            settled.faults.push(work.fault(
                FaultCode::FragmentsIncomplete,
                format!(
                    "account {who}: update-ssh-keys did not do its work although it said so; \
                     authkeysd wrote {generated} by itself: is it the real one?"
                ),
            ));
        }
        _ => {}
    }
    settled
}

fn named(work: &Work) -> Vec<Fault> {
    let Files::Several(found, _) = &work.files else {
        return Vec::new();
    };
    obstacle_faults(&work.user(), found)
}

/// Reports what blocks the directory of fragments.
pub fn obstacle_faults(user: &str, found: &FoundFragments) -> Vec<Fault> {
    let blocked = if found.installed {
        ", until then update-ssh-keys is not run"
    } else {
        ""
    };
    let mut faults = Vec::with_capacity(found.obstacles.len());
    for obstacle in &found.obstacles {
        let text = format!("account {user}: {}{blocked}", chain(obstacle));
        let subject = Subject::Account(user.to_owned());
        faults.push(Fault::new(FaultCode::FragmentsBlocked, subject, text));
    }
    faults
}

fn shown(keys: &[KeyShown]) -> String {
    let mut texts = Vec::new();
    for key in keys.iter().take(3) {
        texts.push(format!("{} ({})", key.fingerprint, key.kind));
    }
    let mut shown = texts.join(", ");
    if keys.len() > 3 {
        shown.push_str(&format!(" and {} more", keys.len() - 3));
    }
    shown
}

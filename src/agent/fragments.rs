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

/// The next step for an account's fragments.
struct Next {
    /// update-ssh-keys must create the directory from what `authorized_keys` holds.
    import: bool,
    writes: bool,
    refresh: bool,
    /// What `authorized_keys` must hold, if it does not.
    right: Option<Vec<u8>>,
}

impl Next {
    /// `None` if nothing is left to do.
    fn of(work: &Work, plan: &Plan, ran: bool) -> Option<Self> {
        let Files::Several(found, present) = &work.files else {
            return None;
        };
        let import = present.needs_import();
        // Nothing is written to a directory that update-ssh-keys did not create: it would then
        // never import `authorized_keys`.
        let writes =
            !import && (plan.content.is_some() || !plan.others.is_empty() || found.ours.drifted);
        let refresh = plan.refresh && !ran;
        let right = repair(&work.desired, present, &work.installed);
        if !writes && !refresh && right.is_none() {
            return None;
        }
        Some(Self {
            import,
            writes,
            refresh,
            right,
        })
    }
}

/// Settles fragments that need no write, and saves the content that will be replaced.
pub(super) fn before_settle(work: &Work, cycle: &mut Cycle<'_>) -> Result<Option<Settled>, Fault> {
    let Some(next) = Next::of(work, &work.plan, false) else {
        return Ok(Some(finish(work, FragmentProgress::default())));
    };
    if cycle.intent.dry_run {
        let faults = if next.refresh {
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
        let Some(next) = Next::of(work, &plan, progress.ran) else {
            return Ok(finish(work, progress));
        };
        let Files::Several(found, present) = &work.files else {
            return Ok(Settled::default());
        };
        let Next {
            import,
            writes,
            refresh,
            right,
        } = next;
        let was_wrong = right.is_some();
        if import && refresh {
            progress.said = host.refresh(&target).err();
            progress.ran = true;
        } else if !writes && !refresh {
            let content = right.unwrap_or_default();
            let replaced = replace(host, &target.generated(), &found.generated.stamp, &content)?;
            if replaced == Replaced::Done {
                (progress.by_hand, progress.settled.changed) = (true, true);
            }
        } else if !writes || write(host, &target, found, present, &plan)? == Replaced::Done {
            progress.settled.changed |= writes;
            if plan.refresh {
                progress.said = host.refresh(&target).err();
                progress.ran = true;
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
            progress.ran &= !import || now.directory_missing;
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

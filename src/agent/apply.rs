//! Applies what was decided to the accounts' files. All accounts take a step at the same time, so
//! that one that hangs delays nobody.

use std::sync::Mutex;
use std::{thread, vec};

use super::files::Files;
use super::fragments::{before_settle, settle};
use super::last_cycle::Left;
use super::work::{Prepared, Settled, Work};
use super::{Agent, Cycle};
use crate::host::{Host, HostError, Place, Replaced, Replacement, Target};
use crate::locked::locked;
use authkeys_core::document::Digest;
use authkeys_core::origin::Fetch;
use authkeys_core::outcome::{AccountOutcome, Fault, Status};
use authkeys_core::plan::Mode;

/// How often a file that another program keeps changing is read again before this cycle stops
/// trying.
const TRIES: usize = 5;
/// The most accounts whose fragments are served at the same time.
const AT_ONCE: usize = 32;

/// The result of applying one account's plan.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) outcome: AccountOutcome,
    pub(super) faults: Vec<Fault>,
    /// The file as it is now, if nothing had to be done.
    pub(super) left: Option<Left>,
}

impl<F: Fetch, H: Host> Agent<F, H> {
    /// Applies what was decided. A file that has changed since is read and planned again.
    pub(super) fn carry_out(
        &self,
        mut prepared: Vec<Prepared>,
        cycle: &mut Cycle<'_>,
    ) -> Vec<Carried> {
        for _ in 0..TRIES {
            let mut works = Vec::new();
            for one in &mut prepared {
                match &mut one.work {
                    Some(work) if work.settled.is_none() => works.push(work),
                    _ => {}
                }
            }
            self.step(works, cycle);
        }
        let mut all = Vec::with_capacity(prepared.len());
        for one in prepared {
            all.push(carried(one, cycle));
        }
        all
    }

    /// Replaces each file that does not match its plan yet, once.
    fn step(&self, mut works: Vec<&mut Work>, cycle: &mut Cycle<'_>) {
        for work in &mut works {
            work.settled = match work.files {
                Files::One(_) => work.before_replace(cycle).transpose(),
                Files::Several(..) => before_settle(work, cycle).transpose(),
            };
            if cycle.intent.dry_run
                && matches!(&work.settled, Some(Ok(settled)) if settled.changed)
                && let Err(error) = self.foresee(work)
            {
                work.settled = Some(Err(work.host_fault(&error)));
            }
        }
        works.retain(|work| work.settled.is_none());
        let (fragments, files): (Vec<_>, Vec<_>) = works
            .into_iter()
            .partition(|work| work.target.is_fragment());
        let replacements: Vec<Replacement<'_>> =
            files.iter().filter_map(|work| work.replacement()).collect();
        let replaced = self.replace_beside(fragments, &replacements);
        let mut changed = Vec::new();
        for (work, replaced) in files.into_iter().zip(replaced) {
            match replaced {
                Ok(Replaced::Done) => {
                    let mine = cycle
                        .state
                        .accounts
                        .entry(work.target.account.user.clone())
                        .or_default();
                    if work.mode == Mode::Exclusive {
                        mine.adopted.insert(work.target.path());
                    }
                    work.settled = Some(Ok(Settled {
                        changed: true,
                        ..Settled::default()
                    }));
                }
                Ok(Replaced::ChangedMeanwhile) => changed.push(work),
                Err(error) => work.settled = Some(Err(work.host_fault(&error))),
            }
        }
        let targets: Vec<&Target> = changed.iter().map(|work| &work.target).collect();
        let read = self.host.read_all(&targets);
        for (work, read) in changed.into_iter().zip(read) {
            let read = match read {
                Some(read) => read,
                None => self.host.read(&work.target),
            };
            match read {
                Ok(snapshot) => work.plan_again(Files::One(snapshot)),
                Err(error) => work.settled = Some(Err(work.host_fault(&error))),
            }
        }
    }

    /// Checks whether each file that the plan writes can be written.
    fn foresee(&self, work: &Work) -> Result<(), HostError> {
        let content = work.plan.content.as_deref().unwrap_or_default();
        self.host.preflight(&work.target, length(content))?;
        for (name, content) in &work.plan.others {
            let mut target = work.target.clone();
            target.place = Place::Fragment { name: name.clone() };
            self.host.preflight(&target, length(content))?;
        }
        Ok(())
    }

    /// Replaces files, and at the same time applies fragments, which take many steps and run a
    /// program that any account can delay. If no thread can be started for the fragments, this
    /// thread applies them after the files.
    fn replace_beside(
        &self,
        fragments: Vec<&mut Work>,
        files: &[Replacement<'_>],
    ) -> Vec<Result<Replaced, HostError>> {
        let host = &self.host;
        let most = fragments.len().min(AT_ONCE);
        let queue = Mutex::new(fragments.into_iter());
        thread::scope(|scope| {
            for _ in 0..most {
                let started = thread::Builder::new()
                    .name("fragments".to_owned())
                    .spawn_scoped(scope, || settle_all(host, &queue));
                if started.is_err() {
                    break;
                }
            }
            let replaced = host.replace_all(files);
            settle_all(host, &queue);
            replaced
        })
    }
}

/// Applies fragments until the queue is empty.
fn settle_all(host: &impl Host, queue: &Mutex<vec::IntoIter<&mut Work>>) {
    loop {
        // The lock is released before the work begins.
        let next = locked(queue).next();
        let Some(work) = next else {
            return;
        };
        work.settled = Some(settle(host, work));
    }
}

fn length(content: &[u8]) -> u64 {
    u64::try_from(content.len()).unwrap_or(u64::MAX)
}

impl Work {
    /// What the file must hold instead of what was found, if a write is needed at all.
    pub(super) fn replacement(&self) -> Option<Replacement<'_>> {
        let Files::One(snapshot) = &self.files else {
            return None;
        };
        let content = match &self.plan.content {
            Some(content) => content,
            None if snapshot.drifted => snapshot.content.as_deref()?,
            None => return None,
        };
        Some(Replacement {
            target: &self.target,
            seen: &snapshot.stamp,
            content,
        })
    }

    /// Settles a file that needs no write, and saves the content that an exclusive file replaces.
    fn before_replace(&self, cycle: &Cycle<'_>) -> Result<Option<Settled>, Fault> {
        let needed = self.replacement().is_some();
        if !needed || cycle.intent.dry_run {
            return Ok(Some(Settled {
                changed: needed,
                ..Settled::default()
            }));
        }
        let user = &self.target.account.user;
        let adopted = cycle.state.has_adopted(user, &self.target.path());
        if let (Mode::Exclusive, false, Some(old)) = (self.mode, adopted, self.files.whole()) {
            let kept = cycle.store.keep_replaced(user, &old);
            kept.map_err(|error| error.fault())?;
        }
        Ok(None)
    }

    fn plan_again(&mut self, files: Files) {
        self.plan = self.plan_of(&files);
        self.keys = None;
        self.files = files;
    }
}

fn carried(prepared: Prepared, cycle: &mut Cycle<'_>) -> Carried {
    let Prepared {
        mut outcome,
        mut faults,
        work,
    } = prepared;
    let Some(mut work) = work else {
        return Carried {
            outcome,
            faults,
            left: None,
        };
    };
    let mut left = None;
    let settled = match work.settled.take() {
        Some(settled) => settled,
        None => Err(work.contended()),
    };
    match settled {
        Ok(Settled {
            changed,
            faults: named,
        }) => {
            for fault in named {
                outcome.fault(Status::Degraded, fault.code, fault.text.clone());
                faults.push(fault);
            }
            outcome.changed = changed;
            let keys = match work.keys.take() {
                Some(keys) => keys,
                None => cycle.in_common.keys_of(&mut work.plan),
            };
            outcome.in_force = keys.in_force;
            outcome.added = keys.added;
            outcome.removed = keys.removed;
            outcome.updated = keys.updated;
            if !cycle.intent.dry_run {
                let mine = cycle
                    .state
                    .accounts
                    .entry(work.target.account.user.clone())
                    .or_default();
                if work.judged.is_some() {
                    mine.judged = work.judged;
                }
                if let Files::One(snapshot) = &work.files {
                    let content = work.plan.content.as_deref().or(snapshot.content.as_deref());
                    mine.left = content.map(Digest::of);
                    if !changed {
                        left = Some(Left {
                            target: work.target,
                            directory: snapshot.directory,
                            content: mine.left,
                        });
                    }
                }
            }
        }
        Err(failed) => {
            outcome.unfollow();
            outcome.fault(Status::Failed, failed.code, failed.text.clone());
            faults.push(failed);
        }
    }
    outcome.count_keys();
    Carried {
        outcome,
        faults,
        left,
    }
}

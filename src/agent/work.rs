//! The work for one account, between deciding it and doing it.

use std::collections::HashSet;
use std::sync::Arc;

use super::files::{Files, Purpose};
use super::recent::PlannedKeys;
use crate::host::{HostError, Place, Target};
use crate::state::{Judged, State};
use authkeys_core::config::FragmentName;
use authkeys_core::document::count_keys;
use authkeys_core::key::{Fingerprint, FingerprintSet};
use authkeys_core::outcome::{AccountOutcome, Fault, FaultCode, Status, Subject};
use authkeys_core::plan::{Desired, Mode, Plan, holds_our_block};

/// An account for which everything is decided.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) outcome: AccountOutcome,
    pub(super) faults: Vec<Fault>,
    pub(super) work: Option<Work>,
}

/// What to do to one account's file.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) target: Target,
    pub(super) mode: Mode,
    pub(super) desired: Arc<Desired>,
    pub(super) files: Files,
    pub(super) plan: Plan,
    /// The keys of the plan, as long as it is the first plan.
    pub(super) keys: Option<PlannedKeys>,
    /// What the plan is for, also when the file changes meanwhile and is planned again.
    pub(super) purpose: Purpose,
    /// The keys that may be removed because authkeysd installed them.
    pub(super) installed: FingerprintSet,
    /// The documents that passed the guard.
    pub(super) judged: Option<Judged>,
    /// The fewest published keys that must be left.
    pub(super) least: usize,
    /// The result, or the fault; `None` while the work is not done.
    pub(super) settled: Option<Result<Settled, Fault>>,
}

/// The result of applying a plan.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Something was written, or would be in a dry run.
    pub(super) changed: bool,
    /// What is wrong nevertheless.
    pub(super) faults: Vec<Fault>,
}

impl Work {
    /// What these files must become.
    pub(super) fn plan_of(&self, files: &Files) -> Plan {
        files.plan(self.purpose, &self.desired, self.mode, &self.installed)
    }

    /// The account's name, for faults.
    pub(super) fn user(&self) -> String {
        self.target.account.user.to_string()
    }

    /// A fault of the account.
    pub(super) fn fault(&self, code: FaultCode, text: String) -> Fault {
        Fault::new(code, Subject::Account(self.user()), text)
    }

    /// The fault of a file that changed whenever it was read.
    pub(super) fn contended(&self) -> Fault {
        let text = format!(
            "{}: somebody else keeps writing it, it was left alone; stop the other writer",
            self.target.path().display()
        );
        self.fault(FaultCode::FileContended, text)
    }

    pub(super) fn host_fault(&self, error: &HostError) -> Fault {
        host_fault(self.target.account.user.as_str(), error)
    }
}

impl Prepared {
    /// Whether an earlier cycle wrote the file, judging by its content. A fragment of another name
    /// may have been written at the first boot.
    pub(super) fn was_written(&self) -> bool {
        let Some(work) = &self.work else {
            return false;
        };
        match (&work.files, &work.target.place) {
            (Files::One(snapshot), _) => match &snapshot.content {
                Some(content) => holds_our_block(content),
                None => false,
            },
            (Files::Several(_, present), Place::Fragment { name })
                if name == FragmentName::default().as_str() =>
            {
                match &present.ours {
                    Some(content) => count_keys(content) > 0,
                    None => false,
                }
            }
            _ => false,
        }
    }

    /// Whether a file may be written.
    pub(super) fn writes(&self) -> bool {
        let Some(work) = &self.work else {
            return false;
        };
        match &work.files {
            Files::One(_) => work.replacement().is_some(),
            Files::Several(..) => true,
        }
    }

    pub(super) fn file(&self) -> &str {
        &self.outcome.file
    }

    /// Installs no key that cannot be recorded, because nobody could revoke it later, and no key
    /// from a document that may be older than one that could not be recorded. Keys are still
    /// removed, unless too few would be left to log in.
    pub(super) fn without_memory(mut self, saved: &State, fresh: bool) -> Self {
        let Some(work) = &mut self.work else {
            return self;
        };
        let recorded = saved
            .accounts
            .get(&work.target.account.user)
            .map(|account| &account.installed);
        let standing = work.files.standing();
        let Desired {
            entries, pinned, ..
        } = Arc::make_mut(&mut work.desired);
        let wanted = entries.len();
        entries.retain(|entry| {
            let print = entry.key.fingerprint();
            let known = recorded.is_some_and(|keys| keys.contains(&print));
            standing.has_key(&print) || known && (fresh || pinned.contains(&print))
        });
        if entries.len() == wanted {
            return self;
        }
        let mut published: HashSet<Fingerprint> = HashSet::new();
        for entry in entries.iter() {
            published.insert(entry.key.fingerprint());
        }
        let published = published.difference(pinned).count();
        let user = &self.outcome.user;
        let refused = wanted - entries.len();
        let text = format!(
            "account {user}: {refused} of {wanted} keys not installed, because no key is installed \
             that cannot be remembered; the state must be writable"
        );
        let fault = Fault::new(
            FaultCode::KeysNotRecorded,
            Subject::Account(user.clone()),
            text,
        );
        if published < work.least.max(1) {
            return Self::failed(self.outcome, fault);
        }
        work.plan = work.plan_of(&work.files);
        work.judged = None;
        self.outcome.lines = None;
        self.outcome
            .fault(Status::Degraded, fault.code, fault.text.clone());
        self.faults.push(fault);
        self
    }

    pub(super) fn failed(mut outcome: AccountOutcome, fault: Fault) -> Self {
        outcome.fault(Status::Failed, fault.code, fault.text.clone());
        Self {
            outcome,
            faults: vec![fault],
            work: None,
        }
    }
}

/// The fault of an account for which a step of the host failed.
pub fn host_fault(user: &str, error: &HostError) -> Fault {
    Fault::from_error(error.code(), Subject::Account(user.to_owned()), error)
}

//! Accounts that resolve to the same file would let each other's keys in.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;

use super::account::{Found, outcome_of};
use super::work::Prepared;
use crate::host::Target;
use authkeys_core::config::AccountConfig;
use authkeys_core::outcome::{AccountOutcome, Fault, FaultCode, Status, Subject};

/// Detects accounts that resolve to the same file, each by its position in the configuration. This
/// is a fault of every one of them: each would accept the others' keys.
#[derive(Debug, Default)]
pub(super) struct SharedFiles {
    /// By the path that sshd finally reads.
    paths: BTreeMap<PathBuf, BTreeSet<usize>>,
    /// By the directory and name that the file really has.
    files: BTreeMap<((u64, u64), OsString), BTreeSet<usize>>,
}

impl SharedFiles {
    pub(super) fn note(&mut self, at: usize, target: &Target) {
        self.paths
            .entry(read_by_sshd(target))
            .or_default()
            .insert(at);
    }

    pub(super) fn by_path(&self, target: &Target) -> Option<Fault> {
        let path = read_by_sshd(target);
        self.paths
            .get(&path)
            .filter(|users| users.len() > 1)
            .map(|_| shared_file(target.account.user.as_str(), &path.display()))
    }

    /// Rejects accounts whose files turn out to be the same, before anything is decided for them.
    pub(super) fn refuse(&mut self, found: &mut [(usize, &AccountConfig, Found)]) {
        let place = |one: &Found| {
            one.as_ref()
                .ok()
                .and_then(|(target, files)| files.place(target))
        };
        for (at, _, one) in found.iter() {
            if let Some(place) = place(one) {
                self.files.entry(place).or_default().insert(*at);
            }
        }
        for (_, _, one) in found {
            let shared = place(one)
                .and_then(|place| self.files.get(&place))
                .is_some_and(|users| users.len() > 1);
            if let (true, Ok((target, _))) = (shared, &*one) {
                let outcome = outcome_of(target);
                let fault = shared_file(&outcome.user, &outcome.file);
                *one = Err(Box::new(Prepared::failed(outcome, fault)));
            }
        }
    }

    /// Adds the fault to accounts that were served before another account resolved to their file.
    pub(super) fn name_the_others(
        &self,
        accounts: &mut BTreeMap<usize, AccountOutcome>,
    ) -> Vec<Fault> {
        let several = self
            .paths
            .values()
            .chain(self.files.values())
            .filter(|users| users.len() > 1);
        let mut faults = Vec::new();
        for at in several.flatten() {
            if let Some(served) = accounts
                .get_mut(at)
                .filter(|one| one.status != Status::Failed)
            {
                let fault = shared_file(&served.user, &served.file);
                served.fault(Status::Failed, fault.code, fault.text.clone());
                faults.push(fault);
            }
        }
        faults
    }
}

fn read_by_sshd(target: &Target) -> PathBuf {
    if target.is_fragment() {
        target.made().path()
    } else {
        target.path()
    }
}

fn shared_file(user: &str, path: &impl Display) -> Fault {
    let text = format!("{path}: several accounts share this file; give each its own");
    Fault::new(
        FaultCode::FileShared,
        Subject::Account(user.to_owned()),
        text,
    )
}

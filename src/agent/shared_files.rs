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
        let users = self.paths.get(&path)?;
        if users.len() < 2 {
            return None;
        }
        let user = target.account.user.as_str();
        Some(shared_file(user, &path.display()))
    }

    /// Rejects accounts whose files turn out to be the same, before anything is decided for them.
    pub(super) fn refuse(&mut self, found: &mut [(usize, &AccountConfig, Found)]) {
        for (at, _, one) in found.iter() {
            if let Some(place) = place_of(one) {
                self.files.entry(place).or_default().insert(*at);
            }
        }
        for (_, _, one) in found {
            if self.is_shared(one)
                && let Ok((target, _)) = one
            {
                let outcome = outcome_of(target);
                let fault = shared_file(&outcome.user, &outcome.file);
                *one = Err(Box::new(Prepared::failed(outcome, fault)));
            }
        }
    }

    /// Whether the account's file is also that of another account.
    fn is_shared(&self, found: &Found) -> bool {
        let Some(place) = place_of(found) else {
            return false;
        };
        match self.files.get(&place) {
            Some(users) => users.len() > 1,
            None => false,
        }
    }

    /// Adds the fault to accounts that were served before another account resolved to their file.
    pub(super) fn name_the_others(
        &self,
        accounts: &mut BTreeMap<usize, AccountOutcome>,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        for users in self.paths.values().chain(self.files.values()) {
            if users.len() < 2 {
                continue;
            }
            for at in users {
                if let Some(served) = accounts.get_mut(at)
                    && served.status != Status::Failed
                {
                    let fault = shared_file(&served.user, &served.file);
                    served.fault(Status::Failed, fault.code, fault.text.clone());
                    faults.push(fault);
                }
            }
        }
        faults
    }
}

/// The place of the account's file, if that was read.
fn place_of(found: &Found) -> Option<((u64, u64), OsString)> {
    let Ok((target, files)) = found else {
        return None;
    };
    files.place(target)
}

fn read_by_sshd(target: &Target) -> PathBuf {
    if target.is_fragment() {
        target.generated().path()
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

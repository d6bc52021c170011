//! Acts as an account: sets the file-system identity of one thread, until its step has ended.
//!
//! Only the file-system ids change. With an effective or real uid of the account, its processes
//! could signal or trace us; with the file-system uid alone they cannot. The kernel removes the
//! capabilities that override file permissions (CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN) from the
//! thread's effective set when that uid changes from 0.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Uid, getgrouplist, getgroups, setfsgid, setfsuid};

use super::{Account, HostError};

/// Whether this process may act for the account: as itself, or as root for anybody.
pub(super) fn permit(account: &Account) -> Result<(), HostError> {
    let running = Uid::effective();
    if running.is_root() || running.as_raw() == account.uid {
        return Ok(());
    }
    Err(HostError::NotPermitted {
        account: account.user.to_string(),
        uid: account.uid,
        running: running.as_raw(),
    })
}

/// The calling thread's file-system user and group. With an invalid id the calls change nothing and
/// only return the present one.
pub(super) fn of_thread() -> (u32, u32) {
    let uid = setfsuid(Uid::from_raw(u32::MAX));
    let gid = setfsgid(Gid::from_raw(u32::MAX));
    (uid.as_raw(), gid.as_raw())
}

/// Reads something with the file-system uid of another owner, and changes back.
pub(super) fn reading_as<T>(owner: u32, read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let (own, _) = of_thread();
    let became = set_uid(Uid::from_raw(owner));
    let found = if became { read() } else { Err(denied()) };
    // If the thread cannot change back, it must not do anything else.
    if set_uid(Uid::from_raw(own)) {
        found
    } else {
        Err(denied())
    }
}

/// The groups of an account in NSS. Empty if the process already runs as the account, which then
/// needs no directory service. Asking NSS costs more than the rest of a poll.
pub(super) fn groups_of(account: &Account) -> Result<Vec<Gid>, HostError> {
    permit(account)?;
    if Uid::effective().as_raw() == account.uid {
        return Ok(Vec::new());
    }
    match listed_groups(account) {
        Ok(groups) => Ok(groups),
        Err(source) => Err(not_taken(account, "groups", source)),
    }
}

fn listed_groups(account: &Account) -> io::Result<Vec<Gid>> {
    let name = CString::new(account.user.as_str())?;
    Ok(getgrouplist(&name, Gid::from_raw(account.gid))?)
}

/// Gives the calling thread these groups, and the account's gid and uid for files, until
/// `OwnIdentity::is_restored`. The groups must be looked up before, because NSS modules may need
/// files that the account cannot read.
pub(super) fn become_account(account: &Account, groups: &[Gid]) -> Result<(), HostError> {
    permit(account)?;
    if Uid::effective().as_raw() == account.uid {
        return Ok(());
    }
    if let Err(errno) = set_groups(groups) {
        return Err(not_taken(account, "groups", errno.into()));
    }
    if !set_gid(Gid::from_raw(account.gid)) {
        return Err(not_taken(account, "gid", denied()));
    }
    if !set_uid(Uid::from_raw(account.uid)) {
        return Err(not_taken(account, "uid", denied()));
    }
    Ok(())
}

/// What a thread is to be again after it acted as an account: the process's own ids, and its groups.
#[derive(Debug)]
pub(super) struct OwnIdentity {
    /// `None` if the system does not say: then nothing can be restored.
    groups: Option<Vec<Gid>>,
}

impl OwnIdentity {
    pub(super) fn of_thread() -> Self {
        Self {
            groups: getgroups().ok(),
        }
    }

    /// Ends what the calling thread has taken from accounts. False means that it must do nothing
    /// else, and end.
    pub(super) fn is_restored(&self) -> bool {
        let own = Uid::effective();
        if !own.is_root() {
            // Such a process acts as nobody else.
            return true;
        }
        let Some(groups) = &self.groups else {
            return false;
        };
        set_uid(own) && set_gid(Gid::effective()) && set_groups(groups).is_ok()
    }
}

fn set_groups(groups: &[Gid]) -> rustix::io::Result<()> {
    let mut raw = Vec::with_capacity(groups.len());
    for gid in groups {
        raw.push(rustix::thread::Gid::from_raw(gid.as_raw()));
    }
    rustix::thread::set_thread_groups(&raw)
}

/// Whether the thread has the group now. The call returns only the previous id, so the second call
/// is the check.
pub(super) fn set_gid(gid: Gid) -> bool {
    setfsgid(gid);
    setfsgid(gid) == gid
}

/// Whether the thread has the user now.
fn set_uid(uid: Uid) -> bool {
    setfsuid(uid);
    setfsuid(uid) == uid
}

fn denied() -> io::Error {
    io::Error::from(io::ErrorKind::PermissionDenied)
}

fn not_taken(account: &Account, part: &'static str, source: io::Error) -> HostError {
    HostError::Identity {
        account: account.user.to_string(),
        part,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;

    use authkeys_core::user::UserName;
    use authkeys_terminal::bounded;
    use authkeys_testing::{STRANGER, has_root_and};

    use super::*;

    /// Ids, groups and capabilities of the calling thread.
    fn privileges() -> Vec<String> {
        let status = Path::new("/proc/thread-self/status");
        let status = bounded::read(status, 1 << 16).unwrap().unwrap().content;
        let status = String::from_utf8(status).unwrap();
        let shown = ["Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:"];
        let is_shown = |line: &&str| shown.iter().any(|name| line.starts_with(name));
        status.lines().filter(is_shown).map(str::to_owned).collect()
    }

    #[test]
    fn a_thread_that_acted_as_an_account_has_nothing_of_it_afterwards() {
        if !has_root_and(&[]) {
            return;
        }
        let account = Account {
            user: UserName::parse("stranger").unwrap(),
            uid: STRANGER,
            gid: STRANGER,
            home: "/nowhere".into(),
        };
        let groups = [60_002, 60_003].map(Gid::from_raw);
        let thread = thread::spawn(move || {
            let before = privileges();
            let own = OwnIdentity::of_thread();
            become_account(&account, &groups).unwrap();
            let during = privileges();
            assert!(own.is_restored());
            (before, during, privileges())
        });
        let (before, during, after) = thread.join().unwrap();
        assert_eq!(after, before);
        for (line, taken) in before.iter().zip(&during) {
            let stays = line.starts_with("CapPrm:");
            assert_eq!(line == taken, stays, "{line}, then {taken}");
        }
    }

    #[test]
    fn what_a_thread_was_is_not_restored_without_its_groups() {
        if !has_root_and(&[]) {
            return;
        }
        let mut own = OwnIdentity::of_thread();
        assert!(own.is_restored());
        own.groups = None;
        assert!(!own.is_restored());
    }
}

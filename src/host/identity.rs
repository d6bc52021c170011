//! Acts as an account: sets the file-system identity of one thread, which ends with the thread.
//!
//! Only the file-system ids change. With an effective or real uid of the account, its processes
//! could signal or trace us; with the file-system uid alone they cannot. The kernel removes the
//! capabilities that override file permissions (CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN) from the
//! thread's effective set when that uid changes from 0.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Uid, getgrouplist, setfsgid, setfsuid};

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
    let owner = Uid::from_raw(owner);
    let own = setfsuid(owner);
    let became = setfsuid(owner) == owner;
    let found = if became { read() } else { Err(denied()) };
    setfsuid(own);
    // If the thread cannot change back, it must not do anything else.
    if setfsuid(own) == own {
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

/// Gives the calling thread these groups, and the account's gid and uid for files. It cannot change
/// back: the thread must end. The groups must be looked up before, because NSS modules may need
/// files that the account cannot read.
pub(super) fn become_account(account: &Account, groups: &[Gid]) -> Result<(), HostError> {
    permit(account)?;
    if Uid::effective().as_raw() == account.uid {
        return Ok(());
    }
    let mut raw = Vec::with_capacity(groups.len());
    for gid in groups {
        raw.push(rustix::thread::Gid::from_raw(gid.as_raw()));
    }
    if let Err(errno) = rustix::thread::set_thread_groups(&raw) {
        return Err(not_taken(account, "groups", errno.into()));
    }

    // These two calls return only the previous id, so the second call of each is the check.
    let uid = Uid::from_raw(account.uid);
    let gid = Gid::from_raw(account.gid);
    setfsgid(gid);
    if setfsgid(gid) != gid {
        return Err(not_taken(account, "gid", denied()));
    }
    setfsuid(uid);
    if setfsuid(uid) != uid {
        return Err(not_taken(account, "uid", denied()));
    }
    Ok(())
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

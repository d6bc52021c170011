//! If it was started as root, the helper permanently becomes another user before it does anything
//! else.

use std::io;

use nix::unistd::{Gid, Uid, User, geteuid, getresgid, getresuid, setgroups, setresgid, setresuid};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;

/// The users that the helper may become, in order of preference: the package's own user, or the
/// unprivileged user that every system has.
const USERS: [&str; 2] = ["authkeysd-fetch", "nobody"];

/// Drops root's identity for good, and protects the process from others with the same
/// identity: a secret's private half may pass through its memory.
pub(crate) fn give_up_privileges() -> io::Result<()> {
    if geteuid().is_root() {
        leave_root()?;
    }
    // A program started for credentials must not become root again either.
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn leave_root() -> io::Result<()> {
    let (uid, gid) = somebody()?;
    if let Err(fault) = become_user(uid, gid) {
        return Err(io::Error::other(format!(
            "cannot become uid {uid}, gid {gid} ({fault}), and never runs as root"
        )));
    }
    let uids = getresuid()?;
    let gids = getresgid()?;
    if [uids.real, uids.effective, uids.saved] == [uid; 3]
        && [gids.real, gids.effective, gids.saved] == [gid; 3]
    {
        Ok(())
    } else {
        Err(io::Error::other("is still root, and never runs as root"))
    }
}

fn become_user(uid: Uid, gid: Gid) -> nix::Result<()> {
    setgroups(&[gid])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

fn somebody() -> io::Result<(Uid, Gid)> {
    for name in USERS {
        if let Some(user) = User::from_name(name)?
            && !user.uid.is_root()
        {
            return Ok((user.uid, user.gid));
        }
    }
    Err(io::Error::other(format!(
        "no user {} or {} to run as, and it never runs as root",
        USERS[0], USERS[1]
    )))
}

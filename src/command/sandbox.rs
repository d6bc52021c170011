//! `authkeysd sandbox`: the unit runs it before the service, outside the sandbox. It decides
//! whether the service can see /root.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::Path;

use super::{Exit, complain, load};
use crate::host::{Host as _, Node};
use authkeys_core::config::{Config, Placed};

/// What the unit binds over /root: `/run/authkeysd-root`, by way of PID 1. For a command of the
/// unit, /run is already the sandbox's own, even if the rest of the sandbox is off. The service
/// never sees the real one.
const BOUND: &str = "/proc/1/root/run/authkeysd-root";
const ROOTS_HOME: &str = "/root";

/// Runs the command.
pub(super) fn run(path: &Path) -> Exit {
    // The service itself reports a configuration that cannot be read, and does not start.
    let wanted = load::config(path).is_ok_and(|config| names_root(&config));
    match prepare(wanted) {
        Ok(()) => Exit::Good,
        Err(fault) => {
            complain(&format!("cannot prepare {BOUND} for the sandbox: {fault}"));
            Exit::Failed
        }
    }
}

/// Whether an account of the configuration has its file in /root.
fn names_root(config: &Config) -> bool {
    let users: Vec<_> = config
        .accounts
        .iter()
        .map(|account| account.user.as_ref())
        .collect();
    let found = Node::default().accounts(&users);
    for (account, found) in config.accounts.iter().zip(found) {
        let in_root = if let Some(Ok(found)) = found {
            let user = found.user.as_str();
            match account.file.place(user, found.uid, &found.home) {
                Ok(Placed::BelowHome(below)) => found.home.join(below).starts_with(ROOTS_HOME),
                Ok(Placed::Elsewhere(path)) => path.starts_with(ROOTS_HOME),
                Err(_) => false,
            }
        } else {
            // The name service does not answer yet. An account without a user is the user who runs
            // the service.
            match &account.user {
                Some(user) => user.as_str() == "root",
                None => true,
            }
        };
        if in_root {
            return true;
        }
    }
    false
}

/// Creates a link to /root, or an empty directory in which even root cannot create anything by
/// accident.
fn prepare(wanted: bool) -> io::Result<()> {
    match fs::symlink_metadata(BOUND) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(BOUND)?,
        Ok(_) => fs::remove_file(BOUND)?,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
        Err(fault) => return Err(fault),
    }
    if wanted {
        symlink(ROOTS_HOME, BOUND)
    } else {
        DirBuilder::new().mode(0o000).create(BOUND)
    }
}

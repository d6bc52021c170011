//! Overwrites freed memory while a private key is in this process: the buffers of TLS, HTTP and
//! JSON hold copies of it that our code cannot reach.
//!
//! The C library does that if an environment variable is set when a program starts. So this program
//! starts itself again, in the same process, with that variable; the command gets the original
//! value.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

const TUNABLES: &str = "GLIBC_TUNABLES";
/// The value of the byte does not matter. The thread cache is off, because what it keeps would not
/// be overwritten.
const PERTURB: &str = "glibc.malloc.perturb=85:glibc.malloc.tcache_count=0";
/// Passes the original value of the variable to the second start.
const BEFORE: &str = "AUTHKEYSCTL_TUNABLES_BEFORE";

/// Starts the program again, unless that was already done or is impossible.
pub(super) fn ensure() {
    if std::env::var_os(BEFORE).is_some() {
        return;
    }
    let before = std::env::var_os(TUNABLES).unwrap_or_default();
    let mut tunables = before.clone();
    if !tunables.is_empty() {
        tunables.push(":");
    }
    tunables.push(PERTURB);
    let mut arguments = std::env::args_os();
    let name = arguments
        .next()
        .unwrap_or_else(|| OsString::from("authkeysctl"));
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    // A failure is tolerable: the exec of the command discards this memory soon anyway.
    let _ = Command::new(program)
        .arg0(name)
        .args(arguments)
        .env(TUNABLES, tunables)
        .env(BEFORE, before)
        .exec();
}

/// Gives a command the environment that this program was started with.
pub(super) fn restore(command: &mut Command) {
    match std::env::var_os(BEFORE) {
        Some(before) if !before.is_empty() => command.env(TUNABLES, before),
        Some(_) => command.env_remove(TUNABLES),
        None => command,
    };
    command.env_remove(BEFORE);
}

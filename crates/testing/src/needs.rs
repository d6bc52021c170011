//! What a test requires of the machine, and the clear message if it is missing.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// A user id that no account of the machine has.
pub const STRANGER: u32 = 60_001;

/// Whether root runs the test.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Prints clearly that a test was skipped; in CI that is a failure.
pub fn skipped(why: &str) {
    // Not with a print macro: their output is hidden if the test passes.
    std::io::stderr()
        .write_all(format!("SKIPPED: {why}\n").as_bytes())
        .unwrap();
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "nothing may be skipped in CI: {why}"
    );
}

/// Whether the test runs as root and these programs are installed; prints what is missing.
pub fn has_root_and(programs: &[&str]) -> bool {
    if !is_root() {
        skipped("it needs root");
        return false;
    }
    has(programs)
}

/// Whether these programs are installed; prints what is missing.
pub fn has(programs: &[&str]) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    for program in programs {
        if !std::env::split_paths(&path).any(|directory| directory.join(program).exists()) {
            skipped(&format!("it needs the program {program}"));
            return false;
        }
    }
    true
}

/// Runs a program that must succeed.
pub fn run(program: &str, arguments: &[&str]) {
    assert!(try_run(program, arguments), "{program} {arguments:?}");
}

/// Runs a program; returns whether it succeeded.
pub fn try_run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .unwrap()
        .success()
}

//! The built program. That there is a test of it here has `cargo test` build it for the tests of
//! the whole, in which authkeysd starts it.

#![allow(clippy::disallowed_methods, reason = "reads /proc")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn it_says_what_it_is_to_somebody_who_starts_it_by_hand() {
    let output = Command::new(env!("CARGO_BIN_EXE_authkeysd-fetch"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with("authkeysd-fetch: this is a part of authkeysd")
            && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn started_as_root_it_is_root_no_more_and_never_again() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authkeysd-fetch"));
    let mut helper = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = || std::fs::read_to_string(format!("/proc/{}/status", helper.id())).unwrap();
    let begun = Instant::now();
    // The last step of its start.
    while !status().contains("\nNoNewPrivs:\t1\n") {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", status());
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = status();
    let line = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
    };
    for name in ["Uid:", "Gid:", "Groups:"] {
        assert!(
            line(name).split_whitespace().all(|id| id != "0"),
            "{status}"
        );
    }
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(line(name).trim(), "0000000000000000", "{name} {status}");
    }
    // It ends with its input.
    drop(helper.stdin.take());
    assert!(helper.wait().unwrap().success());
}

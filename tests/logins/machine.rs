//! A machine with update-ssh-keys, the real one or something under its name.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use authkeys_testing::{Key, Run, Setup, UPDATE_SSH_KEYS, lab_as, test_name};

pub(crate) const ALICE: u32 = 60_001;
pub(crate) const BOB: u32 = 60_002;
pub(crate) const PROGRAM: &str = "/usr/local/bin/update-ssh-keys";
pub(crate) const HOME: &str = "/home/alice";

/// Runs `body` in the lab, with the real program installed.
pub(crate) fn coreos(body: impl FnOnce()) {
    if UPDATE_SSH_KEYS.prepare() {
        lab_as(test_name(&body), || {
            tool(
                "mount",
                &["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/usr/local/bin"],
            );
            real_program();
            body();
        });
    }
}

pub(crate) fn real_program() {
    let _ = fs::remove_file(PROGRAM);
    fs::copy(UPDATE_SSH_KEYS.path(), PROGRAM).unwrap();
}

/// Something else under the program's name.
pub(crate) fn program(script: &str) {
    let _ = fs::remove_file(PROGRAM);
    fs::write(PROGRAM, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(PROGRAM, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn tool(name: &str, arguments: &[&str]) {
    assert!(
        Command::new(name)
            .args(arguments)
            .status()
            .unwrap()
            .success(),
        "{name} {arguments:?}"
    );
}

/// Runs something as alice, as her login shell would.
pub(crate) fn as_alice(script: &str) -> Run {
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=60001",
        "--regid=60001",
        "--clear-groups",
        "sh",
        "-c",
        script,
    ]);
    authkeys_testing::outcome_of(
        command
            .env("HOME", HOME)
            .current_dir(HOME)
            .stdin(Stdio::null()),
    )
}

pub(crate) fn setup() -> Setup {
    Setup::new()
        .account("alice", "layout = \"coreos\"")
        .account("bob", "")
}

pub(crate) fn fragment(name: &str) -> PathBuf {
    Path::new(HOME).join(".ssh/authorized_keys.d").join(name)
}

/// A fragment of alice's own.
pub(crate) fn put(name: &str, content: &str) {
    fs::write(fragment(name), content).unwrap();
    chown(fragment(name), Some(ALICE), Some(ALICE)).unwrap();
}

pub(crate) fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

pub(crate) fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    // What the program itself leaves behind.
    names.retain(|name| name != ".authorized_keys.d.old");
    names.sort();
    names
}

/// A document with these keys that revokes that one.
pub(crate) fn document(keys: &[&Key], revoked: &Key) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| format!("{{\"public_key\": \"{}\"}}", key.line))
        .collect();
    format!(
        "{{\"version\": 1, \"keys\": [{}], \"revoked\": [\"{}\"]}}",
        keys.join(", "),
        revoked.fingerprint()
    )
}

/// alice's account is degraded and says so with these words; what is published is in force all the
/// same.
#[track_caller]
pub(crate) fn degraded(setup: &Setup, words: &[&str]) -> Run {
    let run = setup.run(["sync", "--json"]);
    let json: serde_json::Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    assert_eq!(
        (run.status, json["accounts"][0]["status"].as_str()),
        (1, Some("degraded")),
        "{run:?}"
    );
    words
        .iter()
        .for_each(|word| assert!(run.stderr.contains(word), "{word}: {}", run.stderr));
    run
}

//! A state directory that can no longer be written, for whatever reason: keys are still removed,
//! and none is installed that nobody would remember.

use std::process::Command;

use authkeys_testing::{Key, Run, Setup, authorized_keys, lab, outcome_of};

fn sh(script: &str) -> bool {
    Command::new("sh")
        .args(["-ec", script])
        .status()
        .unwrap()
        .success()
}

/// For scripts: a small file system with what is here takes the place of the directory.
const FILL: &str = "fill() { mkdir ../small; mount -t tmpfs -o $1,mode=700 tmpfs ../small; cp -a . ../small; \
                    mount --bind ../small .; umount -l ../small; cd \"$PWD\"; }";

/// What is in alice's file of these keys.
fn held(keys: &[&Key; 3]) -> [bool; 3] {
    let text = std::fs::read_to_string(authorized_keys("alice")).unwrap_or_default();
    keys.map(|key| text.contains(key.base64()))
}

/// Installs two keys, publishes one of them and another, and has `sync` run while the state
/// directory is broken.
fn removes_and_installs_nothing(
    case: &str,
    broken: impl FnOnce(&Setup) -> Option<Run>,
    words: &str,
) {
    let keys = ["stays", "revoked", "new"].map(Key::new);
    let [stays, revoked, new] = &keys;
    let setup = Setup::for_user("alice");
    // Of the case before.
    let _ = std::fs::remove_file(authorized_keys("alice"));
    setup.publish_keys(&[stays, revoked]);
    setup.run(["sync"]).succeeds();
    assert_eq!(held(&[stays, revoked, new]), [true, true, false], "{case}");
    setup.publish_keys(&[stays, new]);
    let Some(run) = broken(&setup) else {
        eprintln!("SKIPPED {case}: this file system does not know it");
        return;
    };
    let status = if case.contains("EACCES") { 77 } else { 1 };
    assert_eq!(run.status, status, "{case}: {run:?}");
    assert!(run.stderr.contains(words), "{case}: {run:?}");
    assert_eq!(
        held(&[stays, revoked, new]),
        [true, false, false],
        "{case}: {run:?}"
    );
    setup.run(["sync"]).succeeds();
    assert_eq!(held(&[stays, revoked, new]), [true, false, true], "{case}");
}

#[test]
fn f50_a_state_directory_that_cannot_be_written_stops_no_removal_whatever_the_reason() {
    lab(|| {
        for (case, up, down, words) in [
            (
                "read-only",
                "mount --bind . .; mount -o remount,bind,ro \"$PWD\"",
                "umount -l .",
                "Read-only file system",
            ),
            ("immutable", "chattr +i .", "chattr -i .", "lsattr -d"),
            ("append-only", "chattr +a .", "chattr -a .", "chattr -a"),
            (
                "an immutable file in it",
                "chattr +i state.json",
                "chattr -i state.json",
                "chattr -i",
            ),
            (
                "full",
                "fill size=64k; head -c 65536 /dev/zero >x 2>/dev/null || true",
                "umount -l \"$PWD\"",
                "disk is full",
            ),
            (
                "without inodes",
                "fill nr_inodes=8; touch 1 2 3 4 5 6 7 8 || true",
                "umount -l \"$PWD\"",
                "inodes",
            ),
        ] {
            let broken = |setup: &Setup| {
                let state = setup.state_dir().display().to_string();
                if !sh(&format!("{FILL}; cd {state}; {up}")) {
                    return None;
                }
                let run = setup.run(["sync"]);
                assert!(sh(&format!("cd {state}; {down}")), "{case}");
                Some(run)
            };
            removes_and_installs_nothing(case, broken, words);
        }
    });
}

#[test]
fn f50_nor_do_errors_of_its_device_or_a_used_up_quota() {
    lab(|| {
        for (errno, words) in [
            ("EIO", "the device failed"),
            ("EDQUOT", "quota"),
            ("ENOSPC", "the disk is full"),
            ("EROFS", "read-only"),
            ("EACCES", "Permission denied"),
            ("ESTALE", "mount it again"),
        ] {
            for call in ["fsync", "renameat,renameat2,rename"] {
                let broken = |setup: &Setup| {
                    let (command, state) = (setup.command(), setup.state_dir());
                    let mut traced = Command::new("strace");
                    traced
                        .args(["-f", "-qq", "-o", "/dev/null", "-P"])
                        .arg(&state);
                    traced.args(["-e", &format!("inject={call}:error={errno}")]);
                    traced
                        .arg(command.get_program())
                        .args(command.get_args())
                        .arg("sync");
                    Some(outcome_of(traced.env("AWS_EC2_METADATA_DISABLED", "true")))
                };
                removes_and_installs_nothing(&format!("{errno} at {call}"), broken, words);
            }
        }
    });
}

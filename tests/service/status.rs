//! The status file and what `authkeysd status` makes of it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use authkeys_testing::{Key, Service, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::service::{setup, status};

#[test]
fn status_is_good_only_when_fresh_and_ok() {
    let (setup, _) = setup();
    let run = setup.run(["status"]);
    assert_eq!(
        (run.status, run.stderr.lines().count()),
        (1, 1),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("no cycle has ended yet"),
        "{}",
        run.stderr
    );
    let key = Key::new("test");
    setup.publish(key.bare() + "\n");
    assert_eq!(setup.run(["sync"]).status, 0);
    let run = setup.run(["status"]);
    assert!(
        run.status == 0 && run.stdout.starts_with("ok, ") && run.stderr.is_empty(),
        "{run:?}"
    );
    let json: Value = serde_json::from_str(&setup.run(["status", "--json"]).stdout).unwrap();
    assert_eq!(json, status(&setup));
    assert_eq!(
        json["accounts"][0]["in_force"][0]["fingerprint"],
        key.fingerprint()
    );
    std::thread::sleep(Duration::from_millis(20));
    let run = setup.run(["status", "--max-age", "0s"]);
    assert!(
        run.status == 1 && run.stderr.contains("is the service running?"),
        "{run:?}"
    );
    setup.publish("nothing good");
    assert_eq!(setup.run(["sync"]).status, 1);
    let run = setup.run(["status"]);
    assert!(
        run.status == 1 && run.stdout.starts_with("stale, ") && run.stdout.contains("last ok at"),
        "{run:?}"
    );
    let before = status(&setup);
    setup.run(["sync", "--dry-run"]);
    assert_eq!(status(&setup), before, "a dry run leaves no trace");
    assert_eq!(setup.run(["status", "--max-age", "soon"]).status, 64);
}

#[test]
fn status_says_when_the_service_was_stopped_or_killed() {
    let (setup, _) = setup();
    setup.publish_keys(&[&Key::new("k")]);
    setup.write_config();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let service = Service::start(&setup, |_| {});
        let json = || {
            serde_json::from_str::<Value>(&setup.run(["status", "--json"]).stdout)
                .unwrap_or_default()
        };
        eventually("the service is seen", || {
            json()["running"] == true && json()["status"] == "ok"
        });
        // Between two cycles; while one runs it was due.
        eventually("a status between two cycles", || {
            let run = setup.run(["status"]);
            let first = run.stdout.lines().next().unwrap_or_default();
            run.status == 0
                && first.starts_with("ok, ")
                && first.contains(", next at")
                && first.ends_with(", the service is running")
        });
        service.end(signal);
        let run = setup.run(["status"]);
        assert!(
            run.status == 1 && run.stderr.contains("the service is not running"),
            "{run:?}"
        );
        assert!(
            run.stdout.starts_with("the service is not running"),
            "{run:?}"
        );
        assert!(!run.stdout.contains("next at"), "{run:?}");
        let run = setup.run(["status", "--json", "--max-age", "1h"]);
        let json: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(
            (run.status, &json["running"]),
            (1, &Value::Bool(false)),
            "{run:?}"
        );
    }
    // Who runs cycles by himself misses no service.
    setup.run(["sync"]).succeeds();
    let run = setup.run(["status"]);
    let first = run.stdout.lines().next().unwrap_or_default();
    assert!(
        run.status == 0 && first.starts_with("ok, ") && first.ends_with(", no service is running"),
        "{run:?}"
    );
}

#[test]
fn status_names_every_fault_once_with_its_code() {
    let (setup, _) = setup();
    let file = setup.path("somewhere").display().to_string();
    let setup = setup
        .account("nobody-1", &format!("file = \"{file}\""))
        .account("nobody-2", "");
    setup.publish_keys(&[&Key::new("k")]);
    assert_eq!(setup.run(["sync"]).status, 1);
    let missing = |user| ["no account", user, "[AK030]"];
    setup
        .run(["status"])
        .fails(1, &[&missing("nobody-1"), &missing("nobody-2")]);
    // The accounts are stale for the same reason as their source.
    setup.publish("nothing good");
    assert_eq!(setup.run(["sync"]).status, 1);
    setup.run(["status"]).fails(
        1,
        &[
            &["no valid key in it", "[AK015]"],
            &missing("nobody-1"),
            &missing("nobody-2"),
        ],
    );
}

#[test]
fn pinned_keys_are_marked_wherever_keys_are_listed() {
    let (mut setup, _) = setup();
    let (published, pinned) = (Key::new("published"), Key::new("break-glass"));
    std::fs::write(setup.path("pinned"), format!("{}\n", pinned.line)).unwrap();
    setup.top = format!("pinned_keys = \"{}\"", setup.path("pinned").display());
    setup.publish_keys(&[&published]);
    let marked = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.ends_with(" (pinned)"));
        lines
            .map(|line| line.trim_start_matches([' ', '+']).to_owned())
            .collect()
    };
    let line = format!("{} ssh-ed25519 break-glass (pinned)", pinned.fingerprint());
    assert_eq!(marked(&setup.run(["sync"]).stdout), [line.as_str()]);
    // Once as what the cycle added, once in the list.
    assert_eq!(
        marked(&setup.run(["status", "--keys"]).stdout),
        [line.as_str(), line.as_str()]
    );
    let listed = status(&setup)["accounts"][0]["in_force"]
        .as_array()
        .unwrap()
        .clone();
    for key in listed {
        let is_pinned = key["fingerprint"] == pinned.fingerprint();
        assert_eq!(
            key.get("pinned"),
            is_pinned.then_some(&Value::Bool(true)),
            "{key}"
        );
    }
}

#[test]
fn a_runtime_directory_that_is_made_is_readable_for_monitors_whatever_the_umask() {
    let (setup, _) = setup();
    setup.publish_keys(&[&Key::new("k")]);
    let program = setup.command();
    std::fs::remove_dir(setup.runtime_dir()).unwrap();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "umask 077 && exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .arg("sync");
    assert!(
        command
            .env_clear()
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .status()
            .unwrap()
            .success()
    );
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        [
            mode(&setup.runtime_dir()),
            mode(&setup.runtime_dir().join("status.json"))
        ],
        [0o755, 0o644]
    );
}

#[test]
fn f10_a_state_that_sync_cannot_use_is_what_status_tells() {
    let (setup, _) = setup();
    setup.publish_keys(&[&Key::new("k")]);
    setup.run(["sync"]).succeeds();
    setup.run(["status"]).succeeds();
    let (state, file) = (setup.state_dir(), setup.state_dir().join("state.json"));
    let (good, mode) = (std::fs::read(&file).unwrap(), Permissions::from_mode);
    let spoilt: [(&str, &dyn Fn()); 3] = [
        ("damaged", &|| std::fs::write(&file, "{").unwrap()),
        ("written by others", &|| {
            std::fs::set_permissions(&state, mode(0o777)).unwrap()
        }),
        ("move it away", &|| {
            std::fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink("/dev/null", &file).unwrap();
        }),
    ];
    for (word, spoil) in spoilt {
        spoil();
        // Nothing is written, so nothing is told either.
        setup.run(["sync", "--dry-run"]).fails(1, &[&[word]]);
        setup.run(["status"]).succeeds();
        let run = setup.run(["sync", "--json"]);
        run.fails(1, &[&[word]]);
        let told: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(told["status"], "failed");
        assert!(told["detail"].as_str().unwrap().contains(word), "{told}");
        assert_eq!(
            told["accounts"][0]["in_force"].as_array().unwrap().len(),
            1,
            "they are what they were"
        );
        setup.run(["status"]).fails(1, &[&[word]]);
        std::fs::set_permissions(&state, mode(0o700)).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &good).unwrap();
        setup.run(["sync"]).succeeds();
        setup.run(["status"]).succeeds();
    }
}

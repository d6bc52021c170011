//! `authkeysd check` on a private machine: good where it is good, and each trap named before it
//! snaps.

mod logins;

mod online;

mod promises;

mod sshd_reads;

mod started;

use std::path::Path;

use authkeys_testing::{Key, Run, Setup, lab, tree};
use serde_json::Value;

const SSHD: &str = "/etc/ssh/sshd_config";
const GOOD_FILES: &str = "AuthorizedKeysFile .ssh/authorized_keys";

/// alice's and bob's homes, and an sshd that reads what is written there, and nothing else.
fn good_node() -> Setup {
    sshd(GOOD_FILES);
    let setup = Setup::for_user("alice").account("bob", "");
    setup.publish_keys(&[&Key::new("k")]);
    setup
}

/// Gives sshd these lines instead of its AuthorizedKeysFile.
fn sshd(lines: &str) {
    let text = std::fs::read_to_string(SSHD).unwrap();
    let kept: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("AuthorizedKeysFile") && !line.contains("# test"))
        .collect();
    let lines: String = lines.lines().map(|line| format!("{line}\n")).collect();
    std::fs::write(SSHD, format!("{lines}{}\n", kept.join("\n"))).unwrap();
}

/// Runs `check --json` and gives the findings that are not ok: level, check, subject, message.
fn troubles(setup: &Setup, status: i32) -> Vec<[String; 4]> {
    let run = setup.run(["check", "--json"]);
    assert_eq!((run.status, run.stderr.as_str()), (status, ""), "{run:#?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["level"] != "ok")
        .map(|finding| ["level", "check", "subject", "message"].map(|field| text(finding, field)))
        .collect()
}

#[test]
fn a_good_node_is_called_good_and_nothing_is_written() {
    lab(|| {
        let setup = good_node();
        let fresh = tree(&setup.path("state"));
        for _ in 0..2 {
            let run = setup.run(["check"]);
            run.succeeds();
            for word in [
                "config",
                "good, 2 accounts",
                "clock",
                "state",
                "reads /home/alice/.ssh/authorized_keys",
                "bob",
            ] {
                assert!(run.stdout.contains(word), "{word}: {}", run.stdout);
            }
            assert!(
                !run.stdout.contains("warning") && !run.stdout.contains("FAILED"),
                "{}",
                run.stdout
            );
            assert!(!run.stdout.contains('\u{1b}'));
            assert_eq!(troubles(&setup, 0), Vec::<[String; 4]>::new());
            setup.run(["sync"]).succeeds();
        }
        assert_ne!(tree(&setup.path("state")), fresh);
        let before = [tree(&setup.path("")), tree(Path::new("/home"))];
        let check = || {
            authkeys_testing::outcome_of(
                authkeys_testing::clean_command()
                    .arg("--config")
                    .arg(setup.config())
                    .arg("check"),
            )
        };
        check().succeeds();
        assert_eq!([tree(&setup.path("")), tree(Path::new("/home"))], before);
        std::fs::remove_dir_all(setup.path("state")).unwrap();
        let run = check();
        run.succeeds();
        assert!(
            run.stdout.contains("will be made by the first sync") && !setup.path("state").exists(),
            "{run:?}"
        );
    });
}

#[test]
fn json_has_its_shape_and_configuration_faults_are_in_it() {
    lab(|| {
        let mut setup = good_node();
        let json = |run: &Run| -> Value { serde_json::from_str(&run.stdout).unwrap() };
        let run = setup.run(["check", "--json"]);
        let report = json(&run);
        assert_eq!(
            (&report["schema"], &report["status"]),
            (&Value::from(1), &Value::from("ok")),
            "{report:#}"
        );
        assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
        for finding in report["findings"].as_array().unwrap() {
            for field in ["level", "check", "subject", "message"] {
                assert!(finding[field].is_string(), "{finding}");
            }
        }
        setup.top = "nonsense = 1\n".to_owned();
        let run = setup.run(["check", "--json"]);
        assert_eq!((run.status, run.stderr.as_str()), (78, ""), "{run:?}");
        let report = json(&run);
        assert_eq!(
            (&report["status"], &report["findings"][0]["line"]),
            (&Value::from("failed"), &Value::from(4))
        );
        assert!(
            report["findings"][0]["message"]
                .as_str()
                .unwrap()
                .contains("nonsense")
        );
        setup.top = "pinned_keys = \"/etc/ssh/none\"\n".to_owned();
        let found = troubles(&setup, 1);
        assert!(
            found.len() == 1
                && found[0][1] == "pinned_keys"
                && found[0][3].contains("no such file"),
            "{found:?}"
        );
        setup.top.clear();
        setup = setup.account("nobody-at-all", "");
        let found = troubles(&setup, 1);
        assert!(
            found.len() == 1 && found[0][1] == "account" && found[0][3].contains("nobody-at-all"),
            "{found:?}"
        );
    });
}

#[test]
fn a_clock_that_a_cycle_calls_wrong_is_not_called_good() {
    lab(|| {
        let setup = good_node();
        setup.run(["sync"]).succeeds();
        let file = setup.path("state").join("state.json");
        let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        // The clock ran ahead once.
        assert!(state["clock"].is_string(), "{state:#}");
        state["clock"] = Value::from("2099-01-01T00:00:00Z");
        std::fs::write(&file, serde_json::to_vec(&state).unwrap()).unwrap();
        let words = [
            "the clock says",
            "it has been 2099-01-01T00:00:00Z already",
            "--accept-rollback",
        ];
        setup.run(["sync"]).fails(1, &[&words]);
        for arguments in [&["check"][..], &["check", "--online"]] {
            let run = authkeys_testing::outcome_of(setup.command().args(arguments));
            let told: Vec<&str> = run
                .stdout
                .lines()
                .filter(|line| line.contains("the clock says"))
                .collect();
            assert!(
                run.status == 1 && told.len() == 1 && told[0].starts_with("FAILED  clock"),
                "{run:#?}"
            );
            words
                .iter()
                .for_each(|word| assert!(told[0].contains(word), "{word}: {told:?}"));
        }
        setup.run(["sync", "--accept-rollback"]).succeeds();
        setup.run(["check"]).succeeds();
    });
}

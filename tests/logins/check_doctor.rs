//! `authkeysd check` on a private machine: good where it is good, and each trap named before it
//! snaps.

mod logins;

mod promises;

mod started;

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, Run, Setup, install, lab, tree};
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

fn mode(path: &str, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
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

/// Exactly one trouble, of alice, with these words; bob is well.
#[track_caller]
fn only_trouble(setup: &Setup, status: i32, level: &str, check: &str, words: &[&str]) {
    let found = troubles(setup, status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        [&found[0][0], &found[0][1], &found[0][2]],
        [level, check, "alice"],
        "{found:#?}"
    );
    words
        .iter()
        .for_each(|word| assert!(found[0][3].contains(word), "{word}: {found:#?}"));
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
fn f23_an_sshd_that_reads_another_file_is_named() {
    lab(|| {
        let setup = good_node();
        sshd("AuthorizedKeysFile /etc/ssh/keys/%u");
        let found = troubles(&setup, 1);
        assert_eq!(found.len(), 2, "{found:#?}");
        for (trouble, user) in found.iter().zip(["alice", "bob"]) {
            assert_eq!(
                [&trouble[0], &trouble[1], &trouble[2]],
                ["failed", "sshd", user]
            );
            let read = format!("reads /etc/ssh/keys/{user}, not /home/{user}/.ssh/authorized_keys");
            assert!(
                trouble[3].contains(&read) && trouble[3].contains("drop-in that sorts first"),
                "{trouble:?}"
            );
        }
        let run = setup.run(["check"]);
        assert_eq!(
            (run.status, run.stdout.matches("FAILED").count()),
            (1, 2),
            "{run:?}"
        );
        sshd("AuthorizedKeysFile none");
        assert!(troubles(&setup, 1)[0][3].contains("reads no file"));
    });
}

#[test]
fn an_sshd_that_would_not_start_again_is_a_failure_and_one_that_cannot_be_asked_is_none() {
    lab(|| {
        let setup = good_node();
        sshd(&format!("{GOOD_FILES}\nBogusOption yes # test"));
        let found = troubles(&setup, 1);
        assert_eq!(found.len(), 2, "of both accounts: {found:#?}");
        assert_eq!(
            [&found[0][0], &found[0][1], &found[0][2]],
            ["failed", "sshd", "alice"]
        );
        assert!(
            found[0][3].contains("Bad configuration option: BogusOption"),
            "{found:#?}"
        );
        assert!(found[0][3].contains("would not start again"), "{found:#?}");
        sshd(GOOD_FILES);
        assert_eq!(troubles(&setup, 0), Vec::<[String; 4]>::new());
        std::fs::remove_dir("/run/sshd").unwrap();
        let found = troubles(&setup, 0);
        assert_eq!(
            [&found[0][0], &found[0][1]],
            ["warning", "sshd"],
            "{found:#?}"
        );
        std::fs::create_dir("/run/sshd").unwrap();
    });
}

#[test]
fn f23_of_two_drop_ins_the_first_one_counts() {
    lab(|| {
        let setup = good_node();
        std::fs::create_dir("/etc/ssh/sshd_config.d").unwrap();
        sshd("Include /etc/ssh/sshd_config.d/*.conf");
        std::fs::write(
            "/etc/ssh/sshd_config.d/50-authkeysd.conf",
            format!("{GOOD_FILES}\n"),
        )
        .unwrap();
        assert_eq!(troubles(&setup, 0).len(), 0);
        // What a cloud image brings along sorts first and wins.
        std::fs::write(
            "/etc/ssh/sshd_config.d/10-cloud.conf",
            "AuthorizedKeysFile /etc/ssh/cloud/%u\n",
        )
        .unwrap();
        assert_eq!(troubles(&setup, 1).len(), 2);
        std::fs::remove_file("/etc/ssh/sshd_config.d/10-cloud.conf").unwrap();
        // Only alice's logins are affected by a Match block.
        let text = std::fs::read_to_string(SSHD).unwrap();
        std::fs::write(
            SSHD,
            format!("{text}Match User alice\nAuthorizedKeysFile /etc/ssh/alice\n"),
        )
        .unwrap();
        std::fs::remove_file("/etc/ssh/sshd_config.d/50-authkeysd.conf").unwrap();
        only_trouble(
            &setup,
            1,
            "failed",
            "sshd",
            &["reads /etc/ssh/alice, not /home/alice/.ssh/authorized_keys"],
        );
    });
}

#[test]
fn f19_what_strict_modes_would_refuse_is_named_with_its_repair() {
    lab(|| {
        let setup = good_node();
        setup.run(["sync"]).succeeds();
        mode("/home/alice", 0o757);
        only_trouble(
            &setup,
            1,
            "failed",
            "strict_modes",
            &["/home/alice ", "written by others", "chmod go-w"],
        );
        mode("/home/alice", 0o775);
        if Path::new("/etc/debian_version").exists() {
            only_trouble(
                &setup,
                0,
                "warning",
                "strict_modes",
                &["/home/alice ", "private group", "chmod g-w"],
            );
        }
        chown("/home/alice", None, Some(60_002)).unwrap();
        only_trouble(
            &setup,
            1,
            "failed",
            "strict_modes",
            &["/home/alice ", "chmod go-w"],
        );
        mode("/home/alice", 0o755);
        assert_eq!(troubles(&setup, 0).len(), 0);
        chown("/home/alice/.ssh", Some(60_002), None).unwrap();
        let found = troubles(&setup, 1);
        assert!(found.iter().any(|f| f[1] == "strict_modes"
            && f[3].contains("uid 60002: sshd refuses it; chown it to alice")));
        assert!(
            found.iter().any(
                |f| f[1] == "account" && f[3].contains("/home/alice/.ssh belongs to uid 60002")
            ),
            "{found:#?}"
        );
        chown("/home/alice/.ssh", Some(60_001), None).unwrap();
        mode("/home/alice/.ssh/authorized_keys", 0o622);
        only_trouble(
            &setup,
            1,
            "failed",
            "strict_modes",
            &["authorized_keys can be written", "chmod go-w"],
        );
        let text = std::fs::read_to_string(SSHD).unwrap();
        std::fs::write(SSHD, format!("StrictModes no\n{text}")).unwrap();
        assert_eq!(
            troubles(&setup, 0).len(),
            0,
            "an sshd that does not ask is not told to"
        );
    });
}

#[test]
fn ways_in_beside_the_managed_file_are_named() {
    lab(|| {
        let setup = good_node();
        sshd("AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2");
        assert_eq!(troubles(&setup, 0).len(), 0, "a second file without keys");
        let second = "/home/alice/.ssh/authorized_keys2";
        let line = Key::new("old").line;
        std::fs::write(
            second,
            format!("{line}\n# comment\nfrom=\"10.0.0.0/8\" {line}\n"),
        )
        .unwrap();
        only_trouble(&setup, 0, "warning", "bypass", &[second, "2 keys"]);
        std::fs::remove_file(second).unwrap();
        sshd(&format!(
            "{GOOD_FILES}\nAuthorizedKeysCommand /usr/bin/ask # test\nAuthorizedKeysCommandUser nobody # test"
        ));
        let found = troubles(&setup, 0);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(
            found
                .iter()
                .all(|f| f[1] == "bypass" && f[3].contains("AuthorizedKeysCommand /usr/bin/ask")),
            "{found:#?}"
        );
        std::fs::write("/etc/ssh/ca.pub", format!("{line}\n")).unwrap();
        sshd(&format!(
            "{GOOD_FILES}\nTrustedUserCAKeys /etc/ssh/ca.pub # test"
        ));
        let found = troubles(&setup, 0);
        assert!(
            found.len() == 2
                && found
                    .iter()
                    .all(|f| f[3].contains("TrustedUserCAKeys /etc/ssh/ca.pub")),
            "{found:#?}"
        );
        sshd(&format!("{GOOD_FILES}\nPubkeyAuthentication no # test"));
        let found = troubles(&setup, 1);
        assert!(
            found.len() == 2
                && found
                    .iter()
                    .all(|f| f[0] == "failed" && f[3].contains("no key can log in")),
            "{found:#?}"
        );
    });
}

#[test]
fn the_system_layout_is_good_where_sshd_is_told_so() {
    lab(|| {
        let setup = Setup::new()
            .account("alice", "layout = \"system\"")
            .account("bob", "layout = \"system\"");
        setup.publish_keys(&[&Key::new("k")]);
        sshd("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u");
        assert_eq!(troubles(&setup, 0).len(), 0, "before the first sync");
        setup.run(["sync"]).succeeds();
        assert_eq!(troubles(&setup, 0).len(), 0);
        // The home's file is then a bypass, if sshd still reads it.
        sshd("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u .ssh/authorized_keys");
        install("alice", format!("{}\n", Key::new("own").line).as_bytes());
        only_trouble(
            &setup,
            0,
            "warning",
            "bypass",
            &["/home/alice/.ssh/authorized_keys", "1 key "],
        );
        sshd(GOOD_FILES);
        assert_eq!(
            troubles(&setup, 1).len(),
            2 + 1,
            "not read, twice, and the bypass"
        );
        mode("/etc/ssh/authorized_keys.d", 0o777);
        sshd("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u");
        let found = troubles(&setup, 1);
        assert!(
            found
                .iter()
                .all(|f| ["account", "strict_modes"].contains(&f[1].as_str())
                    && f[3].contains("/etc/ssh/authorized_keys.d ")),
            "{found:#?}"
        );
    });
}

#[test]
fn the_drop_ins_of_the_guide_make_the_system_layout_good() {
    lab(|| {
        let key = Key::new("k");
        let setup = Setup::new()
            .account("alice", "layout = \"system\"")
            .account("bob", "");
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        std::fs::create_dir("/etc/ssh/sshd_config.d").unwrap();
        sshd(&format!(
            "Include /etc/ssh/sshd_config.d/*.conf\n{GOOD_FILES}"
        ));
        only_trouble(
            &setup,
            1,
            "failed",
            "sshd",
            &["not /etc/ssh/authorized_keys.d/alice"],
        );
        let drop_ins: Vec<String> =
            authkeys_testing::blocks(include_str!("../../docs/operate.md"), "sshd_config")
                .collect();
        assert_eq!(drop_ins.len(), 2);
        for lines in drop_ins {
            std::fs::write(
                "/etc/ssh/sshd_config.d/10-authkeysd.conf",
                lines.replace("deploy", "alice"),
            )
            .unwrap();
            assert_eq!(troubles(&setup, 0).len(), 0, "{lines}");
        }
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
fn online_tells_good_denied_missing_and_unreachable_sources_apart() {
    lab(|| {
        let mut setup = good_node();
        let run = setup.run(["check", "--online"]);
        run.succeeds();
        assert!(
            run.stdout.contains("document is good, version"),
            "{}",
            run.stdout
        );
        assert!(
            run.stdout.contains("1 key in force: 1 added"),
            "{}",
            run.stdout
        );
        setup.publish("");
        assert_eq!(
            setup.run(["check"]).status,
            0,
            "without --online no source is asked"
        );
        let run = setup.run(["check", "--online"]);
        assert!(
            run.status == 1 && run.stdout.contains("it is empty"),
            "{run:?}"
        );
        setup.publish(format!("{}\nssh-dss AAAA\n", Key::new("k").line));
        let run = setup.run(["check", "--online"]);
        assert!(
            run.status == 1 && run.stdout.contains("line 2 was left out: "),
            "{run:?}"
        );
        std::fs::remove_file(setup.path("published")).unwrap();
        let run = setup.run(["check", "--online"]);
        assert!(
            run.status == 1 && run.stdout.contains("put the key set there"),
            "{run:?}"
        );

        setup.source = "s3://b/k".to_owned();
        for (answer, status, word) in [
            (
                StubAnswer::error("403 Forbidden", "AccessDenied", "no", &[]),
                77,
                "allow s3:GetObject",
            ),
            (
                StubAnswer::error("404 Not Found", "NoSuchKey", "no", &[]),
                1,
                "publish it",
            ),
            (
                StubAnswer::error("503 Slow Down", "SlowDown", "no", &[]),
                75,
                "tried again",
            ),
            (
                StubAnswer::whole(
                    "200 OK",
                    &["ETag: \"1\""],
                    &format!("{}\n", Key::new("k").line),
                ),
                0,
                "document is good, version",
            ),
        ] {
            let stub = Stub::start([answer]);
            setup.use_s3_at(&stub.endpoint());
            let before = [tree(&setup.state_dir()), tree(Path::new("/home"))];
            let run = setup.run(["check", "--online"]);
            assert!(
                run.status == status
                    && run.stdout.contains(word)
                    && run.stdout.contains("s3://b/k"),
                "{run:?}"
            );
            assert_eq!([tree(&setup.state_dir()), tree(Path::new("/home"))], before);
        }
    });
}

/// What `check --online` says of the source or an account, after a sync of serial 5.
#[test]
fn online_judges_a_document_as_the_next_sync_would() {
    lab(|| {
        let setup = good_node();
        let document = |serial: u32, more: &str, keys: &[&str]| {
            let keys: Vec<String> = keys
                .iter()
                .map(|key| format!("{{\"public_key\":\"{key}\"{more}}}"))
                .collect();
            format!(
                "{{\"version\":1,\"name\":\"w\",\"serial\":{serial},\"keys\":[{}]}}",
                keys.join(",")
            )
        };
        let (one, other) = (Key::new("one"), Key::new("other"));
        setup.publish(document(5, "", &[&one.bare()]));
        setup.run(["sync"]).succeeds();
        let run = setup.run(["check", "--online"]);
        run.succeeds();
        assert!(
            run.stdout.contains("document is good: w/5, version"),
            "{}",
            run.stdout
        );
        assert!(
            run.stdout.contains("1 key in force: 0 added"),
            "{}",
            run.stdout
        );
        let expired = document(6, "", &[&one.bare()]).replace(
            "\"serial\"",
            "\"expires\":\"2020-01-01T00:00:00Z\",\"serial\"",
        );
        for (published, words) in [
            (expired, "the document expired at 2020"),
            (
                document(4, "", &[&one.bare()]),
                "its serial 4 is lower than 5",
            ),
            (
                document(5, "", &[&other.bare()]),
                "its serial 5 was seen with another content",
            ),
            (document(6, "", &[]), "min_keys asks for 1"),
            (
                document(6, ",\"not_after\":\"2020-01-01T00:00:00Z\"", &[&one.bare()]),
                "min_keys asks for 1",
            ),
        ] {
            setup.publish(&published);
            let before = [tree(&setup.path("state")), tree(Path::new("/home"))];
            let run = setup.run(["check", "--online"]);
            assert!(
                run.status == 1 && run.stdout.contains(words),
                "{words}: {run:#?}"
            );
            assert!(
                run.stdout
                    .lines()
                    .any(|line| line.starts_with("FAILED") && line.contains(words)),
                "{run:#?}"
            );
            assert_eq!(
                [tree(&setup.path("state")), tree(Path::new("/home"))],
                before
            );
            let dry = setup.run(["sync", "--dry-run"]);
            assert!(
                dry.status == 1 && dry.stderr.contains(words),
                "as sync says: {dry:#?}"
            );
        }
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

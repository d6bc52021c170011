//! `sync` from cron or a timer: what it says of other writers, with what it remembers of the runs
//! before.

use std::os::unix::fs::PermissionsExt;

use authkeys_testing::{Key, Setup, clean_command, outcome_of};
use serde_json::Value;

#[test]
fn sync_tells_of_drift_and_names_a_rival_writer_after_the_third_repair() {
    let setup = Setup::with_file();
    setup.publish_keys(&[&Key::new("one")]);
    setup.run(["sync"]).succeeds();
    let right = std::fs::read(setup.file()).unwrap();
    for repair in 1..=3 {
        std::fs::write(setup.file(), "").unwrap();
        let run = setup.run(["sync"]);
        assert_eq!(std::fs::read(setup.file()).unwrap(), right);
        assert!(
            run.stdout
                .contains("drift repaired: somebody else had changed it"),
            "{run:?}"
        );
        match repair {
            3 => {
                let status = setup.run(["status"]);
                status.fails(
                    1,
                    &[&["something else writes this file too, 3 repairs in a row"]],
                );
                run.fails(
                    0,
                    &[&[
                        "warning: ",
                        "something else writes this file too, 3 repairs in a row",
                    ]],
                );
            }
            _ => run.succeeds(),
        }
    }
    // The first cycle with another configuration proves nothing about others.
    let setup = setup.tables("[policy]\nmin_rsa_bits = 3072\n");
    std::fs::write(setup.file(), "").unwrap();
    setup.run(["sync"]).succeeds();
}

#[test]
fn a_file_that_others_can_write_is_warned_of_as_a_source() {
    let setup = Setup::with_file();
    setup.publish_keys(&[&Key::new("k")]);
    let words: &[&str] = &[
        "warning: file:",
        "others can write it or its directory",
        "chown both to root",
    ];
    let mode = |path: &str, mode| {
        std::fs::set_permissions(setup.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (path, open, shut) in [("published", 0o646, 0o644), ("", 0o777, 0o700)] {
        mode(path, open);
        if path.is_empty() {
            // The configuration lies there too.
            let moved = tempfile::tempdir().unwrap();
            let config = moved.path().join("config.toml");
            setup.write_config();
            std::fs::rename(setup.config(), &config).unwrap();
            let run = outcome_of(clean_command().args(["sync", "--config"]).arg(config));
            assert!(run.stderr.contains(words[1]), "{run:?}");
        } else {
            // Also where nothing is new.
            for _ in 0..2 {
                setup.run(["sync"]).fails(0, &[words]);
            }
            let status = setup.run(["status"]);
            status.succeeds();
            let told: Vec<&str> = status
                .stdout
                .lines()
                .filter(|line| line.starts_with(words[0]))
                .collect();
            assert!(
                told.len() == 1 && words.iter().all(|word| told[0].contains(word)),
                "{status:?}"
            );
            for command in [&["check", "--json"][..], &["check", "--online", "--json"]] {
                let mut check = setup.command();
                let run = outcome_of(check.args(command));
                let found: Value = serde_json::from_str(&run.stdout).unwrap();
                let open = |one: &&Value| one["message"].as_str().unwrap().contains(words[1]);
                let found: Vec<&Value> = found["findings"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(open)
                    .collect();
                assert_eq!(found.len(), 1, "{run:?}");
                assert_eq!(
                    (&found[0]["level"], &found[0]["check"]),
                    (&"warning".into(), &"source".into())
                );
            }
        }
        mode(path, shut);
        setup.run(["sync"]).succeeds();
        assert!(!setup.run(["status"]).stdout.contains("warning"));
    }
}

#[test]
fn a_status_file_that_cannot_be_written_is_a_warning_where_nothing_else_is_wrong() {
    let setup = Setup::with_file();
    setup.publish_keys(&[&Key::new("k")]);
    // Root writes where it likes, but no file over a directory.
    std::fs::create_dir_all(setup.runtime_dir().join("status.json")).unwrap();
    let run = setup.run(["sync"]);
    run.fails(
        0,
        &[&[
            "warning: cannot write ",
            "status.json",
            "make the directory writable",
        ]],
    );
    assert!(
        run.stderr.starts_with("authkeysd: warning: cannot write "),
        "{run:?}"
    );
}

//! Moving in: `check --adopt` says beforehand what a first sync then does, and docs/migrate.md is
//! held to the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use authkeys_core::config::Config;
use authkeys_testing::{Key, Setup, install, lab, login, tree};
use serde_json::Value;

const MIGRATE: &str = include_str!("../../docs/migrate.md");
const BUTANE: &str = include_str!("../../examples/coreos.bu");
const FILE: &str = "/home/alice/.ssh/authorized_keys";

/// A node that a script of a systemd unit served so far: one key that is published, one that is
/// revoked, one unknown.
fn pulled(keys: [&Key; 3]) -> Setup {
    let [published, revoked, unknown] = keys;
    install(
        "alice",
        format!(
            "# pulled\n{}\n{}\n{}\n",
            published.line, revoked.line, unknown.line
        )
        .as_bytes(),
    );
    fs::create_dir_all("/run/systemd/system").unwrap();
    fs::write(
        "/run/lab/pull",
        "#!/bin/sh\nset -e\naws s3 cp s3://b/k /home/alice/.ssh/authorized_keys\n",
    )
    .unwrap();
    fs::write(
        "/run/systemd/system/pull.service",
        "[Service]\nType=oneshot\nExecStart=-/run/lab/pull\n",
    )
    .unwrap();
    let setup = Setup::for_user("alice").account("bob", "layout = \"system\"");
    setup.publish(format!(
        "{{\"version\": 1, \"keys\": [{{\"public_key\": \"{}\"}}], \"revoked\": [\"{}\"]}}",
        published.line,
        revoked.fingerprint()
    ));
    setup
}

fn prints(keys: &Value) -> BTreeSet<String> {
    keys.as_array()
        .unwrap()
        .iter()
        .map(|key| key["fingerprint"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_a_first_sync_would_do_is_told_without_doing_it_and_then_it_does_just_that() {
    lab(|| {
        let keys = ["published", "revoked", "unknown"].map(Key::new);
        let mut setup = pulled(keys.each_ref());
        setup.write_config();
        let before = [
            tree(Path::new("/home")),
            tree(&setup.path("")),
            tree(Path::new("/etc/ssh")),
        ];
        let check = |more: &[&str]| {
            let mut command = authkeys_testing::clean_command();
            authkeys_testing::outcome_of(
                command
                    .arg("--config")
                    .arg(setup.config())
                    .args(["check", "--adopt"])
                    .args(more),
            )
        };
        let run = check(&[]);
        run.succeeds();
        for word in [
            "/run/systemd/system/pull.service:3: fetches keys (see /run/lab/pull:3): \
             ExecStart=-/run/lab/pull; take it out",
            &format!("alice {FILE} (mode block)"),
            &format!(
                "in force  {} ssh-ed25519 published ({FILE}:2): stays",
                keys[0].fingerprint()
            ),
            &format!(
                "withdrawn {} ssh-ed25519 revoked ({FILE}:3): goes",
                keys[1].fingerprint()
            ),
            &format!(
                "unknown   {} ssh-ed25519 unknown ({FILE}:4): stays in block, goes in exclusive",
                keys[2].fingerprint()
            ),
            "first sync in block: adds 0, changes 0, takes 1 away",
            "first sync in exclusive: adds 0, changes 0, takes 2 away",
            "bob /etc/ssh/authorized_keys.d/bob (mode exclusive)",
            "first sync in exclusive: adds 1, changes 0, takes 0 away",
        ] {
            assert!(run.stdout.contains(word), "{word}\n{}", run.stdout);
        }
        let json = check(&["--json"]);
        let report: Value = serde_json::from_str(&json.stdout).unwrap();
        assert_eq!(
            [
                tree(Path::new("/home")),
                tree(&setup.path("")),
                tree(Path::new("/etc/ssh"))
            ],
            before
        );

        let alice = &report["adoption"]["accounts"][0];
        let present = alice["keys"].as_array().unwrap();
        let known: Vec<_> = present
            .iter()
            .map(|key| key["known"].as_str().unwrap())
            .collect();
        assert_eq!(known, ["in_force", "withdrawn", "unknown"]);
        assert_eq!(
            report["adoption"]["pullers"][0]["script"],
            "/run/lab/pull:3"
        );
        for mode in ["block", "exclusive"] {
            setup = pulled(keys.each_ref());
            setup.accounts[0].extra = format!("mode = \"{mode}\"");
            let run = setup.run(["sync", "--json"]);
            let done: Value = serde_json::from_str(&run.stdout).unwrap();
            let done = &done["accounts"][0];
            for field in ["added", "removed", "updated"] {
                assert_eq!(
                    prints(&done[field]),
                    prints(&alice[mode][field]),
                    "{mode}: {field}"
                );
            }
            for (key, present) in keys.iter().zip(present) {
                assert_eq!(
                    login("alice", key),
                    present[mode].as_bool().unwrap(),
                    "{mode}: {}",
                    key.line
                );
            }
        }
    });
}

#[test]
fn f46_of_a_key_with_several_lines_each_is_foretold_as_it_comes() {
    lab(|| {
        let key = Key::new("k");
        let office = format!("from=\"10.0.0.0/8\" {}", key.line);
        let local = format!("from=\"127.0.0.0/8\" {}", key.line);
        let text = format!("{office}\n{local}\n");
        install("alice", text.as_bytes());
        let setup = Setup::for_user("alice");
        setup.publish(&text);
        let run = setup.run(["check", "--adopt"]);
        let stays = |line: usize| format!("ssh-ed25519 k ({FILE}:{line}): stays\n");
        assert!(
            run.stdout.contains(&stays(1)) && run.stdout.contains(&stays(2)),
            "{}",
            run.stdout
        );
        assert!(
            run.stdout
                .contains("first sync in block: adds 0, changes 0, takes 0 away"),
            "{}",
            run.stdout
        );
        // Here the login that works is the one that goes.
        setup.publish(format!("{office}\n"));
        let run = setup.run(["check", "--adopt"]);
        assert_eq!(
            run.stdout
                .matches(": stays on the key set's terms\n")
                .count(),
            2,
            "{}",
            run.stdout
        );
        assert!(
            run.stdout
                .contains("first sync in block: adds 0, changes 1, takes 0 away"),
            "{}",
            run.stdout
        );
        setup.publish(&text);
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &key));
    });
}

#[test]
fn a_source_that_cannot_be_read_has_its_exit_code_and_the_node_is_shown_all_the_same() {
    lab(|| {
        let keys = ["published", "revoked", "unknown"].map(Key::new);
        let mut setup = pulled(keys.each_ref());
        setup.source = "file:/nowhere".to_owned();
        let run = setup.run(["check", "--adopt"]);
        assert_eq!(run.status, 1, "{run:?}");
        assert!(
            run.stdout
                .contains("FAILED  adopt        first sync: cannot stat /nowhere"),
            "{}",
            run.stdout
        );
        assert!(
            run.stdout
                .contains("first sync in block: no key set is known yet"),
            "{}",
            run.stdout
        );
        assert_eq!(
            run.stdout.matches("unknown   SHA256:").count(),
            3,
            "{}",
            run.stdout
        );
    });
}

#[test]
fn the_guide_for_moving_in_agrees_with_the_program() {
    for config in authkeys_testing::blocks(MIGRATE, "toml")
        .chain(authkeys_testing::blocks(&dedented(MIGRATE), "toml"))
    {
        Config::parse(&config).unwrap();
    }
    let help = ["--help", "check --help"].map(|line| {
        authkeys_testing::outcome_of(authkeys_testing::clean_command().args(line.split(' '))).stdout
    });
    let commands: Vec<String> = authkeys_testing::blocks(&dedented(MIGRATE), "sh").collect();
    let ours: Vec<&str> = commands
        .iter()
        .flat_map(|block| block.lines())
        .filter(|l| l.starts_with("authkeysd "))
        .collect();
    assert_eq!(
        ours,
        [
            "authkeysd check --adopt",
            "authkeysd sync",
            "authkeysd check"
        ]
    );
    for word in ours.iter().flat_map(|line| line.split(' ').skip(1)) {
        assert!(help.iter().any(|text| text.contains(word)), "{word}");
    }
    for word in [
        "in force",
        "withdrawn",
        "unknown",
        "pinned_keys",
        "revoked",
        "rival writer",
    ] {
        assert!(MIGRATE.contains(word), "{word}");
    }
}

/// Without the indentation that list items give their blocks.
fn dedented(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.strip_prefix("   ").unwrap_or(line)))
        .collect()
}

#[test]
fn the_butane_example_is_yaml_and_its_configuration_is_good() {
    let butane: serde_yaml_ng::Value = serde_yaml_ng::from_str(BUTANE).unwrap();
    assert_eq!(
        (butane["variant"].as_str(), butane["version"].as_str()),
        (Some("flatcar"), Some("1.1.0"))
    );
    let files = butane["storage"]["files"].as_sequence().unwrap();
    let paths: Vec<&str> = files
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect();
    let units = [
        "authkeysd.service",
        "authkeysd-fetch.service",
        "authkeysd-fetch.socket",
    ];
    let units = units.map(|unit| format!("/etc/systemd/system/{unit}"));
    let [programs, config] = [
        vec!["/opt/bin/authkeysd", "/opt/bin/authkeysd-fetch"],
        vec!["/etc/authkeysd/config.toml"],
    ];
    assert_eq!(
        paths,
        [programs, units.iter().map(String::as_str).collect(), config].concat()
    );
    let config = Config::parse(files[5]["contents"]["inline"].as_str().unwrap()).unwrap();
    assert_eq!(
        config.accounts[0].fragment.as_ref().unwrap().as_str(),
        "authkeysd"
    );
    let unit = &butane["systemd"]["units"][0];
    assert_eq!(
        (unit["name"].as_str(), unit["enabled"].as_bool()),
        (Some("authkeysd.service"), Some(true))
    );
    let drop_in = unit["dropins"][0]["contents"].as_str().unwrap();
    assert!(
        drop_in.starts_with("[Service]\nExecStart=\nExecStart=/opt/bin/authkeysd run\n"),
        "{drop_in}"
    );
    // What it overrides is what the unit has.
    let shipped = include_str!("../../systemd/authkeysd.service");
    for setting in drop_in
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
    {
        assert!(shipped.contains(&format!("\n{setting}=")), "{setting}");
    }
}

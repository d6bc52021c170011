//! What sshd is started with counts before its configuration, and `check` judges by it.

use std::process::Command;

use authkeys_testing::{Key, Setup, lab, login, sshd_log};

use super::logins::in_its_words;
use super::{good_node, troubles};

fn sh(script: &str) {
    assert!(
        Command::new("sh")
            .args(["-ec", script])
            .status()
            .unwrap()
            .success(),
        "{script}"
    );
}

fn end_sshd() {
    sh("kill $(cat /run/lab/sshd.pid); while [ -e /run/lab/sshd.pid ]; do sleep 0.02; done");
}

/// Starts the lab's sshd anew, with more options.
fn start_with(options: &str) {
    end_sshd();
    sh(&format!(
        "$(command -v sshd) -E /run/lab/sshd.log {options}"
    ));
    sh("while [ ! -s /run/lab/sshd.pid ]; do sleep 0.02; done");
}

/// What `check` says, by level and message.
fn said(setup: &Setup, status: i32) -> Vec<String> {
    troubles(setup, status)
        .into_iter()
        .map(|[level, _, subject, text]| format!("{level} {subject} {text}"))
        .collect()
}

#[test]
fn f52_options_on_sshds_command_line_are_judged_like_its_configuration() {
    lab(|| {
        let key = Key::new("k");
        let setup = good_node();
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        for (options, words, lets_in) in [
            ("-o AllowUsers=bob", "AllowUsers bob", false),
            ("-oDenyUsers=alice -4", "DenyUsers alice", false),
            (
                "-o 'PubkeyAcceptedAlgorithms rsa-sha2-512' -o LogLevel=DEBUG",
                "does not have ssh-ed25519",
                false,
            ),
            (
                "-o AuthorizedKeysFile=/etc/ssh/none/%u",
                "sshd reads /etc/ssh/none/alice, not",
                false,
            ),
            ("-o MaxAuthTries=6", "", true),
        ] {
            start_with(&in_its_words(options));
            let found = said(&setup, i32::from(!lets_in));
            assert!(
                found.iter().any(|line| line.contains(words)) || words.is_empty(),
                "{options}: {found:#?}"
            );
            assert_eq!(
                found.iter().any(|line| line.starts_with("failed alice")),
                !lets_in,
                "{options}: {found:#?}"
            );
            assert_eq!(login("alice", &key), lets_in, "{options}: {}", sshd_log());
        }
    });
}

#[test]
fn f52_keys_that_ec2_instance_connect_brings_by_sshds_command_line_are_reported() {
    lab(|| {
        let ([ours, theirs], setup) = (["ours", "theirs"].map(Key::new), good_node());
        setup.publish_keys(&[&ours]);
        setup.run(["sync"]).succeeds();
        // As its package for Ubuntu does it.
        let program = "/etc/ssh/eic_run_authorized_keys";
        std::fs::write(program, format!("#!/bin/sh\necho '{}'\n", theirs.line)).unwrap();
        sh(&format!("chmod 755 {program} /etc/ssh"));
        let options = format!(
            "-o \"AuthorizedKeysCommand {program} %u %f\" -o \"AuthorizedKeysCommandUser nobody\""
        );
        let bypass =
            format!("warning alice sshd also asks AuthorizedKeysCommand {program} for keys");
        start_with(&options);
        assert!(
            login("alice", &theirs) && login("alice", &ours),
            "{}",
            sshd_log()
        );
        assert!(said(&setup, 0).contains(&bypass), "{:#?}", said(&setup, 0));
        let run = setup.run(["check"]);
        assert!(
            run.stdout.contains("the running sshd, process ")
                && run.stdout.contains("has options beside"),
            "{run:?}"
        );

        // The package is installed, and sshd was not started again.
        start_with("");
        let unit = "/run/systemd/system/ssh.service";
        sh(&format!(
            "mkdir -p {unit}.d; printf '[Service]\\nExecStart=/usr/sbin/sshd -D $SSHD_OPTS\\n' >{unit}"
        ));
        let percent = options.replace('%', "%%");
        std::fs::write(
            format!("{unit}.d/ec2-instance-connect.conf"),
            format!("[Service]\nExecStart=\nExecStart=/usr/sbin/sshd -D {percent} $SSHD_OPTS\n"),
        )
        .unwrap();
        assert!(!login("alice", &theirs));
        let found = said(&setup, 0);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].contains("from its next start on") && found[0].contains(program),
            "{found:#?}"
        );
        // Where a socket starts sshd none runs: its unit tells.
        end_sshd();
        assert!(said(&setup, 0).contains(&bypass), "{:#?}", said(&setup, 0));
    });
}

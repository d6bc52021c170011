//! Keys that sshd accepts or not, by their types and sizes.

use authkeys_testing::{Key, KeyType, lab, sshd_version};

use super::super::good_node;
use super::{gets_in, said, serve};

#[test]
fn f52_keys_are_judged_one_by_one_and_none_left_is_a_failure() {
    lab(|| {
        let [ed, rsa, ec] = [KeyType::Ed25519, KeyType::Rsa2048, KeyType::Ecdsa256]
            .map(|kind| Key::of_type(kind, "k"));
        let setup = good_node();
        let version = sshd_version();
        let names_them = version >= (9, 6);
        for (lines, keys, level, words) in [
            (
                "PubkeyAcceptedAlgorithms ssh-ed25519",
                &[(&ed, true), (&rsa, false), (&ec, false)][..],
                "warning",
                "rsa-sha2-512",
            ),
            (
                "PubkeyAcceptedAlgorithms ssh-ed25519",
                &[(&rsa, false)],
                "failed",
                "does not have rsa-sha2-512",
            ),
            // Clients of before 8.5, when SHA-1 was still accepted, may sign with it.
            (
                "PubkeyAcceptedAlgorithms ssh-rsa",
                &[(&rsa, false)],
                if version >= (8, 5) {
                    "failed"
                } else {
                    "warning"
                },
                "rsa-sha2-512",
            ),
            (
                "PubkeyAcceptedAlgorithms rsa-sha2-512",
                &[(&rsa, true)],
                "ok",
                "",
            ),
            // Before 9.6 sshd says that it can verify rsa-sha2-512, so the client signs with that.
            (
                "PubkeyAcceptedAlgorithms rsa-sha2-256",
                &[(&rsa, names_them)],
                if names_them { "ok" } else { "warning" },
                if names_them {
                    ""
                } else {
                    "does not have rsa-sha2-512"
                },
            ),
            (
                "RequiredRSASize 3072",
                &[(&rsa, false)],
                "failed",
                "2048 bits",
            ),
            (
                "RequiredRSASize 3072",
                &[(&rsa, false), (&ec, true)],
                "warning",
                "RequiredRSASize",
            ),
        ] {
            if lines.contains("RequiredRSASize") && version < (9, 1) {
                continue;
            }
            let published: Vec<&Key> = keys.iter().map(|(key, _)| *key).collect();
            setup.publish_keys(&published);
            // Nothing is in the file yet, but what would be is known.
            serve(lines);
            let online = setup.run(["check", "--online"]);
            assert!(
                online.stdout.contains(words) && (level != "failed" || online.status == 1),
                "{lines}: {online:#?}"
            );
            setup.run(["sync"]).succeeds();
            let said = said(&setup, "alice");
            assert!(
                said.iter().all(|(is, _)| is == level) && said.is_empty() == (level == "ok"),
                "{lines}: {said:#?}"
            );
            assert!(
                said.is_empty() || said.iter().any(|(_, text)| text.contains(words)),
                "{lines}: {said:#?}"
            );
            for (key, goes) in keys {
                assert_eq!(gets_in("alice", key), *goes, "{lines}: {}", key.line);
            }
        }
    });
}

/// By the documents that it keeps, without asking a source.
#[test]
fn f45_keys_that_this_machines_sshd_cannot_read_are_foretold_in_the_words_of_sync() {
    lab(|| {
        let plain = Key::new("plain");
        let setup = good_node();
        let blob = authkeys_testing::numbered::wire(&[
            b"sk-ssh-ed25519@openssh.com",
            &authkeys_testing::numbered::on_curve([9; 32]),
            b"ssh:",
        ]);
        setup.publish(format!(
            "{}\nsk-ssh-ed25519@openssh.com {blob} token\n",
            plain.line
        ));
        setup.run(["sync"]).succeeds();
        assert!(
            said(&setup, "alice")
                .iter()
                .all(|(level, _)| level != "failed")
        );
        crate::windows::pretend_sshd(&setup, "echo 'OpenSSH_8.0p1, OpenSSL 1.1.1' >&2");
        let words = "line 2 was left out: ";
        for arguments in [
            &["check"][..],
            &["check", "--online"],
            &["sync", "--dry-run"],
            &["sync"],
        ] {
            let run = authkeys_testing::outcome_of(setup.command().args(arguments));
            let text = run.stdout + &run.stderr;
            assert!(
                run.status == 1 && text.contains(words) && text.contains("OpenSSH 8.2"),
                "{arguments:?}: {text}"
            );
            let told = text.lines().filter(|line| {
                line.contains("[AK") && line.contains("alice") && line.contains(words)
            });
            assert_eq!(told.count(), 1, "{arguments:?}: {text}");
        }
    });
}

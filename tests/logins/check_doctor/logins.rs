//! What `check` calls FAILED is refused by sshd, and what it calls ok gets in.

use std::process::{Command, Stdio};

use authkeys_testing::{Key, KeyType, Setup, lab, sshd_log, sshd_version};

use super::{GOOD_FILES, SSHD, good_node, sshd, troubles};

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

/// Gives sshd these lines before all others, and has it read them.
fn serve(lines: &str) {
    let lines = in_its_words(lines);
    let marked: Vec<String> = lines.lines().map(|line| format!("{line} # test")).collect();
    let (matches, plain): (Vec<_>, Vec<_>) = marked
        .into_iter()
        .partition(|line| line.starts_with([' ', 'M']));
    sshd(&format!("{GOOD_FILES}\n{}", plain.join("\n")));
    reread(&matches.join("\n"));
}

/// With the keyword's name of before OpenSSH 8.5 for an older sshd.
pub(super) fn in_its_words(lines: &str) -> String {
    if sshd_version() >= (8, 5) {
        lines.to_owned()
    } else {
        lines.replace("PubkeyAcceptedAlgorithms", "PubkeyAcceptedKeyTypes")
    }
}

fn reread(at_the_end: &str) {
    let text = std::fs::read_to_string(SSHD).unwrap();
    std::fs::write(SSHD, format!("{text}{at_the_end}\n")).unwrap();
    let listening = || sshd_log().matches("Server listening").count();
    let before = listening();
    sh("sshd -t && kill -HUP $(cat /run/lab/sshd.pid)");
    for _ in 0..100 {
        if listening() > before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("sshd does not listen again: {}", sshd_log());
}

/// Whether sshd takes the key and runs a command.
fn gets_in(user: &str, key: &Key) -> bool {
    let ssh = std::env::var("LAB_SSH").unwrap();
    let mut words = ssh.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .arg("-i")
        .arg(key.private())
        .arg(format!("{user}@127.0.0.1"))
        .arg("true");
    let status = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    status.code() != Some(255)
}

/// What `check` says of logins, by level and text, of the account alone.
fn said(setup: &Setup, user: &str) -> Vec<(String, String)> {
    let run = setup.run(["check", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let about = findings.filter(|one| one["level"] != "ok" && one["subject"] == user);
    let text = |one: &serde_json::Value, field: &str| one[field].as_str().unwrap().to_owned();
    about
        .map(|one| (text(one, "level"), text(one, "message")))
        .collect()
}

#[track_caller]
fn agrees(setup: &Setup, user: &str, key: &Key, case: &str, level: &str, words: &str) {
    let said = said(setup, user);
    let worst = ["failed", "warning"]
        .into_iter()
        .find(|level| said.iter().any(|(is, _)| is == level))
        .unwrap_or("ok");
    assert_eq!(worst, level, "{case}: {said:#?}");
    assert!(
        words.is_empty() || said.iter().any(|(_, text)| text.contains(words)),
        "{case}: {words}: {said:#?}"
    );
    assert_eq!(
        gets_in(user, key),
        level != "failed",
        "{case}: {}",
        sshd_log()
    );
}

#[test]
fn f52_settings_that_shut_an_account_out_are_failures() {
    lab(|| {
        let key = Key::new("k");
        let setup = good_node();
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        agrees(&setup, "alice", &key, "nothing", "ok", "");
        std::fs::write("/etc/ssh/revoked", format!("# gone\n{}\n", key.line)).unwrap();
        std::fs::write("/run/lab/spec", format!("hash: {}\n", key.fingerprint())).unwrap();
        std::fs::write(
            "/run/lab/other.pub",
            format!("{}\n", Key::new("other").line),
        )
        .unwrap();
        std::fs::write("/run/lab/key.pub", format!("{}\n", key.line)).unwrap();
        sh(
            "ssh-keygen -q -k -f /etc/ssh/krl /run/lab/key.pub; ssh-keygen -q -k -f \
             /etc/ssh/krl-other /run/lab/other.pub",
        );
        sh(
            "ssh-keygen -q -k -f /etc/ssh/krl-hash /run/lab/spec; head -c 60 /etc/ssh/krl \
             >/etc/ssh/krl-cut",
        );
        for (lines, level, words) in [
            ("AllowUsers bob", "failed", "AllowUsers bob: add alice"),
            ("AllowUsers !bob", "failed", "AllowUsers !bob"),
            ("AllowUsers bob al*", "ok", ""),
            (
                "AllowUsers alice@127.0.0.1",
                "warning",
                "from some hosts only",
            ),
            ("DenyUsers a?ice", "failed", "DenyUsers a?ice"),
            ("DenyUsers alice@10.1.2.3", "warning", "from some hosts"),
            ("AllowGroups bob", "failed", "AllowGroups bob"),
            ("AllowGroups bob alice", "ok", ""),
            ("DenyGroups alice", "failed", "DenyGroups alice"),
            ("PubkeyAuthentication no", "failed", "no key can log in"),
            (
                "Match User alice\n PubkeyAuthentication no",
                "failed",
                "PubkeyAuthentication no",
            ),
            (
                "Match Group alice\n AuthenticationMethods password\n PasswordAuthentication yes",
                "failed",
                "AuthenticationMethods",
            ),
            (
                "Match LocalPort 2222\n PubkeyAuthentication no",
                "failed",
                "PubkeyAuthentication no",
            ),
            (
                "Match Address 192.0.2.0/24\n PubkeyAuthentication no",
                "warning",
                "from other machines",
            ),
            (
                "Match Address *,!10.0.0.0/8\n AllowUsers bob",
                "failed",
                "AllowUsers bob",
            ),
            (
                "PasswordAuthentication yes\nAuthenticationMethods publickey,password publickey",
                "ok",
                "",
            ),
            (
                "AuthenticationMethods publickey,publickey",
                "failed",
                "AuthenticationMethods publickey,publickey",
            ),
            (
                "PubkeyAcceptedAlgorithms rsa-sha2-512,ecdsa-sha2-*",
                "failed",
                "does not have ssh-ed25519",
            ),
            (
                "PubkeyAcceptedAlgorithms -ssh-ed25519",
                "failed",
                "does not have ssh-ed25519",
            ),
            ("PubkeyAcceptedAlgorithms ssh-ed25519", "ok", ""),
            (
                "RevokedKeys /etc/ssh/revoked",
                "failed",
                "RevokedKeys /etc/ssh/revoked has it",
            ),
            (
                "RevokedKeys /etc/ssh/krl",
                "failed",
                "RevokedKeys /etc/ssh/krl has it",
            ),
            (
                "RevokedKeys /etc/ssh/krl-hash",
                "failed",
                "RevokedKeys /etc/ssh/krl-hash has it",
            ),
            ("RevokedKeys /etc/ssh/krl-other", "ok", ""),
            (
                "RevokedKeys /etc/ssh/krl-cut",
                "failed",
                "refuses every key",
            ),
            (
                "RevokedKeys /etc/ssh/none-there",
                "failed",
                "refuses every key",
            ),
            ("MaxAuthTries 0", "failed", "MaxAuthTries 0"),
            (
                "ChrootDirectory /home/alice\nForceCommand internal-sftp",
                "failed",
                "chown root /home/alice",
            ),
            ("ChrootDirectory /home/none", "failed", "does not exist"),
        ] {
            serve(lines);
            agrees(&setup, "alice", &key, lines, level, words);
        }
    });
}

#[test]
fn f52_groups_patterns_and_match_blocks_are_read_as_sshd_reads_them() {
    lab(|| {
        let key = Key::new("k");
        let setup = good_node();
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        sh("echo 'ops:x:60100:bob,alice' >>/etc/group; echo 'night:x:60101:alice' >>/etc/group");
        for (lines, level, words) in [
            ("AllowGroups ops", "ok", ""),
            ("AllowGroups nobody-is-in-it n?ght", "ok", ""),
            ("AllowGroups 60100", "failed", "AllowGroups 60100"),
            ("DenyGroups night", "failed", "DenyGroups night"),
            ("DenyGroups !night", "ok", ""),
            ("DenyGroups *,!ops", "ok", ""),
            ("AllowUsers 60001", "failed", "AllowUsers 60001"),
            ("AllowUsers ALICE", "failed", "AllowUsers ALICE"),
            ("AllowUsers al[i]ce", "failed", "AllowUsers al[i]ce"),
            ("AllowUsers bob\nAllowUsers alice", "ok", ""),
            (
                "AllowUsers alice\nAllowGroups bob",
                "failed",
                "AllowGroups bob",
            ),
            (
                "AllowUsers alice\nDenyUsers ali*",
                "failed",
                "DenyUsers ali*",
            ),
            (
                "Match User alice\n AllowUsers bob",
                "failed",
                "AllowUsers bob",
            ),
            ("Match User bob\n AllowUsers bob", "ok", ""),
            (
                "Match Group ops,night\n DenyGroups ops",
                "failed",
                "DenyGroups ops",
            ),
            ("Match User *,!alice\n PubkeyAuthentication no", "ok", ""),
            ("Match all\n MaxAuthTries 0", "failed", "MaxAuthTries 0"),
        ] {
            serve(lines);
            agrees(&setup, "alice", &key, lines, level, words);
        }
    });
}

#[test]
fn f52_states_of_an_account_that_shut_it_out_are_failures() {
    lab(|| {
        let key = Key::new("k");
        let setup = good_node();
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        serve("");
        let edit = |file: &str, line: &str| {
            sh(&format!(
                "sed 's|^alice:.*|{line}|' {file} >/run/lab/edited; cat /run/lab/edited >{file}"
            ));
        };
        let shell = |path: &str| format!("alice:x:60001:60001::/home/alice:{path}");
        sh("cp /bin/true /run/lab/not-executable; chmod 644 /run/lab/not-executable");
        for (path, level, words) in [
            (
                "/bin/none",
                "failed",
                "login shell /bin/none does not exist",
            ),
            (
                "/run/lab/not-executable",
                "failed",
                "not an executable file",
            ),
            ("/etc", "failed", "not an executable file"),
            ("/bin/sh -l", "failed", "does not exist"),
            ("sh", "failed", "sh does not exist"),
            ("/usr/sbin/nologin", "warning", "ends each session"),
            ("", "ok", ""),
        ] {
            edit("/etc/passwd", &shell(path));
            agrees(&setup, "alice", &key, path, level, words);
        }
        edit("/etc/passwd", &shell("/bin/sh"));
        for (entry, level, words) in [
            ("alice:!:19000::::::", "failed", "is locked"),
            ("alice:!*:19000::::::", "failed", "is locked"),
            ("alice:*:19000:::::1:", "failed", "account has expired"),
            ("alice:*:19000:::::99999:", "ok", ""),
            ("alice:*:1:0:1:1:1::", "ok", ""),
        ] {
            edit("/etc/shadow", entry);
            agrees(&setup, "alice", &key, entry, level, words);
        }
    });
}

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
            let known = lines.contains("RSA") || words.is_empty() || online.stdout.contains(words);
            assert!(
                known && (level != "failed" || lines.contains("RSA") || online.status == 1),
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

#[test]
fn f52_roots_logins_are_judged_by_their_own_rule() {
    lab(|| {
        let [plain, forced] = ["plain", "forced"].map(Key::new);
        let setup = Setup::for_user("root");
        setup.publish(format!(
            "{}\ncommand=\"true\" {}\n",
            plain.line, forced.line
        ));
        serve("");
        setup.run(["sync"]).succeeds();
        serve("PermitRootLogin no");
        agrees(&setup, "root", &plain, "no", "failed", "PermitRootLogin no");
        serve("PermitRootLogin prohibit-password");
        agrees(&setup, "root", &plain, "prohibit-password", "ok", "");
        serve("PermitRootLogin forced-commands-only");
        agrees(
            &setup,
            "root",
            &forced,
            "forced-commands-only",
            "warning",
            "no command=",
        );
        assert!(!gets_in("root", &plain));
        setup.publish_keys(&[&plain]);
        setup.run(["sync"]).succeeds();
        agrees(
            &setup,
            "root",
            &plain,
            "forced-commands-only",
            "failed",
            "no command=",
        );
    });
}

#[test]
fn an_authorized_keys_file_with_blanks_quotes_and_tokens_is_read_as_sshd_reads_it() {
    lab(|| {
        let key = Key::new("k");
        sh("mkdir '/etc/ssh/my keys' '/etc/ssh/100%' '/etc/ssh/m\u{fc}ll  er'");
        // Before 8.7 sshd knew double quotes alone.
        let escapes = sshd_version() >= (8, 7);
        for (file, value, read) in [
            ("/etc/ssh/my keys/%u", "\"/etc/ssh/my keys/%u\"", true),
            (
                "/etc/ssh/my keys/%u",
                ".ssh/authorized_keys \"/etc/ssh/my keys/%u\"",
                true,
            ),
            (
                "/etc/ssh/my keys/%u",
                "/etc/ssh/my\\ keys/%u .ssh/a",
                escapes,
            ),
            ("/etc/ssh/my keys/%u", "/etc/ssh/my keys/%u", false),
            ("/etc/ssh/my keys/%U", "'/etc/ssh/my keys/%U'", escapes),
            ("/etc/ssh/100%%/%u", "/etc/ssh/100%%/%u", true),
            ("/etc/ssh/100%%/%u", "/etc/ssh/100%%/%%u", false),
            (
                "/etc/ssh/m\u{fc}ll  er/%u",
                "\"/etc/ssh/m\u{fc}ll  er/%u\" x",
                true,
            ),
        ] {
            let setup = Setup::new().account("alice", &format!("file = \"{file}\""));
            setup.publish_keys(&[&key]);
            setup.run(["sync"]).succeeds();
            sshd(&format!("AuthorizedKeysFile {value}"));
            reread("");
            let found = troubles(&setup, i32::from(!read));
            assert_eq!(found.is_empty(), read, "{value}: {found:#?}");
            assert_eq!(gets_in("alice", &key), read, "{value}");
            sh("rm -f /etc/ssh/*/alice /etc/ssh/*/60001");
        }
        sshd("");
        reread(
            "Match User alice\n AuthorizedKeysFile \"/etc/ssh/my keys/%u\" \"/etc/ssh/o t\" # test\n",
        );
        let setup = Setup::new().account("alice", "file = \"/etc/ssh/my keys/%u\"");
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        assert!(troubles(&setup, 0).is_empty() && gets_in("alice", &key));
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

//! What `sync` would fail at is seen by `check`, `check --online` and `sync --dry-run`, which write
//! nothing; and a remedy that `check` names can be followed.

use std::process::Command;

use authkeys_testing::{Key, Run, Setup, lab, login, tree};

use super::{GOOD_FILES, good_node, sshd, troubles};

fn sh(script: &str) -> bool {
    Command::new("sh")
        .args(["-ec", script])
        .status()
        .unwrap()
        .success()
}

/// An obstacle: how it is put up and taken away, and what every message about it says.
struct Obstacle {
    up: &'static str,
    down: &'static str,
    words: &'static [&'static str],
}

const HOME: &str = "/home/alice";

const OBSTACLES: [Obstacle; 21] = [
    Obstacle {
        up: "chown root: .ssh",
        down: "chown alice: .ssh",
        words: &["/home/alice/.ssh", "chown alice"],
    },
    Obstacle {
        up: "chown root: .ssh; chmod 755 .ssh",
        down: "chown alice: .ssh",
        words: &["uid 0", "chown alice"],
    },
    Obstacle {
        up: "chmod 500 .ssh",
        down: "chmod 700 .ssh",
        words: &["mode 0500", "chmod u+rwx /home/alice/.ssh"],
    },
    Obstacle {
        up: "rm -r .ssh; chown root: .",
        down: "install -d -o alice -g alice -m 700 .ssh; chown alice: .",
        words: &["install -d -o alice -g alice -m 0700 /home/alice/.ssh"],
    },
    Obstacle {
        up: "rm -r .ssh; chmod 500 .",
        down: "chmod 755 .; install -d -o alice -g alice -m 700 .ssh",
        words: &["chmod u+rwx /home/alice"],
    },
    Obstacle {
        up: "mount --bind . .; mount -o remount,bind,ro /home/alice",
        down: "umount -l /home/alice",
        words: &["mounted read-only"],
    },
    Obstacle {
        up: "mount --bind .ssh .ssh; mount -o remount,bind,ro .ssh",
        down: "umount -l .ssh",
        words: &["mounted read-only"],
    },
    Obstacle {
        up: "chattr +i .ssh/authorized_keys",
        down: "chattr -i .ssh/authorized_keys",
        words: &["chattr -i"],
    },
    Obstacle {
        up: "chattr +a .ssh/authorized_keys",
        down: "chattr -a .ssh/authorized_keys",
        words: &["chattr -a"],
    },
    Obstacle {
        up: "chattr +i .ssh",
        down: "chattr -i .ssh",
        words: &["chattr -i /home/alice/.ssh"],
    },
    Obstacle {
        up: "chattr +a .ssh",
        down: "chattr -a .ssh",
        words: &["chattr -a /home/alice/.ssh"],
    },
    Obstacle {
        up: "rm -r .ssh; chattr +i .",
        down: "chattr -i .; install -d -o alice -g alice -m 700 .ssh",
        words: &["chattr -i /home/alice"],
    },
    Obstacle {
        up: "mount --bind .ssh/authorized_keys .ssh/authorized_keys",
        down: "umount -l .ssh/authorized_keys",
        words: &["mounted on it", "mount its directory"],
    },
    Obstacle {
        up: "cp -p .ssh/authorized_keys /run/bound; mount --bind /run/bound .ssh/authorized_keys",
        down: "umount -l .ssh/authorized_keys",
        words: &["mounted on it", "mount its directory"],
    },
    Obstacle {
        up: "mount -t tmpfs -o size=16k,mode=700,uid=60001,gid=60001 tmpfs .ssh; head -c 16384 \
             /dev/zero >.ssh/x",
        down: "umount -l .ssh",
        words: &["the disk is full"],
    },
    Obstacle {
        up: "mount -t tmpfs -o nr_inodes=2,mode=700,uid=60001,gid=60001 tmpfs .ssh; touch .ssh/x",
        down: "umount -l .ssh",
        words: &["inodes"],
    },
    Obstacle {
        up: "chown root: .ssh; chmod 1777 .ssh; chown bob: .ssh/authorized_keys; chmod 644 \
             .ssh/authorized_keys",
        down: "chown -R alice: .ssh; chmod 700 .ssh; chmod 600 .ssh/authorized_keys",
        words: &["Operation not permitted"],
    },
    Obstacle {
        up: "touch .authorized_keys.d.lock; chmod 600 .authorized_keys.d.lock",
        down: "rm .authorized_keys.d.lock",
        words: &[".authorized_keys.d.lock", "Permission denied"],
    },
    Obstacle {
        up: "mv ../alice ../elsewhere",
        down: "mv ../elsewhere ../alice",
        words: &["install -d -o alice -g alice -m 0755 /home/alice"],
    },
    Obstacle {
        up: "mv ../alice ../elsewhere; touch ../alice",
        down: "rm ../alice; mv ../elsewhere ../alice",
        words: &["/home/alice", "Not a directory"],
    },
    Obstacle {
        up: "mv .ssh/authorized_keys x; mkfifo .ssh/authorized_keys",
        down: "mv x .ssh/authorized_keys",
        words: &["FIFO"],
    },
];

#[track_caller]
fn foretold(setup: &Setup, up: &str, words: &[&str]) {
    let before = tree("/home".as_ref());
    let runs = [
        setup.run(["check"]),
        setup.run(["check", "--online"]),
        setup.run(["sync", "--dry-run"]),
    ];
    assert_eq!(
        tree("/home".as_ref()),
        before,
        "{up}: something was written"
    );
    let sync = setup.run(["sync"]);
    for Run {
        status,
        stdout,
        stderr,
    } in runs.iter().chain([&sync])
    {
        assert!(*status == 1, "{up}: {runs:#?}\n{sync:#?}");
        for word in words {
            assert!(
                stdout.contains(word) || stderr.contains(word),
                "{up}: {word}: {stdout}{stderr}\n{sync:#?}"
            );
        }
    }
    assert_eq!(
        runs[1].stdout.matches("FAILED  account").count(),
        1,
        "{up}: told once: {:#?}",
        runs[1]
    );
}

#[test]
fn f51_what_sync_would_fail_at_is_foretold_and_nothing_is_written() {
    lab(|| {
        let setup = good_node();
        setup.run(["sync"]).succeeds();
        for Obstacle { up, down, words } in OBSTACLES {
            setup.publish_keys(&[&Key::new("next")]);
            if !sh(&format!("cd {HOME} && {up}")) {
                assert!(up.contains("chattr"), "{up}");
                eprintln!("SKIPPED {up}: the file system knows no flags");
                continue;
            }
            foretold(&setup, up, words);
            assert!(
                sh(&format!(
                    "cd {HOME} 2>/dev/null || cd /home/elsewhere; {down}"
                )),
                "{down}"
            );
            setup.run(["check"]).succeeds();
            assert_eq!(setup.run(["sync", "--dry-run"]).status, 3, "{up}");
            setup.run(["sync"]).succeeds();
        }
    });
}

#[test]
fn f51_what_a_file_outside_the_homes_would_fail_at_is_foretold() {
    lab(|| {
        sshd("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u");
        for (up, down, words) in [
            (
                "mount --bind /etc/ssh /etc/ssh; mount -o remount,bind,ro /etc/ssh",
                "umount -l /etc/ssh",
                "read-only",
            ),
            (
                "rmdir authorized_keys.d; mount --bind /etc/ssh /etc/ssh; mount -o remount,bind,ro \
                 /etc/ssh",
                "umount -l /etc/ssh",
                "read-only",
            ),
            (
                "mkdir -p authorized_keys.d; touch authorized_keys.d/alice; mount --bind \
                 authorized_keys.d/alice authorized_keys.d/alice",
                "umount -l authorized_keys.d/alice",
                "mounted on it",
            ),
        ] {
            let setup = Setup::new().account("alice", "layout = \"system\"");
            setup.publish_keys(&[&Key::new("k")]);
            assert!(sh(&format!("cd /etc/ssh && {up}")), "{up}");
            foretold(&setup, up, &[words]);
            assert!(sh(&format!("cd /etc/ssh && {down}")), "{down}");
        }
        let name = "n".repeat(230);
        let setup = Setup::new().account("alice", &format!("file = \"/etc/ssh/{name}\""));
        setup.publish_keys(&[&Key::new("k")]);
        sshd(&format!("AuthorizedKeysFile /etc/ssh/{name}"));
        foretold(&setup, "a long name", &["name is too long"]);
    });
}

#[test]
fn f51_what_a_fragment_would_fail_at_is_foretold() {
    lab(|| {
        let of_alice = "install -d -o alice -g alice -m 700";
        for (up, down, words) in [
            (
                "chown root: authorized_keys.d",
                "chown alice: authorized_keys.d",
                "/home/alice/.ssh/authorized_keys.d",
            ),
            (
                "chmod 500 authorized_keys.d",
                "chmod 700 authorized_keys.d",
                "mode 0500",
            ),
            (
                "chattr +i authorized_keys.d",
                "chattr -i authorized_keys.d",
                "chattr -i",
            ),
            (
                "chattr +a authorized_keys.d",
                "chattr -a authorized_keys.d",
                "chattr -a",
            ),
            (
                "chattr +i authorized_keys.d/authkeysd",
                "chattr -i authorized_keys.d/authkeysd",
                "chattr -i",
            ),
            (
                "chattr +a authorized_keys.d/authkeysd",
                "chattr -a authorized_keys.d/authkeysd",
                "chattr -a",
            ),
            ("chattr +i .", "chattr -i .", "chattr -i"),
            ("chown root: .", "chown alice: .", "chown alice"),
            (
                "mount --bind authorized_keys.d authorized_keys.d",
                "umount -l authorized_keys.d",
                "another mount",
            ),
            (
                "mount --bind authorized_keys.d/authkeysd authorized_keys.d/authkeysd",
                "umount -l authorized_keys.d/authkeysd",
                "mounted on it",
            ),
            (
                "mount --bind . .; mount -o remount,bind,ro \"$PWD\"",
                "umount -l \"$PWD\"",
                "mounted read-only",
            ),
            (
                "mkdir authorized_keys.d/x",
                "rmdir authorized_keys.d/x",
                "authorized_keys.d/x",
            ),
            (
                "rm -r authorized_keys.d; touch authorized_keys.d",
                "rm authorized_keys.d",
                "authorized_keys.d",
            ),
            (
                "ln -s /tmp authorized_keys.d/link",
                "rm authorized_keys.d/link",
                "authorized_keys.d/link",
            ),
        ] {
            let setup = Setup::new().account("alice", "layout = \"coreos\"");
            sshd("AuthorizedKeysFile .ssh/authorized_keys.d/authkeysd");
            assert!(sh(&format!(
                "cd {HOME}/.ssh; {of_alice} authorized_keys.d; rm -f authorized_keys.d/*"
            )));
            setup.publish_keys(&[&Key::new("k")]);
            setup.run(["sync"]).succeeds();
            setup.publish_keys(&[&Key::new("next")]);
            if !sh(&format!("cd {HOME}/.ssh && {up}")) {
                assert!(up.contains("chattr"), "{up}");
                continue;
            }
            foretold(&setup, up, &[words]);
            assert!(sh(&format!("cd {HOME}/.ssh && {down}")), "{down}");
        }
    });
}

#[test]
fn f51_a_lock_that_is_held_and_a_state_that_cannot_be_saved_are_foretold() {
    lab(|| {
        let setup = good_node();
        let mut holder = Command::new("sh")
            .args([
                "-c",
                "cd /home/alice; touch .authorized_keys.d.lock; chown alice: \
                 .authorized_keys.d.lock; exec 9<.authorized_keys.d.lock; flock 9; exec sleep 60",
            ])
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        for arguments in [&["check"][..], &["sync", "--dry-run"]] {
            let run = authkeys_testing::outcome_of(setup.command().args(arguments));
            assert!(
                run.status == 1 && format!("{run:?}").contains("was locked by another program"),
                "{run:#?}"
            );
        }
        holder.kill().unwrap();
        holder.wait().unwrap();

        let state = setup.state_dir();
        let state = state.display();
        assert!(sh(&format!(
            "mount --bind {state} {state}; mount -o remount,bind,ro {state}"
        )));
        for arguments in [
            &["check"][..],
            &["check", "--online"],
            &["sync", "--dry-run"],
        ] {
            let run = authkeys_testing::outcome_of(setup.command().args(arguments));
            assert!(
                run.status == 1 && format!("{run:?}").contains("mounted read-only"),
                "{run:#?}"
            );
        }
        assert!(sh(&format!("umount -l {state}")));
        assert_eq!(setup.run(["sync", "--dry-run"]).status, 3);
    });
}

#[test]
fn f51_an_access_list_that_lets_the_account_write_is_no_obstacle() {
    lab(|| {
        if !sh(
            "command -v setfacl >/dev/null && cd /home/alice && chown root: .ssh && setfacl -m \
             u:alice:rwx .ssh",
        ) {
            eprintln!("SKIPPED: no setfacl here");
            return;
        }
        let setup = good_node();
        assert_eq!(setup.run(["sync", "--dry-run"]).status, 3);
        setup.run(["sync"]).succeeds();
    });
}

#[test]
fn f53_no_remedy_takes_from_others_what_they_use() {
    lab(|| {
        let setup = Setup::new().account("alice", "file = \"/tmp/keys/%u\"");
        setup.publish_keys(&[&Key::new("k")]);
        sshd("AuthorizedKeysFile /tmp/keys/%u");
        assert!(sh("mkdir /tmp/keys; chmod 755 /tmp/keys"));
        let found = troubles(&setup, 1);
        let text = format!("{found:#?}");
        assert!(
            text.contains("name another `file`") && !text.contains("chmod go-w /tmp"),
            "{text}"
        );

        let setup = Setup::new().account("alice", "file = \"/home/bob/keys/%u\"");
        setup.publish_keys(&[&Key::new("k")]);
        sshd("AuthorizedKeysFile /home/bob/keys/%u");
        let found = troubles(&setup, 1);
        let text = format!("{found:#?}");
        assert!(
            text.contains("name a `file` in a directory of root's, or, if nobody works"),
            "{text}"
        );

        // A secret of root's under another name: the account must not be given it.
        let setup = good_node();
        assert!(sh(
            "echo secret >/home/secret; chmod 600 /home/secret; ln /home/secret \
             /home/alice/.ssh/authorized_keys"
        ));
        let found = troubles(&setup, 1);
        let text = &found.iter().find(|one| one[1] == "account").unwrap()[3];
        assert!(
            text.contains("another name") && !text.contains("chown"),
            "{found:#?}"
        );
        assert!(sh(command_in(text)), "{text}");
        assert_eq!(troubles(&setup, 0).len(), 0);
    });
}

/// The first command in backquotes.
fn command_in(message: &str) -> &str {
    message.split('`').nth(1).unwrap()
}

#[test]
fn f53_the_remedy_for_a_chrooted_sftp_account_can_be_followed() {
    lab(|| {
        let key = Key::new("k");
        let chroot = "Match User alice\nChrootDirectory %h\nForceCommand internal-sftp\n";
        for more in ["", "PermitTTY no\n"] {
            sshd(&format!(
                "{GOOD_FILES}\nSubsystem sftp internal-sftp # test"
            ));
            let text = std::fs::read_to_string(super::SSHD).unwrap();
            std::fs::write(super::SSHD, format!("{text}{chroot}{more}")).unwrap();
            assert!(sh("kill -HUP $(cat /run/lab/sshd.pid); sleep 0.3"));
            let setup = Setup::for_user("alice");
            setup.publish_keys(&[&key]);
            assert!(sh("rm -rf /home/alice/.ssh; chown root: /home/alice"));

            let found = troubles(&setup, 1);
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(sh(command_in(&found[0][3])), "{found:#?}");
            assert_eq!(troubles(&setup, 0).len(), 0, "after the remedy");
            setup.run(["sync"]).succeeds();
            let ssh = std::env::var("LAB_SSH")
                .unwrap()
                .replacen("ssh ", "sftp ", 1)
                .replacen("-p ", "-P ", 1);
            let sftp = format!(
                "echo pwd | {ssh} -b - -i {} alice@127.0.0.1",
                key.private().display()
            );
            assert!(
                sh(&sftp),
                "sftp lets {} in:\n{}",
                key.line,
                authkeys_testing::sshd_log()
            );
            assert!(!login("bob", &key));
            std::fs::write(super::SSHD, text).unwrap();
        }
    });
}

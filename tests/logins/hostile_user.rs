//! What a hostile or an ordinary user does to the commands, with the built program on a private
//! machine.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use authkeys_testing::{Key, Setup, authorized_keys, lab, login};

const ALICE: u32 = 60_001;
const BOB: u32 = 60_002;

#[test]
fn a_state_that_only_root_may_read_ends_with_77() {
    lab(|| {
        let setup = Setup::for_user("alice");
        setup.publish_keys(&[&Key::new("k")]);
        assert_eq!(setup.run(["sync"]).status, 0);
        set_permissions(setup.path(""), Permissions::from_mode(0o755)).unwrap();
        let mut command = setup.command_for_all();
        chown(setup.config(), Some(ALICE), None).unwrap();
        let run = command
            .args(["sync", "--dry-run"])
            .uid(ALICE)
            .gid(ALICE)
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(77), "{run:?}");
    });
}

#[test]
fn f18_a_file_that_its_account_cannot_read_is_drift_and_only_another_owners_lines_are_a_failure() {
    lab(|| {
        let (key, file) = (Key::new("k"), authorized_keys("alice"));
        let spoil = |owner: u32, mode: u32| {
            chown(&file, Some(owner), None).unwrap();
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        };
        for mode in ["block", "exclusive"] {
            let setup = Setup::new().account("alice", &format!("mode = \"{mode}\""));
            setup.publish_keys(&[&key]);
            std::fs::write(&file, format!("{}\n", Key::new("theirs").line)).unwrap();
            spoil(ALICE, 0o600);
            setup.run(["sync"]).succeeds();
            let right = std::fs::read(&file).unwrap();
            for unreadable in [0o000, 0o200] {
                spoil(ALICE, unreadable);
                let run = setup.run(["sync", "--json"]);
                run.repairs();
                assert!(run.stdout.contains("\"changed\": true"), "{run:?}");
                assert_eq!(std::fs::read(&file).unwrap(), right, "{mode}");
                assert!(login("alice", &key));
            }
            // Somebody gave it another owner, and it holds what was left in it.
            for owner in [0, BOB] {
                spoil(owner, 0o600);
                assert!(!login("alice", &key));
                setup
                    .run(["sync"])
                    .fails(0, &[&["warning: ", "repairs in a row"]]);
                assert_eq!(std::fs::read(&file).unwrap(), right, "{mode}");
                assert!(login("alice", &key));
            }
            // What else root's file holds is not told to alice; where no line of it can be
            // anybody's, it need not be known.
            std::fs::write(&file, [&right[..], b"# root's own\n"].concat()).unwrap();
            spoil(0, 0o600);
            let run = setup.run(["sync"]);
            if mode == "block" {
                run.fails(1, &[&["belongs to uid 0 with mode 0600", "chown 60001"]]);
                assert!(!login("alice", &key));
                let found = std::fs::metadata(&file).unwrap();
                assert_eq!(
                    (found.uid(), found.permissions().mode() & 0o7777),
                    (0, 0o600)
                );
                std::fs::write(&file, &right).unwrap();
                spoil(ALICE, 0o600);
            } else {
                run.fails(0, &[&["warning: ", "5 repairs in a row"]]);
                assert!(login("alice", &key));
            }
            assert_eq!(std::fs::read(&file).unwrap(), right, "{mode}");
        }
    });
}

#[test]
fn f07_where_no_key_set_is_known_a_file_that_its_account_cannot_read_stays_so() {
    lab(|| {
        let (key, theirs) = (Key::new("k"), Key::new("theirs"));
        let setup = Setup::for_user("alice");
        std::fs::write(authorized_keys("alice"), format!("{}\n", theirs.line)).unwrap();
        chown(authorized_keys("alice"), Some(ALICE), Some(ALICE)).unwrap();
        set_permissions(authorized_keys("alice"), Permissions::from_mode(0o000)).unwrap();
        setup
            .run(["sync"])
            .fails(1, &[&["cannot stat"], &["with mode 0000", "chmod"]]);
        assert_eq!(
            std::fs::metadata(authorized_keys("alice"))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777,
            0
        );
        assert!(!login("alice", &theirs));
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &key) && login("alice", &theirs));
    });
}

#[test]
fn a_break_glass_key_lets_in_through_a_file_with_a_wrong_mode_also_where_no_key_set_is_known() {
    lab(|| {
        let (pinned, file) = (Key::new("break-glass"), authorized_keys("alice"));
        let mut setup = Setup::for_user("alice");
        let path = setup.path("pinned");
        std::fs::write(&path, format!("{}\n", pinned.line)).unwrap();
        setup.top = format!("pinned_keys = \"{}\"", path.display());
        assert_eq!(setup.run(["sync"]).status, 1);
        for mode in [0o666, 0o000] {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert!(!login("alice", &pinned));
            let run = setup.run(["sync"]);
            assert_eq!(run.status, 1, "{run:?}");
            assert!(login("alice", &pinned), "{run:?}");
        }
        let status = setup.run(["status", "--json"]).stdout;
        assert!(status.contains("\"comment\": \"break-glass\""), "{status}");
    });
}

#[test]
fn a_revocation_that_a_user_holds_off_at_home_is_told_each_cycle_and_the_system_layout_is_out_of_reach()
 {
    lab(|| {
        let (stolen, next) = (Key::new("stolen"), Key::new("next"));
        let as_alice = |script: &str| {
            Command::new("sh")
                .args(["-c", script])
                .uid(ALICE)
                .gid(ALICE)
                .status()
                .unwrap()
        };
        // What docs/threats.md names, and how it is undone.
        let ways = [
            (
                "cd /home/alice/.ssh && mv authorized_keys kept && ln -s kept authorized_keys",
                "symbolic link",
                "rm -f",
            ),
            (
                "yes '# a comment' | head -c 1048576 >>/home/alice/.ssh/authorized_keys",
                "more than 1048576",
                "rm -f",
            ),
            (
                "chmod 500 /home/alice/.ssh",
                "mode 0500",
                "chmod 700 /home/alice/.ssh; rm -f",
            ),
            (
                "mkdir /home/alice/.authorized_keys.d.lock",
                "is a directory",
                "rmdir ~alice/.authorized_keys.d.lock; rm -f",
            ),
        ];
        for mode in ["block", "exclusive"] {
            for (way, words, undone) in ways {
                let setup = Setup::new().account("alice", &format!("mode = \"{mode}\""));
                setup.publish_keys(&[&stolen, &next]);
                setup.run(["sync"]).succeeds();
                assert!(as_alice(way).success());
                setup.publish_keys(&[&next]);
                for _ in 0..2 {
                    setup.run(["sync"]).fails(1, &[&["/home/alice/", words]]);
                    assert!(
                        setup.run(["status"]).stdout.starts_with("failed, "),
                        "{mode}: {way}"
                    );
                    assert!(login("alice", &stolen), "{mode}: {way}");
                }
                let undone = format!("{undone} /home/alice/.ssh/authorized_keys");
                assert!(
                    Command::new("sh")
                        .args(["-c", &undone])
                        .status()
                        .unwrap()
                        .success()
                );
                setup.run(["sync"]).succeeds();
                assert!(
                    !login("alice", &stolen) && login("alice", &next),
                    "{mode}: {way}"
                );
                std::fs::remove_file(authorized_keys("alice")).unwrap();
            }
        }
        let setup = Setup::new().account("alice", "layout = \"system\"");
        setup.publish_keys(&[&stolen]);
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &stolen));
        assert!(
            !as_alice(
                "chmod 600 /etc/ssh/authorized_keys.d/alice || rm -f \
                 /etc/ssh/authorized_keys.d/alice"
            )
            .success()
        );
        assert!(
            as_alice("chmod 500 /home/alice/.ssh && mkdir /home/alice/.authorized_keys.d.lock")
                .success()
        );
        setup.publish_keys(&[&next]);
        setup.run(["sync"]).succeeds();
        assert!(!login("alice", &stolen) && login("alice", &next));
    });
}

#[test]
fn f13_the_doctor_opens_nothing_that_a_user_points_it_at() {
    lab(|| {
        // Only root can read it; a device in its place would be started by the mere opening.
        let target = std::path::Path::new("/run/lab/root/roots-own");
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::write(target, format!("{}\n", Key::new("k").line)).unwrap();
        set_permissions(target, Permissions::from_mode(0o600)).unwrap();
        let second = authorized_keys("alice").with_file_name("authorized_keys2");
        symlink(target, &second).unwrap();
        let setup = Setup::for_user("alice");
        let run = setup.run(["check"]);
        assert!(!run.stdout.contains("holds 1 key"), "{}", run.stdout);
        assert!(
            run.stdout.contains("authorized_keys2 is a symbolic link"),
            "{}",
            run.stdout
        );

        std::fs::remove_file(&second).unwrap();
        std::fs::write(&second, format!("{}\n", Key::new("k").line)).unwrap();
        let run = setup.run(["check"]);
        assert!(
            run.stdout.contains("authorized_keys2, which holds 1 key"),
            "{}",
            run.stdout
        );
    });
}

#[test]
fn f27_an_old_sshds_local_time_does_not_depend_on_the_zone_of_who_runs_the_command() {
    lab(|| {
        let mut setup = Setup::for_user("alice");
        setup.top = "expiry_time = \"local\"".to_owned();
        let key = Key::new("k").line;
        setup.publish(format!(
            r#"{{"version": 1, "keys": [{{"public_key": "{key}", "not_after": "2099-01-01T00:00:00Z"}}]}}"#
        ));
        assert_eq!(setup.run(["sync"]).status, 0);
        setup
            .environment
            .push(("TZ".to_owned(), "XXX-9".to_owned()));
        let run = setup.run(["sync", "--dry-run"]);
        assert_eq!(run.status, 0, "{run:?}");
    });
}

#[test]
fn f04_a_system_without_room_for_a_thread_is_an_error_and_no_panic() {
    lab(|| {
        let setup = Setup::for_user("alice");
        setup.publish_keys(&[&Key::new("k")]);
        let _ = setup.command();
        set_permissions(setup.path(""), Permissions::from_mode(0o755)).unwrap();
        for path in [setup.config(), setup.state_dir()] {
            chown(path, Some(ALICE), None).unwrap();
        }
        // The program itself is the one task that he may have.
        let script = "ulimit -u 1 && exec \"$@\"";
        let mut command = Command::new("bash");
        command
            .args(["-c", script, "bash"])
            .arg(authkeys_testing::program_for_all());
        command
            .arg("--config")
            .arg(setup.config())
            .arg("sync")
            .uid(ALICE)
            .gid(ALICE);
        let run = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(75), "{run:?}");
        assert!(
            stderr.contains("check the limits on tasks") && !stderr.contains("panicked"),
            "{stderr}"
        );
    });
}

#[test]
fn f13_root_goes_through_no_directory_and_no_link_of_another_users() {
    lab(|| {
        let run = |script: &str| {
            let output = Command::new("sh").args(["-ec", script]).output().unwrap();
            assert!(output.status.success(), "{script}: {output:?}");
        };
        let key = Key::new("k");
        run(
            "mount -t tmpfs -o mode=0755 tmpfs /srv && mkdir -p /srv/victim/.ssh /srv/good/.ssh \
             /srv/open /srv/sticky && chmod 0777 /srv/open && chmod 1777 /srv/sticky && ln -s good \
             /srv/link && ln -s link/../good /srv/up",
        );
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        let sync = |home: &str, extra: &str| {
            std::fs::write(
                "/etc/passwd",
                format!("{passwd}toor:x:0:0::{home}:/bin/sh\n"),
            )
            .unwrap();
            let setup = Setup::new().account("toor", extra);
            setup.publish_keys(&[&key]);
            setup.run(["sync"])
        };
        for (made, home, named) in [
            // Below a user's home, as a directory of root's, and as the link that the user puts
            // there.
            (
                "mkdir -p /home/alice/toor/.ssh",
                "/home/alice/toor",
                "/home/alice belongs to uid 60001",
            ),
            (
                "rm -r /home/alice/toor && ln -s /srv/victim /home/alice/toor",
                "/home/alice/toor",
                "/home/alice belongs",
            ),
            // Root's own link, that leads through a user's.
            (
                "ln -s /home/alice/toor /srv/through",
                "/srv/through",
                "/home/alice belongs",
            ),
            (
                "ln -s ../home/alice/toor/x /srv/relative && mkdir /srv/victim/x",
                "/srv/relative",
                "/home/alice belongs",
            ),
            (
                "mkdir /srv/open/toor",
                "/srv/open/toor",
                "/srv/open can be written by others (mode 0777)",
            ),
            (
                "mkdir /srv/sticky/toor",
                "/srv/sticky/toor",
                "/srv/sticky can be written by others (mode 1777)",
            ),
            (
                "mkdir /srv/given && chown alice /srv/given",
                "/srv/given",
                "/srv/given belongs to uid 60001",
            ),
            (
                "mkdir -p /srv/group && chgrp bob /srv/group && chmod g+w /srv/group",
                "/srv/group",
                "(mode 0775)",
            ),
            (
                "mkdir -p /srv/ssh/.ssh && chown alice /srv/ssh/.ssh",
                "/srv/ssh",
                "/srv/ssh/.ssh belongs to uid 60001",
            ),
        ] {
            run(made);
            sync(home, "").fails(1, &[&["account toor is root", named, "usermod --home"]]);
            let found = Command::new("find")
                .args(["/srv", "/home/alice/toor/", "-name", "*authorized_keys*"])
                .output();
            assert_eq!(
                String::from_utf8_lossy(&found.unwrap().stdout),
                "",
                "{home}"
            );
        }
        sync("/home/alice/toor", "layout = \"system\"").succeeds();
        for home in ["/srv/good", "/srv/link", "/srv/up"] {
            sync(home, "").succeeds();
            assert!(
                std::fs::metadata("/srv/good/.ssh/authorized_keys").is_ok(),
                "{home}"
            );
            std::fs::remove_file("/srv/good/.ssh/authorized_keys").unwrap();
        }
    });
}

#[test]
fn output_that_did_not_arrive_is_a_failure() {
    let full = || {
        std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    lab(|| {
        let setup = Setup::for_user("alice");
        setup.publish_keys(&[&Key::new("k")]);
        for arguments in [&["sync", "--json"][..], &["sync"], &["check", "--json"]] {
            let mut command = setup.command();
            command.args(arguments);
            assert_eq!(
                command.stdout(full()).output().unwrap().status.code(),
                Some(1),
                "{arguments:?}"
            );
        }
    });
}

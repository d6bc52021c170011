//! Further rows of docs/failures.md, end to end: who an account is, who else writes its file, and
//! what policy holds.

use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use authkeys_testing::{Key, Setup, authorized_keys, install, lab, login, tree};

/// Gives an account of the lab another home, as a directory service might.
fn move_home(user: &str, home: &str) {
    let text = std::fs::read_to_string("/etc/passwd").unwrap();
    let old = format!(":/home/{user}:");
    assert!(text.contains(&old));
    // In place: the file is a mount of its own.
    std::fs::write("/etc/passwd", text.replace(&old, &format!(":{home}:"))).unwrap();
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of alice's; ended when dropped.
fn as_alice(script: &str) -> Ended {
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=alice",
        "--regid=alice",
        "--clear-groups",
        "sh",
        "-c",
        script,
    ]);
    Ended(
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    )
}

#[test]
fn f21_the_home_is_where_the_directory_service_says() {
    lab(|| {
        let key = Key::new("k");
        let home = "/home/far away/al ice";
        std::fs::create_dir_all(home).unwrap();
        chown(home, Some(60_001), Some(60_001)).unwrap();
        move_home("alice", home);
        let setup = Setup::for_alice_and_bob(&[&key]);
        let before = tree(Path::new("/home/alice"));
        setup.run(["sync"]).succeeds();
        assert!(
            Path::new(home).join(".ssh/authorized_keys").exists()
                && login("alice", &key)
                && login("bob", &key)
        );
        assert_eq!(
            tree(Path::new("/home/alice")),
            before,
            "the home that it looks like is not touched"
        );
        setup.run(["check"]).succeeds();

        let setup = setup.account("no-such-account", "");
        std::fs::remove_file(authorized_keys("bob")).unwrap();
        let run = setup.run(["sync"]);
        run.fails(1, &[&["no-such-account", "create it, or take it out"]]);
        assert!(
            run.stdout.contains("\nno-such-account: failed"),
            "{}",
            run.stdout
        );
        assert!(login("bob", &key), "he goes on");
        move_home("bob", "/home/bob/gone");
        setup.run(["sync"]).fails(
            1,
            &[
                &["/home/bob/gone", "make it (`install -d -o bob"],
                &["no-such-account"],
            ],
        );
        assert!(
            !Path::new("/home/bob/gone").exists(),
            "a home is never made"
        );
    });
}

#[test]
fn a_home_that_is_the_root_directory_is_nobodys_own() {
    lab(|| {
        let key = Key::new("k");
        let setup = Setup::for_alice_and_bob(&[&key]);
        std::os::unix::fs::symlink("/", "/home/way").unwrap();
        move_home("alice", "/");
        for (home, words) in [
            ("/", "its home is `/`"),
            ("/home/way", "the home leads to `/`"),
        ] {
            let text = std::fs::read_to_string("/etc/passwd").unwrap();
            let moved: Vec<String> = text
                .lines()
                .map(|line| match line.split(':').collect::<Vec<_>>()[..] {
                    ["alice", x, uid, gid, name, _, shell] => {
                        ["alice", x, uid, gid, name, home, shell].join(":")
                    }
                    _ => line.to_owned(),
                })
                .collect();
            std::fs::write("/etc/passwd", moved.join("\n") + "\n").unwrap();
            setup
                .run(["sync"])
                .fails(1, &[&[words, "nobody's own", "layout = \"system\""]]);
            assert!(
                !Path::new("/.ssh").exists() && login("bob", &key),
                "he goes on"
            );
        }
    });
}

#[test]
fn an_account_without_a_home_is_told_what_to_do_and_needs_none_in_the_system_layout() {
    lab(|| {
        let key = Key::new("k");
        move_home("alice", "");
        let setup = Setup::for_alice_and_bob(&[&key]);
        setup.run(["sync"]).fails(
            1,
            &[&[
                "account alice",
                "has no home",
                "usermod --home",
                "layout = \"system\"",
            ]],
        );
        assert!(login("bob", &key));
        let setup = Setup::new().account("alice", "layout = \"system\"");
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
    });
}

#[test]
fn f22_no_line_of_another_writer_is_lost() {
    lab(|| {
        let keys = [Key::new("even"), Key::new("odd")];
        let setup = Setup::for_alice_and_bob(&[&keys[0]]);
        setup.run(["sync"]).succeeds();
        let appender = as_alice(
            "i=0; while :; do i=$((i+1)); echo \"# line $i of alice\" >> \
             /home/alice/.ssh/authorized_keys; sleep 0.01; done",
        );
        let mut done = 0;
        for turn in 0..40 {
            setup.publish_keys(&[&keys[turn % 2]]);
            let before = std::fs::read_to_string(authorized_keys("alice")).unwrap();
            let run = setup.run(["sync"]);
            let after = std::fs::read_to_string(authorized_keys("alice")).unwrap();
            let (complete, _) = before.rsplit_once('\n').unwrap();
            for line in complete.lines().filter(|line| line.ends_with("of alice")) {
                assert!(
                    after.lines().any(|found| found == line),
                    "{line:?} was lost in turn {turn}"
                );
            }
            match run.status {
                0 => done += 1,
                // Again and again before the rename, or just behind it.
                _ if run.stderr.contains("not what was just written") => {
                    run.fails(1, &[&["find the other program"]])
                }
                _ => run.fails(
                    1,
                    &[&["somebody else keeps writing it", "stop the other writer"]],
                ),
            }
        }
        assert!(done > 0, "only {done} of 40");
        drop(appender);
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &keys[1]) && !login("alice", &keys[0]) && login("bob", &keys[1]));
    });
}

#[test]
fn f22_the_lock_of_update_ssh_keys_is_waited_for_but_not_for_ever() {
    lab(|| {
        let (one, two) = (Key::new("one"), Key::new("two"));
        let setup = Setup::for_alice_and_bob(&[&one]);
        let hold = |seconds: &str| {
            let holder = as_alice(&format!(
                "exec flock /home/alice/.authorized_keys.d.lock sh -c 'touch /home/alice/held; \
                 sleep {seconds}; rm /home/alice/held'"
            ));
            let begun = Instant::now();
            while !Path::new("/home/alice/held").exists() {
                assert!(begun.elapsed() < Duration::from_secs(10));
                std::thread::sleep(Duration::from_millis(10));
            }
            holder
        };
        let holder = hold("1");
        setup.run(["sync"]).succeeds();
        assert!(
            !Path::new("/home/alice/held").exists(),
            "it waited for the other program's end"
        );
        assert!(login("alice", &one));
        drop(holder);

        // What the holder of the lock wrote while we waited, the file already read, is not
        // overwritten.
        let (own, holder) = (Key::new("own"), hold("3"));
        setup.publish_keys(&[&two]);
        let run = setup
            .command()
            .arg("sync")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(500));
        assert!(Path::new("/home/alice/held").exists());
        let mut file = std::fs::File::options()
            .append(true)
            .open(authorized_keys("alice"))
            .unwrap();
        file.write_all(format!("{}\n", own.line).as_bytes())
            .unwrap();
        assert!(Ended(run).0.wait().unwrap().success());
        assert!(login("alice", &own) && login("alice", &two) && !login("alice", &one));
        drop(holder);
        setup.publish_keys(&[&one]);
        setup.run(["sync"]).succeeds();

        let holder = hold("60");
        setup.publish_keys(&[&two]);
        let begun = Instant::now();
        setup.run(["sync"]).fails(
            1,
            &[&[
                "/home/alice/.authorized_keys.d.lock",
                "locked",
                "update-ssh-keys",
            ]],
        );
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "{:?}",
            begun.elapsed()
        );
        assert!(login("alice", &one) && login("bob", &two));
        drop(holder);
    });
}

#[test]
fn f24_no_two_accounts_share_a_file() {
    lab(|| {
        let key = Key::new("k");
        let mut setup = Setup::for_user("alice").account("bob", "");
        setup.publish_keys(&[&key]);
        for account in &mut setup.accounts {
            account.extra = "file = \"/etc/ssh/everybody\"".to_owned();
        }
        let run = setup.run(["sync"]);
        assert!(
            run.status == 78 && run.stderr.contains("another account has the same file"),
            "{run:?}"
        );
        for account in &mut setup.accounts {
            account.extra.clear();
        }
        // Not seen in the configuration: the directory service gives both the same home.
        move_home("bob", "/home/alice");
        let before = tree(Path::new("/home"));
        setup.run(["sync"]).fails(
            1,
            &[&[
                "/home/alice/.ssh/authorized_keys",
                "share this file",
                "give each its own",
            ]],
        );
        let run = setup.run(["check"]);
        assert!(
            run.status == 1 && run.stdout.contains("has the same file"),
            "{run:?}"
        );
        assert_eq!(tree(Path::new("/home")), before);
    });
}

#[test]
fn f35_policy_holds_a_text_that_lost_its_end_at_a_line_and_a_set_that_is_too_small() {
    lab(|| {
        let keys = [Key::new("a"), Key::new("b"), Key::new("c"), Key::new("d")];
        let all: Vec<&Key> = keys.iter().collect();
        let setup = Setup::for_alice_and_bob(&all)
            .tables("[policy]\nmin_keys = 2\nmax_removals = \"30%\"\n");
        setup.run(["sync"]).succeeds();
        let before = tree(Path::new("/home"));
        setup.publish_keys(&all[..2]);
        let held = [
            &["account alice", "2 of 4 keys", "max_removals"][..],
            &["account bob", "2 of 4 keys", "max_removals"],
        ];
        let run = setup.run(["sync"]);
        run.fails(1, &held);
        assert!(
            run.stdout.contains("(the new document was refused)"),
            "{}",
            run.stdout
        );
        assert_eq!(tree(Path::new("/home")), before);
        // The set that was accepted before goes on being enforced.
        install("alice", b"");
        setup.run(["sync"]).fails(1, &held);
        assert!(
            all.iter()
                .all(|key| login("alice", key) && login("bob", key))
        );

        setup.publish_keys(&all[..1]);
        setup.run(["sync"]).fails(
            1,
            &[
                &["account alice", "min_keys asks for 2"],
                &["account bob", "min_keys"],
            ],
        );
        setup.publish_keys(&all[..3]);
        setup.run(["sync"]).succeeds();
        assert!(!login("alice", all[3]) && !login("bob", all[3]) && login("bob", all[2]));
    });
}

#[test]
fn f35_a_fresh_node_is_held_by_min_keys_too() {
    lab(|| {
        let (own, key) = (Key::new("own"), Key::new("k"));
        install("alice", format!("{}\n", own.line).as_bytes());
        let setup = Setup::new()
            .account("alice", "mode = \"exclusive\"")
            .account("bob", "");
        let setup = setup.tables("[policy]\nmin_keys = 2\n");
        setup.publish_keys(&[&key]);
        let before = tree(Path::new("/home"));
        setup.run(["sync"]).fails(
            1,
            &[&["account alice", "min_keys"], &["account bob", "min_keys"]],
        );
        assert_eq!(tree(Path::new("/home")), before);
        setup.publish_keys(&[&key, &Key::new("l")]);
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &key) && !login("alice", &own));
        let kept = setup.state_dir().join(PathBuf::from("replaced-alice"));
        assert_eq!(
            std::fs::read_to_string(kept).unwrap(),
            format!("{}\n", own.line),
            "what was replaced is kept"
        );
    });
}

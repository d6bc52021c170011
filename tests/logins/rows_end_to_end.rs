//! Rows of docs/failures.md, end to end: the built program as root, alice in trouble, bob served
//! all the same, and a real sshd that says who gets in.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use authkeys_testing::{
    Key, KeyType, Setup, authorized_keys, install, lab, login, sshd_accepts, tree,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const ALICE: u32 = 60_001;
const BOB: u32 = 60_002;

/// alice cannot be served: exit 1 and one line with these words. bob gets the key. All of it in
/// reasonable time.
#[track_caller]
fn only_alice_fails(setup: &Setup, key: &Key, words: &[&str]) {
    let begun = Instant::now();
    let run = setup.run(["sync"]);
    run.fails(1, &[words]);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        run.stdout
            .contains("alice /home/alice/.ssh/authorized_keys: failed, left as it is"),
        "{}",
        run.stdout
    );
    assert!(login("bob", key), "bob goes on");
}

fn read(user: &str) -> String {
    std::fs::read_to_string(authorized_keys(user)).unwrap()
}

fn tool(name: &str, arguments: &[&str]) -> bool {
    Command::new(name)
        .args(arguments)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap()
        .success()
}

fn mode(path: impl AsRef<Path>, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn f02_a_full_disk_keeps_the_old_keys_and_heals() {
    lab(|| {
        let (old, new) = (Key::new("old"), Key::new("new"));
        assert!(tool(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                "size=64k,mode=755,uid=60001,gid=60001",
                "tmpfs",
                "/home/alice"
            ]
        ));
        let setup = Setup::for_alice_and_bob(&[&old]);
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &old));
        // Fills the last byte.
        let _ = std::fs::write("/home/alice/filler", vec![b'x'; 1 << 20]);
        let before = tree(Path::new("/home/alice"));

        setup.publish_keys(&[&new]);
        only_alice_fails(
            &setup,
            &new,
            &[
                "/home/alice/.ssh/",
                "disk is full",
                "No space left on device",
            ],
        );
        let after = tree(Path::new("/home/alice"));
        let file = authorized_keys("alice");
        assert_eq!(after[&file], before[&file]);
        assert_eq!(
            after.len(),
            before.len(),
            "no half-written file stays behind"
        );
        assert!(login("alice", &old) && !login("alice", &new) && !login("bob", &old));

        std::fs::remove_file("/home/alice/filler").unwrap();
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &new) && !login("alice", &old));
    });
}

#[test]
fn f03_a_last_line_without_a_line_feed_is_not_glued_to_ours() {
    lab(|| {
        let (own, new) = (Key::new("own"), Key::new("new"));
        install("alice", own.line.as_bytes());
        let setup = Setup::for_alice_and_bob(&[&new]);
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &own) && login("alice", &new) && login("bob", &new));
        assert!(read("alice").starts_with(&format!("{}\n# BEGIN", own.line)));
    });
}

#[test]
fn f05_lines_of_the_users_own_keep_their_bytes_and_their_restrictions() {
    lab(|| {
        let [here, away, plain, new] = ["here", "away", "plain", "new"].map(Key::new);
        let foreign = format!(
            "# alice's  own\n\n\tfrom=\"127.0.0.1,::1\",no-pty   {}  \nfrom=\"10.9.8.7\" {}\r\n{}\n not a key \u{1}\n",
            here.line, away.line, plain.line
        );
        install("alice", foreign.as_bytes());
        assert!(login("alice", &here) && !login("alice", &away));
        let setup = Setup::for_alice_and_bob(&[&new]);
        for _ in 0..2 {
            setup.run(["sync"]).succeeds();
            assert!(
                read("alice").starts_with(&format!("{foreign}# BEGIN authkeysd\n")),
                "{}",
                read("alice")
            );
            assert!([&here, &plain, &new].iter().all(|key| login("alice", key)));
            assert!(!login("alice", &away) && login("bob", &new) && !login("bob", &here));
        }
        // Also when our own block goes again.
        setup.publish("{\"version\": 1, \"keys\": []}");
        let setup = setup.tables("[policy]\nmin_keys = 0\n");
        setup.run(["sync"]).succeeds();
        assert!(
            read("alice").starts_with(&foreign) && login("alice", &here) && !login("alice", &new)
        );
    });
}

#[test]
fn f06_every_type_of_key_logs_in() {
    lab(|| {
        let keys = KeyType::ALL.map(|key_type| Key::of_type(key_type, "k"));
        let setup = Setup::for_alice_and_bob(&keys.each_ref());
        setup.run(["sync"]).succeeds();
        for key in &keys {
            assert!(
                login("alice", key) && login("bob", key),
                "{}",
                key.type_word()
            );
        }
    });
}

/// The lines in other coats that some sshd takes for the same RSA key.
fn coats(key: &Key) -> Vec<Vec<u8>> {
    let blob = STANDARD.decode(key.base64()).unwrap();
    let mut fields = Vec::new();
    let mut rest = blob.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (field, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        fields.push(field.to_vec());
        rest = after;
    }
    fields[2].insert(0, 0);
    let zero: Vec<u8> = fields
        .iter()
        .flat_map(|f| [&(f.len() as u32).to_be_bytes()[..], f].concat())
        .collect();
    let (head, tail) = key.base64().split_at(20);
    [
        format!("ssh-rsa {} leading-zero", STANDARD.encode(zero)),
        format!("rsa-sha2-512 {} other-word", key.base64()),
        format!("ssh-rsa {head}\u{b}{tail} vertical-tab"),
        format!("  \tno-pty,from=\"127.0.0.1\"\t{}", key.line),
        format!("{}\r", key.bare()),
    ]
    .map(String::into_bytes)
    .to_vec()
}

#[test]
fn f09_a_revoked_key_is_gone_from_hundreds_of_lines_and_in_every_coat() {
    lab(|| {
        let (own, new, ours, rsa) = (
            Key::new("own"),
            Key::new("new"),
            Key::new("ours"),
            Key::of_type(KeyType::Rsa2048, "rsa"),
        );
        let taken = coats(&rsa)
            .iter()
            .filter(|coat| sshd_accepts(coat, &rsa))
            .count();
        assert!(
            taken >= 3,
            "only {taken} of the coats mean anything to this sshd"
        );

        let setup = Setup::for_alice_and_bob(&[&ours]);
        setup.run(["sync"]).succeeds();
        let mut text = format!("{}\n", own.line).into_bytes();
        for at in 0..300 {
            text.extend(format!("{} copy-{at}\nno-pty {}\n", ours.bare(), ours.line).bytes());
        }
        for coat in coats(&rsa) {
            text.extend([coat, b"\n".to_vec()].concat());
        }
        install("alice", &text);
        assert!(login("alice", &rsa) && login("alice", &ours));
        // One was installed by us and left the set, the other was never ours and is revoked by
        // name.
        setup.publish(format!(
            "{{\"version\": 1, \"keys\": [{{\"public_key\": \"{}\"}}], \"revoked\": [\"{}\"]}}",
            new.line,
            rsa.fingerprint()
        ));
        let run = setup.run(["sync"]);
        run.succeeds();
        assert!(!login("alice", &rsa) && !login("alice", &ours) && !login("bob", &ours));
        assert!(login("alice", &own) && login("alice", &new) && login("bob", &new));
        let head = format!(
            "# managed by authkeysd from {}: changes between these lines are overwritten",
            setup.source
        );
        assert_eq!(
            read("alice"),
            format!(
                "{}\n# BEGIN authkeysd\n{head}\n{}\n# END authkeysd\n",
                own.line, new.line
            )
        );
        for key in [&rsa, &ours] {
            assert_eq!(
                run.stdout
                    .matches(&format!("- {}", key.fingerprint()))
                    .count(),
                if key.line == rsa.line { 1 } else { 2 }
            );
        }
    });
}

#[test]
fn f11_a_key_is_known_by_its_blob_and_no_copy_of_the_file_stays() {
    lab(|| {
        let (own, old, new) = (
            Key::new("rotation"),
            Key::new("rotation"),
            Key::new("rotation"),
        );
        install("alice", format!("{}\n", own.line).as_bytes());
        let setup = Setup::for_alice_and_bob(&[&old]);
        setup.run(["sync"]).succeeds();
        setup.publish_keys(&[&new]);
        setup.run(["sync"]).succeeds();
        assert!(
            login("alice", &own)
                && login("alice", &new)
                && !login("alice", &old)
                && login("bob", &new)
        );
        let left = tree(Path::new("/home/alice"));
        assert_eq!(
            left.len(),
            3,
            "home, .ssh, authorized_keys: {:?}",
            left.keys()
        );
    });
}

#[test]
fn f13_f14_no_link_of_the_user_is_followed() {
    lab(|| {
        let (key, bobs) = (Key::new("k"), Key::new("bobs"));
        let file = authorized_keys("alice");
        let setup = Setup::for_alice_and_bob(&[&key]);
        install("bob", format!("{}\n", bobs.line).as_bytes());
        let victims = Path::new("/etc/ssh/victims");
        std::fs::create_dir(victims).unwrap();
        std::fs::write(victims.join("shadow"), "root:*:1::::::\n").unwrap();
        mode(victims.join("shadow"), 0o600);
        let before = tree(victims);
        for target in [
            "/etc/ssh/victims/shadow",
            "/etc/ssh/victims/new",
            "/home/bob/.ssh/authorized_keys",
            "/proc/self/mem",
        ] {
            let _ = std::fs::remove_file(&file);
            symlink(target, &file).unwrap();
            std::os::unix::fs::lchown(&file, Some(ALICE), Some(ALICE)).unwrap();
            only_alice_fails(
                &setup,
                &key,
                &[
                    "/home/alice/.ssh/authorized_keys is a symbolic link",
                    "replace it",
                ],
            );
            assert_eq!(tree(victims), before, "{target}");
            assert_eq!(
                std::fs::read_link(&file).unwrap(),
                Path::new(target),
                "the link itself stays"
            );
        }
        assert!(login("bob", &bobs), "what was his own stays");

        std::fs::remove_dir_all("/home/alice/.ssh").unwrap();
        for target in ["/etc/ssh/victims", "/home/bob/.ssh", "/nowhere"] {
            let _ = std::fs::remove_file("/home/alice/.ssh");
            symlink(target, "/home/alice/.ssh").unwrap();
            let bob = tree(Path::new("/home/bob"));
            only_alice_fails(
                &setup,
                &key,
                &["/home/alice/.ssh is a symbolic link", "real directory"],
            );
            assert_eq!(
                (tree(victims), tree(Path::new("/home/bob"))),
                (before.clone(), bob),
                "{target}"
            );
        }
        std::fs::remove_file("/home/alice/.ssh").unwrap();
        setup.run(["sync"]).succeeds();
        assert!(
            login("alice", &key),
            "well again, in a directory of her own"
        );
    });
}

#[test]
fn f15_f16_a_fifo_a_directory_and_a_giant_are_named_at_once() {
    lab(|| {
        let key = Key::new("k");
        let (file, path) = (authorized_keys("alice"), "/home/alice/.ssh/authorized_keys");
        let setup = Setup::for_alice_and_bob(&[&key]);
        assert!(tool("mkfifo", &[path]));
        only_alice_fails(&setup, &key, &[path, "is a FIFO", "move it away"]);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        only_alice_fails(&setup, &key, &[path, "is a directory", "move it away"]);
        std::fs::remove_dir(&file).unwrap();
        std::fs::File::create(&file)
            .unwrap()
            .set_len(200 << 30)
            .unwrap();
        chown(&file, Some(ALICE), Some(ALICE)).unwrap();
        only_alice_fails(&setup, &key, &[path, "more than 1048576 bytes"]);
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 200 << 30);
        std::fs::remove_file(&file).unwrap();
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &key));
    });
}

#[test]
fn f18_f19_only_our_own_file_gets_owner_and_mode() {
    lab(|| {
        let (one, two) = (Key::new("one"), Key::new("two"));
        mode("/home/alice", 0o751);
        mode("/home/alice/.ssh", 0o755);
        chown("/home/alice", Some(0), Some(0)).unwrap();
        std::fs::remove_dir("/home/bob/.ssh").unwrap();
        mode("/home/bob", 0o700);
        let state = |path: &str| {
            let stat = std::fs::metadata(path).unwrap();
            (stat.uid(), stat.gid(), stat.mode() & 0o7777)
        };
        let paths = ["/home/alice", "/home/alice/.ssh", "/home/bob"];
        let before = paths.map(state);
        let setup = Setup::for_alice_and_bob(&[&one]);
        setup.run(["sync"]).succeeds();
        assert_eq!(paths.map(state), before);
        assert_eq!(
            state("/home/alice/.ssh/authorized_keys"),
            (ALICE, ALICE, 0o600)
        );
        assert_eq!(state("/home/bob/.ssh/authorized_keys"), (BOB, BOB, 0o600));
        assert_eq!(state("/home/bob/.ssh"), (BOB, BOB, 0o700));
        assert!(login("alice", &one) && login("bob", &one));

        // Drift of mode and owner is mended; what root changed and only root can read is named:
        // sshd cannot read it either.
        mode(authorized_keys("alice"), 0o666);
        let run = setup.run(["sync"]);
        run.repairs();
        assert!(
            run.stdout
                .contains("alice /home/alice/.ssh/authorized_keys: changed"),
            "{}",
            run.stdout
        );
        assert!(login("alice", &one) && paths.map(state) == before);
        chown(authorized_keys("alice"), Some(0), Some(0)).unwrap();
        setup.publish_keys(&[&two]);
        setup.run(["sync"]).succeeds();
        assert_eq!(
            state("/home/alice/.ssh/authorized_keys"),
            (ALICE, ALICE, 0o600)
        );
        assert!(login("alice", &two) && !login("alice", &one));
        std::fs::write(authorized_keys("alice"), read("alice") + "# root's\n").unwrap();
        chown(authorized_keys("alice"), Some(0), Some(0)).unwrap();
        setup.publish_keys(&[&one]);
        only_alice_fails(
            &setup,
            &one,
            &[
                "belongs to uid 0 with mode 0600",
                "`chown 60001 /home/alice/.ssh/authorized_keys",
            ],
        );
        chown(authorized_keys("alice"), Some(ALICE), Some(ALICE)).unwrap();
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &one) && !login("alice", &two) && paths.map(state) == before);
    });
}

#[test]
fn f20_flagged_files_and_read_only_homes_are_named_with_their_remedy() {
    lab(|| {
        let [first, other] = ["first", "other"].map(Key::new);
        let path = "/home/alice/.ssh/authorized_keys";
        let setup = Setup::for_alice_and_bob(&[&first]);
        setup.run(["sync"]).succeeds();
        let flagged: &[(&str, &str)] = &[("i", "immutable"), ("a", "append-only")];
        for (flag, word) in flagged {
            // tmpfs has the flags since Linux 6.6.
            if !tool("chattr", &[&format!("+{flag}"), path]) {
                assert!(
                    std::env::var("CI").as_deref() != Ok("true"),
                    "no flags on this kernel's tmpfs"
                );
                break;
            }
            setup.publish_keys(&[&other]);
            let before = tree(Path::new("/home/alice"));
            only_alice_fails(
                &setup,
                &other,
                &[path, word, &format!("chattr -{flag} {path}")],
            );
            assert_eq!(tree(Path::new("/home/alice")), before);
            assert!(login("alice", &first) && !login("bob", &first));
            assert!(tool("chattr", &[&format!("-{flag}"), path]));
            setup.run(["sync"]).succeeds();
            assert!(login("alice", &other) && !login("alice", &first));
            setup.publish_keys(&[&first]);
            setup.run(["sync"]).succeeds();
        }
        assert!(tool("mount", &["--bind", "/home/alice", "/home/alice"]));
        assert!(tool("mount", &["-o", "remount,bind,ro", "/home/alice"]));
        setup.publish_keys(&[&other]);
        only_alice_fails(
            &setup,
            &other,
            &["/home/alice/.ssh", "Read-only file system", "remount it"],
        );
        assert!(login("alice", &first));
        assert!(tool("umount", &["/home/alice"]));
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &other) && !login("alice", &first));
    });
}

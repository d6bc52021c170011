//! Full, read-only and flagged file systems: the old file stays, the error names the cause and the
//! remedy.

use std::fs;
use std::path::Path;

use authkeys_testing::{has, run, skipped, try_run, with_own_mounts};
use authkeysd::host::{Host, HostError, Node, Replaced, write_durable};

use crate::home::*;

const OLD: &[u8] = b"ssh-ed25519 AAAA old\n";
const NEW: &[u8] = b"ssh-ed25519 AAAA new\n";

fn tmpfs(options: &str, body: impl FnOnce(Home)) {
    let root = tempfile::tempdir().unwrap();
    run(
        "mount",
        &[
            "-t",
            "tmpfs",
            "-o",
            options,
            "tmpfs",
            root.path().to_str().unwrap(),
        ],
    );
    let home = Home::below(root.path()).with_ssh();
    home.put(&home.file(), OLD, 0o600);
    body(home);
    run("umount", &["-R", root.path().to_str().unwrap()]);
}

/// The step failed with all these words, the old file is as it was, and nothing lies beside it.
fn assert_intact(home: &Home, result: Result<Replaced, HostError>, words: &[&str]) {
    let text = chain(&result.unwrap_err());
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert_eq!(fs::read(home.file()).unwrap(), OLD);
    home.assert_owned(&home.file(), 0o600);
    assert_eq!(names(&home.path.join(".ssh")), ["authorized_keys"]);
}

#[test]
fn f02_a_full_disk_leaves_the_old_file_and_is_named() {
    with_own_mounts(|| {
        tmpfs("size=256k", |home| {
            let large = vec![b'x'; 400_000];
            assert_intact(
                &home,
                home.sync(&large),
                &["No space left on device", "the disk is full", FILE],
            );

            // Room for a part of the new file only.
            fs::write(home.outside.join("filler"), vec![b'x'; 200_000]).unwrap();
            assert_intact(
                &home,
                home.sync(&vec![b'k'; 100_000]),
                &["No space left on device"],
            );

            fs::remove_file(home.outside.join("filler")).unwrap();
            assert_eq!(
                home.sync(NEW).unwrap(),
                Replaced::Done,
                "it works again when there is room"
            );
        });
    });
}

#[test]
fn f02_a_disk_without_inodes_leaves_the_old_file_and_is_named() {
    with_own_mounts(|| {
        tmpfs("size=1m,nr_inodes=32", |home| {
            let mut number = 0;
            while fs::write(home.outside.join(format!("{number}")), b"").is_ok() {
                number += 1;
            }
            assert_intact(&home, home.sync(NEW), &["No space left on device", "df -i"]);
        });
    });
}

#[test]
fn f02_a_full_disk_leaves_our_own_state_as_it_was() {
    with_own_mounts(|| {
        tmpfs("size=256k", |home| {
            write_durable(&home.outside, "state", OLD, 0o600).unwrap();
            let text = chain(
                &write_durable(&home.outside, "state", &vec![b'x'; 400_000], 0o600).unwrap_err(),
            );
            assert!(text.contains("No space left on device"), "{text}");
            assert_eq!(fs::read(home.outside.join("state")).unwrap(), OLD);
            assert_eq!(names(&home.outside), ["state"]);
        });
    });
}

/// Sets each flag on the file, then on its directory, and expects the error that names flag and
/// remedy.
fn flags_are_named(home: &Home) {
    let ssh = home.path.join(".ssh");
    for (set, clear, word) in [("+i", "-i", "immutable"), ("+a", "-a", "append-only")] {
        for path in [home.file(), ssh.clone()] {
            let path = path.to_str().unwrap();
            if !try_run("chattr", &[set, path]) {
                return skipped("the file system knows no flags");
            }
            let result = home.sync(NEW);
            let again = home.sync(NEW);
            let at_rest = names(&ssh);
            run("chattr", &[clear, path]);
            assert_eq!(
                at_rest,
                ["authorized_keys"],
                "no temporary file that nobody could remove"
            );
            assert_intact(
                home,
                result,
                &[word, path, &format!("chattr {clear} {path}")],
            );
            assert!(again.is_err());
        }
    }
    assert_eq!(home.sync(NEW).unwrap(), Replaced::Done);
}

#[test]
fn f20_immutable_and_append_only_on_tmpfs_are_named_and_nothing_is_written() {
    with_own_mounts(|| {
        if has(&["chattr"]) {
            tmpfs("size=1m", |home| flags_are_named(&home));
        }
    });
}

#[test]
fn f20_immutable_and_append_only_on_ext4_are_named_and_nothing_is_written() {
    with_own_mounts(|| {
        if !has(&["chattr", "mkfs.ext4"]) {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let (image, root) = (
            directory.path().join("image"),
            directory.path().join("root"),
        );
        fs::create_dir(&root).unwrap();
        fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
        let (image, root) = (image.to_str().unwrap(), root.to_str().unwrap());
        run("mkfs.ext4", &["-q", image]);
        if !try_run("mount", &["-o", "loop", image, root]) {
            return skipped("no loop device can be mounted here");
        }
        let home = Home::below(Path::new(root)).with_ssh();
        home.put(&home.file(), OLD, 0o600);
        flags_are_named(&home);
        run("umount", &[root]);
    });
}

#[test]
fn f20_a_read_only_mount_is_named_and_the_old_file_stays_readable() {
    with_own_mounts(|| {
        tmpfs("size=1m", |home| {
            let path = home.path.to_str().unwrap();
            run("mount", &["--bind", path, path]);
            run("mount", &["-o", "remount,bind,ro", path]);
            assert_intact(
                &home,
                home.sync(NEW),
                &["Read-only file system", "mounted read-only", "remount"],
            );
            assert_eq!(
                Node::default()
                    .read(&home.target())
                    .unwrap()
                    .content
                    .unwrap(),
                OLD
            );
        });
    });
}

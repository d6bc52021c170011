//! What a user can put in the way of a privileged writer in his own home. As root it is done on
//! behalf of another uid.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use authkeys_testing::{STRANGER, as_stranger, has_root_and, is_root, try_run};
use authkeysd::host::{Host, HostError, Node, Place, Replaced, Stamp, Target};

use crate::home::*;

const KEYS: &[u8] = b"ssh-ed25519 AAAA new\n";

/// Neither read nor replace goes through the link, the error names it, and nothing outside has
/// changed.
fn assert_link_refused(home: &Home, below: &str, link: &Path) {
    let before = state(&home.outside);
    let target = home.target_at(below);
    for result in [
        Node::default().read(&target).map(|_| ()),
        Node::default()
            .replace(&target, &Stamp::absent(), KEYS)
            .map(|_| ()),
    ] {
        match result {
            Err(HostError::Link { path, .. }) => assert_eq!(path, link),
            // A link in the file's own place has appeared since the stamp: nothing is written
            // either.
            Ok(()) if link.ends_with(below) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(
        Node::default().read(&target),
        Err(HostError::Link { .. })
    ));
    assert_eq!(state(&home.outside), before);
    assert!(
        fs::symlink_metadata(link).unwrap().is_symlink(),
        "the link itself stays"
    );
}

fn state(directory: &Path) -> Vec<(String, u64, i64, i64, u32, Vec<u8>)> {
    names(directory)
        .into_iter()
        .map(|name| {
            let path = directory.join(&name);
            let found = fs::symlink_metadata(&path).unwrap();
            let content = if found.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            (
                name,
                found.ino(),
                found.ctime(),
                found.ctime_nsec(),
                found.mode(),
                content,
            )
        })
        .collect()
}

#[test]
fn f13_a_link_in_place_of_the_file_is_not_followed() {
    let home = Home::new().with_ssh();
    let victim = home.outside.join("shadow");
    fs::write(&victim, "root's own\n").unwrap();
    symlink(&victim, home.file()).unwrap();
    assert_link_refused(&home, FILE, &home.file());
}

#[test]
fn f13_a_dangling_link_makes_no_file_at_its_end() {
    let home = Home::new().with_ssh();
    symlink(home.outside.join("nologin"), home.file()).unwrap();
    assert_link_refused(&home, FILE, &home.file());
}

#[test]
fn f14_a_link_in_place_of_the_ssh_directory_is_not_followed() {
    let home = Home::new();
    home.put(
        &home.outside.join("authorized_keys"),
        b"somebody else's\n",
        0o600,
    );
    symlink(&home.outside, home.path.join(".ssh")).unwrap();
    assert_link_refused(&home, FILE, &home.path.join(".ssh"));
}

#[test]
fn f14_a_link_deeper_below_the_home_is_not_followed() {
    let home = Home::new();
    home.make_directory("a", 0o700);
    symlink(&home.outside, home.path.join("a/b")).unwrap();
    assert_link_refused(&home, "a/b/authorized_keys", &home.path.join("a/b"));
    assert_link_refused(&home, "a/b/c/authorized_keys", &home.path.join("a/b"));
}

#[test]
fn f13_a_link_that_appears_between_read_and_replace_is_not_followed() {
    let home = Home::new().with_ssh();
    home.put(&home.file(), b"old\n", 0o600);
    let seen = Node::default().read(&home.target()).unwrap();
    home.put(&home.outside.join("victim"), b"old\n", 0o600);
    fs::remove_file(home.file()).unwrap();
    symlink(home.outside.join("victim"), home.file()).unwrap();
    let before = state(&home.outside);
    let result = Node::default()
        .replace(&home.target(), &seen.stamp, KEYS)
        .unwrap();
    assert_eq!(result, Replaced::ChangedMeanwhile);
    assert_eq!(state(&home.outside), before);
}

#[test]
fn f13_paths_that_lead_out_of_the_home_are_refused() {
    let home = Home::new();
    for below in [
        "../outside/x",
        "/etc/shadow",
        "..",
        "",
        ".ssh/../../outside/x",
    ] {
        let result = Node::default().replace(&home.target_at(below), &Stamp::absent(), KEYS);
        assert!(
            matches!(result, Err(HostError::Path { .. })),
            "{below}: {result:?}"
        );
    }
    assert!(names(&home.outside).is_empty());
}

#[test]
fn f13_root_works_with_the_identity_of_the_account_and_not_with_its_own() {
    if !has_root_and(&[]) {
        return;
    }
    // The user's .ssh is a directory that he himself cannot write, but root's uid and root's groups
    // could: then nor can we on his behalf.
    let home = Home::new();
    fs::create_dir(home.path.join(".ssh")).unwrap();
    fs::set_permissions(home.path.join(".ssh"), fs::Permissions::from_mode(0o775)).unwrap();
    let error = home.sync(KEYS).unwrap_err();
    let text = chain(&error);
    assert!(
        text.contains("belongs to uid 0 with mode 0775") && text.contains("ermission denied"),
        "{text}"
    );
    assert!(names(&home.path.join(".ssh")).is_empty());
}

#[test]
fn f15_whatever_is_no_regular_file_is_named_at_once() {
    let node = Node::default();
    let home = Home::new().with_ssh();
    let begun = Instant::now();
    let expect = |kind: &str| {
        let text = node.read(&home.target()).unwrap_err().to_string();
        assert!(
            text.contains(kind) && text.contains("authorized_keys"),
            "{kind}: {text}"
        );
    };
    nix::unistd::mkfifo(&home.file(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    chown(home.file(), Some(home.uid), Some(home.gid)).unwrap();
    expect("FIFO");
    fs::remove_file(home.file()).unwrap();

    let socket = UnixListener::bind(home.file()).unwrap();
    expect("socket");
    drop(socket);
    fs::remove_file(home.file()).unwrap();

    fs::create_dir(home.file()).unwrap();
    expect("directory");
    fs::remove_dir(home.file()).unwrap();

    if is_root() && try_run("mknod", &[home.file().to_str().unwrap(), "c", "1", "5"]) {
        expect("character device");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "it blocked");
}

#[test]
fn f16_a_sparse_giant_is_refused_at_once() {
    let home = Home::new().with_ssh();
    home.put(&home.file(), b"", 0o600);
    File::options()
        .write(true)
        .open(home.file())
        .unwrap()
        .set_len(200 << 30)
        .unwrap();
    let begun = Instant::now();
    assert!(matches!(
        Node::default().read(&home.target()),
        Err(HostError::TooLarge { .. })
    ));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn f17_leftovers_are_swept_and_hostile_names_neither_block_nor_are_touched() {
    let home = Home::new().with_ssh();
    let ssh = home.path.join(".ssh");
    let stale = ssh.join(".authorized_keys.authkeysd-0123456789abcdef");
    home.put(&stale, b"ssh-ed25519 AAAA revoked\n", 0o600);
    let link = ".authorized_keys.authkeysd-1111111111111111";
    home.put(&home.outside.join("victim"), b"keep\n", 0o600);
    symlink(home.outside.join("victim"), ssh.join(link)).unwrap();
    let directory = ".authorized_keys.authkeysd-2222222222222222";
    home.make_directory(&format!(".ssh/{directory}"), 0o700);
    let foreign = ".authorized_keys.authkeysd-note";
    home.put(&ssh.join(foreign), b"mine\n", 0o600);

    assert_eq!(home.sync(KEYS).unwrap(), Replaced::Done);
    assert_eq!(names(&ssh), [link, directory, foreign, "authorized_keys"]);
    assert_eq!(fs::read(home.outside.join("victim")).unwrap(), b"keep\n");
    assert_eq!(fs::read(home.file()).unwrap(), KEYS);
}

#[test]
fn f17_a_file_that_another_process_is_writing_is_not_swept() {
    let home = Home::new().with_ssh();
    let busy = home
        .path
        .join(".ssh/.authorized_keys.authkeysd-0123456789abcdef");
    home.put(&busy, b"half", 0o600);
    let writer = File::open(&busy).unwrap();
    writer.lock().unwrap();
    Node::default().read(&home.target()).unwrap();
    assert!(busy.exists());
    // A program that another test starts at this moment holds the lock, too, until it has executed.
    drop(writer);
    let begun = Instant::now();
    while busy.exists() {
        assert!(begun.elapsed() < Duration::from_secs(5), "never swept");
        Node::default().read(&home.target()).unwrap();
    }
}

#[test]
fn f18_home_and_existing_directories_keep_owner_and_mode_and_new_ones_are_the_users() {
    let home = Home::new();
    assert_eq!(Node::default().read(&home.target()).unwrap().content, None);
    assert!(names(&home.path).is_empty(), "a read makes nothing");
    assert_eq!(home.sync(KEYS).unwrap(), Replaced::Done);
    home.assert_owned(&home.path, 0o750);
    home.assert_owned(&home.path.join(".ssh"), 0o700);
    home.assert_owned(&home.file(), 0o600);

    fs::set_permissions(home.path.join(".ssh"), fs::Permissions::from_mode(0o2775)).unwrap();
    chown(home.path.join(".ssh"), None, Some(home.gid)).unwrap();
    fs::set_permissions(home.path.join(".ssh"), fs::Permissions::from_mode(0o2775)).unwrap();
    assert_eq!(home.sync(b"next\n").unwrap(), Replaced::Done);
    home.assert_owned(&home.path.join(".ssh"), 0o2775);
    home.assert_owned(&home.file(), 0o600);
}

#[test]
fn f18_drift_of_owner_group_and_mode_is_seen_and_repaired() {
    let home = Home::new().with_ssh();
    home.put(&home.file(), KEYS, 0o664);
    let seen = Node::default().read(&home.target()).unwrap();
    assert!(seen.drifted);
    assert_eq!(
        Node::default()
            .replace(&home.target(), &seen.stamp, KEYS)
            .unwrap(),
        Replaced::Done
    );
    assert!(!Node::default().read(&home.target()).unwrap().drifted);
    if is_root() {
        chown(home.file(), Some(0), None).unwrap();
        fs::set_permissions(home.file(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Node::default().read(&home.target()).unwrap().drifted);
        home.sync(KEYS).unwrap();
        home.assert_owned(&home.file(), 0o600);
        chown(home.file(), None, Some(0)).unwrap();
        assert!(
            Node::default().read(&home.target()).unwrap().drifted,
            "the group alone"
        );
        home.sync(KEYS).unwrap();
        home.assert_owned(&home.file(), 0o600);
        assert!(!Node::default().read(&home.target()).unwrap().drifted);
    }
}

#[test]
fn f18_a_file_that_its_own_account_cannot_read_is_mended_where_something_may_be_written() {
    let home = Home::new().with_ssh();
    for mode in [0o000, 0o200, 0o070, 0o4111] {
        home.put(&home.file(), KEYS, mode);
        let mut looking = Node::default();
        looking.sweeps = false;
        assert!(
            matches!(
                looking.read(&home.target()),
                Err(HostError::Unreadable { .. })
            ),
            "{mode:o}"
        );
        home.assert_owned(&home.file(), mode);
        let seen = Node::default().read(&home.target()).unwrap();
        assert_eq!(
            (seen.content.as_deref(), seen.drifted),
            (Some(KEYS), true),
            "{mode:o}"
        );
        home.assert_owned(&home.file(), 0o600);
        fs::remove_file(home.file()).unwrap();
    }
    // Another name of the file is the same file, and somebody else's is not mended whatever its
    // name.
    if is_root() {
        home.put(&home.file(), b"root's own\n", 0o000);
        chown(home.file(), Some(0), Some(0)).unwrap();
        assert!(matches!(
            Node::default().read(&home.target()),
            Err(HostError::Unreadable { .. })
        ));
        let found = fs::metadata(home.file()).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0));
    }
}

#[test]
fn f19_a_file_that_sshd_could_not_read_as_the_user_is_named_with_its_repair() {
    if !has_root_and(&[]) {
        return;
    }
    let home = Home::new().with_ssh();
    home.put(&home.file(), b"old\n", 0o600);
    chown(home.file(), Some(0), Some(0)).unwrap();
    let text = Node::default()
        .read(&home.target())
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("belongs to uid 0 with mode 0600") && text.contains("chown 60001"),
        "{text}"
    );
}

#[test]
fn f13_a_system_path_through_a_directory_that_others_can_change_is_refused() {
    let home = Home::new();
    let root = home.path.parent().unwrap();
    let file = |path: &Path| {
        Target::new(
            home.account(),
            Place::System {
                path: path.to_owned(),
            },
        )
    };

    let good = root.join("authorized_keys.d/stranger");
    assert_eq!(Node::default().read(&file(&good)).unwrap().content, None);
    assert_eq!(sync(&file(&good), KEYS).unwrap(), Replaced::Done);
    let (found, parent) = (
        fs::metadata(&good).unwrap(),
        fs::metadata(good.parent().unwrap()).unwrap(),
    );
    let running = nix::unistd::geteuid().as_raw();
    assert_eq!((found.uid(), found.mode() & 0o7777), (running, 0o644));
    assert_eq!((parent.uid(), parent.mode() & 0o7777), (running, 0o755));

    let two_absent = sync(&file(&root.join("x/y/stranger")), KEYS);
    assert!(
        matches!(two_absent, Err(HostError::Io { .. })),
        "{two_absent:?}"
    );
    // Sticky or not: somebody else's file could be there first, and its lines would be kept.
    for mode in [0o775, 0o1777] {
        fs::set_permissions(good.parent().unwrap(), fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(sync(&file(&good), KEYS), Err(HostError::Untrusted { .. })),
            "{mode:o}"
        );
    }
    fs::set_permissions(good.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    symlink(good.parent().unwrap(), root.join("link")).unwrap();
    assert!(matches!(
        sync(&file(&root.join("link/stranger")), KEYS),
        Err(HostError::Link { .. })
    ));
    if is_root() {
        chown(&good, Some(STRANGER), None).unwrap();
        assert!(
            Node::default().read(&file(&good)).unwrap().drifted,
            "a stranger owns a file that grants access"
        );
        assert_eq!(sync(&file(&good), KEYS).unwrap(), Replaced::Done);
        assert_eq!(fs::metadata(&good).unwrap().uid(), 0);
        let result = sync(&file(&home.outside.join("stranger")), KEYS);
        assert!(
            matches!(result, Err(HostError::Untrusted { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn f21_accounts_come_from_nss_and_an_unknown_one_is_an_error_of_its_own() {
    let node = Node::default();
    let me = node.account(None).unwrap();
    assert_eq!(me.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(node.account(Some(&me.user)).unwrap(), me);
    let nobody = authkeys_core::user::UserName::parse("no-such-account-here").unwrap();
    assert!(matches!(
        node.account(Some(&nobody)),
        Err(HostError::UnknownAccount { .. })
    ));

    // A home that does not exist is never made, whatever its name.
    let mut target = Home::new().target();
    target.account.home = "/nonexistent/home/stranger".into();
    assert!(matches!(
        node.replace(&target, &Stamp::absent(), KEYS),
        Err(HostError::Io { .. })
    ));
}

#[test]
fn without_root_only_ones_own_account_is_served() {
    as_stranger(|| {
        let home = Home::new();
        assert_eq!(home.sync(KEYS).unwrap(), Replaced::Done);
        let mut target = home.target();
        target.account.uid += 1;
        assert!(matches!(
            Node::default().read(&target),
            Err(HostError::NotPermitted { .. })
        ));
    });
}

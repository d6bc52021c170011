//! Others write the same file: a person with an editor, update-ssh-keys with its lock.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use authkeys_testing::test_name;
use authkeysd::host::{Host, HostError, Node, Replaced, Stamp};

use crate::home::*;

const OLD: &[u8] = b"ssh-ed25519 AAAA old\n";
const NEW: &[u8] = b"ssh-ed25519 AAAA new\n";
const LOCK: &str = ".authorized_keys.d.lock";

fn home_with_file() -> Home {
    let home = Home::new().with_ssh();
    home.put(&home.file(), OLD, 0o600);
    home
}

fn assert_not_overwritten(home: &Home, seen: &Stamp) {
    let before = fs::read(home.file()).ok();
    assert_eq!(
        Node::default().replace(&home.target(), seen, NEW).unwrap(),
        Replaced::ChangedMeanwhile
    );
    assert_eq!(fs::read(home.file()).ok(), before);
    assert!(
        names(&home.path.join(".ssh"))
            .iter()
            .all(|name| name == "authorized_keys")
    );
    assert_eq!(
        home.sync(NEW).unwrap(),
        Replaced::Done,
        "after another read it goes"
    );
}

#[test]
fn f22_a_file_that_changed_since_it_was_read_is_not_overwritten() {
    let node = Node::default();

    let home = home_with_file();
    let seen = node.read(&home.target()).unwrap();
    home.put(
        &home.file(),
        b"ssh-ed25519 AAAA old\nssh-ed25519 AAAA of the user\n",
        0o600,
    );
    assert_not_overwritten(&home, &seen.stamp);

    // Replaced by one of the same content.
    let seen = node.read(&home.target()).unwrap();
    home.put(&home.outside.join("copy"), NEW, 0o600);
    fs::rename(home.outside.join("copy"), home.file()).unwrap();
    assert_not_overwritten(&home, &seen.stamp);

    // Rewritten in place with the same size, and its modification time put back.
    let seen = node.read(&home.target()).unwrap();
    let modified = fs::metadata(home.file()).unwrap().modified().unwrap();
    thread::sleep(Duration::from_millis(20));
    home.put(&home.file(), &NEW.to_ascii_uppercase(), 0o600);
    File::options()
        .write(true)
        .open(home.file())
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_not_overwritten(&home, &seen.stamp);

    let seen = node.read(&home.target()).unwrap();
    fs::remove_file(home.file()).unwrap();
    assert_not_overwritten(&home, &seen.stamp);

    let home = Home::new().with_ssh();
    home.put(&home.file(), OLD, 0o600);
    assert_not_overwritten(&home, &Stamp::absent());
}

#[test]
fn f22_a_lock_that_update_ssh_keys_holds_is_waited_for() {
    let home = home_with_file();
    let lock = home.path.join(LOCK);
    home.put(&lock, b"", 0o600);
    let held = File::open(&lock).unwrap();
    held.lock().unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| tell.send(home.sync(NEW)));
        assert!(
            told.recv_timeout(Duration::from_millis(300)).is_err(),
            "it did not wait"
        );
        assert_eq!(fs::read(home.file()).unwrap(), OLD);
        held.unlock().unwrap();
        assert_eq!(told.recv().unwrap().unwrap(), Replaced::Done);
    });
    assert_eq!(fs::read(home.file()).unwrap(), NEW);
    File::open(&lock).unwrap().try_lock().unwrap();
}

#[test]
fn f22_what_the_holder_of_the_lock_wrote_is_not_overwritten() {
    let home = home_with_file();
    let lock = home.path.join(LOCK);
    home.put(&lock, b"", 0o600);
    let held = File::open(&lock).unwrap();
    held.lock().unwrap();
    let node = Node::default();
    let seen = node.read(&home.target()).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| node.replace(&home.target(), &seen.stamp, NEW));
        thread::sleep(Duration::from_millis(300));
        home.put(&home.file(), b"of update-ssh-keys\n", 0o600);
        held.unlock().unwrap();
        assert_eq!(writer.join().unwrap().unwrap(), Replaced::ChangedMeanwhile);
    });
    assert_eq!(fs::read(home.file()).unwrap(), b"of update-ssh-keys\n");
}

#[test]
fn f22_a_lock_that_is_never_released_is_an_error_that_names_it() {
    let home = home_with_file();
    home.put(&home.path.join(LOCK), b"", 0o600);
    let held = File::open(home.path.join(LOCK)).unwrap();
    held.lock().unwrap();
    let mut node = Node::default();
    node.lock_wait = Duration::from_millis(100);
    let seen = node.read(&home.target()).unwrap();
    let error = node.replace(&home.target(), &seen.stamp, NEW).unwrap_err();
    assert!(
        matches!(&error, HostError::Locked { .. }) && error.to_string().contains(LOCK),
        "{error}"
    );
    assert_eq!(fs::read(home.file()).unwrap(), OLD);
    assert_eq!(names(&home.path.join(".ssh")), ["authorized_keys"]);
}

#[test]
fn f22_a_lock_that_is_a_link_or_a_fifo_is_refused_and_none_is_made() {
    let home = home_with_file();
    assert_eq!(home.sync(NEW).unwrap(), Replaced::Done);
    assert_eq!(names(&home.path), [".ssh"]);

    symlink(home.outside.join("elsewhere"), home.path.join(LOCK)).unwrap();
    assert!(matches!(home.sync(OLD), Err(HostError::Link { .. })));
    assert!(names(&home.outside).is_empty());
    fs::remove_file(home.path.join(LOCK)).unwrap();
    nix::unistd::mkfifo(&home.path.join(LOCK), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let begun = Instant::now();
    assert!(matches!(
        home.sync(OLD),
        Err(HostError::Kind { kind: "FIFO", .. })
    ));
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(fs::read(home.file()).unwrap(), NEW);
}

#[test]
fn f19_modes_do_not_depend_on_the_umask() {
    if let Some(root) = std::env::var_os("AUTHKEYSD_TEST_UMASK_HOME") {
        let home = Home::below(&PathBuf::from(root));
        assert_eq!(home.sync(NEW).unwrap(), Replaced::Done);
        return;
    }
    for umask in ["000", "077", "277"] {
        let root = tempfile::tempdir().unwrap();
        let status = Command::new("sh")
            .args([
                "-c",
                "umask \"$1\"; exec \"$2\" --exact \"$3\" --test-threads=1",
                "sh",
                umask,
            ])
            .arg(std::env::current_exe().unwrap())
            .arg(test_name(&f19_modes_do_not_depend_on_the_umask))
            .env("AUTHKEYSD_TEST_UMASK_HOME", root.path())
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "umask {umask}");
        for (below, wanted) in [("home/.ssh", 0o700), (&*format!("home/{FILE}"), 0o600)] {
            let found = fs::metadata(root.path().join(below))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777;
            assert_eq!(found, wanted, "umask {umask}: {below} {found:o}");
        }
    }
}

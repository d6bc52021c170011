//! A home on a file system that does not answer costs only its own account.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use authkeys_testing::{skipped, with_own_mounts};
use authkeysd::host::{Host, HostError, Node, Replaced};
use fuser::MountOption;

use crate::dead::{Dead, UpAtTheEnd};
use crate::home::*;

/// For a step that hangs. All others have the usual one.
const LIMIT: Duration = Duration::from_millis(300);
const OLD: &[u8] = b"ssh-ed25519 AAAA old\n";
const NEW: &[u8] = b"ssh-ed25519 AAAA new\n";

/// What becomes of a step that may last no longer than `LIMIT`.
fn hurried<T>(node: &mut Node, step: impl FnOnce(&Node) -> T) -> T {
    let usual = std::mem::replace(&mut node.limit, LIMIT);
    let came = step(node);
    node.limit = usual;
    came
}

#[test]
fn f37_a_home_on_a_dead_file_system_is_reported_in_time_and_other_accounts_go_on() {
    with_own_mounts(|| {
        if !Path::new("/dev/fuse").exists() {
            return skipped("it needs FUSE");
        }
        let dead = Home::new();
        let server = Dead::default();
        let session =
            fuser::spawn_mount2(server.clone(), &dead.path, &[MountOption::AllowOther]).unwrap();
        let up = UpAtTheEnd(server.clone());
        let mut node = Node::default();

        let hung = hurried(&mut node, |node| node.read(&dead.target())).unwrap_err();
        let text = hung.to_string();
        assert!(matches!(hung, HostError::Hung { .. }), "{text}");
        assert!(
            text.contains("stranger") && text.contains(FILE) && text.contains("300ms"),
            "{text}"
        );

        assert!(matches!(
            node.read(&dead.target()),
            Err(HostError::StillHung { .. })
        ));

        let alive = Home::new();
        let mut target = alive.target();
        target.account.user = authkeys_core::user::UserName::parse("other").unwrap();
        assert_eq!(node.read(&target).unwrap().content, None);

        server.come_up();
        let begun = Instant::now();
        while node.read(&dead.target()).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "never served again"
            );
            thread::sleep(Duration::from_millis(10));
        }
        drop(up);
        drop(session);
    });
}

#[test]
fn f37_a_step_that_was_given_up_does_not_publish_when_it_wakes_up() {
    let home = Home::new().with_ssh();
    home.put(&home.file(), OLD, 0o600);
    let lock = home.path.join(".authorized_keys.d.lock");
    home.put(&lock, b"", 0o600);
    let held = File::open(&lock).unwrap();
    held.lock().unwrap();

    let mut node = Node::default();
    let seen = node.read(&home.target()).unwrap();
    let replaced = hurried(&mut node, |node| {
        node.replace(&home.target(), &seen.stamp, NEW)
    });
    assert!(matches!(replaced, Err(HostError::Hung { .. })));
    held.unlock().unwrap();
    let begun = Instant::now();
    while node.read(&home.target()).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the step never ended"
        );
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fs::read(home.file()).unwrap(), OLD);
    assert_eq!(names(&home.path.join(".ssh")), ["authorized_keys"]);
    let seen = node.read(&home.target()).unwrap();
    assert_eq!(
        node.replace(&home.target(), &seen.stamp, NEW).unwrap(),
        Replaced::Done
    );
}

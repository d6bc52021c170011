//! An account whose home is on a dead server costs its own time limit, and nobody else's.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use authkeys_testing::{Key, Service, Setup, authorized_keys, eventually, lab, login, outcome_of};
use fuser::MountOption;
use nix::sys::signal::Signal;

use crate::dead::{Dead, UpAtTheEnd};

#[test]
fn f37_a_dead_home_delays_no_other_account_and_is_named_with_its_limit() {
    lab(|| {
        let key = Key::new("published");
        hold_bob_up("", &authorized_keys("bob"), &key);
        assert!(login("alice", &key));
    });
}

#[test]
fn f37_nor_does_a_dead_home_with_fragments_delay_other_fragments() {
    lab(|| {
        hold_bob_up(
            "layout = \"coreos\"",
            Path::new("/home/bob/.ssh/authorized_keys.d/authkeysd"),
            &Key::new("published"),
        );
    });
}

#[test]
fn f37_fragments_that_are_held_up_delay_no_other_layouts_write() {
    lab(|| {
        let key = Key::new("published");
        let setup = Setup::new()
            .account("bob", "layout = \"coreos\"")
            .account("alice", "");
        setup.publish_keys(&[&key]);
        // Whoever writes waits for this lock of update-ssh-keys, for 5 s at most.
        let path = "/home/bob/.authorized_keys.d.lock";
        let lock = File::create(path).unwrap();
        let bob = nix::unistd::User::from_name("bob").unwrap().unwrap();
        std::os::unix::fs::chown(path, Some(bob.uid.as_raw()), Some(bob.gid.as_raw())).unwrap();
        lock.lock().unwrap();
        let begun = Instant::now();
        let mut command = setup.command();
        let sync = std::thread::spawn(move || outcome_of(command.arg("sync")));
        eventually("alice's key", || authorized_keys("alice").exists());
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "she waited {:?}",
            begun.elapsed()
        );
        sync.join().unwrap().fails(1, &[&[path]]);
        assert!(
            begun.elapsed() > Duration::from_secs(4),
            "bob's lock held nobody up"
        );
    });
}

/// Where the status file and the metrics are: neither is worth a key, nor a stop.
#[test]
fn f54_files_of_reports_on_a_dead_file_system_hold_up_neither_keys_nor_a_stop() {
    lab(|| {
        for dead in ["metrics", "both"] {
            let [first, second] = ["first", "second"].map(Key::new);
            let mut setup = Setup::for_user("alice");
            let metrics = setup.path("metrics");
            std::fs::create_dir(&metrics).unwrap();
            std::fs::create_dir_all(setup.runtime_dir()).unwrap();
            setup.top = "schedule = \"1s\"".to_owned();
            setup.tables = format!(
                "[report]\nprometheus = \"{}/authkeysd.prom\"",
                metrics.display()
            );
            setup.publish_keys(&[&first]);
            let server = Dead::default();
            let places = match dead {
                "metrics" => vec![metrics],
                _ => vec![metrics, setup.runtime_dir()],
            };
            let mount = |place| {
                fuser::spawn_mount2(server.clone(), place, &[MountOption::AllowOther]).unwrap()
            };
            let sessions: Vec<_> = places.iter().map(mount).collect();
            let up = UpAtTheEnd(server.clone());

            // By hand: it waits a little, says what it could not write, and ends.
            let begun = Instant::now();
            let mut command = setup.command();
            let sync = std::thread::spawn(move || outcome_of(command.arg("sync")));
            let holds = |key: &Key| {
                std::fs::read_to_string(authorized_keys("alice"))
                    .unwrap_or_default()
                    .contains(key.base64())
            };
            eventually("the first key", || holds(&first));

            setup.publish_keys(&[&second]);
            let service = Service::start(&setup, |_| {});
            // The service, too, can only end when the file system answers.
            let up_before = UpAtTheEnd(server.clone());
            eventually("the second key", || holds(&second));
            setup.publish_keys(&[&first]);
            eventually("the first key again", || holds(&first) && !holds(&second));
            eventually("a word about it", || {
                service.log().contains("its file system does not answer")
            });
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{dead}: {:?}",
                begun.elapsed()
            );
            if dead == "metrics" {
                eventually("the same in the status", || {
                    let status = std::fs::read_to_string(setup.runtime_dir().join("status.json"));
                    status.is_ok_and(|status| status.contains("does not answer"))
                });
            }
            let begun = Instant::now();
            service.signal(Signal::SIGTERM);
            eventually("its last word", || service.log().contains("stopping"));
            assert!(
                begun.elapsed() < Duration::from_secs(9),
                "{dead}: {:?}",
                begun.elapsed()
            );
            assert_eq!(
                service.log().matches("does not answer").count(),
                sessions.len(),
                "{}",
                service.log()
            );
            // FUSE lets nobody go at the end of a process: only now can either end.
            server.come_up();
            let run = sync.join().unwrap();
            assert!(run.stderr.contains("does not answer"), "{dead}: {run:?}");
            drop((up_before, service, up, sessions));
        }
    });
}

/// A cycle in which bob's home hangs, and alice's does not; her keys are there when it ends.
fn hold_bob_up(account: &str, his: &Path, key: &Key) {
    assert!(Path::new("/dev/fuse").exists(), "it needs FUSE");
    // The dead one stands first.
    let setup = Setup::new()
        .account("bob", account)
        .account("alice", account);
    setup.publish_keys(&[key]);
    let server = Dead::default();
    let session =
        fuser::spawn_mount2(server.clone(), "/home/bob", &[MountOption::AllowOther]).unwrap();
    let up = UpAtTheEnd(server.clone());

    let begun = Instant::now();
    let mut command = setup.command();
    let sync = std::thread::spawn(move || outcome_of(command.arg("sync")));
    let hers = Path::new("/home/alice").join(his.strip_prefix("/home/bob").unwrap());
    eventually("alice's key", || hers.exists());
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "she waited {:?}",
        begun.elapsed()
    );
    let status = setup.runtime_dir().join("status.json");
    eventually("the end of the cycle", || status.exists());
    assert!(
        (9..60).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    // FUSE, unlike NFS, lets nobody go who waits for it, not even at the end of his process.
    server.come_up();
    let run = sync.join().unwrap();
    run.fails(1, &[&["account bob", &his.display().to_string(), "10s"]]);
    let lines: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.contains("/home/"))
        .collect();
    assert!(
        lines[0].starts_with("bob ") && lines[0].contains("failed"),
        "in the configuration's order: {run:#?}"
    );
    assert!(
        lines[1].starts_with("alice ") && lines[1].contains("changed, 1 key in force"),
        "{run:#?}"
    );
    drop(up);
    drop(session);
}

#[test]
fn f54_a_configuration_on_a_dead_file_system_holds_up_neither_keys_nor_a_stop() {
    lab(|| {
        let [first, second] = ["first", "second"].map(Key::new);
        let mut setup = Setup::for_user("alice");
        setup.top = "schedule = \"1s\"".to_owned();
        setup.publish_keys(&[&first]);
        let place = setup.path("dead");
        std::fs::create_dir(&place).unwrap();
        let server = Dead::default();
        let session =
            fuser::spawn_mount2(server.clone(), &place, &[MountOption::AllowOther]).unwrap();
        let up = UpAtTheEnd(server.clone());
        let service = Service::start(&setup, |_| {});
        let up_before = UpAtTheEnd(server.clone());
        let holds = |key: &Key| {
            std::fs::read_to_string(authorized_keys("alice"))
                .unwrap_or_default()
                .contains(key.base64())
        };
        eventually("the first key", || holds(&first));

        std::fs::remove_file(setup.config()).unwrap();
        std::os::unix::fs::symlink(place.join("config.toml"), setup.config()).unwrap();
        service.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        setup.publish_keys(&[&second]);
        eventually("the second key, by the old configuration", || {
            holds(&second)
        });
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "{:?}",
            begun.elapsed()
        );
        let refused = "configuration refused, the old one stays in force: it cannot be read: its \
                       file system does not";
        eventually("a word about it", || service.log().contains(refused));
        for _ in 0..3 {
            service.signal(Signal::SIGHUP);
            std::thread::sleep(Duration::from_millis(1_100));
        }
        let threads = std::fs::read_dir(format!("/proc/{}/task", service.pid())).unwrap();
        let names =
            threads.map(|one| std::fs::read_to_string(one.unwrap().path().join("comm")).unwrap());
        assert_eq!(
            names
                .filter(|name| name.starts_with("configuration"))
                .count(),
            1
        );
        let begun = Instant::now();
        service.signal(Signal::SIGTERM);
        eventually("its last word", || service.log().contains("stopping"));
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "{:?}",
            begun.elapsed()
        );
        server.come_up();
        drop((up_before, service, up, session));
    });
}

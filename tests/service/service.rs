//! The service as its manager sees it: readiness, status line, watchdog, signals, stops, windows,
//! the lock.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use authkeys_testing::{Key, Manager, Service, Setup, authorized_keys, eventually, lab, me};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Less than anything lasts that a stop or a reload might wait for.
pub(super) const WITHOUT_WAITING: Duration = Duration::from_secs(9);

/// One account, of the user who runs the tests, whose file is in the setup's directory; a schedule
/// of one second.
pub(super) fn setup() -> (Setup, PathBuf) {
    let mut setup = Setup::new();
    setup.top = "schedule = \"1s\"".to_owned();
    let file = setup.path("authorized_keys");
    let setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
    (setup, file)
}

pub(super) fn status(setup: &Setup) -> Value {
    serde_json::from_slice(&std::fs::read(setup.runtime_dir().join("status.json")).unwrap())
        .unwrap()
}

pub(super) fn holds(file: &Path, key: &Key) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.contains(key.base64())
}

fn talk(manager: &Manager, setup: &Setup) {
    let good = std::fs::read(setup.config()).unwrap();
    let service = Service::start(setup, |command| {
        command
            .env("NOTIFY_SOCKET", &manager.name)
            .env("WATCHDOG_USEC", "400000");
    });
    assert!(manager.hear().starts_with("STATUS="));
    let status = manager.hear_until("STATUS=");
    assert!(
        status.starts_with("STATUS=ok, 1 account, ") && status.contains("next at"),
        "{status}"
    );
    manager.hear_until("READY=1");
    for _ in 0..3 {
        manager.hear_until("WATCHDOG=1");
    }
    std::fs::write(setup.config(), "sorce = 1\n").unwrap();
    service.signal(Signal::SIGHUP);
    let reloading = manager.hear_until("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    // A cycle may end meanwhile.
    let refused = manager.hear_until("configuration refused");
    assert!(refused.contains("sorce"), "{refused}");
    manager.hear_until("READY=1");
    // It stays to be seen, while cycles go on.
    assert!(
        manager
            .hear_until("STATUS=")
            .contains("configuration refused")
    );
    std::fs::write(setup.config(), good).unwrap();
    service.signal(Signal::SIGHUP);
    manager.hear_until("RELOADING=1");
    manager.hear_until("READY=1");
    assert!(manager.hear_until("STATUS=").starts_with("STATUS=ok"));
    let log = service.log();
    assert!(
        log.contains("configuration refused") && log.contains("configuration reloaded"),
        "{log}"
    );
    let (code, took) = service.end(Signal::SIGTERM);
    assert!(
        code == Some(0) && took < WITHOUT_WAITING,
        "{code:?} after {took:?}"
    );
    manager.hear_until("STOPPING=1");
}

#[test]
fn the_manager_hears_all_on_a_path_and_on_an_abstract_name() {
    let (setup, _) = setup();
    setup.publish(Key::new("test").bare() + "\n");
    setup.write_config();
    talk(&Manager::at(&setup.path("notify")), &setup);
    talk(
        &Manager::named(&format!("authkeysd-test-{}", std::process::id())),
        &setup,
    );
}

#[test]
fn without_a_manager_a_missing_socket_or_a_faulty_configuration_are_no_riddles() {
    let (setup, file) = setup();
    let key = Key::new("test");
    setup.publish(key.bare() + "\n");
    let gone = setup.path("gone");
    let service = Service::start(&setup, |command| {
        command.env("NOTIFY_SOCKET", gone);
    });
    eventually("the key", || holds(&file, &key));
    assert!(
        service.log().contains("cannot reach the service manager"),
        "{}",
        service.log()
    );
    assert_eq!(service.end(Signal::SIGINT).0, Some(0));
    std::fs::write(setup.config(), "sorce = 1\n").unwrap();
    let run = authkeys_testing::authkeysd(["--config", setup.config().to_str().unwrap(), "run"]);
    assert_eq!(run.status, 78, "{}", run.stderr);
}

#[test]
fn ready_is_said_after_a_first_cycle_that_failed_too() {
    let (setup, _) = setup();
    let manager = Manager::at(&setup.path("notify"));
    let service = Service::start(&setup, |command| {
        command.env("NOTIFY_SOCKET", &manager.name);
    });
    manager.hear_until("STATUS=failed");
    assert_eq!(manager.hear(), "READY=1");
    drop(service);
}

#[test]
fn a_stop_does_not_wait_for_a_source_that_hangs_nor_does_a_reload() {
    let (mut setup, file) = setup();
    // It takes connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    setup.source = "s3://keys/k?region=eu-central-1".to_owned();
    for (name, value) in [
        (
            "AWS_ENDPOINT_URL",
            format!("http://{}", listener.local_addr().unwrap()),
        ),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "not-a-secret".to_owned()),
    ] {
        setup.environment.push((name.to_owned(), value));
    }
    let service = Service::start(&setup, |_| {});
    drop(listener.accept().unwrap());
    let asked = listener.accept().unwrap();
    let (code, took) = service.end(Signal::SIGTERM);
    assert!(
        code == Some(0) && took < WITHOUT_WAITING,
        "{code:?} after {took:?}"
    );
    drop(asked);

    let service = Service::start(&setup, |_| {});
    let _asked = listener.accept().unwrap();
    let key = Key::new("test");
    setup.source = format!("file:{}", setup.path("published").display());
    setup.publish(key.bare() + "\n");
    setup.write_config();
    let begun = Instant::now();
    service.signal(Signal::SIGHUP);
    eventually("the key from the new source", || holds(&file, &key));
    assert!(begun.elapsed() < WITHOUT_WAITING, "{:?}", begun.elapsed());
}

#[test]
fn f37_a_stop_does_not_wait_for_an_account_that_hangs() {
    lab(|| {
        let mut setup = Setup::for_user("alice").account("bob", "");
        setup.top = "schedule = \"1s\"".to_owned();
        let key = Key::new("test");
        setup.publish(key.bare() + "\n");
        // The write waits for this lock, for 5 s at most.
        let path = "/home/alice/.authorized_keys.d.lock";
        let lock = File::create(path).unwrap();
        let alice = nix::unistd::User::from_name("alice").unwrap().unwrap();
        std::os::unix::fs::chown(path, Some(alice.uid.as_raw()), Some(alice.gid.as_raw())).unwrap();
        lock.lock().unwrap();
        for reloads in [false, true] {
            let service = Service::start(&setup, |_| {});
            eventually("it takes signals", || service.log().contains("started"));
            std::thread::sleep(Duration::from_millis(700));
            if reloads {
                // It has to wait for the account, and a stop must not wait for it.
                service.signal(Signal::SIGHUP);
                std::thread::sleep(Duration::from_millis(100));
            }
            let (code, took) = service.end(Signal::SIGTERM);
            assert!(
                code == Some(0) && took < WITHOUT_WAITING,
                "{code:?} after {took:?}"
            );
            assert!(!authorized_keys("alice").exists());
        }

        // Left alone it costs its limit, and the other account has its key then.
        let service = Service::start(&setup, |_| {});
        eventually("bob's key", || holds(&authorized_keys("bob"), &key));
        eventually("the status", || {
            setup.runtime_dir().join("status.json").exists()
        });
        assert_eq!(status(&setup)["status"], "degraded");
        lock.unlock().unwrap();
        eventually("alice's key", || holds(&authorized_keys("alice"), &key));
        drop(service);
    });
}

#[test]
fn run_and_sync_take_turns() {
    let (setup, file) = setup();
    let key = Key::new("test");
    setup.publish(key.bare() + "\n");
    setup.write_config();
    let lock = setup.state_dir().join("lock");
    let held = File::create(&lock).unwrap();
    held.lock().unwrap();
    std::fs::set_permissions(&lock, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let service = Service::start(&setup, |_| {});
    std::thread::sleep(Duration::from_millis(500));
    assert!(!file.exists(), "it wrote although another cycle ran");
    held.unlock().unwrap();
    eventually("the key", || holds(&file, &key));
    for _ in 0..20 {
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 0, "{}", run.stderr);
    }
    assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
}

#[test]
fn a_window_opens_on_the_second_under_a_schedule_of_hours() {
    let (mut setup, file) = setup();
    setup.top = "schedule = \"6h\"".to_owned();
    let [old, new] = [Key::new("test"), Key::new("test")];
    let at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 10).unwrap();
    setup.publish(format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","not_after":"{at}"}},{{"public_key":"{}","not_before":"{at}"}}]}}"#,
        old.bare(),
        new.bare()
    ));
    let service = Service::start(&setup, |_| {});
    eventually("the old key", || holds(&file, &old));
    assert!(!holds(&file, &new) || jiff::Timestamp::now() >= at);
    eventually("the new key", || holds(&file, &new));
    let late = jiff::Timestamp::now().duration_since(at);
    println!("{late:#} late");
    assert!(!late.is_negative() && late.as_secs() < 20, "{late:#}");
    assert!(!holds(&file, &old));
    drop(service);
}

#[test]
fn an_expiry_is_told_in_its_second_and_not_at_the_next_fetch() {
    let (mut setup, _) = setup();
    setup.top = "schedule = \"1h\"".to_owned();
    let expires = jiff::Timestamp::now() + Duration::from_secs(10);
    let key = Key::new("k").line;
    setup.publish(format!(
        "{{\"version\": 1, \"expires\": \"{expires}\", \"keys\": [{{\"public_key\": \"{key}\"}}]}}"
    ));
    setup.write_config();
    let _service = Service::start(&setup, |_| {});
    let written = || setup.runtime_dir().join("status.json").exists();
    eventually("the expiry", || {
        written() && status(&setup)["sources"][0]["problem"] == "expired"
    });
    let told: jiff::Timestamp = status(&setup)["started"].as_str().unwrap().parse().unwrap();
    assert!(
        told >= expires && told.duration_since(expires) < jiff::SignedDuration::from_secs(20),
        "{told} {expires}"
    );
    assert_eq!(status(&setup)["status"], "stale");
}

//! The service as its manager sees it: readiness, status line, watchdog, signals, the lock, the status file.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use authkeys_testing::{Key, Manager, Service, Setup, authorized_keys, eventually, lab, me};
use nix::sys::signal::Signal;
use serde_json::Value;

const TWO_SECONDS: Duration = Duration::from_secs(2);

/// One account, of the user who runs the tests, whose file is in the setup's directory; a schedule of one second.
fn setup() -> (Setup, PathBuf) {
    let mut setup = Setup::new();
    setup.top = "schedule = \"1s\"".to_owned();
    let file = setup.path("authorized_keys");
    let setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
    (setup, file)
}

fn status(setup: &Setup) -> Value {
    serde_json::from_slice(&std::fs::read(setup.runtime_dir().join("status.json")).unwrap()).unwrap()
}

fn holds(file: &Path, key: &Key) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.contains(key.base64())
}

fn talk(manager: &Manager, setup: &Setup) {
    let good = std::fs::read(setup.config()).unwrap();
    let service = Service::start(setup, |command| {
        command.env("NOTIFY_SOCKET", &manager.name).env("WATCHDOG_USEC", "400000");
    });
    assert!(manager.hear().starts_with("STATUS="));
    let status = manager.hear();
    assert!(status.starts_with("STATUS=ok, 1 account, ") && status.contains("next at"), "{status}");
    assert_eq!(manager.hear(), "READY=1");
    for _ in 0..3 {
        manager.hear_until("WATCHDOG=1");
    }
    std::fs::write(setup.config(), "sorce = 1\n").unwrap();
    service.signal(Signal::SIGHUP);
    let reloading = manager.hear_until("RELOADING=1");
    assert!(reloading.contains("\nMONOTONIC_USEC="), "{reloading}");
    let refused = manager.hear_until("STATUS=");
    assert!(refused.contains("configuration refused") && refused.contains("sorce"), "{refused}");
    manager.hear_until("READY=1");
    // It stays to be seen, while cycles go on.
    assert!(manager.hear_until("STATUS=").contains("configuration refused"));
    std::fs::write(setup.config(), good).unwrap();
    service.signal(Signal::SIGHUP);
    manager.hear_until("RELOADING=1");
    manager.hear_until("READY=1");
    assert!(manager.hear_until("STATUS=").starts_with("STATUS=ok"));
    let log = service.log();
    assert!(log.contains("configuration refused") && log.contains("configuration reloaded"), "{log}");
    let (code, took) = service.end(Signal::SIGTERM);
    assert!(code == Some(0) && took < TWO_SECONDS, "{code:?} after {took:?}");
    manager.hear_until("STOPPING=1");
}

#[test]
fn the_manager_hears_all_on_a_path_and_on_an_abstract_name() {
    let (setup, _) = setup();
    setup.publish(Key::new("test").bare() + "\n");
    setup.write_config();
    talk(&Manager::at(&setup.path("notify")), &setup);
    talk(&Manager::named(&format!("authkeysd-test-{}", std::process::id())), &setup);
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
    assert!(service.log().contains("cannot reach the service manager"), "{}", service.log());
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
        ("AWS_ENDPOINT_URL", format!("http://{}", listener.local_addr().unwrap())),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "not-a-secret".to_owned()),
    ] {
        setup.environment.push((name.to_owned(), value));
    }
    let service = Service::start(&setup, |_| {});
    drop(listener.accept().unwrap());
    let asked = listener.accept().unwrap();
    let (code, took) = service.end(Signal::SIGTERM);
    assert!(code == Some(0) && took < TWO_SECONDS, "{code:?} after {took:?}");
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
    assert!(begun.elapsed() < TWO_SECONDS, "{:?}", begun.elapsed());
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
            std::thread::sleep(Duration::from_millis(700));
            if reloads {
                // It has to wait for the account, and a stop must not wait for it.
                service.signal(Signal::SIGHUP);
                std::thread::sleep(Duration::from_millis(100));
            }
            let (code, took) = service.end(Signal::SIGTERM);
            assert!(code == Some(0) && took < TWO_SECONDS, "{code:?} after {took:?}");
            assert!(!authorized_keys("alice").exists());
        }

        // Left alone it costs its limit, and the other account has its key then.
        let service = Service::start(&setup, |_| {});
        eventually("bob's key", || holds(&authorized_keys("bob"), &key));
        eventually("the status", || setup.runtime_dir().join("status.json").exists());
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
    let at = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 3).unwrap();
    setup.publish(format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","not_after":"{at}"}},{{"public_key":"{}","not_before":"{at}"}}]}}"#,
        old.bare(),
        new.bare()
    ));
    let service = Service::start(&setup, |_| {});
    eventually("the old key", || holds(&file, &old));
    assert!(!holds(&file, &new));
    eventually("the new key", || holds(&file, &new));
    let late = jiff::Timestamp::now().duration_since(at);
    assert!(!late.is_negative() && late.as_millis() < 500, "{late:#}");
    assert!(!holds(&file, &old));
    drop(service);
}

#[test]
fn status_is_good_only_when_fresh_and_ok() {
    let (setup, _) = setup();
    let run = setup.run(["status"]);
    assert_eq!((run.status, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
    assert!(run.stderr.contains("no cycle has ended yet"), "{}", run.stderr);
    let key = Key::new("test");
    setup.publish(key.bare() + "\n");
    assert_eq!(setup.run(["sync"]).status, 0);
    let run = setup.run(["status"]);
    assert!(run.status == 0 && run.stdout.starts_with("ok, ") && run.stderr.is_empty(), "{run:?}");
    let json: Value = serde_json::from_str(&setup.run(["status", "--json"]).stdout).unwrap();
    assert_eq!(json, status(&setup));
    assert_eq!(json["accounts"][0]["in_force"][0]["fingerprint"], key.fingerprint());
    std::thread::sleep(Duration::from_millis(20));
    let run = setup.run(["status", "--max-age", "0s"]);
    assert!(run.status == 1 && run.stderr.contains("is the service running?"), "{run:?}");
    setup.publish("nothing good");
    assert_eq!(setup.run(["sync"]).status, 1);
    let run = setup.run(["status"]);
    assert!(run.status == 1 && run.stdout.starts_with("stale, ") && run.stdout.contains("last ok at"), "{run:?}");
    let before = status(&setup);
    setup.run(["sync", "--dry-run"]);
    assert_eq!(status(&setup), before, "a dry run leaves no trace");
    assert_eq!(setup.run(["status", "--max-age", "soon"]).status, 64);
}

#[test]
fn status_says_when_the_service_was_stopped_or_killed() {
    let (setup, _) = setup();
    setup.publish_keys(&[&Key::new("k")]);
    setup.write_config();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let service = Service::start(&setup, |_| {});
        let json = || serde_json::from_str::<Value>(&setup.run(["status", "--json"]).stdout).unwrap_or_default();
        eventually("the service is seen", || json()["running"] == true && json()["status"] == "ok");
        // Between two cycles; while one runs it was due.
        eventually("a status between two cycles", || {
            let run = setup.run(["status"]);
            run.status == 0 && run.stdout.starts_with("ok, ") && run.stdout.contains(", next at")
        });
        service.end(signal);
        let run = setup.run(["status"]);
        assert!(run.status == 1 && run.stderr.contains("the service is not running"), "{run:?}");
        assert!(run.stdout.starts_with("the service is not running"), "{run:?}");
        assert!(!run.stdout.contains("next at"), "{run:?}");
        let run = setup.run(["status", "--json", "--max-age", "1h"]);
        let json: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((run.status, &json["running"]), (1, &Value::Bool(false)), "{run:?}");
    }
    // Who runs cycles by himself misses no service.
    setup.run(["sync"]).succeeds();
    let run = setup.run(["status"]);
    assert!(run.status == 0 && run.stdout.starts_with("ok, "), "{run:?}");
}

#[test]
fn a_runtime_directory_that_is_made_is_readable_for_monitors_whatever_the_umask() {
    let (setup, _) = setup();
    setup.publish_keys(&[&Key::new("k")]);
    let program = setup.command();
    std::fs::remove_dir(setup.runtime_dir()).unwrap();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "umask 077 && exec \"$@\"", "sh"])
        .arg(program.get_program())
        .args(program.get_args())
        .arg("sync");
    assert!(command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true").status().unwrap().success());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode(&setup.runtime_dir()), mode(&setup.runtime_dir().join("status.json"))], [0o755, 0o644]);
}

#[test]
fn an_expiry_is_told_in_its_second_and_not_at_the_next_fetch() {
    let (mut setup, _) = setup();
    setup.top = "schedule = \"1h\"".to_owned();
    let expires = jiff::Timestamp::now() + Duration::from_secs(3);
    let key = Key::new("k").line;
    setup.publish(format!("{{\"version\": 1, \"expires\": \"{expires}\", \"keys\": [{{\"public_key\": \"{key}\"}}]}}"));
    setup.write_config();
    let _service = Service::start(&setup, |_| {});
    let written = || setup.runtime_dir().join("status.json").exists();
    eventually("the expiry", || written() && status(&setup)["sources"][0]["problem"] == "expired");
    let told: jiff::Timestamp = status(&setup)["started"].as_str().unwrap().parse().unwrap();
    assert!(told >= expires && told.duration_since(expires) < jiff::SignedDuration::from_secs(2), "{told} {expires}");
    assert_eq!(status(&setup)["status"], "stale");
}

#[test]
fn f10_a_state_that_sync_cannot_use_is_what_status_tells() {
    let (setup, _) = setup();
    setup.publish_keys(&[&Key::new("k")]);
    setup.run(["sync"]).succeeds();
    setup.run(["status"]).succeeds();
    let (state, file) = (setup.state_dir(), setup.state_dir().join("state.json"));
    let (good, mode) = (std::fs::read(&file).unwrap(), Permissions::from_mode);
    let spoilt: [(&str, &dyn Fn()); 3] = [
        ("damaged", &|| std::fs::write(&file, "{").unwrap()),
        ("written by others", &|| std::fs::set_permissions(&state, mode(0o777)).unwrap()),
        ("move it away", &|| {
            std::fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink("/dev/null", &file).unwrap();
        }),
    ];
    for (word, spoil) in spoilt {
        spoil();
        // Nothing is written, so nothing is told either.
        setup.run(["sync", "--dry-run"]).fails(1, &[&[word]]);
        setup.run(["status"]).succeeds();
        let run = setup.run(["sync", "--json"]);
        run.fails(1, &[&[word]]);
        let told: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(told["status"], "failed");
        assert!(told["detail"].as_str().unwrap().contains(word), "{told}");
        assert_eq!(told["accounts"][0]["in_force"].as_array().unwrap().len(), 1, "they are what they were");
        setup.run(["status"]).fails(1, &[&[word]]);
        std::fs::set_permissions(&state, mode(0o700)).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &good).unwrap();
        setup.run(["sync"]).succeeds();
        setup.run(["status"]).succeeds();
    }
}

/// A document with a window each ten milliseconds.
fn crowded(keys: &[&Key], windows: i64) -> String {
    let start = jiff::Timestamp::now();
    let at = |number: i64| start + Duration::from_millis(u64::try_from(number * 10).unwrap());
    let line = &keys[0].line;
    let one = |number| format!("{{\"public_key\":\"{line}\",\"not_before\":\"{}\"}}", at(number));
    let all: Vec<String> = (0..windows).map(one).collect();
    let plain = keys.iter().map(|key| format!("{{\"public_key\":\"{}\"}}", key.line));
    format!("{{\"version\":1,\"keys\":[{}]}}", all.into_iter().chain(plain).collect::<Vec<_>>().join(","))
}

#[test]
fn f43_windows_of_one_source_keep_no_source_and_no_reload_waiting() {
    lab(|| {
        let [one, two, three] = ["one", "two", "three"].map(Key::new);
        let other = |setup: &Setup| setup.path("other");
        let mut setup = Setup::for_user("alice");
        setup.top = "schedule = \"2s\"".to_owned();
        let source = other(&setup);
        let setup = setup.account("bob", &format!("source = \"file:{}\"", source.display()));
        std::fs::write(&source, one.bare() + "\n").unwrap();
        setup.publish(crowded(&[&one], 4_000));
        let service = Service::start(&setup, |_| {});
        eventually("the first cycle", || holds(&authorized_keys("bob"), &one));
        std::thread::sleep(Duration::from_secs(2));
        let begun = Instant::now();
        std::fs::write(&source, two.bare() + "\n").unwrap();
        eventually("another tenant's key", || holds(&authorized_keys("bob"), &two));
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        let begun = Instant::now();
        std::fs::write(&source, three.bare() + "\n").unwrap();
        service.signal(Signal::SIGHUP);
        eventually("the reload", || holds(&authorized_keys("bob"), &three));
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        let lines = service.log().lines().count();
        assert!(lines < 200, "{lines} lines");
        let (code, took) = service.end(Signal::SIGTERM);
        assert!(code == Some(0) && took < TWO_SECONDS, "{code:?} after {took:?}");
    });
}

#[test]
fn f43_reloads_without_end_starve_no_slow_source_and_pile_up_no_threads() {
    let (mut setup, file) = setup();
    let key = Key::new("slow");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    setup.source = "s3://keys/k?region=eu-central-1".to_owned();
    setup.use_s3_at(&format!("http://{}", listener.local_addr().unwrap()));
    let body = key.bare() + "\n";
    let answers = std::thread::spawn(move || {
        // Each answer takes longer than the pause between two reloads.
        while let Ok((mut stream, _)) = listener.accept() {
            let body = body.clone();
            std::thread::spawn(move || {
                let mut request = [0; 8_192];
                let _ = stream.read(&mut request);
                std::thread::sleep(Duration::from_secs(3));
                let head = format!("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all((head + &body).as_bytes());
            });
        }
    });
    let service = Service::start(&setup, |_| {});
    // It takes signals from then on.
    eventually("the start", || service.log().contains("started"));
    let begun = Instant::now();
    while !holds(&file, &key) {
        assert!(begun.elapsed() < Duration::from_secs(12), "reloads starve the fetch: {}", service.log());
        service.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(300));
    }
    // The state's lock is held by another cycle.
    let lock = File::options().write(true).open(setup.state_dir().join("lock")).unwrap();
    lock.lock().unwrap();
    for _ in 0..20 {
        service.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap().trim().parse::<u32>().unwrap();
    assert!(threads <= 6, "{threads} threads");
    let (code, took) = service.end(Signal::SIGTERM);
    assert!(code == Some(0) && took < TWO_SECONDS, "{code:?} after {took:?}");
    drop(answers);
}

#[test]
fn f54_a_full_pipe_that_nobody_reads_holds_up_neither_keys_nor_a_stop() {
    let (setup, file) = setup();
    let [first, second] = ["first", "second"].map(Key::new);
    setup.publish(first.bare() + "\n");
    let (mut reader, writer) = std::io::pipe().unwrap();
    // It is full before the service says its first word.
    let mut filler = writer.try_clone().unwrap();
    let full = std::thread::spawn(move || {
        let _ = filler.write_all(&[b'x'; 1 << 20]);
    });
    std::thread::sleep(Duration::from_millis(200));
    let service = Service::start(&setup, |command| {
        command.stderr(writer);
    });
    eventually("the key", || holds(&file, &first));
    setup.publish(second.bare() + "\n");
    eventually("the next key", || holds(&file, &second));
    std::fs::write(setup.config(), "sorce = 1\n").unwrap();
    service.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(200));
    let (code, took) = service.end(Signal::SIGTERM);
    assert!(code == Some(0) && took < TWO_SECONDS, "{code:?} after {took:?}");
    let mut heard = Vec::new();
    reader.read_to_end(&mut heard).unwrap();
    full.join().unwrap();
}

#[test]
fn f50_a_state_directory_that_turns_read_only_stops_no_removal() {
    lab(|| {
        let mut setup = Setup::for_user("alice");
        setup.top = "schedule = \"1s\"".to_owned();
        let [one, two, three] = ["one", "two", "three"].map(Key::new);
        setup.publish_keys(&[&one, &two]);
        setup.run(["sync"]).succeeds();
        // It is busy while a file in it is open for writing.
        let mount = |arguments: &[&str]| {
            eventually("a mount", || {
                let mut command = std::process::Command::new("mount");
                command.args(arguments).arg(setup.state_dir()).status().unwrap().success()
            });
        };
        let state = setup.state_dir().display().to_string();
        mount(&["--bind", &state]);
        let service = Service::start(&setup, |_| {});
        eventually("the first cycle", || setup.runtime_dir().join("status.json").exists());
        // In the middle, and then at the start.
        mount(&["-o", "remount,bind,ro"]);
        setup.publish_keys(&[&one]);
        eventually("the removal", || !holds(&authorized_keys("alice"), &two));
        setup.publish_keys(&[&one, &three]);
        eventually("the status", || {
            let detail = status(&setup)["detail"].as_str().unwrap_or_default().to_owned();
            detail.contains("1 of 2 keys not installed") || detail.contains("state directory")
        });
        assert!(!holds(&authorized_keys("alice"), &three) && holds(&authorized_keys("alice"), &one));
        assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
        setup.run(["status"]).fails(1, &[&["the service is not running"], &["state directory"]]);
        setup.publish_keys(&[&one, &two]);
        mount(&["-o", "remount,bind,rw"]);
        setup.run(["sync"]).succeeds();
        mount(&["-o", "remount,bind,ro"]);
        setup.publish_keys(&[&two]);
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 1, "{run:?}");
        assert!(run.stderr.contains("keys are still removed"), "{}", run.stderr);
        assert!(holds(&authorized_keys("alice"), &two) && !holds(&authorized_keys("alice"), &one));
        mount(&["-o", "remount,bind,rw"]);
    });
}

#[test]
fn f42_a_service_that_gets_no_thread_says_so_and_does_not_panic() {
    lab(|| {
        let setup = Setup::for_user("alice");
        setup.publish_keys(&[&Key::new("k")]);
        setup.write_config();
        let program = setup.command();
        let log = setup.path("service.log");
        let mut command = std::process::Command::new("sh");
        // Limits on tasks do not count for root.
        let script = "chown -R alice \"$0\" && exec setpriv --reuid alice --regid alice --clear-groups \
                      prlimit --nproc=1 \"$@\" run";
        command.args(["-c", script]).arg(setup.path("")).arg(program.get_program()).args(program.get_args());
        command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let said = || std::fs::read_to_string(&log).unwrap();
        eventually("a word", || said().contains("cannot begin a thread"));
        std::thread::sleep(Duration::from_millis(1_500));
        assert!(child.try_wait().unwrap().is_none() && !said().contains("panic"), "{}", said());
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{}", said());
    });
}

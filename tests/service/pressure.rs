//! The service where time, threads, pipes or disks run out.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use authkeys_testing::{Key, Service, Setup, authorized_keys, eventually, lab};
use nix::sys::signal::Signal;

use super::service::{WITHOUT_WAITING, holds, setup, status};

/// A document with a window each ten milliseconds.
fn crowded(keys: &[&Key], windows: i64) -> String {
    let start = jiff::Timestamp::now();
    let at = |number: i64| start + Duration::from_millis(u64::try_from(number * 10).unwrap());
    let line = &keys[0].line;
    let one = |number| {
        format!(
            "{{\"public_key\":\"{line}\",\"not_before\":\"{}\"}}",
            at(number)
        )
    };
    let all: Vec<String> = (0..windows).map(one).collect();
    let plain = keys
        .iter()
        .map(|key| format!("{{\"public_key\":\"{}\"}}", key.line));
    format!(
        "{{\"version\":1,\"keys\":[{}]}}",
        all.into_iter().chain(plain).collect::<Vec<_>>().join(",")
    )
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
        eventually("another tenant's key", || {
            holds(&authorized_keys("bob"), &two)
        });
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{:?}",
            begun.elapsed()
        );
        let begun = Instant::now();
        std::fs::write(&source, three.bare() + "\n").unwrap();
        service.signal(Signal::SIGHUP);
        eventually("the reload", || holds(&authorized_keys("bob"), &three));
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{:?}",
            begun.elapsed()
        );
        let lines = service.log().lines().count();
        assert!(lines < 200, "{lines} lines");
        let (code, took) = service.end(Signal::SIGTERM);
        assert!(
            code == Some(0) && took < WITHOUT_WAITING,
            "{code:?} after {took:?}"
        );
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
                let head = format!(
                    "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes());
            });
        }
    });
    let service = Service::start(&setup, |_| {});
    // It takes signals from then on.
    eventually("the start", || service.log().contains("started"));
    let begun = Instant::now();
    while !holds(&file, &key) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "reloads starve the fetch: {}",
            service.log()
        );
        service.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(300));
    }
    // The state's lock is held by another cycle.
    let lock = File::options()
        .write(true)
        .open(setup.state_dir().join("lock"))
        .unwrap();
    lock.lock().unwrap();
    for _ in 0..20 {
        service.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let threads = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"))
        .unwrap()
        .trim()
        .parse::<u32>()
        .unwrap();
    assert!(threads <= 6, "{threads} threads");
    let (code, took) = service.end(Signal::SIGTERM);
    assert!(
        code == Some(0) && took < WITHOUT_WAITING,
        "{code:?} after {took:?}"
    );
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
    assert!(
        code == Some(0) && took < WITHOUT_WAITING,
        "{code:?} after {took:?}"
    );
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
                command
                    .args(arguments)
                    .arg(setup.state_dir())
                    .status()
                    .unwrap()
                    .success()
            });
        };
        let state = setup.state_dir().display().to_string();
        mount(&["--bind", &state]);
        let service = Service::start(&setup, |_| {});
        eventually("the first cycle", || {
            setup.runtime_dir().join("status.json").exists()
        });
        // In the middle, and then at the start.
        mount(&["-o", "remount,bind,ro"]);
        setup.publish_keys(&[&one]);
        eventually("the removal", || !holds(&authorized_keys("alice"), &two));
        setup.publish_keys(&[&one, &three]);
        eventually("the status", || {
            let detail = status(&setup)["detail"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            detail.contains("1 of 2 keys not installed") || detail.contains("state directory")
        });
        assert!(
            !holds(&authorized_keys("alice"), &three) && holds(&authorized_keys("alice"), &one)
        );
        assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
        setup
            .run(["status"])
            .fails(1, &[&["the service is not running"], &["state directory"]]);
        setup.publish_keys(&[&one, &two]);
        mount(&["-o", "remount,bind,rw"]);
        setup.run(["sync"]).succeeds();
        mount(&["-o", "remount,bind,ro"]);
        setup.publish_keys(&[&two]);
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 1, "{run:?}");
        assert!(
            run.stderr.contains("keys are still removed"),
            "{}",
            run.stderr
        );
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
        let program = setup.command_for_all();
        let log = setup.path("service.log");
        let mut command = std::process::Command::new("sh");
        // Limits on tasks do not count for root.
        let script = "chown -R alice \"$0\" && exec setpriv --reuid alice --regid alice \
                      --clear-groups prlimit --nproc=1 \"$@\" run";
        command
            .args(["-c", script])
            .arg(setup.path(""))
            .arg(program.get_program())
            .args(program.get_args());
        command.env_clear().envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let said = || std::fs::read_to_string(&log).unwrap();
        eventually("a word", || said().contains("cannot begin a thread"));
        std::thread::sleep(Duration::from_millis(1_500));
        assert!(
            child.try_wait().unwrap().is_none() && !said().contains("panic"),
            "{}",
            said()
        );
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(child.id().try_into().unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{}", said());
    });
}

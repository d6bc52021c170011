//! Windows and `expiry-time`, by logins to a real sshd: before, during and after, with the service
//! and without it, in time zones that have summer time now.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{
    Key, Service, Setup, authorized_keys, eventually, lab, login, sshd_version,
};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;

/// A whole second that many seconds from now.
pub(crate) fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() + seconds).unwrap()
}

pub(crate) fn wait_until(time: Timestamp) {
    let left = time.duration_since(Timestamp::now());
    std::thread::sleep(Duration::try_from(left).unwrap_or_default());
}

/// Tries with ever more time for what must be done before: false says that this machine was too
/// slow for the trial to say anything. What is wrong at every pace is wrong.
pub(crate) fn at_some_pace(trial: impl Fn(i64) -> bool) {
    assert!(
        [3, 6, 12, 24].into_iter().any(trial),
        "too late at every pace"
    );
}

/// One key of a document; `more` holds further fields.
pub(crate) fn entry(key: &Key, more: &str) -> String {
    format!("{{\"public_key\": \"{}\"{more}}}", key.line)
}

pub(crate) fn publish(setup: &Setup, keys: &[String]) {
    setup.publish(format!(
        "{{\"version\": 1, \"keys\": [{}]}}",
        keys.join(", ")
    ));
}

/// The line of alice's file that holds the key.
pub(crate) fn line_of(key: &Key) -> Option<String> {
    let text = std::fs::read_to_string(authorized_keys("alice")).unwrap_or_default();
    text.lines()
        .find(|line| line.contains(key.base64()))
        .map(str::to_owned)
}

/// Gives the private machine, sshd included, another time zone: the file behind /etc/localtime.
pub(crate) fn set_zone(name: &str) {
    let zone = format!("/usr/share/zoneinfo/{name}");
    assert!(
        Path::new(&zone).exists(),
        "{zone} is missing: install tzdata"
    );
    assert!(
        Command::new("mount")
            .args(["--bind", &zone, "/etc/localtime"])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_window_opens_and_closes_in_its_second_on_the_running_service_without_a_poll() {
    lab(|| {
        let [always, old, new] = ["always", "old", "new"].map(Key::new);
        let mut setup = Setup::for_user("alice");
        setup.top = "schedule = \"1h\"".to_owned();
        at_some_pace(|lead| {
            let (cutover, close) = (in_seconds(lead), in_seconds(2 * lead));
            publish(
                &setup,
                &[
                    entry(&always, ""),
                    entry(&old, &format!(", \"not_after\": \"{cutover}\"")),
                    entry(
                        &new,
                        &format!(", \"not_before\": \"{cutover}\", \"not_after\": \"{close}\""),
                    ),
                ],
            );
            let service = Service::start(&setup, |_| {});
            eventually("the first cycle", || line_of(&always).is_some());
            let before = (
                line_of(&old).is_some(),
                line_of(&new).is_some(),
                login("alice", &new),
                login("alice", &old),
            );
            if Timestamp::now() >= cutover {
                return false;
            }
            assert_eq!(before, (true, false, false, true));
            let cut_over = happens(cutover, || {
                line_of(&new).is_some() && line_of(&old).is_none()
            });
            let during = (login("alice", &new), login("alice", &old));
            if Timestamp::now() >= close {
                return false;
            }
            assert_eq!(during, (true, false));
            let closed = happens(close, || line_of(&new).is_none());
            assert!(!login("alice", &new) && !login("alice", &old) && login("alice", &always));
            drop(service);
            cut_over && closed
        });
    });
}

#[test]
fn a_window_opens_in_its_second_although_the_source_does_not_answer() {
    lab(|| {
        let [always, new] = ["always", "new"].map(Key::new);
        at_some_pace(|lead| {
            let (opens, closes) = (in_seconds(lead), in_seconds(2 * lead));
            let window = format!(", \"not_before\": \"{opens}\", \"not_after\": \"{closes}\"");
            let keys = [entry(&always, ""), entry(&new, &window)];
            let document = format!("{{\"version\": 1, \"keys\": [{}]}}", keys.join(", "));
            let stub = Stub::start([
                StubAnswer::whole("200 OK", &["ETag: \"1\""], &document),
                StubAnswer::silence(),
            ]);
            let mut setup = Setup::for_user("alice");
            setup.top = "schedule = \"1s\"".to_owned();
            setup.source = "s3://keys/workers.json".to_owned();
            setup.use_s3_at(&stub.endpoint());
            let service = Service::start(&setup, |_| {});
            eventually("the first cycle", || line_of(&always).is_some());
            eventually("the second request", || {
                stub.requests().len() == 2 || Timestamp::now() >= opens
            });
            if Timestamp::now() >= opens {
                return false;
            }
            let asked = Instant::now();
            let opened = happens(opens, || line_of(&new).is_some());
            let closed = happens(closes, || line_of(&new).is_none());
            // After ten seconds it is given up, and there is a third.
            let goes_on = stub.requests().len() == 2 || asked.elapsed() > Duration::from_secs(9);
            assert!(goes_on, "the request that was interrupted goes on");
            assert!(!login("alice", &new) && login("alice", &always));
            assert!(!service.log().contains("cannot"), "{}", service.log());
            opened && closed
        });
    });
}

/// Whether it happens within the second that begins at `time`. Never before.
fn happens(time: Timestamp, done: impl Fn() -> bool) -> bool {
    loop {
        let already = done();
        let now = Timestamp::now();
        assert!(!already || now >= time, "before {time}");
        if already {
            return now.duration_since(time) < SignedDuration::from_secs(1);
        }
        assert!(
            now.duration_since(time) < SignedDuration::from_secs(20),
            "never: {time}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_key_dies_on_time_although_the_agent_was_killed() {
    lab(|| {
        set_zone("Pacific/Auckland");
        let mut setup = Setup::for_user("alice");
        for form in ["auto", "local"] {
            let (always, key) = (Key::new("always"), Key::new("dies"));
            setup.top = format!("schedule = \"1s\"\nexpiry_time = \"{form}\"");
            at_some_pace(|lead| {
                let until = in_seconds(lead);
                publish(
                    &setup,
                    &[
                        entry(&always, ""),
                        entry(&key, &format!(", \"not_after\": \"{until}\"")),
                    ],
                );
                let service = Service::start(&setup, |_| {});
                eventually("the first cycle", || line_of(&always).is_some());
                let logged_in = login("alice", &key);
                // By SIGKILL: nothing is cleared up.
                service.signal(Signal::SIGKILL);
                drop(service);
                if Timestamp::now() >= until {
                    return false;
                }
                assert!(logged_in, "{form}");
                // sshd takes a key through the whole second that its option names.
                wait_until(until + SignedDuration::from_millis(1_100));
                assert!(line_of(&key).is_some(), "nobody is there to take it away");
                assert!(
                    !login("alice", &key),
                    "{form}: it should be dead: {:?}",
                    line_of(&key)
                );
                assert!(login("alice", &always));
                true
            });
        }
    });
}

#[test]
fn f27_the_local_form_means_the_instant_that_is_meant_in_zones_that_have_summer_time_now() {
    lab(|| {
        // South of the equator in winter, north of it in summer; by half an hour; and the wrong way
        // round.
        let zones = [
            "Australia/Sydney",
            "Europe/Berlin",
            "Australia/Lord_Howe",
            "Europe/Dublin",
            "Asia/Kathmandu",
        ];
        let mut setup = Setup::for_user("alice");
        setup.top = "expiry_time = \"local\"".to_owned();
        for zone in zones {
            set_zone(zone);
            let (always, key) = (Key::new("always"), Key::new("dies"));
            at_some_pace(|lead| {
                let until = in_seconds(lead);
                publish(
                    &setup,
                    &[
                        entry(&always, ""),
                        entry(&key, &format!(", \"not_after\": \"{until}\"")),
                    ],
                );
                setup.run(["sync"]).succeeds();
                let logged_in = login("alice", &key);
                if Timestamp::now() >= until {
                    return false;
                }
                let line = line_of(&key).unwrap();
                assert!(
                    !line.contains("Z\" ") && line.starts_with("expiry-time=\"20"),
                    "{line}"
                );
                assert!(logged_in, "{zone}: refused too early: {line}");
                wait_until(until + SignedDuration::from_millis(1_100));
                assert!(!login("alice", &key), "{zone}: let in too late: {line}");
                assert!(login("alice", &always));
                true
            });
        }
    });
}

/// `expiry-time=` in the form of each override, of a key whose end is that instant.
fn written(form: &str, setup: &mut Setup, key: &Key) -> Option<String> {
    setup.top = format!("expiry_time = \"{form}\"");
    setup.run(["sync"]).succeeds();
    let line = line_of(key).unwrap_or_else(|| panic!("{form}: no line"));
    let option = line
        .split(' ')
        .next()
        .filter(|word| word.contains("expiry-time"));
    let is_known = form != "utc" || sshd_version() >= (9, 1);
    assert_eq!(login("alice", key), is_known, "{form}: {line}");
    option.map(str::to_owned)
}

#[test]
fn f27_the_earlier_of_option_and_window_is_written_in_the_form_that_is_asked_for() {
    lab(|| {
        set_zone("Australia/Sydney");
        let key = Key::new("k");
        let mut setup = Setup::for_user("alice");
        // Sydney's standard time is ten hours ahead, also in January, when its clocks are eleven
        // ahead.
        for (option, not_after) in [
            ("20990101000000Z", "2099-06-01T00:00:00Z"),
            ("20990101100000", "2099-06-01T00:00:00Z"),
            ("209901011000", "2099-01-01T00:00:00.9Z"),
            ("20990601", "2099-01-01T11:00:00+11:00"),
        ] {
            let more = format!(
                ", \"options\": [\"no-pty\", \"expiry-time=\\\"{option}\\\"\"], \"not_after\": \
                 \"{not_after}\""
            );
            publish(&setup, &[entry(&key, &more)]);
            let option = |time: &str| Some(format!("no-pty,expiry-time=\"{time}\""));
            let auto = if sshd_version() >= (9, 1) {
                "20990101000000Z"
            } else {
                "20990101100000"
            };
            assert_eq!(written("auto", &mut setup, &key), option(auto), "{more}");
            assert_eq!(
                written("utc", &mut setup, &key),
                option("20990101000000Z"),
                "{more}"
            );
            assert_eq!(
                written("local", &mut setup, &key),
                option("20990101100000"),
                "{more}"
            );
            assert_eq!(written("omit", &mut setup, &key), None, "{more}");
        }
        // In its summer and in its winter.
        let july = ", \"not_after\": \"2099-07-01T00:00:00Z\"";
        publish(&setup, &[entry(&key, july)]);
        assert_eq!(
            written("local", &mut setup, &key).as_deref(),
            Some("expiry-time=\"20990701100000\"")
        );
    });
}

/// Puts a program in sshd's place that says of itself what that version does, and no more.
pub(crate) fn pretend_sshd(setup: &Setup, answer: &str) {
    let script = setup.path("sshd");
    std::fs::write(&script, format!("#!/bin/sh\n{answer}\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        Command::new("mount")
            .arg("--bind")
            .arg(&script)
            .arg("/usr/sbin/sshd")
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn f27_the_form_is_that_of_the_installed_sshd_by_what_it_says_of_itself() {
    lab(|| {
        set_zone("Australia/Sydney");
        let key = Key::new("k");
        let setup = Setup::for_user("alice");
        publish(
            &setup,
            &[entry(&key, ", \"not_after\": \"2099-01-01T00:00:00Z\"")],
        );
        let usage = "echo 'unknown option -- V' >&2; echo 'OpenSSH_8.4p1 Debian-5, OpenSSL 1.1.1w' \
                     >&2; exit 1";
        for (answer, time) in [
            (
                "echo 'OpenSSH_9.1p1, OpenSSL 3.0.7' >&2",
                Some("20990101000000Z"),
            ),
            (
                "echo 'OpenSSH_10.0p2 Debian-7' >&2",
                Some("20990101000000Z"),
            ),
            (
                "echo 'OpenSSH_9.0p1, OpenSSL 3.0.2' >&2",
                Some("20990101100000"),
            ),
            (usage, Some("20990101100000")),
            (
                "echo 'OpenSSH_7.7p1, OpenSSL 1.0.2' >&2",
                Some("20990101100000"),
            ),
            ("echo 'OpenSSH_7.6p1, OpenSSL 1.0.2' >&2", None),
            ("echo 'OpenSSH_7.4p1, OpenSSL 1.0.2k-fips' >&2", None),
        ] {
            pretend_sshd(&setup, answer);
            setup.run(["sync"]).succeeds();
            let expected = time
                .map(|time| format!("expiry-time=\"{time}\" "))
                .unwrap_or_default()
                + &key.line;
            assert_eq!(line_of(&key), Some(expected), "{answer}");
        }
    });
}

#[test]
fn f27_the_service_sees_that_another_sshd_was_installed() {
    lab(|| {
        let key = Key::new("k");
        let mut setup = Setup::for_user("alice");
        setup.top = "schedule = \"1s\"".to_owned();
        publish(
            &setup,
            &[entry(&key, ", \"not_after\": \"2099-01-01T00:00:00Z\"")],
        );
        pretend_sshd(&setup, "echo 'OpenSSH_7.4p1, OpenSSL 1.0.2k-fips' >&2");
        let _service = Service::start(&setup, |_| {});
        eventually("the key without its end", || {
            line_of(&key).as_ref() == Some(&key.line)
        });
        pretend_sshd(&setup, "echo 'OpenSSH_9.2p1 Debian-2' >&2");
        let upgraded = format!("expiry-time=\"20990101000000Z\" {}", key.line);
        eventually("its end in the new form", || {
            line_of(&key).as_ref() == Some(&upgraded)
        });
    });
}

#[test]
fn a_key_whose_end_sshd_is_not_told_goes_on_time_by_the_service() {
    lab(|| {
        let (always, key) = (Key::new("always"), Key::new("goes"));
        let mut setup = Setup::for_user("alice");
        setup.top = "schedule = \"1h\"\nexpiry_time = \"omit\"".to_owned();
        at_some_pace(|lead| {
            let until = in_seconds(lead);
            let more = format!(
                ", \"options\": [\"expiry-time=\\\"20990101\\\"\"], \"not_after\": \"{until}\""
            );
            publish(&setup, &[entry(&always, ""), entry(&key, &more)]);
            let service = Service::start(&setup, |_| {});
            eventually("the first cycle", || line_of(&always).is_some());
            let (line, logged_in) = (line_of(&key), login("alice", &key));
            if Timestamp::now() >= until {
                return false;
            }
            assert_eq!(
                (line.as_deref(), logged_in),
                (Some(key.line.as_str()), true)
            );
            let gone = happens(until, || line_of(&key).is_none());
            assert!(!login("alice", &key));
            drop(service);
            gone
        });
    });
}

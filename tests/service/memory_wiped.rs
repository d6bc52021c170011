//! A rotation secret's private half, where `allow_private_key` lets it in: after a poll no copy of
//! it is left in the memory of either half, neither in buffers that were freed nor in those of a
//! connection.

use std::fs::File;
use std::os::unix::fs::FileExt;

use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, Service, Setup, eventually, me};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::tls_server::Authority;

/// Stands in every line of the private half.
const MARK: &str = "pRiVaTeHaLf";

/// An answer of Secrets Manager with a rotation secret whose private half has so many lines of
/// base64.
fn answer(key: &Key, lines: usize) -> String {
    let body: String = (0..lines).map(|at| format!("{MARK}{at:059}\n")).collect();
    let private =
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}-----END OPENSSH PRIVATE KEY-----\n");
    let secret = json!({ "PublicKey": key.line, "PrivateKey": private }).to_string();
    json!({ "VersionId": "v1", "SecretString": secret, "VersionStages": ["AWSCURRENT"] })
        .to_string()
}

/// The environment that the packaged unit gives the service.
fn environment_of_the_unit() -> Vec<(String, String)> {
    let unit = include_str!("../../systemd/authkeysd.service");
    let variables = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    // Here the service starts the fetcher itself.
    let variables = variables.filter(|(name, _)| *name != "AUTHKEYSD_FETCH_SOCKET");
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The fetcher that the service has started.
fn fetcher(service: u32) -> u32 {
    let children =
        std::fs::read_to_string(format!("/proc/{service}/task/{service}/children")).unwrap();
    let is_fetcher = |pid: &&str| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.trim() == "authkeysd-fetch")
    };
    children
        .split_whitespace()
        .find(is_fetcher)
        .expect("no fetcher is running")
        .parse()
        .unwrap()
}

/// How often the text stands in the writable memory of a process.
fn copies(pid: u32, text: &str) -> usize {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut copies = 0;
    for map in maps.lines().filter(|map| {
        map.split(' ')
            .nth(1)
            .is_some_and(|rights| rights.starts_with("rw"))
    }) {
        let (from, to) = map.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // A map may have gone meanwhile.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            copies += bytes
                .windows(text.len())
                .filter(|window| *window == text.as_bytes())
                .count();
        }
    }
    copies
}

/// What the configuration makes of a secret with a private half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// It is let in.
    Allowed,
    /// It is refused.
    Refused,
    /// Another field is the document, and nobody asks for the private half.
    OtherField,
}

/// Polls a secret with a private half of that many lines twice, and looks for it in the memory
/// after each.
fn no_copy_is_left(lines: usize, tls: bool, asked: Asked) {
    let mut setup = Setup::new();
    let body = answer(&Key::new("rotation"), lines);
    let authority = Authority::new();
    authority.write(&setup.path("ca.pem"));
    let endpoint = if tls {
        let whole = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        format!(
            "https://localhost:{}",
            authority.serve("localhost", &whole).port()
        )
    } else {
        Stub::start([StubAnswer::json(&body)]).endpoint()
    };
    setup.use_s3_at(&endpoint);
    setup.environment.extend(environment_of_the_unit());
    setup.environment.push((
        "AWS_CA_BUNDLE".to_owned(),
        setup.path("ca.pem").display().to_string(),
    ));
    setup
        .environment
        .push(("CONTROL".to_owned(), "this is found".to_owned()));
    let field = match asked {
        Asked::OtherField => "&field=PublicKey",
        Asked::Allowed | Asked::Refused => "",
    };
    setup.source = format!("secretsmanager:prod/ssh?stages=AWSCURRENT{field}");
    let allowed = asked == Asked::Allowed;
    setup.top = format!("schedule = \"1h\"\nallow_private_key = {allowed}");
    let file = setup.path("authorized_keys");
    let setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
    let service = Service::start(&setup, |_| {});
    let cycles =
        || std::fs::read_to_string(setup.runtime_dir().join("status.json")).unwrap_or_default();
    let halves = || [service.pid(), fetcher(service.pid())];
    let mut last = String::new();
    for poll in ["first", "second"] {
        eventually("a cycle's end", || {
            ![last.as_str(), ""].contains(&cycles().as_str())
        });
        last = cycles();
        assert!(
            last.contains("private key") == (asked == Asked::Refused)
                && file.exists() == (asked != Asked::Refused),
            "{last}\n{}",
            service.log()
        );
        // The connection is closed in the moment after.
        eventually(
            &format!("no copy after the {poll} poll ({lines} lines, TLS {tls}, {asked:?})"),
            || halves().iter().all(|pid| copies(*pid, MARK) == 0),
        );
        for pid in halves() {
            assert!(
                copies(pid, "this is found") > 0,
                "the memory was not looked at"
            );
        }
        service.signal(Signal::SIGHUP);
    }
}

#[test]
fn after_a_poll_no_copy_of_a_private_half_is_left_in_memory_when_run_as_the_unit_runs_it() {
    for (lines, tls, asked) in [
        (5, false, Asked::Allowed),
        (5, true, Asked::Allowed),
        (45, false, Asked::Allowed),
        (45, true, Asked::Allowed),
        (45, true, Asked::Refused),
        (5, false, Asked::OtherField),
        (45, true, Asked::OtherField),
    ] {
        no_copy_is_left(lines, tls, asked);
    }
}

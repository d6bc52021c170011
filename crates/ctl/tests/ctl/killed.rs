//! A publisher that is killed at any of its calls to AWS, before the service has heard it or before
//! its answer comes back: the old or the new version is the current one, whole, and the next
//! publisher is not in its way.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::desk::{Desk, document};
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, clean_ctl, eventually, outcome_of, stand_in};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// When the publisher is killed.
#[derive(Debug, Clone, Copy)]
enum When {
    BeforeTheServiceHears,
    BeforeItsAnswerComes,
}

/// A way to the services that kills who goes it, at one of the requests.
struct Gate {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    process: Option<u32>,
    requests: usize,
    killed: bool,
}

impl Gate {
    fn start(service: SocketAddr, at: usize, when: When) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let state = Arc::clone(&gate.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                std::thread::spawn(move || pass(stream, service, &state, at, when));
            }
        });
        gate
    }
}

/// One request, whose answer ends the connection.
fn pass(mut client: TcpStream, service: SocketAddr, state: &Mutex<State>, at: usize, when: When) {
    let Some(request) = request(&mut client) else {
        return;
    };
    let is_it = {
        let mut state = state.lock().unwrap();
        state.requests += 1;
        state.requests == at
    };
    if is_it && matches!(when, When::BeforeTheServiceHears) {
        return end(state);
    }
    let mut server = TcpStream::connect(service).unwrap();
    server.write_all(&request).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    if is_it {
        return end(state);
    }
    client.write_all(&answer).ok();
}

fn end(state: &Mutex<State>) {
    eventually("the publisher is known", || {
        state.lock().unwrap().process.is_some()
    });
    let mut state = state.lock().unwrap();
    state.killed = kill(
        Pid::from_raw(i32::try_from(state.process.unwrap()).unwrap()),
        Signal::SIGKILL,
    )
    .is_ok();
}

/// Reads one request, and asks for a connection that ends with the answer.
fn request(client: &mut TcpStream) -> Option<Vec<u8>> {
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let (mut read, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        if let Some(end) = read.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            });
            if read.len() >= end + 4 + length.unwrap_or(0) {
                return Some([head.as_bytes(), b"\r\nConnection: close", &read[end..]].concat());
            }
        }
        match client.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.extend_from_slice(&piece[..count]),
        }
    }
}

/// Revokes a key and is killed at that call; `false` when it came to its end before.
fn killed(moto: &Moto, target: &str, key: &Key, at: usize, when: When) -> bool {
    let service = moto
        .endpoint()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    let gate = Gate::start(service, at, when);
    let mut command = clean_ctl();
    command
        .envs(stand_in(&format!("http://{}", gate.address)))
        .args(["revoke", target, &key.fingerprint(), "--yes"]);
    let mut child: Child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    gate.state.lock().unwrap().process = Some(child.id());
    let status = child.wait().unwrap();
    let was_killed = gate.state.lock().unwrap().killed;
    assert_eq!(
        status.success(),
        !was_killed,
        "{target}, call {at}: {status}"
    );
    was_killed
}

#[test]
fn whenever_a_publisher_is_killed_the_old_or_the_new_version_is_current_and_the_next_one_publishes()
{
    if !Moto::prepare() {
        return;
    }
    let (kept, gone, next) = (Key::new("kept"), Key::new("gone"), Key::new("next"));
    let moto = Moto::start();
    moto.make_bucket("keys");
    let desk = Desk::new(&moto.endpoint());
    for (place, least) in [
        ("s3://keys/workers.json", 3),
        ("secretsmanager:prod/keys", 6),
        ("ssm:/prod/keys", 4),
    ] {
        let mut calls = 0;
        for when in [When::BeforeTheServiceHears, When::BeforeItsAnswerComes] {
            for at in 1.. {
                let target = &format!("{place}-{when:?}-{at}");
                let old = document(Some(7), &[&kept, &gone]);
                desk.file("a", &old);
                desk.publish("a", target, &[]).succeeds();
                let was_killed = killed(&moto, target, &gone, at, when);

                let ctl = |arguments: &[&str]| {
                    outcome_of(clean_ctl().envs(stand_in(&moto.endpoint())).args(arguments))
                };
                let current = ctl(&["show", target, "--raw"]);
                current.succeeds();
                let revoked = format!(
                    "  ],\n  \"revoked\": [\n    \"{}\"\n  ]\n",
                    gone.fingerprint()
                );
                let new = document(Some(8), &[&kept]).replacen("  ]\n", &revoked, 1);
                assert!(
                    [&old, &new].contains(&&current.stdout),
                    "{target}, {when:?}, call {at}: {}",
                    current.stdout
                );
                let run = ctl(&["grant", target, &next.line]);
                assert_eq!(run.status, 0, "{target}, {when:?}, call {at}: {run:?}");
                if !was_killed {
                    assert_eq!(current.stdout, new);
                    calls = at - 1;
                    break;
                }
            }
        }
        assert!(calls >= least, "{place}: {calls} calls");
    }
}

//! The running service, and a service manager's socket that receives its messages.

use std::ffi::OsString;
use std::fs::File;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Setup;

/// `authkeysd run`, until this is dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts it with the configuration of a setup; `change` may add to its environment.
    pub fn start(setup: &Setup, change: impl FnOnce(&mut Command)) -> Self {
        let log = setup.path("service.log");
        let mut command = setup.command();
        command.arg("run").stderr(
            File::options()
                .create(true)
                .append(true)
                .open(&log)
                .unwrap(),
        );
        change(&mut command);
        Self {
            child: command.spawn().unwrap(),
            log,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    /// Sends the signal and waits for the end; returns the exit status, and how long it took.
    pub fn end(mut self, signal: Signal) -> (Option<i32>, Duration) {
        let started = Instant::now();
        self.signal(signal);
        while started.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), started.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end:\n{}", self.log());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// How long something may take that happens at once on a machine that is not busy.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Waits until `done` returns true, up to a limit.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The service manager's end of the notify protocol.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    /// The value for `$NOTIFY_SOCKET`.
    pub name: OsString,
}

impl Manager {
    /// Binds it to a path.
    pub fn at(path: &Path) -> Self {
        Self::new(UnixDatagram::bind(path).unwrap(), path.into())
    }

    /// Binds it to an abstract name.
    pub fn named(name: &str) -> Self {
        let address = SocketAddr::from_abstract_name(name).unwrap();
        Self::new(
            UnixDatagram::bind_addr(&address).unwrap(),
            format!("@{name}").into(),
        )
    }

    fn new(socket: UnixDatagram, name: OsString) -> Self {
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self { socket, name }
    }

    /// The next datagram.
    pub fn hear(&self) -> String {
        let mut bytes = [0; 4_096];
        let length = self
            .socket
            .recv(&mut bytes)
            .expect("a word from the service");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Receives datagrams until one contains `text`, and returns that one.
    pub fn hear_until(&self, text: &str) -> String {
        for _ in 0..1_000 {
            let heard = self.hear();
            if heard.contains(text) {
                return heard;
            }
        }
        panic!("never heard {text}");
    }
}

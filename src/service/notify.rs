//! systemd's notify protocol: datagrams to `$NOTIFY_SOCKET`. Without that variable nothing is sent.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use authkeys_core::report::text::one_line;

/// The service manager, if there is one.
#[derive(Debug)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// Sends nothing.
    pub fn nobody() -> Self {
        Self {
            socket: None,
            watchdog: None,
        }
    }

    /// Connects to a socket by its path, or with `@` by its abstract name.
    pub fn connect(socket: &OsStr) -> io::Result<Self> {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(socket)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not read must not block us.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some(socket),
            watchdog: None,
        })
    }

    /// Uses the watchdog's interval, unless it is meant for another process.
    pub fn with_watchdog(self, usec: Option<&str>, pid: Option<&str>) -> Self {
        let ours = match pid {
            Some(pid) => pid == std::process::id().to_string(),
            None => true,
        };
        let limit = usec.unwrap_or_default().parse().unwrap_or(0);
        let mut watchdog = None;
        if ours && limit > 0 {
            watchdog = Some(Duration::from_micros(limit));
        }
        Self { watchdog, ..self }
    }

    /// The interval of heartbeats for the watchdog: half its limit.
    pub fn watchdog_period(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        Some(self.watchdog? / 2)
    }

    /// The first cycle has ended.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The loop makes progress.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The configuration is being read again; ends with the next `ready`.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now
            .tv_sec
            .saturating_mul(1_000_000)
            .saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={usec}"));
    }

    /// The service is stopping.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The line that `systemctl status` shows.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", one_line(text)));
    }

    fn send(&self, text: &str) {
        if let Some(socket) = &self.socket {
            // A failure cannot be reported anywhere else.
            let _ = socket.send(text.as_bytes());
        }
    }
}

//! How to reach authkeysd-fetch: by the socket that the unit names, else by starting it.

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};

use super::connection::Connection;

/// The program's name.
const PROGRAM: &str = "authkeysd-fetch";
/// Where packages install it. A copy in the directory of this program takes precedence.
const INSTALLED: &str = "/usr/libexec/authkeysd";
/// Names the socket of `authkeysd-fetch.socket`. authkeysd.service sets it, because its sandbox has
/// no network.
const SOCKET: &str = "AUTHKEYSD_FETCH_SOCKET";

/// How to reach the helper.
#[derive(Debug, Clone)]
pub(super) enum Helper {
    /// Another program starts it.
    Socket(PathBuf),
    /// We start it.
    Program,
}

impl Helper {
    /// Chosen by the environment.
    pub(super) fn by_environment() -> Self {
        match env::var_os(SOCKET).filter(|path| !path.is_empty()) {
            Some(path) => Self::Socket(path.into()),
            None => Self::Program,
        }
    }

    /// Connects. The error is a clause about the helper.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        match self {
            Self::Socket(path) => {
                let failed = |fault| {
                    format!(
                        "cannot be reached at {} ({fault}); see `systemctl status \
                         authkeysd-fetch.socket`, then restart authkeysd",
                        path.display()
                    )
                };
                let (reader, writer) = UnixStream::connect(path)
                    .await
                    .map_err(failed)?
                    .into_split();
                Ok(Connection::new(reader, writer, None, None))
            }
            Self::Program => {
                let program = find()?;
                start(&program).map_err(|fault| {
                    format!("cannot be started from {} ({fault})", program.display())
                })
            }
        }
    }
}

fn find() -> Result<PathBuf, String> {
    let own = env::current_exe().ok();
    let beside = own
        .as_deref()
        .and_then(Path::parent)
        .map(|directory| directory.join(PROGRAM));
    let places = [beside, Some(Path::new(INSTALLED).join(PROGRAM))];
    let found = places.into_iter().flatten().find(|path| path.is_file());
    found.ok_or_else(|| {
        format!(
            "is missing: it is neither beside authkeysd nor in {INSTALLED}; install the package \
             again"
        )
    })
}

/// Starts the helper with the environment of this process, which holds its credentials and
/// settings. If it is started as root, it first of all takes another identity by itself.
fn start(program: &Path) -> io::Result<Connection> {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let missing = || io::Error::other("a pipe is missing");
    let input = Sender::from_owned_fd(OwnedFd::from(child.stdin.take().ok_or_else(missing)?))?;
    let output = Receiver::from_owned_fd(OwnedFd::from(child.stdout.take().ok_or_else(missing)?))?;
    let words = Receiver::from_owned_fd(OwnedFd::from(child.stderr.take().ok_or_else(missing)?))?;
    Ok(Connection::new(output, input, Some(child), Some(words)))
}

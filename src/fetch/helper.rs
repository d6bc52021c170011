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
                let stream = match UnixStream::connect(path).await {
                    Ok(stream) => stream,
                    Err(fault) => {
                        return Err(format!(
                            "cannot be reached at {} ({fault}); see `systemctl status \
                             authkeysd-fetch.socket`, then restart authkeysd",
                            path.display()
                        ));
                    }
                };
                let (reader, writer) = stream.into_split();
                Ok(Connection::new(reader, writer, None, None))
            }
            Self::Program => {
                let program = find()?;
                match start(&program) {
                    Ok(connection) => Ok(connection),
                    Err(fault) => Err(format!(
                        "cannot be started from {} ({fault})",
                        program.display()
                    )),
                }
            }
        }
    }
}

fn find() -> Result<PathBuf, String> {
    if let Ok(own) = env::current_exe()
        && let Some(directory) = own.parent()
    {
        let beside = directory.join(PROGRAM);
        if beside.is_file() {
            return Ok(beside);
        }
    }
    let installed = Path::new(INSTALLED).join(PROGRAM);
    if installed.is_file() {
        return Ok(installed);
    }
    Err(format!(
        "is missing: it is neither beside authkeysd nor in {INSTALLED}; install the package again"
    ))
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
    let input = Sender::from_owned_fd(descriptor(child.stdin.take())?)?;
    let output = Receiver::from_owned_fd(descriptor(child.stdout.take())?)?;
    let words = Receiver::from_owned_fd(descriptor(child.stderr.take())?)?;
    Ok(Connection::new(output, input, Some(child), Some(words)))
}

fn descriptor(pipe: Option<impl Into<OwnedFd>>) -> io::Result<OwnedFd> {
    match pipe {
        Some(pipe) => Ok(pipe.into()),
        None => Err(io::Error::other("a pipe is missing")),
    }
}

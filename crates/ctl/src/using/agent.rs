//! An ssh-agent of our own: its socket in a directory that only this user enters, its keys from a
//! pipe, its end in the hands of the guard.

use std::fs::Permissions;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;
use thiserror::Error;

use super::guard;

/// The agent.
pub(super) struct PrivateAgent {
    directory: TempDir,
    process: String,
    /// The guard ends when this process does.
    _guard: Child,
}

/// Why there is no agent with the keys.
#[derive(Debug, Error)]
pub(super) enum AgentError {
    /// The directory for its socket.
    #[error("cannot make a temporary directory: {0}; free some space, or set TMPDIR")]
    Directory(io::Error),
    /// A program of OpenSSH's.
    #[error("cannot run {program}: {fault}; install the OpenSSH client")]
    Missing {
        program: &'static str,
        fault: io::Error,
    },
    /// It did not start.
    #[error("ssh-agent did not start ({0}); its socket lies in TMPDIR, whose path must be short")]
    NotStarted(String),
    /// It does not take the key.
    #[error("ssh-add does not take the private key ({0}); check it with `ssh-keygen -y -f KEY`")]
    NotTaken(String),
}

impl PrivateAgent {
    /// Starts it.
    pub(super) fn start() -> Result<Self, AgentError> {
        let directory = tempfile::Builder::new()
            .prefix(guard::DIRECTORY)
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(AgentError::Directory)?;
        let own = std::env::current_exe().map_err(AgentError::Directory)?;
        // ssh-agent becomes the guard, and leaves the agent behind as the guard's child.
        let mut guard = Command::new("ssh-agent")
            .arg("-a")
            .arg(directory.path().join(SOCKET))
            .arg(own)
            .arg(guard::COMMAND)
            .arg(std::process::id().to_string())
            .arg(directory.path())
            // A Ctrl-C on the terminal is for the command, which may live on.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|fault| AgentError::Missing {
                program: "ssh-agent",
                fault,
            })?;
        let mut word = String::new();
        if let Some(stdout) = guard.stdout.take() {
            // An end without the word is a failure, which is told by the status.
            let _ = BufReader::new(stdout).read_line(&mut word);
        }
        if let Some(process) = word.trim_end().strip_prefix(guard::READY) {
            return Ok(Self {
                directory,
                process: process.to_owned(),
                _guard: guard,
            });
        }
        Err(AgentError::NotStarted(why(guard)))
    }

    /// The directory, which the guard removes in the end.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// As SSH_AUTH_SOCK names it.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join(SOCKET)
    }

    /// As SSH_AGENT_PID names it.
    pub(super) fn process(&self) -> &str {
        &self.process
    }

    /// Hands it a private key.
    pub(super) fn add(&self, key: &[u8]) -> Result<(), AgentError> {
        let mut add = Command::new("ssh-add")
            .args(["-q", "-"])
            .env("SSH_AUTH_SOCK", self.socket())
            // Nobody is asked for a passphrase.
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env_remove("DISPLAY")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|fault| AgentError::Missing {
                program: "ssh-add",
                fault,
            })?;
        if let Some(mut stdin) = add.stdin.take() {
            // Why it went away before the end is told by itself.
            let _ = stdin.write_all(key);
        }
        let output = add
            .wait_with_output()
            .map_err(|fault| AgentError::NotTaken(fault.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(AgentError::NotTaken(in_one_line(&said, output.status)))
    }
}

const SOCKET: &str = "agent";

/// What a program that failed has said.
fn why(mut failed: Child) -> String {
    let mut said = String::new();
    if let Some(stderr) = failed.stderr.take() {
        // A few lines at most.
        let _ = stderr.take(1 << 12).read_to_string(&mut said);
    }
    match failed.wait() {
        Ok(status) => in_one_line(&said, status),
        Err(fault) => fault.to_string(),
    }
}

fn in_one_line(said: &str, status: ExitStatus) -> String {
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        status.to_string()
    } else {
        lines.join("; ")
    }
}

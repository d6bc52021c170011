//! A private ssh-agent. Its socket is in a directory that only this user can enter, it gets its
//! keys through a pipe, and the guard ends it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use thiserror::Error;

use super::guard;
use authkeys_terminal::random;

/// A running private agent.
pub(super) struct PrivateAgent {
    directory: PathBuf,
    process: String,
}

/// Why an agent with the keys could not be started.
#[derive(Debug, Error)]
pub(super) enum AgentError {
    /// This program could not be started again as the guard.
    #[error("cannot start the agent's guard: {0}; is this program still installed?")]
    Own(io::Error),
    /// The guard's own message.
    #[error("{0}")]
    Guard(String),
    /// A program of OpenSSH could not be run.
    #[error("cannot run {program}: {fault}; install the OpenSSH client")]
    Missing {
        program: &'static str,
        fault: io::Error,
    },
    /// ssh-agent did not start.
    #[error("ssh-agent did not start ({0}); its socket lies in TMPDIR, whose path must be short")]
    NotStarted(String),
    /// ssh-add did not accept the key.
    #[error("ssh-add does not take the private key ({0}); check it with `ssh-keygen -y -f KEY`")]
    NotTaken(String),
}

impl PrivateAgent {
    /// Starts the agent and its guard.
    pub(super) fn start() -> Result<Self, AgentError> {
        let number = (random() * (1_u64 << 53) as f64) as u64;
        let directory = std::env::temp_dir().join(format!("{}{number:x}", guard::DIRECTORY));
        let own = std::env::current_exe().map_err(AgentError::Own)?;
        let mut guard = Command::new(own)
            .args([guard::COMMAND, guard::START])
            .arg(std::process::id().to_string())
            .arg(&directory)
            // A Ctrl-C on the terminal is for the command, which may survive it.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(AgentError::Own)?;
        let mut word = String::new();
        if let Some(stdout) = guard.stdout.take() {
            // If the guard ends without a line, it has failed, and its exit status shows that.
            let _ = BufReader::new(stdout).read_line(&mut word);
        }
        if let Some(process) = word.trim_end().strip_prefix(guard::READY) {
            return Ok(Self {
                directory,
                process: process.to_owned(),
            });
        }
        let said = why(guard);
        // A guard that failed has left its directory empty.
        let _ = std::fs::remove_dir(&directory);
        Err(match said.strip_prefix("authkeysctl: ") {
            Some(own) => AgentError::Guard(own.to_owned()),
            None => AgentError::NotStarted(said),
        })
    }

    /// The directory, which the guard removes at the end.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The value of SSH_AUTH_SOCK.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join(guard::SOCKET)
    }

    /// The value of SSH_AGENT_PID.
    pub(super) fn process(&self) -> &str {
        &self.process
    }

    /// Adds a private key.
    pub(super) fn add(&self, key: &[u8]) -> Result<(), AgentError> {
        let mut add = Command::new("ssh-add")
            .args(["-q", "-"])
            .env("SSH_AUTH_SOCK", self.socket())
            // Never ask for a passphrase.
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
            // If ssh-add ended early, its own message says why.
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

/// The error output of a program that failed.
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

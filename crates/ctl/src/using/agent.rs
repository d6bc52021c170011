//! An ssh-agent of our own: its socket in a directory that only this user enters, its keys from a
//! pipe, its end in the hands of the guard.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use thiserror::Error;

use super::guard;
use authkeys_terminal::random;

/// The agent.
pub(super) struct PrivateAgent {
    directory: PathBuf,
    process: String,
}

/// Why there is no agent with the keys.
#[derive(Debug, Error)]
pub(super) enum AgentError {
    /// This program once more, as the guard.
    #[error("cannot start the agent's guard: {0}; is this program still installed?")]
    Own(io::Error),
    /// The guard said why.
    #[error("{0}")]
    Guard(String),
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
        let number = (random() * (1_u64 << 53) as f64) as u64;
        let directory = std::env::temp_dir().join(format!("{}{number:x}", guard::DIRECTORY));
        let own = std::env::current_exe().map_err(AgentError::Own)?;
        let mut guard = Command::new(own)
            .args([guard::COMMAND, guard::START])
            .arg(std::process::id().to_string())
            .arg(&directory)
            // A Ctrl-C on the terminal is for the command, which may live on.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(AgentError::Own)?;
        let mut word = String::new();
        if let Some(stdout) = guard.stdout.take() {
            // An end without the word is a failure, which is told by the status.
            let _ = BufReader::new(stdout).read_line(&mut word);
        }
        if let Some(process) = word.trim_end().strip_prefix(guard::READY) {
            return Ok(Self {
                directory,
                process: process.to_owned(),
            });
        }
        let said = why(guard);
        // A guard that failed has left nothing in its directory.
        let _ = std::fs::remove_dir(&directory);
        Err(match said.strip_prefix("authkeysctl: ") {
            Some(own) => AgentError::Guard(own.to_owned()),
            None => AgentError::NotStarted(said),
        })
    }

    /// The directory, which the guard removes in the end.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// As SSH_AUTH_SOCK names it.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join(guard::SOCKET)
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

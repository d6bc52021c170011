//! The guard of a private agent. It is the agent's parent, waits until the command has ended, for
//! whatever reason, and then ends the agent and removes its directory.
//!
//! The kernel signals it when its own parent, which became the command, dies. If the guard is
//! killed too, the agent ends by itself within ten seconds: an ssh-agent that was started for a
//! command checks whether its parent is still alive.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getppid, kill_process, set_parent_process_death_signal, waitpid,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{Exit, complain, failure, print};
use authkeys_terminal::block_on;

/// The name of the command, which is internal.
pub(super) const COMMAND: &str = "agent-guard";
/// What it prints once it watches the agent; the agent's process id follows.
pub(super) const READY: &str = "ready ";
/// Its two steps.
pub(super) const START: &str = "start";
const WATCH: &str = "watch";
/// The agent's socket in its directory.
pub(super) const SOCKET: &str = "agent";
/// The prefix of the directory's name.
pub(super) const DIRECTORY: &str = "authkeysctl-";

/// The guard's command line.
pub(crate) struct AgentGuard {
    /// The process that becomes the command.
    parent: i32,
    /// The agent's directory.
    directory: PathBuf,
    step: GuardStep,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum GuardStep {
    /// Make the directory, and become ssh-agent.
    Start,
    /// Run by the process that was ssh-agent, once its child is the agent.
    Watch,
}

impl AgentGuard {
    /// `None` if the command line is for another command.
    pub(crate) fn parse(arguments: &[OsString]) -> Option<Self> {
        let [_program, command, step, parent, directory] = arguments else {
            return None;
        };
        let step = match step.to_str()? {
            START => GuardStep::Start,
            WATCH => GuardStep::Watch,
            _ => return None,
        };
        let parent = parent.to_str()?.parse().ok()?;
        if command != COMMAND {
            return None;
        }
        Some(Self {
            parent,
            directory: PathBuf::from(directory),
            step,
        })
    }

    /// Runs until the command is gone.
    pub(crate) fn run(&self) -> Result<Exit, Exit> {
        match self.step {
            GuardStep::Start => Err(self.start()),
            GuardStep::Watch => self.guard(),
        }
    }

    /// Returns only on failure. The directory is created here and not by the parent, which may be
    /// killed at any moment.
    fn start(&self) -> Exit {
        let made = DirBuilder::new().mode(0o700).create(&self.directory);
        if let Err(fault) = made {
            let directory = self.directory.display();
            return failure(&format!(
                "cannot make the temporary directory {directory}: {fault}; free some space, or set \
                 TMPDIR"
            ));
        }
        let fault = match std::env::current_exe() {
            Ok(own) => Command::new("ssh-agent")
                .arg("-a")
                .arg(self.directory.join(SOCKET))
                .arg(own)
                .args([COMMAND, WATCH])
                .arg(self.parent.to_string())
                .arg(&self.directory)
                .exec(),
            Err(fault) => fault,
        };
        remove(&self.directory);
        failure(&format!(
            "cannot run ssh-agent: {fault}; install the OpenSSH client"
        ))
    }

    fn guard(&self) -> Result<Exit, Exit> {
        let Some(agent) = started_agent() else {
            return Err(internal("no agent to guard"));
        };
        let watched = block_on(watch(self.parent, agent)).and_then(|watched| watched);
        end(agent);
        remove(&self.directory);
        match watched {
            Ok(()) => Ok(Exit::Good),
            Err(fault) => Err(internal(&format!("cannot watch the command: {fault}"))),
        }
    }
}

/// Reports a failure of this command, which nobody else should run.
fn internal(why: &str) -> Exit {
    complain(&format!("{why}; this command is for authkeysctl itself"));
    Exit::Usage
}

/// The agent, if it is a child of this process.
fn started_agent() -> Option<Pid> {
    let agent = std::env::var("SSH_AGENT_PID").ok()?;
    let agent = Pid::from_raw(agent.parse().ok()?)?;
    if is_child(agent) { Some(agent) } else { None }
}

/// Returns when the parent is gone, or this process is asked to end.
async fn watch(parent: i32, agent: Pid) -> std::io::Result<()> {
    let mut end = signal(SignalKind::terminate())?;
    // A closed terminal, and the interrupt and quit keys, are for the command to handle.
    let _hangup = signal(SignalKind::hangup())?;
    let _interrupt = signal(SignalKind::interrupt())?;
    let _quit = signal(SignalKind::quit())?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // The parent may have died before that call.
    if has_parent(parent)
        && print(format!("{READY}{}\n", agent.as_raw_nonzero()))
        && has_parent(parent)
    {
        end.recv().await;
    }
    Ok(())
}

fn has_parent(expected: i32) -> bool {
    match getppid() {
        Some(parent) => parent.as_raw_nonzero().get() == expected,
        None => false,
    }
}

fn is_child(agent: Pid) -> bool {
    matches!(waitpid(Some(agent), WaitOptions::NOHANG), Ok(None))
}

/// Ends the agent. Its process id cannot be reused before it has been waited for.
fn end(agent: Pid) {
    // An agent that is stopped or hangs is killed.
    for signal in [Signal::TERM, Signal::KILL] {
        let _ = kill_process(agent, signal);
        for _ in 0..50 {
            match waitpid(Some(agent), WaitOptions::NOHANG) {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Ok(Some(_)) | Err(Errno::CHILD) => return,
                Err(_) => {}
            }
        }
    }
}

/// Removes only what this program has created.
fn remove(directory: &Path) {
    let name = directory.file_name().unwrap_or_default();
    if name.as_encoded_bytes().starts_with(DIRECTORY.as_bytes()) {
        let _ = std::fs::remove_dir_all(directory);
    }
}

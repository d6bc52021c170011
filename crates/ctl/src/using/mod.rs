//! `authkeysctl ssh` and `authkeysctl agent`: log in with a private key from Secrets Manager that
//! is never in a file, an argument or a variable.
//!
//! This process starts a private ssh-agent, hands it the keys through a pipe, and then becomes the
//! command by exec: that discards its memory, the exit status is the command's, and signals reach
//! the command directly. A guard (guard.rs) ends the agent as soon as the command is gone.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use super::{Exit, complain, failure, refused, run_to_end};
use agent::PrivateAgent;
use authkeys_aws::credential::Credential;
use client::ClientSettings;

mod agent;
mod client;
pub(super) mod guard;
mod keys;
mod wiping;

/// The end of the help text of both commands.
pub(super) const NOTES: &str = "The key goes through a pipe into an ssh-agent that only this \
                                command can use and that ends with it. ssh, scp and sftp offer no \
                                other key: neither another agent's, nor ~/.ssh/id_*, nor one that \
                                ssh_config names. Without --stage the key of AWSCURRENT is offered \
                                first and that of AWSPREVIOUS second, so that a rotation shuts \
                                nobody out. The exit status is the command's; what fails before it \
                                starts has those of authkeysctl.";

/// Which key.
#[derive(Debug, Args)]
pub(super) struct KeyOptions {
    /// The secret that has the private key: its name or ARN, or secretsmanager:NAME?region=REGION
    #[arg(long, value_name = "NAME", value_parser = Credential::parse)]
    secret: Credential,
    /// Offer only the key of the version with this stage; without it, AWSCURRENT's key and then
    /// AWSPREVIOUS's
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
}

/// What `ssh` takes.
#[derive(Debug, Args)]
pub(super) struct SshOptions {
    #[command(flatten)]
    key: KeyOptions,
    /// What ssh takes: its options, the host, and the command to run there
    #[arg(
        value_name = "SSH-ARGUMENT",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    arguments: Vec<OsString>,
}

/// What `agent` takes.
#[derive(Debug, Args)]
pub(super) struct AgentOptions {
    #[command(flatten)]
    key: KeyOptions,
    /// The command to run with the agent, and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// Runs `authkeysctl ssh`; returns only if ssh could not be started.
pub(super) fn run_ssh(options: &SshOptions) -> Result<Exit, Exit> {
    let (own, arguments) = client::own_configuration(&options.arguments);
    let private = Private::start(&options.key, own)?;
    let mut ssh = Command::new(private.settings.ssh());
    ssh.arg("-F").arg(private.settings.file()).args(arguments);
    private.become_command(ssh)
}

/// Runs `authkeysctl agent`; returns only if the command could not be started.
pub(super) fn run_agent(options: &AgentOptions) -> Result<Exit, Exit> {
    let (program, arguments) = options.command.split_first().ok_or(Exit::Usage)?;
    let private = Private::start(&options.key, None)?;
    let mut command = Command::new(program);
    command.args(arguments);
    private.become_command(command)
}

/// Protects the private keys that this process will hold: freed memory is overwritten, there are no
/// core dumps, and only root can attach a debugger. It may start the program again.
pub(crate) fn keep_private_keys() {
    wiping::ensure();
    let none = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    let _ = setrlimit(Resource::Core, none);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// An agent with the keys, and the settings that keep ssh from offering others.
struct Private {
    agent: PrivateAgent,
    settings: ClientSettings,
    core_limit: Rlimit,
}

impl Private {
    /// `configuration` replaces ~/.ssh/config, as `ssh -F` does.
    fn start(options: &KeyOptions, configuration: Option<OsString>) -> Result<Self, Exit> {
        // The limit that is restored when this process becomes the command.
        let core_limit = getrlimit(Resource::Core);
        keep_private_keys();

        let agent = PrivateAgent::start().map_err(|fault| failure(&fault.to_string()))?;
        let settings = match ClientSettings::write(agent.directory(), configuration) {
            Ok(settings) => settings,
            Err(fault) => {
                let why = format!("cannot write ssh's settings: {fault}; set TMPDIR");
                return Err(failure(&why));
            }
        };
        let keys = keys::read(&options.secret, options.stage.as_deref());
        let keys = run_to_end(keys)?;
        for (number, key) in keys.iter().enumerate() {
            let Err(fault) = agent.add(&key.bytes) else {
                continue;
            };
            let name = format!("{}, {}", options.secret.name(), key.stage);
            if number == 0 {
                return Err(refused(name, &fault.to_string()));
            }
            // The key before it is the current one, which opens every node.
            complain(&format!("warning: {name}: {fault}"));
        }
        Ok(Self {
            agent,
            settings,
            core_limit,
        })
    }

    /// Returns only on failure.
    fn become_command(self, mut command: Command) -> Result<Exit, Exit> {
        command
            .env("SSH_AUTH_SOCK", self.agent.socket())
            .env("SSH_AGENT_PID", self.agent.process())
            .env("PATH", self.settings.path());
        wiping::restore(&mut command);
        let _ = setrlimit(Resource::Core, self.core_limit);
        let fault = command.exec();
        let program = command.get_program().display();
        let why = format!("cannot run {program}: {fault}; is it installed, and in PATH?");
        Err(failure(&why))
    }
}

//! `authkeysctl`, for the people who publish keys and watch the fleet: the command line. Each
//! command has its own file.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use serde::Serialize;

use authkeys_core::document::Name;
use authkeys_terminal::{self as terminal, Exit, block_on};
use signing_key::SigningKey;

mod diff;
mod fault;
mod fleet;
mod grant;
mod history;
mod input;
mod keys;
mod lint;
mod output;
mod progress;
mod publication;
mod publish;
mod reading;
mod revoke;
mod rollback;
mod rotate;
mod show;
mod sign;
mod signer;
mod signing_key;
mod times;
mod using;
mod verify;

pub use rotate::function;

const PROGRAM: &str = "authkeysctl";

/// Checks, signs and publishes the key sets that authkeysd keeps nodes equal to.
#[derive(Debug, Parser)]
#[command(name = "authkeysctl", version, after_help = EXIT_CODES)]
struct CtlCli {
    #[command(subcommand)]
    command: CtlCommand,
}

const EXIT_CODES: &str = "\
Exit codes:
   0  good
   1  something failed, or a document is not good (named on stderr)
   3  diff found a key that differs
  64  usage
  75  AWS could not be reached
  77  not permitted
  78  configuration
AWS credentials, region and endpoints come from where the AWS CLI finds them: AWS_PROFILE, \
AWS_REGION and so on.";

#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// What a node would say of a document: its keys, windows and faults, and what may not be meant
    Lint(Lint),
    /// Sign a document, as `ssh-keygen -Y sign -n authkeysd` and `cat` would, unless nodes would
    /// refuse it anyway
    Sign(Sign),
    /// Print a key's line for the allowed_signers file of nodes
    Signer(signer::SignerLookup),
    /// By whom a document is signed; exit 0 only if its signature is good, as `ssh-keygen -Y
    /// verify` would say
    Verify(Verify),
    /// Publish a document where nodes read it: judge it, show what changes, take the next serial,
    /// sign, write
    #[command(after_help = PUBLISHING)]
    Publish(Box<publish::PublishOptions>),
    /// Show a key set: who may log in by it, now or at a given time
    Show(show::ShowOptions),
    /// List the stored versions of a key set, the newest first, and what each one changed
    History(history::HistoryOptions),
    /// Compare two key sets; exit 3 when a key differs
    Diff(diff::DiffOptions),
    /// Grant access: add keys to the published key set, and leave every other byte of it as it is
    #[command(
        after_help = PUBLISHING,
        mut_arg("from", |from| from.help(grant::FROM).value_name("TIME|s3://BUCKET/PREFIX/"))
    )]
    Grant(Box<grant::GrantOptions>),
    /// Revoke keys: take them out of the published key set, so that nodes remove every copy of them
    #[command(after_help = PUBLISHING)]
    Revoke(Box<revoke::RevokeOptions>),
    /// Publish an earlier version again under the next serial; what was revoked since stays revoked
    #[command(after_help = PUBLISHING)]
    Rollback(Box<rollback::RollbackOptions>),
    /// Rotate the key pair in a secret: the new key is in force on every node before it counts, and
    /// the old one is refused by all in the end
    #[command(after_help = ROTATING)]
    Rotate(Box<rotate::Options>),
    /// Which nodes have which key set, and which need attention (exit 0 only if none does); with
    /// --wait, until all have one
    Fleet(Box<fleet::FleetOptions>),
    /// Log in by ssh with a private key from Secrets Manager, which never reaches a disk
    #[command(after_help = using::NOTES)]
    Ssh(using::SshOptions),
    /// Run a command (scp, rsync, ansible-playbook) with an ssh-agent of its own that has a private
    /// key from Secrets Manager
    #[command(after_help = using::NOTES)]
    Agent(using::AgentOptions),
}

/// How a document is judged before anything is done with it.
#[derive(Debug, Clone, Default, Args)]
struct Judging {
    /// Judge by [policy] and [trust] of a node's configuration, its allowed_signers included,
    /// instead of by the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The audience of the nodes that it is meant for
    #[arg(long, value_name = "NAME", value_parser = Name::parse)]
    audience: Option<Name>,
}

#[derive(Debug, Args)]
struct Lint {
    /// The document's file, - for standard input, or a source's URL
    #[arg(value_name = "DOC|SOURCE")]
    document: PathBuf,
    #[command(flatten)]
    judging: Judging,
    /// Ask for a signature by one whom this file names, in ssh-keygen's allowed_signers format;
    /// with --config in place of the file that it names
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Sign {
    /// A private key's file; a public key's, whose private half ssh-agent has (security keys and
    /// tokens too); or kms:KEY-ID, kms:alias/NAME or kms:ARN for a key in AWS KMS
    #[arg(long, value_name = "KEY", value_parser = SigningKey::parser())]
    key: SigningKey,
    /// The document's file, or - for standard input; a signature that it has is replaced
    #[arg(value_name = "DOC")]
    document: PathBuf,
    /// Where the signed document goes, instead of to standard output; it may be DOC itself
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    judging: Judging,
}

#[derive(Debug, Args)]
struct Verify {
    /// Who may sign, in ssh-keygen's allowed_signers format
    #[arg(long, value_name = "FILE")]
    allowed_signers: PathBuf,
    /// The document's file, or - for standard input
    #[arg(value_name = "DOC")]
    document: PathBuf,
}

const PUBLISHING: &str = "The serial becomes that of what is published plus one, unless the \
                          document's own is higher. On a terminal it asks before it writes. \
                          Elsewhere it goes on, unless the change could lock somebody out (all \
                          keys of an account replaced at once, or gone), a fingerprint leaves \
                          `revoked`, or nodes could refuse it (after the object was deleted, say); \
                          that takes --yes. When somebody else publishes at the same time, one of \
                          the two gets exit status 1. In S3 and Secrets Manager nothing is \
                          overwritten then; SSM knows no condition, and what was overwritten is \
                          named.";

const ROTATING: &str = "Phases: create (a new pair, AWSPENDING), set (its public key in the key \
                        set, beside the current one), deploy (all nodes report that key set), test \
                        (all nodes accept it), finish (AWSCURRENT), retire (the old key gets an \
                        end), verify (it is refused, taken out and revoked). Nothing is remembered \
                        but what AWS holds: a run that stopped or was killed is continued by the \
                        next one. When nodes are missing, nothing is promoted, and the exit status \
                        is 1. docs/rotate.md has more.";

/// The definition of the command line, for the man page and shell completions.
pub fn table() -> clap::Command {
    CtlCli::command()
}

/// Runs one command line and returns the exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.collect();
    // An internal command: it is in no help text and no man page.
    if let Some(guard) = using::guard::AgentGuard::parse(&arguments) {
        return guard.run().unwrap_or_else(|exit| exit);
    }
    terminal::run(PROGRAM, arguments.into_iter(), |cli: CtlCli| {
        let done = match cli.command {
            CtlCommand::Lint(options) => lint::run(&options),
            CtlCommand::Sign(options) => sign::run(&options),
            CtlCommand::Signer(options) => signer::run(&options),
            CtlCommand::Fleet(options) => fleet::run(&options),
            CtlCommand::Ssh(options) => using::run_ssh(&options),
            CtlCommand::Agent(options) => using::run_agent(&options),
            CtlCommand::Verify(options) => verify::run(&options),
            CtlCommand::Publish(options) => publish::run(&options),
            CtlCommand::Show(options) => show::run(&options),
            CtlCommand::History(options) => history::run(&options),
            CtlCommand::Diff(options) => diff::run(&options),
            CtlCommand::Rollback(options) => rollback::run(&options),
            CtlCommand::Rotate(options) => rotate::run(&options),
            CtlCommand::Grant(options) => grant::run(&options),
            CtlCommand::Revoke(options) => revoke::run(&options),
        };
        done.unwrap_or_else(|exit| exit)
    })
}

/// Prints one line to stderr.
fn complain(text: &str) {
    terminal::complain(PROGRAM, text);
}

/// Reports why the command failed.
fn failure(why: &str) -> Exit {
    complain(why);
    Exit::Failed
}

/// Reports what is wrong with a file, a key or a place.
fn refused(subject: impl Display, why: &str) -> Exit {
    failure(&format!("{subject}: {why}"))
}

/// Reports why a command wrote nothing there.
fn unwritten(subject: impl Display, why: &str) -> Exit {
    failure(&format!("{subject}: {why}; nothing was written"))
}

/// Reports what is wrong with a file of a node's configuration.
fn misconfigured(file: &Path, why: &str) -> Exit {
    complain(&format!("{}: {why}", file.display()));
    Exit::Config
}

/// Unwraps what a runtime returned. If it could not be started, that is reported.
fn started<T>(ran: io::Result<T>) -> Result<T, Exit> {
    ran.map_err(|fault| failure(&format!("cannot start: {fault}")))
}

/// Runs the asynchronous part of a command to its end.
fn run_to_end<T>(work: impl Future<Output = Result<T, Exit>>) -> Result<T, Exit> {
    started(block_on(work))?
}

/// Prints text for people to stdout; returns whether it arrived.
fn print(text: impl AsRef<str>) -> bool {
    terminal::print_text(PROGRAM, text.as_ref())
}

/// Prints bytes to stdout unchanged; returns whether they arrived.
fn print_bytes(bytes: &[u8]) -> bool {
    terminal::print(PROGRAM, bytes)
}

/// Prints a value to stdout as JSON; returns whether it arrived.
fn print_json(value: &impl Serialize) -> bool {
    terminal::print_json(PROGRAM, value)
}

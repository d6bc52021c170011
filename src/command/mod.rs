//! The commands. This is the composition root: only these modules name concrete sources, hosts and
//! clocks.

use std::ffi::OsString;
use std::path::PathBuf;

use authkeys_core::fault::FaultCode;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use jiff::SignedDuration;
use serde::Serialize;

use authkeys_terminal as terminal;
pub use authkeys_terminal::Exit;
use authkeys_terminal::{block_on, colour};

mod check;
mod explain;
mod load;
mod run;
mod sandbox;
mod status;
mod sync;
mod system;
mod tell;

const PROGRAM: &str = "authkeysd";

/// Keeps authorized_keys on this node equal to one published key set.
#[derive(Debug, Parser)]
#[command(name = "authkeysd", version, after_help = EXIT_CODES)]
struct Cli {
    /// The configuration file [default: what AUTHKEYSD_CONFIG names, else
    /// /etc/authkeysd/config.toml]
    // Treat an empty variable as unset; clap's `env` would reject it.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
   0  good
   1  something failed, or a document was refused (named on stderr)
   3  `sync --dry-run` found changes to make
  64  usage
  75  the source could not be reached (also when the last good key set is in force)
  77  not permitted
  78  configuration
If several apply: the first of 78, 77, 75, 1, 3.";

#[derive(Debug, Subcommand)]
enum Command {
    /// The service: run cycles by the schedule until SIGTERM; SIGHUP reads the configuration again,
    /// SIGUSR1 fetches now
    Run,
    /// Run one cycle now: fetch the key set, make every account's file equal to it, print what
    /// changed
    Sync(Sync),
    /// The doctor: is the configuration good, and does sshd really read the files that are written?
    Check(Check),
    /// Show what the last cycle did; exit 0 only if it was lately, all is well, and the service was
    /// not stopped since
    Status(StatusOptions),
    /// Explain the code of a message, such as AK010: what it means, and what to do
    Explain(Explain),
    /// What the unit runs before the service: whether /root is in its sandbox
    #[command(hide = true)]
    Sandbox,
}

#[derive(Debug, Args)]
struct Sync {
    /// Write nothing; exit 3 when there is something to change
    #[arg(long)]
    dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// Forget the recorded time and the serials of all sources, take also older documents, and
    /// count from there: look first at what is published
    #[arg(long)]
    accept_rollback: bool,
}

#[derive(Debug, Args)]
struct Check {
    /// Also fetch each source and judge its document, and ask whether the tags may be written
    /// (nothing is)
    #[arg(long)]
    online: bool,
    /// For moving in: which of the present keys the key set knows, what the first sync would do in
    /// each mode, and who else fetches keys here (nothing is written)
    #[arg(long)]
    adopt: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct StatusOptions {
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// List the keys in force; where the status has only the first ones, they are read from the
    /// accounts' files
    #[arg(long)]
    keys: bool,
    /// How old the last cycle may be [default: 10m, or as long as the next one is not overdue]
    #[arg(long, value_name = "TIME", value_parser = status::max_age)]
    max_age: Option<SignedDuration>,
}

#[derive(Debug, Args)]
struct Explain {
    /// The code, as in brackets at the end of a message
    #[arg(value_name = "CODE", value_parser = explain::code, required_unless_present = "list")]
    code: Option<FaultCode>,
    /// List all codes
    #[arg(long, conflicts_with = "code")]
    list: bool,
}

/// The definition of the command line, for the man page and shell completions.
pub fn table() -> clap::Command {
    Cli::command()
}

/// Runs one command line and returns the exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    terminal::run(PROGRAM, arguments, |cli: Cli| {
        let config = cli.config.unwrap_or_else(load::default_path);
        match cli.command {
            Command::Sync(options) => sync::run(&config, &options),
            Command::Check(options) => check::run(&config, &options),
            Command::Run => run::run(&config),
            Command::Status(options) => status::run(&config, &options),
            Command::Explain(options) => explain::run(&options),
            Command::Sandbox => sandbox::run(&config),
        }
    })
}

/// Prints one line on stderr.
fn complain(text: &str) {
    terminal::complain(PROGRAM, text);
}

/// Prints data on stdout. Returns whether it was written.
fn print(text: &str) -> bool {
    terminal::print_text(PROGRAM, text)
}

/// Prints a value as JSON on stdout. Returns whether it was written.
fn print_json(value: &impl Serialize) -> bool {
    terminal::print_json(PROGRAM, value)
}

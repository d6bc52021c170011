//! The commands: the composition root, which alone names concrete sources, hosts and clocks.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use jiff::SignedDuration;

use crate::report::text::{self, Colour};

mod check;
mod load;
mod run;
mod status;
mod sync;

/// Keeps authorized_keys on this node equal to one published key set.
#[derive(Debug, Parser)]
#[command(name = "authkeysd", version, after_help = EXIT_CODES)]
struct Cli {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        env = "AUTHKEYSD_CONFIG",
        default_value = "/etc/authkeysd/config.toml",
        global = true
    )]
    config: PathBuf,
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
Of several: 78, 77, 75, 1, 3 in this order.";

#[derive(Debug, Subcommand)]
enum Command {
    /// The service: run cycles by the schedule until SIGTERM; SIGHUP reads the configuration again
    Run,
    /// Run one cycle now: fetch the key set, make every account's file equal to it, print what changed
    Sync(Sync),
    /// The doctor: is the configuration good, and does sshd really read the files that are written?
    Check(Check),
    /// Show what the last cycle did; exit 0 only if it was lately and all is well
    Status(Status),
}

#[derive(Debug, Args)]
struct Sync {
    /// Write nothing; exit 3 when there is something to change
    #[arg(long)]
    dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// Take a document with a lower serial on purpose, and count from there
    #[arg(long)]
    accept_rollback: bool,
}

#[derive(Debug, Args)]
struct Check {
    /// Also fetch each source and judge its document (nothing is written)
    #[arg(long)]
    online: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Status {
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// How old the last cycle may be [default: 10m, or as long as the next one is not overdue]
    #[arg(long, value_name = "TIME", value_parser = status::max_age)]
    max_age: Option<SignedDuration>,
}

/// The exit codes, which are part of the contract (DESIGN section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Good.
    Good = 0,
    /// Something failed.
    Failed = 1,
    /// A dry run found changes to make.
    Changes = 3,
    /// The command line makes no sense.
    Usage = 64,
    /// The source could not be reached.
    Unreachable = 75,
    /// Not permitted.
    Denied = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// Runs one command line and returns how the process must end.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            if help || !error.use_stderr() {
                let _ = error.print();
                return if help { Exit::Usage } else { Exit::Good };
            }
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            complain(&format!("{}; see `authkeysd --help`", first.strip_prefix("error: ").unwrap_or(first)));
            return Exit::Usage;
        }
    };
    match cli.command {
        Command::Sync(options) => sync::run(&cli.config, &options),
        Command::Check(options) => check::run(&cli.config, &options),
        Command::Run => run::run(&cli.config),
        Command::Status(options) => status::run(&cli.config, &options),
    }
}

/// Runs the asynchronous part of a command to its end. What still hangs beside it then (a read of a dead network file
/// system, a name server without an answer) was given up already and is not waited for.
fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

/// One line on stderr. Nothing that a document or a server said may break out of it.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "authkeysd: {}", text::one_line(text));
}

/// Data on stdout; whether it arrived. A reader that went away (`| head`) is no fault of ours, a full disk is one.
fn print(text: &str) -> bool {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(fault) if fault.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {fault}"));
            false
        }
        _ => true,
    }
}

fn colour() -> Colour {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && std::io::stdout().is_terminal() { Colour::Yes } else { Colour::No }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn f37_what_hangs_beside_the_work_does_not_keep_the_command_from_ending() {
        let (begun, (wake, sleep)) = (Instant::now(), mpsc::channel::<()>());
        let work = async move {
            let hung = tokio::task::spawn_blocking(move || sleep.recv_timeout(Duration::from_secs(10)));
            tokio::time::timeout(Duration::from_millis(20), hung).await.is_err()
        };
        assert!(block_on(work).unwrap());
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        drop(wake);
    }
}

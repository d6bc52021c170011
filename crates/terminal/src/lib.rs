//! What both programs share when they talk to a person or a script: streams, colour, and faults of
//! the command line.

use std::ffi::OsString;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{IsTerminal as _, Write as _};

use clap::Parser;
use clap::error::ErrorKind;
use jiff::Timestamp;
use serde::Serialize;

use authkeys_core::fault::FaultClass;
use authkeys_core::origin::Class;
use authkeys_core::report::json;
use authkeys_core::report::text::{self, Colour};
use authkeys_core::words::printable;

pub mod bounded;

/// The exit codes, which are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Good = 0,
    /// Something failed.
    Failed = 1,
    /// A dry run found changes to make.
    Changes = 3,
    /// The command line is invalid.
    Usage = 64,
    /// The source could not be reached.
    Unreachable = 75,
    /// Permission was denied.
    Denied = 77,
    /// The configuration is invalid.
    Config = 78,
}

/// The exit code for a failed call to a source or to AWS.
impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Transient => Self::Unreachable,
            Class::Denied => Self::Denied,
            Class::Missing | Class::Invalid => Self::Failed,
        }
    }
}

/// The exit code for a fault of a cycle.
impl From<FaultClass> for Exit {
    fn from(class: FaultClass) -> Self {
        match class {
            FaultClass::Unreachable => Self::Unreachable,
            FaultClass::Denied => Self::Denied,
            FaultClass::Failed => Self::Failed,
            FaultClass::Config => Self::Config,
        }
    }
}

/// Parses a command line and runs the command; help and version are printed, and a fault is
/// reported in one line.
pub fn run<C: Parser>(
    program: &str,
    arguments: impl Iterator<Item = OsString>,
    command: impl FnOnce(C) -> Exit,
) -> Exit {
    let error = match C::try_parse_from(arguments) {
        Ok(read) => return command(read),
        Err(error) => error,
    };
    let help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if help || !error.use_stderr() {
        let _ = error.print();
        return if help { Exit::Usage } else { Exit::Good };
    }
    let text = error.render().to_string();
    // Missing arguments are listed on separate lines, up to the first blank one.
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let fault = lines.join(" ");
    let fault = fault.strip_prefix("error: ").unwrap_or(&fault);
    complain(program, &format!("{fault}; see `{program} --help`"));
    Exit::Usage
}

/// Runs the asynchronous part of a command to its end. Work that still hangs then (a read from a
/// dead network file system, a name server without an answer) has been given up already, and is not
/// waited for.
pub fn block_on<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

/// Prints one line to stderr. Text from a document or a server cannot start another line.
pub fn complain(program: &str, text: &str) {
    let _ = writeln!(std::io::stderr(), "{program}: {}", text::one_line(text));
}

/// Prints data to stdout; returns whether it arrived. A reader that went away (`| head`) is not a
/// fault, a full disk is.
pub fn print(program: &str, bytes: &[u8]) -> bool {
    let mut stdout = std::io::stdout();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(fault) if fault.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(
                program,
                &format!("cannot write to standard output: {fault}"),
            );
            false
        }
        _ => true,
    }
}

/// Prints text for people to stdout, without characters that could deceive them or control the
/// terminal, whatever name or comment it contains.
pub fn print_text(program: &str, text: &str) -> bool {
    print(program, printable(text).as_bytes())
}

/// Prints a value as JSON.
pub fn print_json(program: &str, value: &impl Serialize) -> bool {
    match json::pretty(value) {
        Ok(mut json) => {
            json.push(b'\n');
            print(program, &json)
        }
        Err(fault) => {
            complain(program, &format!("cannot write JSON: {fault}"));
            false
        }
    }
}

/// Whether the output may have colours.
pub fn colour() -> Colour {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && std::io::stdout().is_terminal() {
        Colour::Yes
    } else {
        Colour::No
    }
}

/// The current time, in milliseconds, which is precise enough for people and the status file.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the programs read the clock"
)]
pub fn clock() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// A uniformly random number from 0 to 1, for spreading the load of a fleet. Its seeds are those of
/// the standard library, new each time.
pub fn random() -> f64 {
    let random = RandomState::new().hash_one(0_u8) >> 11;
    random as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn f37_what_hangs_beside_the_work_does_not_keep_the_command_from_ending() {
        let (started, (wake, sleep)) = (Instant::now(), mpsc::channel::<()>());
        let work = async move {
            let hung =
                tokio::task::spawn_blocking(move || sleep.recv_timeout(Duration::from_secs(10)));
            tokio::time::timeout(Duration::from_millis(20), hung)
                .await
                .is_err()
        };
        assert!(block_on(work).unwrap());
        assert!(
            started.elapsed() < Duration::from_secs(9),
            "{:?}",
            started.elapsed()
        );
        drop(wake);
    }
}

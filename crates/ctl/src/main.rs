//! The companion for the people who publish keys and watch the fleet.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(authkeysctl::main(std::env::args_os()) as u8)
}

//! The agent on every node.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(authkeysd::command::main(std::env::args_os()) as u8)
}

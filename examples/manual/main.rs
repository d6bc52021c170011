//! Writes the man pages and the shell completions of both programs into a directory: `cargo run
//! --example manual -- DIR`. They come from the table of the command line and from
//! docs/configure.md, so that they cannot lag behind.

use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs, io};

mod completions;
mod pages;
mod settings;

fn main() -> ExitCode {
    let Some(dir) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual DIR");
        return ExitCode::from(64);
    };
    match write(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("manual: {}: {fault}", dir.display());
            ExitCode::FAILURE
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "products of a build, not files of a system"
)]
fn write(dir: &std::path::Path) -> io::Result<()> {
    // Reproducible builds say themselves when they are.
    let epoch = env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.parse().ok());
    let now = epoch
        .and_then(|second| jiff::Timestamp::from_second(second).ok())
        .unwrap_or_else(jiff::Timestamp::now);
    let date = now.strftime("%Y-%m-%d").to_string();
    fs::create_dir_all(dir)?;
    for (name, text) in pages::all(&date)?.into_iter().chain(completions::all()) {
        fs::write(dir.join(name), text)?;
    }
    Ok(())
}

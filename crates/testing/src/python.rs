//! Python tools in virtual environments that the tests create, each once, below `target/`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::paths::locked;

/// The Python of an environment with this package; `None`, after a clear message, if it cannot be
/// created. In CI that is a failure.
pub fn environment(name: &str, package: &str) -> Option<PathBuf> {
    match make(name, package) {
        Ok(python) => Some(python),
        Err(why) if std::env::var_os("CI").unwrap_or_default() == "true" => {
            panic!("no {package}: {why}")
        }
        Err(why) => {
            eprintln!("SKIPPED: no {package}: {why}");
            None
        }
    }
}

fn make(name: &str, package: &str) -> Result<PathBuf, String> {
    let target = crate::scratch();
    let home = target.join(name);
    let python = home.join("bin/python");
    let done = home.join("done");
    // The first process creates it, while the others wait.
    let lock = match locked(&target.join(format!("{name}.lock"))) {
        Ok(lock) => lock,
        Err(error) => return Err(error.to_string()),
    };
    // A marker written at the end distinguishes a complete environment from one that was
    // interrupted or belongs to another version.
    let made_of = fs::read_to_string(&done).unwrap_or_default();
    if made_of != package {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&home))?;
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            package,
        ]))?;
        fs::write(&done, package).map_err(|error| error.to_string())?;
    }
    drop(lock);
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

//! Programs from the Rust registry that the tests install once, below `target/tools`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::lab::inside;
use crate::paths::{locked, tools};

/// The program of CoreOS, in its last release.
pub const UPDATE_SSH_KEYS: Tool = Tool {
    name: "update-ssh-keys",
    version: "0.7.0",
};
/// Its replacement in Fedora CoreOS, for sshd's AuthorizedKeysCommand.
pub const SSH_KEY_DIR: Tool = Tool {
    name: "ssh-key-dir",
    version: "0.1.5",
};

/// A program and its version.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    name: &'static str,
    version: &'static str,
}

impl Tool {
    /// Installs it if it is not there yet, which must happen before a test enters the lab; `false`,
    /// after a clear message, if that fails. In CI that is a failure.
    pub fn prepare(self) -> bool {
        if inside() || self.is_there() {
            return true;
        }
        match self.install() {
            Ok(()) => true,
            Err(why) if std::env::var("CI").as_deref() == Ok("true") => {
                panic!("no {}: {why}", self.name)
            }
            Err(why) => {
                eprintln!("SKIPPED: no {}: {why}", self.name);
                false
            }
        }
    }

    /// The program.
    pub fn path(self) -> PathBuf {
        tools().join("bin").join(self.name)
    }

    fn is_there(self) -> bool {
        let note = std::fs::read_to_string(tools().join(format!("{}.version", self.name)))
            .unwrap_or_default();
        note == self.version && self.path().is_file()
    }

    /// The first process installs it, the others wait for the lock.
    fn install(self) -> Result<(), String> {
        std::fs::create_dir_all(tools()).map_err(|error| error.to_string())?;
        let lock = match locked(&tools().join("lock")) {
            Ok(lock) => lock,
            Err(error) => return Err(error.to_string()),
        };
        if !self.is_there() {
            let started = Instant::now();
            let build = tools().join(format!("build-{}", self.name));
            let mut cargo =
                Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            // Not the settings of the tests' own build: this one should be quick and small.
            cargo.args([
                "install",
                "--quiet",
                "--locked",
                "--debug",
                "--force",
                self.name,
                "--version",
                self.version,
            ]);
            cargo
                .arg("--root")
                .arg(tools())
                .arg("--target-dir")
                .arg(&build)
                .env("CARGO_PROFILE_DEV_DEBUG", "0");
            cargo.current_dir("/").stdin(Stdio::null());
            let output = cargo
                .output()
                .map_err(|error| format!("{cargo:?}: {error}"))?;
            std::fs::remove_dir_all(build).ok();
            if !output.status.success() {
                return Err(format!(
                    "{cargo:?}: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                ));
            }
            std::fs::write(tools().join(format!("{}.version", self.name)), self.version).unwrap();
            eprintln!(
                "installed {} {} in {:?}",
                self.name,
                self.version,
                started.elapsed()
            );
        }
        drop(lock);
        Ok(())
    }
}

//! Reads the configuration file. It decides who may log in, so only root and the running user may
//! be able to write it.

use std::path::{Path, PathBuf};

use super::{Exit, complain, system};
use crate::agent::read_signers;
use crate::service::ServiceSetup;
use authkeys_core::config::{Config, ConfigFault};
use authkeys_core::fault::FaultCode;
use authkeys_core::verify::Signers;
use authkeys_terminal::bounded;

/// The default directory of the status file.
pub(super) const RUNTIME: &str = "/run/authkeysd";
/// The most bytes of a configuration file that are read.
const MAX_CONFIG: u64 = 1 << 20;

/// The path of the configuration if the command line does not name one.
pub(super) fn default_path() -> PathBuf {
    match std::env::var_os("AUTHKEYSD_CONFIG") {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from("/etc/authkeysd/config.toml"),
    }
}

/// Reads the configuration, or returns its faults.
pub(super) fn config(path: &Path) -> Result<Config, Vec<ConfigFault>> {
    let us = nix::unistd::geteuid().as_raw();
    let content = match bounded::read_trusted(path, MAX_CONFIG, us) {
        Ok(Some(content)) => content,
        Ok(None) => {
            let text = "no such file; write one, or name another with --config";
            return Err(whole(text.to_owned()));
        }
        Err(fault) => return Err(whole(fault)),
    };
    match String::from_utf8(content) {
        Ok(text) => Config::parse(&text),
        Err(_) => Err(whole("it is not UTF-8".to_owned())),
    }
}

/// A fault of the whole file.
fn whole(message: String) -> Vec<ConfigFault> {
    vec![ConfigFault {
        line: 0,
        key: String::new(),
        message,
    }]
}

/// One fault in the format of compilers: `FILE:LINE: key: message`.
pub(super) fn fault_line(path: &Path, fault: &ConfigFault) -> String {
    match fault.line {
        0 => format!("{}: {fault}", path.display()),
        line => format!("{}:{line}: {fault}", path.display()),
    }
}

/// Prints one line with its code on stderr.
pub(super) fn complain_of(code: FaultCode, text: &str) {
    complain(&format!("{text} [{code}]"));
}

/// Reads the configuration and prints every fault.
pub(super) fn config_or_exit(path: &Path) -> Result<Config, Exit> {
    config(path).map_err(|faults| {
        for fault in &faults {
            complain_of(FaultCode::ConfigInvalid, &fault_line(path, fault));
        }
        Exit::Config
    })
}

/// Prints every fault in the file of signers that the configuration names.
pub(super) fn signers_or_exit(config: &Config) -> Result<(), Exit> {
    let Err(faults) = signers(config) else {
        return Ok(());
    };
    for fault in &faults {
        complain_of(FaultCode::SignersInvalid, fault);
    }
    Err(Exit::Config)
}

/// Reads the file of signers, if the configuration names one. Each fault is one line.
pub(super) fn signers(config: &Config) -> Result<Option<Signers>, Vec<String>> {
    let path = match &config.signers {
        Some(signers) => signers.path.display().to_string(),
        None => String::new(),
    };
    read_signers(config, system::sshd_zone)
        .map_err(|faults| faults.iter().map(|fault| fault.at(&path)).collect())
}

/// The configuration with the directories that it and the environment name.
pub(super) fn setup(config: Config) -> ServiceSetup {
    let state = state_directory(&config);
    let runtime = runtime_directory(&config);
    ServiceSetup {
        config,
        state,
        runtime,
    }
}

/// The state directory: the configuration's, systemd's, or the default.
pub(super) fn state_directory(config: &Config) -> PathBuf {
    match &config.state_dir {
        Some(directory) => directory.clone(),
        None => systemd("STATE_DIRECTORY", "/var/lib/authkeysd"),
    }
}

/// The directory of the status file: the configuration's, systemd's, or the default.
fn runtime_directory(config: &Config) -> PathBuf {
    match &config.runtime_dir {
        Some(directory) => directory.clone(),
        None => systemd("RUNTIME_DIRECTORY", RUNTIME),
    }
}

/// The first of the directories that systemd names.
fn systemd(variable: &str, default: &str) -> PathBuf {
    let list = std::env::var(variable).unwrap_or_default();
    match list.split(':').next() {
        Some(path) if !path.is_empty() => PathBuf::from(path),
        _ => PathBuf::from(default),
    }
}

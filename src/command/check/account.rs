//! Checks whether sshd reads the file that authkeysd writes, and whether StrictModes accepts it.

use std::path::{Path, PathBuf};

use super::sshd::{KeyReading, Settings, is_ssh_key_dir, same, unread};
use super::{Finding, Level, fault_finding, login};
use crate::agent::{host_fault, located, obstacle_faults};
use crate::command::system;
use crate::host::sshd::NoSettings;
use crate::host::{Account, Host as _, HostError, Node, Place, Target, selinux, strict};
use authkeys_core::config::{AccountConfig, Config};
use authkeys_core::document::{self, Rules};
use authkeys_core::outcome::{Fault, FaultCode, chain};
use authkeys_core::words::counted;

/// Checks every account.
pub(super) fn examine_all(config: &Config) -> Vec<Finding> {
    let node = Node::read_only();
    let mut findings = Vec::new();
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    for account in &config.accounts {
        match locate(&node, account) {
            Ok(target) => {
                let found = &target.account;
                let file = target.path();
                if let Some((_, other)) = files.iter().find(|(path, _)| *path == file) {
                    let shown = file.display();
                    let message = format!("{other} has the same file {shown}; give each its own");
                    let user = found.user.as_str();
                    findings.push(Finding::new(Level::Failed, "account", user, message));
                }
                files.push((file.clone(), found.user.to_string()));
                findings.extend(reachable(&node, &target));
                examine(&node, &target, &mut findings);
            }
            Err(fault) => {
                let who = match &account.user {
                    Some(user) => user.as_str(),
                    None => "the running user",
                };
                findings.push(fault_finding(&fault, "account", who));
            }
        }
    }
    findings
}

/// Checks the file of break-glass keys.
pub(super) fn pinned_keys(config: &Config, path: &Path) -> Finding {
    let subject = path.display().to_string();
    let rules = Rules {
        line: config.line_rules.clone(),
        allow_private_key: false,
    };
    let unusable = match crate::agent::read_pinned(path, &rules) {
        Ok((document, _)) if document.left_out.is_empty() => {
            let mut text = counted(document.keys.len(), "good key");
            if let Some(altered) = document.altered_comments() {
                text.push_str(&format!("; {altered}"));
            }
            return Finding::new(Level::Ok, "pinned_keys", &subject, text);
        }
        Ok((document, _)) => {
            let mut bad = Vec::new();
            for one in &document.left_out {
                bad.push(format!("line {}: {}", one.line, one.reason));
            }
            bad.join("; ")
        }
        Err(fault) => fault,
    };
    Finding {
        code: Some(FaultCode::PinnedKeysUnusable),
        ..Finding::new(Level::Failed, "pinned_keys", &subject, unusable)
    }
}

pub(super) fn locate(node: &Node, account: &AccountConfig) -> Result<Target, Fault> {
    located(account, node.account(account.user.as_ref()))
}

/// The place of a file that sshd reads for the account.
pub(super) fn place(account: &Account, file: &Path) -> Place {
    match file.strip_prefix(&account.home) {
        Ok(below) if account.home != Path::new("/") => Place::Home {
            below: below.to_owned(),
        },
        _ => Place::System {
            path: file.to_owned(),
        },
    }
}

/// Walks to and reads the file like a cycle, and checks whether a write would succeed.
fn reachable(node: &Node, target: &Target) -> Vec<Finding> {
    let user = target.account.user.as_str();
    let mut faults = Vec::new();
    if let Err(error) = writable(node, target) {
        faults.push(host_fault(user, &error));
    } else if let Place::Fragment { .. } = target.place {
        match node.fragments(target) {
            Ok(found) => faults.extend(obstacle_faults(user, &found)),
            Err(error) => faults.push(host_fault(user, &error)),
        }
    }
    let mut findings = Vec::new();
    for fault in &faults {
        findings.push(fault_finding(fault, "account", user));
    }
    if faults.is_empty() {
        let message = format!("{} can be managed", target.path().display());
        findings.push(Finding::new(Level::Ok, "account", user, message));
    }
    findings
}

/// Whether the file could be read, and replaced by one of its length.
fn writable(node: &Node, target: &Target) -> Result<(), HostError> {
    let found = node.read(target)?;
    let length = found.content.unwrap_or_default().len();
    node.preflight(target, u64::try_from(length).unwrap_or(u64::MAX))
}

fn examine(node: &Node, target: &Target, findings: &mut Vec<Finding>) {
    let account = &target.account;
    let file = &target.path();
    let user = account.user.as_str();
    let settings = match Settings::of(user) {
        Ok(settings) => settings,
        Err(NoSettings::Wrong(why)) => {
            let message = format!(
                "{why}; it would not start again, and nobody could log in: correct its \
                 configuration (`sshd -t`)"
            );
            findings.push(Finding::new(Level::Failed, "sshd", user, message));
            return;
        }
        Err(NoSettings::Unasked(why)) => {
            let message = format!(
                "cannot ask sshd which files it reads ({why}); run as root where sshd has been \
                 started once"
            );
            findings.push(Finding::new(Level::Warning, "sshd", user, message));
            return;
        }
    };
    let shown = file.display();
    let reading = settings.reading(target);
    let mut read = Some(target.clone());
    match reading {
        KeyReading::Itself => {
            let message = format!("reads {shown}");
            findings.push(Finding::new(Level::Ok, "sshd", user, message));
        }
        KeyReading::Made => {
            read = Some(target.generated());
            let generated = target.generated().path();
            let message = format!(
                "reads {}, which update-ssh-keys makes of {shown}",
                generated.display()
            );
            findings.push(Finding::new(Level::Ok, "sshd", user, message));
        }
        KeyReading::Command => {
            let command = settings.command().unwrap_or_default();
            let message = format!("asks {command} for {shown}");
            findings.push(Finding::new(Level::Ok, "sshd", user, message));
        }
        KeyReading::Others(others) => {
            read = None;
            let message = unread(target, &others);
            findings.push(Finding::new(Level::Failed, "sshd", user, message));
        }
    }
    findings.extend(logins(node, target, read.as_ref()));
    if settings.is("strictmodes", "yes") {
        let faults = strict::faults(file, account);
        if faults.is_empty() {
            let message = "would accept it";
            findings.push(Finding::new(Level::Ok, "strict_modes", user, message));
        }
        for fault in faults {
            let level = if fault.debian_accepts {
                Level::Warning
            } else {
                Level::Failed
            };
            findings.push(Finding::new(level, "strict_modes", user, fault.to_string()));
        }
    }
    findings.extend(label(user, file));
    bypasses(node, target, &settings, findings);
}

/// Checks whether sshd lets the account log in, and with which of the keys in the file that it
/// reads.
fn logins(node: &Node, target: &Target, read: Option<&Target>) -> Vec<Finding> {
    let account = &target.account;
    let settings = match Settings::by_origin(account.user.as_str()) {
        Ok(settings) => settings,
        Err(why) => {
            let message = format!("cannot ask sshd: {why}");
            let user = account.user.as_str();
            return vec![Finding::new(Level::Warning, "login", user, message)];
        }
    };
    // A file that cannot be read has been reported already.
    let mut content = Vec::new();
    if let Some(read) = read
        && let Ok(found) = node.read(read)
    {
        content = found.content.unwrap_or_default();
    }
    let now = authkeys_terminal::clock();
    let keys = login::candidates(&content, now, &system::sshd_zone());
    login::examine(node, account, &settings, &keys, now)
}

/// Checks whether SELinux lets sshd read the file.
fn label(user: &str, file: &Path) -> Option<Finding> {
    let enforced = selinux::enforced()?;
    let level;
    let message;
    match selinux::check(file) {
        Ok(None) => {
            level = Level::Ok;
            message = format!("{} has the label of its path", file.display());
        }
        Ok(Some(wrong)) => {
            level = if enforced {
                Level::Failed
            } else {
                Level::Warning
            };
            let path = wrong.path.display();
            message = format!(
                "{path} is {}, not {}: `restorecon -RFv {path}`",
                wrong.is, wrong.wanted
            );
        }
        Err(why) => {
            level = Level::Warning;
            message = format!("cannot judge the label: {why}");
        }
    }
    Some(Finding::new(level, "selinux", user, message))
}

/// Whether it is one of the files from which cycles remove keys that must not be there.
fn is_managed(file: &Path, target: &Target) -> bool {
    same(file, &target.path()) || target.is_fragment() && same(file, &target.generated().path())
}

/// Reports other ways to log in that are not affected by revoking a key here.
fn bypasses(node: &Node, target: &Target, settings: &Settings, findings: &mut Vec<Finding>) {
    let account = &target.account;
    let user = account.user.as_str();
    let fragments = target.is_fragment();
    let mut warn = |message| findings.push(Finding::new(Level::Warning, "bypass", user, message));
    for other in settings.files(account) {
        if is_managed(&other, target) || other.symlink_metadata().is_err() {
            continue;
        }
        // Read as the account and without following links: a user may have put a device there,
        // which root must not open.
        match node.read(&Target::new(account.clone(), place(account, &other))) {
            Ok(found) => {
                let keys = document::count_keys(&found.content.unwrap_or_default());
                if keys > 0 {
                    warn(format!(
                        "sshd also reads {}, which holds {} that authkeysd does not manage",
                        other.display(),
                        counted(keys, "key")
                    ));
                }
            }
            Err(error) => {
                warn(format!(
                    "sshd also reads {}, which cannot be looked at: {}",
                    other.display(),
                    chain(&error)
                ));
            }
        }
    }
    if let Some(command) = settings.command()
        && !(fragments && is_ssh_key_dir(command))
    {
        warn(format!(
            "sshd also asks AuthorizedKeysCommand {command} for keys"
        ));
    }
    let mut authorities = settings.all("trustedusercakeys").into_iter();
    if let Some(authority) = authorities.find(|file| *file != "none") {
        warn(format!(
            "sshd also lets certificates in (TrustedUserCAKeys {authority})"
        ));
    }
}

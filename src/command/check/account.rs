//! Is the file that is written one that sshd reads, and would StrictModes accept it?

use std::path::{Path, PathBuf};

use super::{Exit, Finding, Level};
use crate::config::{AccountConfig, Config};
use crate::document::{self, Rules};
use crate::host::{Account, Host as _, HostError, Node, Place, Target, sshd, strict};
use crate::outcome::chain;

/// What sshd says about a login of one account.
struct Settings {
    text: String,
}

impl Settings {
    /// The values of a setting; sshd prints keywords in lower case.
    fn all(&self, keyword: &str) -> Vec<&str> {
        let lines = self.text.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(key, _)| *key == keyword).flat_map(|(_, values)| values.split_whitespace()).collect()
    }

    fn is(&self, keyword: &str, value: &str) -> bool {
        self.all(keyword).first() == Some(&value)
    }
}

/// Examines every account.
pub(super) fn examine_all(config: &Config) -> Vec<Finding> {
    let mut node = Node::default();
    node.sweeps = false;
    let mut findings = Vec::new();
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    for account in &config.accounts {
        match locate(&node, account) {
            Ok(target) => {
                let (found, file) = (&target.account, target.path());
                if let Some((_, other)) = files.iter().find(|(path, _)| *path == file) {
                    let message = format!("{other} has the same file {}; give each its own", file.display());
                    findings.push(Finding::new(Level::Failed, "account", found.user.as_str(), message));
                }
                files.push((file.clone(), found.user.to_string()));
                findings.push(reachable(&node, &target));
                examine(&node, found, &file, &mut findings);
            }
            Err(message) => {
                let who = account.user.as_ref().map_or("the running user", |user| user.as_str());
                findings.push(Finding::new(Level::Failed, "account", who, message));
            }
        }
    }
    findings
}

/// Examines the file of break-glass keys.
pub(super) fn pinned_keys(config: &Config, path: &Path) -> Finding {
    let subject = path.display().to_string();
    let rules = Rules { line: config.line_rules.clone(), allow_private_key: false };
    match crate::agent::read_pinned(path, &rules) {
        Ok((document, _)) if document.left_out.is_empty() => {
            Finding::new(Level::Ok, "pinned_keys", &subject, super::good_keys(document.keys.len()))
        }
        Ok((document, _)) => {
            let bad = document.left_out.iter().map(|bad| format!("line {}: {}", bad.line, bad.reason));
            Finding::new(Level::Failed, "pinned_keys", &subject, bad.collect::<Vec<_>>().join("; "))
        }
        Err(fault) => Finding::new(Level::Failed, "pinned_keys", &subject, fault),
    }
}

fn locate(node: &Node, account: &AccountConfig) -> Result<Target, String> {
    let found = node.account(account.user.as_ref()).map_err(|error| chain(&error))?;
    crate::agent::target(account, found)
}

/// The same walk and read as a cycle's.
fn reachable(node: &Node, target: &Target) -> Finding {
    let user = target.account.user.as_str();
    match node.read(target) {
        Ok(_) => Finding::new(Level::Ok, "account", user, format!("{} can be managed", target.path().display())),
        Err(error) => {
            let denied = matches!(error, HostError::NotPermitted { .. });
            let exit = if denied { Exit::Denied } else { Exit::Failed };
            Finding { exit, ..Finding::new(Level::Failed, "account", user, chain(&error)) }
        }
    }
}

fn examine(node: &Node, account: &Account, file: &Path, findings: &mut Vec<Finding>) {
    let user = account.user.as_str();
    let settings = match sshd::effective_settings(user) {
        Ok(text) => Settings { text },
        Err(why) => {
            let message =
                format!("cannot ask sshd which files it reads ({why}); run as root where sshd has been started once");
            findings.push(Finding::new(Level::Warning, "sshd", user, message));
            return;
        }
    };
    if settings.is("pubkeyauthentication", "no") {
        let message = "sshd has PubkeyAuthentication no: no key can log in";
        findings.push(Finding::new(Level::Failed, "sshd", user, message));
    }
    let read: Vec<PathBuf> =
        settings.all("authorizedkeysfile").into_iter().filter(|f| *f != "none").map(|f| expand(f, account)).collect();
    let shown = file.display();
    if read.iter().any(|path| same(path, file)) {
        findings.push(Finding::new(Level::Ok, "sshd", user, format!("reads {shown}")));
    } else {
        let names: Vec<String> = read.iter().map(|path| path.display().to_string()).collect();
        let names = if names.is_empty() { "no file".to_owned() } else { names.join(" ") };
        let message = format!(
            "sshd reads {names}, not {shown}: set AuthorizedKeysFile in a drop-in that sorts first in /etc/ssh/sshd_config.d, or `file` here"
        );
        findings.push(Finding::new(Level::Failed, "sshd", user, message));
    }
    if settings.is("strictmodes", "yes") {
        let faults = strict::faults(file, account);
        if faults.is_empty() {
            findings.push(Finding::new(Level::Ok, "strict_modes", user, format!("would accept {shown}")));
        }
        for fault in faults {
            let level = if fault.debian_accepts { Level::Warning } else { Level::Failed };
            findings.push(Finding::new(level, "strict_modes", user, fault.to_string()));
        }
    }
    bypasses(node, account, file, &read, &settings, findings);
}

/// Other ways in, which no revocation here would close.
fn bypasses(
    node: &Node,
    account: &Account,
    file: &Path,
    read: &[PathBuf],
    settings: &Settings,
    findings: &mut Vec<Finding>,
) {
    let user = account.user.as_str();
    let mut warn = |message| findings.push(Finding::new(Level::Warning, "bypass", user, message));
    for other in read.iter().filter(|path| !same(path, file) && path.symlink_metadata().is_ok()) {
        let place = match other.strip_prefix(&account.home) {
            Ok(below) if account.home != Path::new("/") => Place::Home { below: below.to_owned() },
            _ => Place::System { path: other.clone() },
        };
        // As the account and through no link: what a user put there, a device perhaps, is not for root to open.
        match node.read(&Target { account: account.clone(), place }) {
            Ok(found) => {
                let keys = found.content.map_or(0, |content| document::count_keys(&content));
                if keys > 0 {
                    let plural = if keys == 1 { "" } else { "s" };
                    warn(format!(
                        "sshd also reads {}, which holds {keys} key{plural} that authkeysd does not manage",
                        other.display()
                    ));
                }
            }
            Err(error) => {
                warn(format!("sshd also reads {}, which cannot be looked at: {}", other.display(), chain(&error)));
            }
        }
    }
    for command in settings.all("authorizedkeyscommand").into_iter().filter(|command| *command != "none").take(1) {
        warn(format!("sshd also asks AuthorizedKeysCommand {command} for keys"));
    }
    for authority in settings.all("trustedusercakeys").into_iter().filter(|file| *file != "none").take(1) {
        warn(format!("sshd also lets certificates in (TrustedUserCAKeys {authority})"));
    }
}

/// sshd's tokens; a relative path is below the home.
fn expand(pattern: &str, account: &Account) -> PathBuf {
    let mut text = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match (c, if c == '%' { rest.next() } else { None }) {
            ('%', Some('h')) => text.push_str(&account.home.to_string_lossy()),
            ('%', Some('u')) => text.push_str(account.user.as_str()),
            ('%', Some('U')) => text.push_str(&account.uid.to_string()),
            ('%', Some(other)) => text.push(other),
            (other, _) => text.push(other),
        }
    }
    account.home.join(text)
}

/// The same file, also when one of the paths has links in it.
fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
        parent.zip(path.file_name()).map(|(parent, name)| parent.join(name))
    };
    one == other || real(one).is_some_and(|path| Some(path) == real(other))
}

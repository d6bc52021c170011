//! Checks whether sshd lets the account log in, and with which of its keys: applies the rules of
//! sshd's auth.c, auth2.c, auth2-pubkey.c and session.c to what `sshd -T` and the name service
//! report.

use std::path::{Path, PathBuf};

use super::sshd::{Settings, expand};
use super::{Finding, Level};
use crate::host::login::{LoginState, Shadow};
use crate::host::{Account, Node};
use authkeys_core::outcome::chain;
use authkeys_core::verify::matches_pattern;
use authkeys_core::words::counted;

mod keys;
mod revoked;

pub(super) use keys::{OfferedKey, candidates, published};

/// Programs that end a session as soon as it starts.
const CLOSED_SHELLS: [&str; 3] = ["nologin", "false", "true"];

/// Something that prevents, or may prevent, a login by an account or with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bar {
    level: Level,
    text: String,
}

impl Bar {
    fn failed(text: impl Into<String>) -> Self {
        Self {
            level: Level::Failed,
            text: text.into(),
        }
    }

    fn warning(text: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            text: text.into(),
        }
    }

    fn finding(self, user: &str) -> Finding {
        Finding::new(self.level, "login", user, self.text)
    }
}

/// Judges the account and its keys. The settings are those for a login from this machine and from
/// another one.
pub(super) fn examine(
    node: &Node,
    account: &Account,
    settings: &[Settings; 2],
    keys: &[OfferedKey],
    now: jiff::Timestamp,
) -> Vec<Finding> {
    let user = account.user.as_str();
    let state = match node.login_state(account) {
        Ok(state) => state,
        Err(error) => {
            let bar = Bar::warning(format!("cannot be judged: {}", chain(&error)));
            return vec![bar.finding(user)];
        }
    };
    let today = now.as_second() / 86_400;
    let [here, elsewhere] = settings;
    let here = all_bars(account, &state, here, keys, today);
    let elsewhere = all_bars(account, &state, elsewhere, keys, today);
    let bars = by_origin(here, elsewhere);
    if bars.is_empty() {
        let message = if keys.is_empty() {
            "nothing shuts it out".to_owned()
        } else {
            format!("{} can log in", counted(keys.len(), "key"))
        };
        return vec![Finding::new(Level::Ok, "login", user, message)];
    }
    findings(bars, user)
}

/// Judges keys that a sync would install, for an account that nothing else prevents from logging
/// in.
pub(super) fn examine_keys(
    account: &Account,
    [here, elsewhere]: &[Settings; 2],
    keys: &[OfferedKey],
) -> Vec<Finding> {
    let here = keys::bars(account, here, keys);
    let elsewhere = keys::bars(account, elsewhere, keys);
    findings(by_origin(here, elsewhere), account.user.as_str())
}

fn findings(bars: Vec<Bar>, user: &str) -> Vec<Finding> {
    let mut findings = Vec::with_capacity(bars.len());
    for bar in bars {
        findings.push(bar.finding(user));
    }
    findings
}

/// Whether there is a bar to every login.
fn is_shut(bars: &[Bar]) -> bool {
    bars.iter().any(|bar| bar.level == Level::Failed)
}

/// Reduces to a warning what affects only logins from one side, because it may not matter to those
/// who really log in.
fn by_origin(here: Vec<Bar>, elsewhere: Vec<Bar>) -> Vec<Bar> {
    let mut bars = Vec::new();
    for bar in &here {
        bars.push(if elsewhere.contains(bar) {
            bar.clone()
        } else {
            one_sided(bar, "this machine")
        });
    }
    for bar in &elsewhere {
        if !here.contains(bar) {
            bars.push(one_sided(bar, "other machines, or some of them"));
        }
    }
    // Both sides are locked out, each for another reason.
    if is_shut(&here) && is_shut(&elsewhere) {
        for bar in &mut bars {
            bar.level = Level::Failed;
        }
    }
    bars
}

fn one_sided(bar: &Bar, from: &str) -> Bar {
    Bar::warning(format!("for logins from {from}: {}", bar.text))
}

/// What prevents a login with any key, or with some of these keys.
fn all_bars(
    account: &Account,
    state: &LoginState,
    settings: &Settings,
    keys: &[OfferedKey],
    today: i64,
) -> Vec<Bar> {
    let mut bars = account_bars(account, state, settings, today);
    if !is_shut(&bars) {
        bars.extend(keys::bars(account, settings, keys));
    }
    bars
}

/// What prevents a login with any key.
fn account_bars(
    account: &Account,
    state: &LoginState,
    settings: &Settings,
    today: i64,
) -> Vec<Bar> {
    let mut bars = Vec::new();
    let user = account.user.as_str();
    let pam = settings.is("usepam", "yes");
    if settings.is("pubkeyauthentication", "no") {
        bars.push(Bar::failed(
            "sshd has PubkeyAuthentication no: no key can log in; set it to yes",
        ));
    }
    if settings.is("refuseconnection", "yes") {
        bars.push(Bar::failed(
            "sshd has RefuseConnection yes: nobody can log in",
        ));
    }
    if settings.is("maxauthtries", "0") {
        bars.push(Bar::failed(
            "sshd has MaxAuthTries 0: it ends each login before the first key",
        ));
    } else if settings.is("maxauthtries", "1") {
        bars.push(Bar::warning(
            "sshd has MaxAuthTries 1: a client that offers another key first is refused",
        ));
    }
    if settings.is("maxsessions", "0") {
        bars.push(Bar::warning(
            "sshd has MaxSessions 0: no command or shell can be run",
        ));
    }
    if account.uid == 0 && settings.is("permitrootlogin", "no") {
        bars.push(Bar::failed(
            "sshd has PermitRootLogin no: set it to prohibit-password, or leave the account out",
        ));
    }
    bars.extend(user_lists(user, settings));
    bars.extend(group_lists(&state.groups, settings));
    if let Some(shadow) = &state.shadow {
        bars.extend(shadow_bars(user, shadow, pam, today));
    }
    bars.extend(shell_bar(user, state, settings));
    bars.extend(command_bar(settings));
    bars.extend(nologin_bar(account, pam));
    bars.extend(chroot_bar(account, settings));
    bars
}

/// `DenyUsers`, then `AllowUsers`. sshd does not support negated patterns here, and a host after
/// `@` depends on where the login comes from.
fn user_lists(user: &str, settings: &Settings) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut denied = settings.all("denyusers");
    denied.retain(|pattern| fits(user, pattern));
    match denied.iter().find(|pattern| is_for_all_hosts(pattern)) {
        Some(pattern) => bars.push(Bar::failed(format!(
            "sshd has DenyUsers {pattern}: take it out"
        ))),
        None if !denied.is_empty() => {
            bars.push(Bar::warning(format!(
                "sshd refuses it from some hosts: DenyUsers {}",
                denied.join(" ")
            )));
        }
        None => {}
    }
    let all = settings.all("allowusers");
    let mut allowed = all.clone();
    allowed.retain(|pattern| fits(user, pattern));
    if !all.is_empty() && allowed.is_empty() {
        bars.push(Bar::failed(format!(
            "sshd has AllowUsers {}: add {user} to it",
            all.join(" ")
        )));
    } else if !all.is_empty() && !allowed.iter().any(|pattern| is_for_all_hosts(pattern)) {
        bars.push(Bar::warning(format!(
            "sshd lets it in from some hosts only: AllowUsers {}",
            allowed.join(" ")
        )));
    }
    bars
}

/// Whether a pattern of these lists, USER or USER@HOST, is for the user from some host.
fn fits(user: &str, pattern: &str) -> bool {
    match pattern.rsplit_once('@') {
        Some((name, _host)) => matches_pattern(user, name),
        None => matches_pattern(user, pattern),
    }
}

fn is_for_all_hosts(pattern: &str) -> bool {
    match pattern.rsplit_once('@') {
        Some((_name, host)) => host == "*",
        None => true,
    }
}

/// Whether a pattern is for one of the groups.
fn fits_any(groups: &[String], pattern: &str) -> bool {
    groups.iter().any(|group| matches_pattern(group, pattern))
}

/// `DenyGroups`, then `AllowGroups`.
fn group_lists(groups: &[String], settings: &Settings) -> Vec<Bar> {
    let mut bars = Vec::new();
    let denied = settings.all("denygroups");
    if let Some(pattern) = denied.iter().find(|pattern| fits_any(groups, pattern)) {
        bars.push(Bar::failed(format!(
            "sshd has DenyGroups {pattern}, and the account is in such a group"
        )));
    }
    let allowed = settings.all("allowgroups");
    if !allowed.is_empty() && !allowed.iter().any(|pattern| fits_any(groups, pattern)) {
        let allowed = allowed.join(" ");
        bars.push(Bar::failed(format!(
            "sshd has AllowGroups {allowed}, and the account is in none of them"
        )));
    }
    bars
}

/// Without PAM sshd itself checks the shadow entry; with PAM the module pam_unix does.
fn shadow_bars(user: &str, shadow: &Shadow, pam: bool, today: i64) -> Vec<Bar> {
    let mut bars = Vec::new();
    if shadow.locked && !pam {
        bars.push(Bar::failed(format!(
            "its password is locked (`!` in the shadow entry), and sshd refuses that with UsePAM \
             no: `usermod -p '*' {user}` lets keys in and no password"
        )));
    }
    if let Some(day) = shadow.expires {
        if today > day {
            bars.push(Bar::failed(format!(
                "the account has expired: `chage -E -1 {user}` if that is not meant"
            )));
        } else if today == day {
            bars.push(Bar::warning(format!(
                "the account expires today: `chage -E -1 {user}` if that is not meant"
            )));
        }
    }
    let (Some(changed), true) = (shadow.changed, pam) else {
        return bars;
    };
    // The days since it expired.
    let over = match shadow.max {
        Some(max) if changed > 0 => today - changed - max,
        _ => 0,
    };
    if over > 0
        && let Some(inactive) = shadow.inactive
        && over > inactive
    {
        bars.push(Bar::failed(format!(
            "its password expired too long ago for PAM, which refuses keys too: `chage -M -1 -I -1 \
             {user}`"
        )));
    } else if changed == 0 || over > 0 {
        bars.push(Bar::warning(format!(
            "its password has expired: PAM asks for a new one at the login, and no command is run: \
             `chage -M -1 -d -1 {user}`"
        )));
    }
    bars
}

/// sshd does not check the shell of an account with a chroot beforehand, because the shell is then
/// looked up inside the chroot.
fn shell_bar(user: &str, state: &LoginState, settings: &Settings) -> Option<Bar> {
    let path = state.shell.path.display();
    if chroot(settings).is_some() {
        return None;
    }
    if let Some(fault) = state.shell.fault {
        return Some(Bar::failed(format!(
            "its login shell {path} {fault}: install it, or `usermod -s SHELL {user}`"
        )));
    }
    let forced = settings.value("forcecommand").unwrap_or_default();
    if !ends_at_once(&state.shell.path) || forced.starts_with("internal-sftp") {
        return None;
    }
    let text = format!("its login shell {path} ends each session at once");
    Some(Bar::warning(text))
}

/// A forced command that cannot run. The keys are accepted all the same, and forwarded ports work.
fn command_bar(settings: &Settings) -> Option<Bar> {
    let command = settings.value("forcecommand")?;
    let program = Path::new(command.split_whitespace().next()?);
    if chroot(settings).is_some() || !program.is_absolute() {
        return None;
    }
    let fault = match (program.exists(), ends_at_once(program)) {
        (false, _) => "which does not exist: install it, or remove the setting",
        (true, true) => "which ends each session at once",
        (true, false) => return None,
    };
    let shown = program.display();
    Some(Bar::warning(format!(
        "sshd has ForceCommand {shown}, {fault}"
    )))
}

/// Whether a program is one of those that end a session as soon as it starts.
fn ends_at_once(program: &Path) -> bool {
    match program.file_name() {
        Some(name) => CLOSED_SHELLS.iter().any(|closed| name == *closed),
        None => false,
    }
}

/// Root can always log in.
fn nologin_bar(account: &Account, pam: bool) -> Option<Bar> {
    if account.uid == 0 {
        return None;
    }
    if Path::new("/etc/nologin").exists() {
        return Some(Bar::failed(
            "/etc/nologin exists: nobody but root can log in; remove it",
        ));
    }
    let booting = Path::new("/run/nologin").exists() || Path::new("/var/run/nologin").exists();
    if !pam || !booting {
        return None;
    }
    Some(Bar::warning(
        "/run/nologin exists: nobody but root can log in while the system boots or shuts down",
    ))
}

fn chroot(settings: &Settings) -> Option<&str> {
    let directory = settings.value("chrootdirectory")?;
    if directory == "none" {
        return None;
    }
    Some(directory)
}

/// sshd ends a session if a user other than root could change its chroot (`safely_chroot` in
/// session.c).
fn chroot_bar(account: &Account, settings: &Settings) -> Option<Bar> {
    use std::os::unix::fs::MetadataExt as _;
    let path: PathBuf = expand(chroot(settings)?, account);
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    for part in parts {
        let shown = part.display();
        let Ok(found) = part.metadata() else {
            return Some(Bar::failed(format!(
                "its ChrootDirectory {} does not exist: make it as root",
                path.display()
            )));
        };
        if !found.is_dir() {
            return Some(Bar::failed(format!(
                "{shown} in its ChrootDirectory is not a directory"
            )));
        }
        if found.uid() != 0 {
            return Some(Bar::failed(format!(
                "{shown} in its ChrootDirectory belongs to uid {}, and sshd ends each session: \
                 `chown root {shown}`",
                found.uid()
            )));
        }
        if found.mode() & 0o022 != 0 {
            return Some(Bar::failed(format!(
                "{shown} in its ChrootDirectory can be written by others, and sshd ends each \
                 session: `chmod go-w {shown}`"
            )));
        }
    }
    None
}

#[cfg(test)]
mod tests;

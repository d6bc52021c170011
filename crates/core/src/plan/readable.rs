//! Which lines the installed sshd can read. It silently ignores a line whose key type, or one of
//! whose options, it does not know.

use std::collections::HashSet;

use super::desired::{Desired, DesiredEntry, Unreadable};
use super::expiry::PresentLines;
use super::versions::{Version, since};

/// Whether the version of the installed sshd matters for a line.
fn is_recent(entry: &DesiredEntry) -> bool {
    entry.newest_option.is_some() || since(entry.key.kind()).is_some()
}

impl Desired {
    /// Whether the version of the installed sshd matters for any of the lines.
    pub fn has_recent(&self) -> bool {
        self.entries.iter().any(is_recent)
    }

    /// Removes the lines that the installed sshd cannot read: they accept no login, must not
    /// replace a line that does, and a key without another line does not count.
    ///
    /// If sshd's version is unknown, so is whether it can read such a line, and nothing changes:
    /// the line stays if the file has it (`standing`), because it may be the one that works, and is
    /// not installed otherwise.
    pub fn leave_out_unreadable(&mut self, sshd: Option<Version>, standing: &PresentLines) {
        let mut left_out = Vec::new();
        self.entries.retain(|entry| {
            let obstacle = obstacle(entry, sshd, standing);
            left_out.extend(obstacle.clone());
            obstacle.is_none()
        });
        let readable: HashSet<_> = self.entries.iter().map(|e| e.key.fingerprint()).collect();
        // A key may have several lines with the same obstacle.
        let mut named = HashSet::new();
        for unreadable in left_out {
            if !readable.contains(&unreadable.key) {
                self.published.remove(&unreadable.key);
            }
            if named.insert((unreadable.key, unreadable.option)) {
                self.unreadable.push(unreadable);
            }
        }
    }
}

/// Why the installed sshd cannot read a line, or may be unable to.
fn obstacle(
    entry: &DesiredEntry,
    sshd: Option<Version>,
    standing: &PresentLines,
) -> Option<Unreadable> {
    let key = entry.key.fingerprint();
    let kind = entry.key.kind();
    if let Some(least) = since(kind) {
        let is_readable = match sshd {
            Some(sshd) => sshd >= least,
            None => standing.has_key(&key),
        };
        if !is_readable {
            let subject = format!("keys of type {kind} need OpenSSH");
            return Some(Unreadable {
                key,
                option: None,
                reason: reason(&subject, "publish a key of another type", least, sshd),
            });
        }
    }
    if let Some((option, least)) = entry.newest_option {
        let is_readable = match sshd {
            Some(sshd) => sshd >= least,
            None => standing.has_terms(entry.line.as_bytes()),
        };
        if !is_readable {
            let subject = format!("option {option} needs OpenSSH");
            return Some(Unreadable {
                key,
                option: Some(option),
                reason: reason(&subject, "publish the key without it", least, sshd),
            });
        }
    }
    None
}

fn reason(subject: &str, remedy: &str, least: Version, sshd: Option<Version>) -> String {
    let (major, minor) = least;
    match sshd {
        Some((has, has_minor)) => format!(
            "{subject} {major}.{minor}, and the sshd installed here is {has}.{has_minor}, which \
             would ignore the line; upgrade it, or {remedy}"
        ),
        None => format!(
            "{subject} {major}.{minor}, and the version of the sshd installed here is not known; \
             it is installed when `sshd -V` answers"
        ),
    }
}

//! Which keys the installed sshd can read, by its version. It silently ignores the line of any
//! other key.

use std::collections::HashSet;

use super::desired::{Desired, Unreadable};
use super::expiry::PresentLines;
use crate::key::KeyBlob;

/// A version of OpenSSH: major and minor.
type Version = (u32, u32);

/// The first OpenSSH version that reads a key type; `None` if all versions in use do.
pub fn since(kind: &str) -> Option<(u32, u32)> {
    match kind {
        "sk-ssh-ed25519@openssh.com" | "sk-ecdsa-sha2-nistp256@openssh.com" => Some((8, 2)),
        "ssh-mldsa44-ed25519@openssh.com" => Some((10, 4)),
        "ssh-mldsa44-ed25519" => Some((10, 6)),
        _ => None,
    }
}

/// Whether the version of the installed sshd matters for a key.
fn is_recent(key: &KeyBlob) -> bool {
    since(key.kind()).is_some()
}

impl Desired {
    /// Whether the version of the installed sshd matters for any of the keys.
    pub fn has_recent(&self) -> bool {
        self.entries.iter().any(|entry| is_recent(&entry.key))
    }

    /// Removes the keys that the installed sshd cannot read: they accept no login, must not replace
    /// a key that does, and do not count.
    ///
    /// If sshd's version is unknown, so is whether it can read such a key, and nothing changes: the
    /// key stays if the file has it (`standing`), because it may be the one that works, and is not
    /// installed otherwise.
    pub fn leave_out_unreadable(&mut self, sshd: Option<Version>, standing: &PresentLines) {
        let (unreadable, published) = (&mut self.unreadable, &mut self.published);
        // A key may have several lines.
        let mut named = HashSet::new();
        self.entries.retain(|entry| {
            let Some(least) = since(entry.key.kind()) else {
                return true;
            };
            let key = entry.key.fingerprint();
            let is_readable = sshd.map_or_else(|| standing.has_key(&key), |sshd| sshd >= least);
            if !is_readable {
                published.remove(&key);
            }
            if !is_readable && named.insert(key) {
                unreadable.push(Unreadable {
                    key,
                    reason: reason(entry.key.kind(), least, sshd),
                });
            }
            is_readable
        });
    }
}

fn reason(kind: &str, (major, minor): Version, sshd: Option<Version>) -> String {
    match sshd {
        Some((has, has_minor)) => format!(
            "keys of type {kind} need OpenSSH {major}.{minor}, and the sshd installed here is {has}.{has_minor}, which would \
             ignore the line; upgrade it, or publish a key of another type"
        ),
        None => format!(
            "keys of type {kind} need OpenSSH {major}.{minor}, and the version of the sshd installed here is not known; it \
             is installed when `sshd -V` answers"
        ),
    }
}

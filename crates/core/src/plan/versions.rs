//! The first versions of OpenSSH that know a key type or an option.

use crate::key::OptionList;

/// A version of OpenSSH: major and minor.
pub(super) type Version = (u32, u32);

/// The first OpenSSH version that reads a key type; `None` if all versions in use do.
pub fn since(kind: &str) -> Option<(u32, u32)> {
    match kind {
        "sk-ssh-ed25519@openssh.com" | "sk-ecdsa-sha2-nistp256@openssh.com" => Some((8, 2)),
        "ssh-mldsa44-ed25519@openssh.com" => Some((10, 4)),
        "ssh-mldsa44-ed25519" => Some((10, 6)),
        _ => None,
    }
}

/// The options that not all versions of OpenSSH in use know, each with the first that does.
/// `expiry-time` is not among them, because it is written only for an sshd that knows it.
pub const RECENT_OPTIONS: [(&str, (u32, u32)); 5] = [
    ("permitlisten", (7, 8)),
    ("touch-required", (8, 2)),
    ("no-touch-required", (8, 2)),
    ("verify-required", (8, 4)),
    ("no-verify-required", (8, 4)),
];

/// The option of a line that needs the most recent OpenSSH, and that version.
pub(super) fn newest_option(options: &OptionList) -> Option<(&'static str, Version)> {
    let present = RECENT_OPTIONS
        .into_iter()
        .filter(|(name, _)| options.has(name));
    present.max_by_key(|(_, version)| *version)
}

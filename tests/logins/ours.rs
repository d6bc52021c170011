//! What our own readers of key lines say, for comparison with the real ones.

use authkeys_core::key::{Fingerprint, KeyLine, LineRules, OptionPolicy, identify};
use authkeys_core::plan::RECENT_OPTIONS;
use authkeys_testing::{Key, sshd_version};

/// The fingerprints of the keys that we recognise in a file, line by line.
pub(crate) fn recognise(file: &[u8]) -> Vec<Fingerprint> {
    file.split(|b| *b == b'\n')
        .filter_map(identify)
        .map(|found| found.key.fingerprint())
        .collect()
}

/// Whether some line of the file is recognised as carrying the key.
pub(crate) fn recognised(file: &[u8], key: &Key) -> bool {
    let wanted = Fingerprint::parse(&key.fingerprint()).unwrap();
    recognise(file).contains(&wanted)
}

/// The canonical form of a line that we would install, were every option allowed by policy.
pub(crate) fn canonical(line: &[u8]) -> Option<String> {
    let names = [
        "restrict",
        "no-*",
        "no-touch-required",
        "port-forwarding",
        "agent-forwarding",
        "x11-forwarding",
        "pty",
        "user-rc",
        "touch-required",
        "verify-required",
        "command",
        "environment",
        "expiry-time",
        "from",
        "permitlisten",
        "permitopen",
        "tunnel",
    ];
    let options = OptionPolicy::Only(names.iter().map(|name| (*name).to_owned()).collect());
    KeyLine::parse(
        line,
        &LineRules {
            min_rsa_bits: 1_024,
            options,
        },
    )
    .ok()
    .map(|line| line.to_string())
}

/// Whether the file is one line that we would install.
pub(crate) fn installable(file: &[u8]) -> bool {
    let line = file.strip_suffix(b"\n").unwrap_or(file);
    !line.contains(&b'\n') && canonical(line).is_some()
}

/// Options that are good and yet may refuse this login, from this host at this time.
pub(crate) fn depends_on_host_or_time(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line).to_ascii_lowercase();
    text.contains("from=") || text.contains("expiry-time=")
}

/// Whether we expect the lab's sshd to know an option.
pub(crate) fn is_known_to_sshd(option: &str) -> bool {
    RECENT_OPTIONS
        .iter()
        .all(|(name, since)| *name != option || sshd_version() >= *since)
}

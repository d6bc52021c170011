//! Decides which of an account's keys sshd accepts.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::super::sshd::Settings;
use super::revoked::RevokedKeys;
use super::{Bar, Level};
use crate::host::Account;
use authkeys_core::key::{Expiry, Fingerprint, KeyBlob, granted, identify};
use authkeys_core::outcome::KeyShown;
use authkeys_core::verify::matches_pattern;

/// sshd refuses shorter RSA keys whatever its configuration says.
const MIN_RSA_BITS: usize = 1_024;
/// The most keys that a message names.
const SHOWN: usize = 3;
/// Local times are read in the time zone of the system. sshd reads them as standard time, so in
/// summer they differ by an hour.
const ZONE_SLACK: SignedDuration = SignedDuration::from_hours(1);

/// A key that a client may offer to sshd for the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command::check) struct OfferedKey {
    fingerprint: Fingerprint,
    kind: String,
    /// `None` if the key itself is not known, or is not RSA.
    rsa_bits: Option<usize>,
    /// Whether its line forces a command; `None` if that is not known.
    forced: Option<bool>,
    /// Why sshd would ignore its line.
    ignored: Option<&'static str>,
}

/// The keys on the lines of a file, without certificate authorities, which accept other keys.
pub(in crate::command::check) fn candidates(
    file: &[u8],
    now: Timestamp,
    zone: &TimeZone,
) -> Vec<OfferedKey> {
    let mut found = Vec::new();
    for line in file.split(|byte| *byte == b'\n') {
        let Some(identified) = identify(line) else {
            continue;
        };
        // The comment may be in any encoding.
        let text = String::from_utf8_lossy(line);
        let mut offered = OfferedKey::new(&identified.key);
        match granted(text.as_bytes()) {
            None => offered.ignored = Some("sshd does not understand their lines"),
            Some((_, options)) if options.has("cert-authority") => continue,
            Some((_, mut options)) => {
                offered.forced = Some(options.has("command"));
                let expiries = options.take_expiries();
                if expiries.iter().any(|expiry| is_over(expiry, now, zone)) {
                    offered.ignored = Some("their expiry-time has passed");
                }
            }
        }
        found.push(offered);
    }
    found
}

/// The keys that a sync would install. Less is known of them than of keys in a file.
pub(in crate::command::check) fn published(keys: &[KeyShown]) -> Vec<OfferedKey> {
    let mut offered = Vec::with_capacity(keys.len());
    for key in keys {
        offered.push(OfferedKey {
            fingerprint: key.fingerprint,
            kind: key.kind.clone(),
            rsa_bits: None,
            forced: None,
            ignored: None,
        });
    }
    offered
}

impl OfferedKey {
    fn new(key: &KeyBlob) -> Self {
        Self {
            fingerprint: key.fingerprint(),
            kind: key.kind().to_owned(),
            rsa_bits: key.rsa_bits(),
            forced: None,
            ignored: None,
        }
    }
}

fn is_over(expiry: &Expiry, now: Timestamp, zone: &TimeZone) -> bool {
    let (zone, slack) = if expiry.utc {
        (TimeZone::UTC, SignedDuration::ZERO)
    } else {
        (zone.clone(), ZONE_SLACK)
    };
    match expiry.time.to_zoned(zone) {
        Ok(until) => now.duration_since(until.timestamp()) > slack,
        Err(_) => false,
    }
}

/// What prevents logins with these keys: a failure if no key is left, else warnings.
pub(super) fn bars(account: &Account, settings: &Settings, keys: &[OfferedKey]) -> Vec<Bar> {
    let revoked = match RevokedKeys::of(settings) {
        Ok(revoked) => revoked,
        Err(fault) => return vec![Bar::failed(fault)],
    };
    let mut bars = Vec::new();
    bars.extend(revoked.unjudged().map(Bar::warning));
    let mut refused: BTreeMap<String, Vec<&OfferedKey>> = BTreeMap::new();
    let mut doubtful: BTreeMap<String, Vec<&OfferedKey>> = BTreeMap::new();
    for key in keys {
        match verdict(account, settings, &revoked, key) {
            KeyVerdict::Accepted => {}
            KeyVerdict::Doubtful(why) => doubtful.entry(why).or_default().push(key),
            KeyVerdict::Refused(why) => refused.entry(why).or_default().push(key),
        }
    }
    for (why, keys) in doubtful {
        let text = format!("{} may not log in: {why}", named(&keys));
        bars.push(Bar::warning(text));
    }
    let mut usable = keys.len();
    for keys in refused.values() {
        usable -= keys.len();
    }
    let level = if usable == 0 {
        Level::Failed
    } else {
        Level::Warning
    };
    for (why, keys) in refused {
        let text = format!("{} cannot log in: {why}", named(&keys));
        bars.push(Bar { level, text });
    }
    // Without any key yet, their number is not known.
    let usable = if keys.is_empty() { usize::MAX } else { usable };
    bars.extend(methods_bar(settings, usable));
    bars
}

fn named(keys: &[&OfferedKey]) -> String {
    let mut shown = Vec::new();
    for key in keys.iter().take(SHOWN) {
        shown.push(format!("{} ({})", key.fingerprint, key.kind));
    }
    let mut shown = shown.join(", ");
    if keys.len() > SHOWN {
        shown.push_str(&format!(" and {} more", keys.len() - SHOWN));
    }
    shown
}

/// Whether sshd would accept one key, and why.
#[derive(Debug, PartialEq, Eq)]
enum KeyVerdict {
    Accepted,
    /// It depends on the client.
    Doubtful(String),
    Refused(String),
}

fn verdict(
    account: &Account,
    settings: &Settings,
    revoked: &RevokedKeys,
    key: &OfferedKey,
) -> KeyVerdict {
    if let Some(ignored) = key.ignored {
        return KeyVerdict::Refused(ignored.to_owned());
    }
    if let Some(file) = revoked.file_with(&key.fingerprint) {
        return KeyVerdict::Refused(format!("sshd's RevokedKeys {file} has it"));
    }
    let least = least_rsa_bits(settings);
    if let Some(bits) = key.rsa_bits
        && bits < least
    {
        return KeyVerdict::Refused(format!(
            "it has {bits} bits and sshd asks for {least} (RequiredRSASize)"
        ));
    }
    if account.uid == 0
        && settings.is("permitrootlogin", "forced-commands-only")
        && key.forced == Some(false)
    {
        let why = "sshd has PermitRootLogin forced-commands-only, and the line has no command=";
        return KeyVerdict::Refused(why.to_owned());
    }
    algorithm(settings, &key.kind)
}

/// The shortest RSA keys that sshd accepts, in bits.
fn least_rsa_bits(settings: &Settings) -> usize {
    for keyword in ["requiredrsasize", "rsaminsize"] {
        if let Some(value) = settings.value(keyword)
            && let Ok(bits) = value.parse()
        {
            return MIN_RSA_BITS.max(bits);
        }
    }
    MIN_RSA_BITS
}

/// Whether sshd accepts a signature algorithm of the key's type.
fn algorithm(settings: &Settings, kind: &str) -> KeyVerdict {
    let modern = settings.value("pubkeyacceptedalgorithms");
    let (keyword, accepted) = match (modern, settings.value("pubkeyacceptedkeytypes")) {
        (Some(accepted), _) => ("PubkeyAcceptedAlgorithms", accepted),
        // The option's name before OpenSSH 8.5, whose clients may still sign with SHA-1.
        (None, Some(accepted)) => ("PubkeyAcceptedKeyTypes", accepted),
        (None, None) => return KeyVerdict::Accepted,
    };
    let algorithms = match kind {
        "ssh-rsa" if modern.is_none() => &["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"][..],
        "ssh-rsa" => &["rsa-sha2-512", "rsa-sha2-256"],
        "sk-ecdsa-sha2-nistp256@openssh.com" => &[
            "sk-ecdsa-sha2-nistp256@openssh.com",
            "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
        ],
        other => &[other],
    };
    let wanted = algorithms.first().copied().unwrap_or(kind);
    let lacks = format!("sshd's {keyword} does not have {wanted}");
    let mut usable = algorithms.iter();
    match usable.find(|algorithm| in_list(algorithm, accepted)) {
        Some(first) if *first == wanted || kind != "ssh-rsa" => KeyVerdict::Accepted,
        // Since then sshd names to clients the algorithms that it accepts; before, all that it
        // supports, and clients chose among those.
        Some(_) if settings.is_since((9, 6)) => KeyVerdict::Accepted,
        Some(_) => KeyVerdict::Doubtful(format!(
            "{lacks}, with which OpenSSH's clients sign: add it"
        )),
        None => KeyVerdict::Refused(format!("{lacks}: add it, or publish a key of another type")),
    }
}

/// `match_pattern_list` in sshd's match.c.
fn in_list(algorithm: &str, list: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if matches_pattern(algorithm, negated) => return false,
            _ => found |= matches_pattern(algorithm, pattern),
        }
    }
    found
}

/// Whether a key is sufficient, or of any use.
fn methods_bar(settings: &Settings, usable: usize) -> Option<Bar> {
    let value = settings.value("authenticationmethods")?;
    if value == "any" {
        return None;
    }
    let shown = format!("sshd has AuthenticationMethods {value}");
    let mut can_log_in = false;
    for list in value.split_whitespace() {
        if !is_usable(settings, list, usable) {
            continue;
        }
        if list == "publickey" {
            return None;
        }
        can_log_in = true;
    }
    if can_log_in {
        Some(Bar::warning(format!(
            "{shown}: a key alone does not log in"
        )))
    } else {
        Some(Bar::failed(format!(
            "{shown}: no key can log in; add publickey to it"
        )))
    }
}

/// Whether all methods of a list are available, and it needs keys, but not more than are usable.
fn is_usable(settings: &Settings, list: &str, usable: usize) -> bool {
    let mut keys = 0;
    for method in list.split(',') {
        if !is_available(settings, method) {
            return false;
        }
        if method == "publickey" {
            keys += 1;
        }
    }
    (1..=usable).contains(&keys)
}

/// Whether a method, which may have a submethod after a colon, is switched on.
fn is_available(settings: &Settings, method: &str) -> bool {
    let name = match method.split_once(':') {
        Some((name, _)) => name,
        None => method,
    };
    match name {
        "publickey" => true,
        "password" => settings.is("passwordauthentication", "yes"),
        "keyboard-interactive" => {
            settings.is("kbdinteractiveauthentication", "yes")
                || settings.is("challengeresponseauthentication", "yes")
        }
        "hostbased" => settings.is("hostbasedauthentication", "yes"),
        "gssapi-with-mic" => settings.is("gssapiauthentication", "yes"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::new(text.to_owned(), Some((9, 5)))
    }

    #[test]
    fn a_type_is_judged_by_its_signature_algorithms() {
        let sha256 = settings("pubkeyacceptedalgorithms ssh-ed25519,rsa-sha2-256");
        assert!(matches!(
            algorithm(&sha256, "ssh-rsa"),
            KeyVerdict::Doubtful(_)
        ));
        let names_them = Settings::new(
            "pubkeyacceptedalgorithms rsa-sha2-256".to_owned(),
            Some((9, 6)),
        );
        assert_eq!(algorithm(&names_them, "ssh-rsa"), KeyVerdict::Accepted);
        for (text, kind, accepted) in [
            (
                "pubkeyacceptedalgorithms ssh-ed25519,rsa-sha2-*",
                "ssh-rsa",
                true,
            ),
            (
                "pubkeyacceptedalgorithms ssh-ed25519,ssh-rsa",
                "ssh-rsa",
                false,
            ),
            (
                "pubkeyacceptedkeytypes ssh-rsa,rsa-sha2-512",
                "ssh-rsa",
                true,
            ),
            (
                "pubkeyacceptedalgorithms ssh-rsa,rsa-sha2-512",
                "ssh-ed25519",
                false,
            ),
            (
                "pubkeyacceptedalgorithms ecdsa-*",
                "ecdsa-sha2-nistp384",
                true,
            ),
            (
                "pubkeyacceptedalgorithms ecdsa-*,!*384",
                "ecdsa-sha2-nistp384",
                false,
            ),
            (
                "pubkeyacceptedalgorithms webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
                "sk-ecdsa-sha2-nistp256@openssh.com",
                true,
            ),
            ("", "ssh-ed25519", true),
        ] {
            assert_eq!(
                algorithm(&settings(text), kind) == KeyVerdict::Accepted,
                accepted,
                "{text} {kind}"
            );
        }
    }

    #[test]
    fn lists_of_methods_are_judged_by_what_is_switched_on_and_how_many_keys_there_are() {
        let on = "passwordauthentication yes\nkbdinteractiveauthentication no\n";
        for (value, usable, expected) in [
            ("any", 1, None),
            ("publickey", 1, None),
            ("publickey,password publickey", 1, None),
            ("publickey,password", 1, Some(Level::Warning)),
            ("publickey,publickey", 1, Some(Level::Failed)),
            ("publickey,publickey", 2, Some(Level::Warning)),
            ("password", 1, Some(Level::Failed)),
            ("publickey,keyboard-interactive:pam", 1, Some(Level::Failed)),
            (
                "publickey,keyboard-interactive publickey,password",
                1,
                Some(Level::Warning),
            ),
        ] {
            let settings = settings(&format!("{on}authenticationmethods {value}\n"));
            assert_eq!(
                methods_bar(&settings, usable).map(|bar| bar.level),
                expected,
                "{value} {usable}"
            );
        }
    }
}

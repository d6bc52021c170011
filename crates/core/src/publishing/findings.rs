//! What can be found in a document before any node has seen it: what nodes would object to, and
//! what an operator may not have intended. Pure: time comes in as a value.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::document::{Document, Form, PublishedKey};
use crate::key::Fingerprint;
use crate::plan::{Moment, RECENT_OPTIONS, earlier, since};
use crate::user::UserName;
use crate::words::counted;

/// An end that is nearer than this is worth a warning.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The same, for an end after which nobody could log in.
const LOCK_OUT_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The most warnings of one kind that are reported.
const MANY: usize = 10;
/// The RSA size that NIST SP 800-57 requires beyond 2030.
const STRONG_RSA: usize = 3_072;

/// Whether a key is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Now.
    InForce,
    /// Its window opens later.
    NotYet,
    /// Its window has closed.
    Over,
    /// The document revokes it.
    Revoked,
}

/// The state of a document's key at a given time.
#[derive(Debug, Clone, Copy)]
pub struct JudgedKey<'a> {
    /// The key.
    pub key: &'a PublishedKey,
    /// When it ends: by `not_after` or by its own `expiry-time`, whichever is earlier.
    pub until: Option<Timestamp>,
    /// Whether it is valid.
    pub state: KeyState,
}

/// Judges each key as a node in UTC would.
pub fn judge(document: &Document, now: Timestamp) -> Vec<JudgedKey<'_>> {
    let at = Moment {
        now,
        zone: TimeZone::UTC,
        standing: None,
    };
    let mut judged = Vec::with_capacity(document.keys.len());
    for key in &document.keys {
        let mut until = key.not_after;
        for expiry in key.line.options.clone().take_expiries() {
            until = earlier(until, at.resolve(expiry));
        }
        let state = if document.revoked.contains(&key.line.key.fingerprint()) {
            KeyState::Revoked
        } else if key.not_before.is_some_and(|from| from > now) {
            KeyState::NotYet
        } else if until.is_some_and(|until| until <= now) {
            KeyState::Over
        } else {
            KeyState::InForce
        };
        judged.push(JudgedKey { key, until, state });
    }
    judged
}

/// Why nodes would call a valid document stale, or refuse it because of `min_keys`.
pub fn faults(
    document: &Document,
    keys: &[JudgedKey<'_>],
    min_keys: usize,
    now: Timestamp,
) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(expires) = document.expires
        && expires <= now
    {
        faults.push(format!(
            "it expired at {}: nodes would call it stale; set a later `expires`",
            when(expires, now)
        ));
    }
    let access = Access::of(keys);
    let mut most = 0;
    for (_, found) in access.in_force(now) {
        most = most.max(found);
    }
    if most < min_keys {
        faults.push(format!(
            "it has {} in force, [policy] min_keys asks for {min_keys}: nodes would refuse it; \
             publish more, or lower min_keys there",
            counted(most, "key")
        ));
    }
    faults
}

/// What an operator may not have intended.
pub fn warnings(
    document: &Document,
    form: Form,
    signed: bool,
    keys: &[JudgedKey<'_>],
    min_keys: usize,
    now: Timestamp,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if form == Form::Json && document.serial.is_none() {
        warnings.push(
            "it has no serial: nodes cannot tell an old document from a new one; `authkeysctl \
             publish` gives it one"
                .to_owned(),
        );
    }
    match document.expires {
        Some(expires) if expires > now && expires.duration_since(now) < SOON => {
            warnings.push(format!(
                "it expires at {}: nodes then call it stale, unless another follows",
                when(expires, now)
            ));
        }
        None if signed => warnings.push(
            "it has no `expires`: who can write to the bucket could keep a newer one from the \
             nodes, unseen"
                .to_owned(),
        ),
        _ => {}
    }
    for found in [
        windows(keys, now),
        local_times(keys),
        without_keys(keys, min_keys, now),
        several_lines(keys),
        revoked(keys),
        strength(keys),
        old_servers(keys),
    ] {
        let more = found.len().saturating_sub(MANY);
        for (at, what) in found.into_iter().enumerate() {
            match at {
                0..MANY => warnings.push(what),
                MANY => warnings.push(format!("{what}; and {more} more like it")),
                _ => break,
            }
        }
    }
    warnings
}

fn windows(keys: &[JudgedKey<'_>], now: Timestamp) -> Vec<String> {
    let mut messages = Vec::new();
    for JudgedKey { key, until, state } in keys {
        let Some(until) = *until else { continue };
        let what = match state {
            KeyState::Over => "ended",
            KeyState::InForce if until.duration_since(now) < SOON => "ends",
            _ => continue,
        };
        messages.push(format!(
            "{}: its window {what} at {}",
            name(key),
            when(until, now)
        ));
    }
    messages
}

fn local_times(keys: &[JudgedKey<'_>]) -> Vec<String> {
    let text = "its expiry-time has no Z, so that it means each node's local time; use not_after, \
                or add the Z";
    let mut messages = Vec::new();
    for JudgedKey { key, .. } in keys {
        let expiries = key.line.options.clone().take_expiries();
        if expiries.iter().any(|expiry| !expiry.utc) {
            messages.push(format!("{}: {text}", name(key)));
        }
    }
    messages
}

/// Accounts that have too few keys, or will soon have none.
fn without_keys(keys: &[JudgedKey<'_>], min_keys: usize, now: Timestamp) -> Vec<String> {
    let access = Access::of(keys);
    let mut messages = Vec::new();
    for (account, found) in access.in_force(now) {
        if found < min_keys {
            messages.push(format!(
                "{}: {} in force, [policy] min_keys asks for {min_keys}: refused there",
                account_name(account),
                counted(found, "key")
            ));
        }
    }
    for (account, end) in access.ends(now) {
        if end > now && end.duration_since(now) < LOCK_OUT_SOON {
            messages.push(format!(
                "{}: the last key ends at {}, and none follows",
                account_name(account),
                when(end, now)
            ));
        }
    }
    messages
}

/// An account in a message. `None` is an account that no key names.
pub(super) fn account_name(account: Option<&UserName>) -> String {
    match account {
        Some(user) => format!("account {user}"),
        None => "accounts that no key names".to_owned(),
    }
}

/// Keys with several lines. All lines are installed, so a stricter line has no effect beside a less
/// strict one.
fn several_lines(keys: &[JudgedKey<'_>]) -> Vec<String> {
    let mut seen: BTreeMap<Fingerprint, Vec<&JudgedKey<'_>>> = BTreeMap::new();
    let mut messages = Vec::new();
    for judged in keys {
        let earlier = seen.entry(judged.key.line.key.fingerprint()).or_default();
        let mut beside = earlier.iter().filter(|other| overlap(other, judged));
        if beside.clone().any(|other| other.key == judged.key) {
            messages.push(format!(
                "{}: it is listed twice in the same words; once is enough",
                name(judged.key)
            ));
        } else if beside.next().is_some() {
            messages.push(format!(
                "{}: it is listed twice for one account, on different terms: both lines are \
                 installed, and sshd takes the first whose `from=` matches",
                name(judged.key)
            ));
        }
        earlier.push(judged);
    }
    messages
}

/// Whether both could be in force for one account at the same time.
fn overlap(one: &JudgedKey<'_>, other: &JudgedKey<'_>) -> bool {
    let accounts = match (&one.key.accounts, &other.key.accounts) {
        (Some(one), Some(other)) => !one.is_disjoint(other),
        _ => true,
    };
    accounts && !ends_before(one, other) && !ends_before(other, one)
}

/// Whether the first key ends before the second one begins.
fn ends_before(first: &JudgedKey<'_>, second: &JudgedKey<'_>) -> bool {
    match (first.until, second.key.not_before) {
        (Some(until), Some(from)) => until <= from,
        _ => false,
    }
}

fn revoked(keys: &[JudgedKey<'_>]) -> Vec<String> {
    let mut messages = Vec::new();
    for JudgedKey { key, state, .. } in keys {
        if *state == KeyState::Revoked {
            messages.push(format!(
                "{}: it is listed and revoked; revoked wins",
                name(key)
            ));
        }
    }
    messages
}

fn strength(keys: &[JudgedKey<'_>]) -> Vec<String> {
    let mut weak = BTreeSet::new();
    for judged in keys {
        let key = &judged.key.line.key;
        if key.rsa_bits().is_some_and(|bits| bits < STRONG_RSA) {
            weak.insert(key.fingerprint());
        }
    }
    if weak.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{} under 3072 bits: prefer ssh-ed25519, or longer ones",
        counted(weak.len(), "RSA key")
    )]
}

/// Options and key types that older versions of sshd do not know, so that they ignore the whole
/// line. `expiry-time` is not among them: nodes write it in the form of their own sshd, or not at
/// all.
fn old_servers(keys: &[JudgedKey<'_>]) -> Vec<String> {
    let mut messages = Vec::new();
    for (option, (major, minor)) in RECENT_OPTIONS {
        if keys
            .iter()
            .any(|judged| judged.key.line.options.has(option))
        {
            messages.push(format!(
                "option {option}: an sshd before OpenSSH {major}.{minor} ignores the whole line, \
                 and a node that has one leaves it out"
            ));
        }
    }
    let mut kinds = BTreeSet::new();
    for judged in keys {
        kinds.insert(judged.key.line.key.kind());
    }
    for kind in kinds {
        if let Some((major, minor)) = since(kind) {
            messages.push(format!(
                "keys of type {kind}: an sshd before OpenSSH {major}.{minor} ignores the line, and \
                 a node that has one leaves them out"
            ));
        }
    }
    messages
}

/// Who may log in with which keys. Keys for everybody are stored once, however many accounts there
/// are.
pub(super) struct Access<'a> {
    everybody: Vec<&'a JudgedKey<'a>>,
    named: BTreeMap<&'a UserName, Vec<&'a JudgedKey<'a>>>,
}

impl<'a> Access<'a> {
    pub(super) fn of(keys: &'a [JudgedKey<'a>]) -> Self {
        let mut access = Self {
            everybody: Vec::new(),
            named: BTreeMap::new(),
        };
        for judged in keys {
            match &judged.key.accounts {
                None => access.everybody.push(judged),
                Some(accounts) => {
                    for user in accounts {
                        access.named.entry(user).or_default().push(judged);
                    }
                }
            }
        }
        access
    }

    /// Each account that a key names, with its own keys beside those for everybody. `None` means
    /// all other accounts, if there are keys for everybody.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (Option<&UserName>, &[&JudgedKey<'a>])> {
        let named = self.named.iter();
        let named = named.map(|(user, keys)| (Some(*user), keys.as_slice()));
        let others = if self.everybody.is_empty() {
            None
        } else {
            Some((None, &[][..]))
        };
        named.chain(others)
    }

    /// How many valid keys each account has now.
    fn in_force(&self, now: Timestamp) -> Vec<(Option<&UserName>, usize)> {
        let shared = valid_keys(&self.everybody, now);
        let mut counts = Vec::new();
        for (user, own) in self.accounts() {
            let mut keys = valid_keys(own, now);
            keys.extend(&shared);
            counts.push((user, keys.len()));
        }
        counts
    }

    /// The keys that an account has now. `None` is an account that no key names.
    pub(super) fn keys_of(&self, user: Option<&UserName>, now: Timestamp) -> BTreeSet<Fingerprint> {
        let mut keys = valid_keys(&self.everybody, now);
        if let Some(user) = user
            && let Some(own) = self.named.get(user)
        {
            keys.extend(valid_keys(own, now));
        }
        keys
    }

    /// For each account, the first time from `now` on at which it has no key. Accounts that always
    /// have one are left out.
    fn ends(&self, now: Timestamp) -> Vec<(Option<&UserName>, Timestamp)> {
        let shared = spans(&self.everybody);
        let mut ends = Vec::new();
        for (user, own) in self.accounts() {
            if let Some(end) = first_gap(&shared, &spans(own), now) {
                ends.push((user, end));
            }
        }
        ends
    }
}

/// The first time from `now` on that is in none of the spans, which are ordered by start. `None` if
/// no such time exists.
fn first_gap(
    shared: &[(Timestamp, Timestamp)],
    own: &[(Timestamp, Timestamp)],
    now: Timestamp,
) -> Option<Timestamp> {
    let mut shared = shared.iter().peekable();
    let mut own = own.iter().peekable();
    let mut covered = now;
    loop {
        // The next span that begins before the account would be without a key.
        let next = shared
            .next_if(|(from, _)| *from <= covered)
            .or_else(|| own.next_if(|(from, _)| *from <= covered));
        match next {
            Some((_, until)) if *until == Timestamp::MAX => return None,
            Some((_, until)) => covered = covered.max(*until),
            None => return Some(covered),
        }
    }
}

/// The keys that are valid now.
fn valid_keys(keys: &[&JudgedKey<'_>], now: Timestamp) -> BTreeSet<Fingerprint> {
    let mut valid = BTreeSet::new();
    for JudgedKey { key, until, state } in keys {
        let has_begun = key.not_before.is_none_or(|from| from <= now);
        let is_over = until.is_some_and(|until| until <= now);
        if *state != KeyState::Revoked && has_begun && !is_over {
            valid.insert(key.line.key.fingerprint());
        }
    }
    valid
}

/// When the keys are valid, ordered by start.
fn spans(keys: &[&JudgedKey<'_>]) -> Vec<(Timestamp, Timestamp)> {
    let mut spans = Vec::new();
    for JudgedKey { key, until, state } in keys {
        if *state != KeyState::Revoked {
            let from = key.not_before.unwrap_or(Timestamp::MIN);
            spans.push((from, until.unwrap_or(Timestamp::MAX)));
        }
    }
    spans.sort_unstable();
    spans
}

fn name(key: &PublishedKey) -> String {
    format!("{} {}", key.line.key.fingerprint(), key.line.comment)
        .trim_end()
        .to_owned()
}

/// The number of different keys, and the number of lines if it differs: `2 keys on 3 lines`.
pub fn counted_keys(keys: &[JudgedKey<'_>]) -> String {
    let fingerprints = keys.iter().map(|judged| judged.key.line.key.fingerprint());
    let different: BTreeSet<_> = fingerprints.collect();
    let text = counted(different.len(), "key");
    if different.len() == keys.len() {
        text
    } else {
        format!("{text} on {} lines", keys.len())
    }
}

/// A time and its distance: `2026-12-21T00:00:00Z (in 26 days)`.
pub fn when(at: Timestamp, now: Timestamp) -> String {
    let distance = at.duration_since(now);
    let seconds = distance.unsigned_abs().as_secs();
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let far = counted(usize::try_from(count).unwrap_or(usize::MAX), unit);
    if distance.is_negative() {
        format!("{at} ({far} ago)")
    } else {
        format!("{at} (in {far})")
    }
}

#[cfg(test)]
mod tests;

//! What can be found in a document before any node has seen it: what nodes would object to, and
//! what an operator may not have intended. Pure: time comes in as a value.

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::document::{Document, Form, PublishedKey};
use crate::key::Fingerprint;
use crate::plan::{Moment, RECENT_OPTIONS, since};
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
pub enum State {
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
pub struct Judged<'a> {
    /// The key.
    pub key: &'a PublishedKey,
    /// When it ends: by `not_after` or by its own `expiry-time`, whichever is earlier.
    pub until: Option<Timestamp>,
    /// Whether it is valid.
    pub state: State,
}

/// Judges each key as a node in UTC would.
pub fn judge(document: &Document, now: Timestamp) -> Vec<Judged<'_>> {
    let at = Moment {
        now,
        zone: TimeZone::UTC,
        standing: None,
    };
    let judged = document.keys.iter().map(|key| {
        let expiries = key.line.options.clone().take_expiries();
        let until = expiries
            .into_iter()
            .filter_map(|expiry| at.resolve(expiry))
            .chain(key.not_after)
            .min();
        let state = if document.revoked.contains(&key.line.key.fingerprint()) {
            State::Revoked
        } else if key.not_before.is_some_and(|from| from > now) {
            State::NotYet
        } else if until.is_some_and(|until| until <= now) {
            State::Over
        } else {
            State::InForce
        };
        Judged { key, until, state }
    });
    judged.collect()
}

/// Why nodes would call a valid document stale, or refuse it because of `min_keys`.
pub fn faults(
    document: &Document,
    keys: &[Judged<'_>],
    min_keys: usize,
    now: Timestamp,
) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(expires) = document.expires.filter(|expires| *expires <= now) {
        faults.push(format!(
            "it expired at {}: nodes would call it stale; set a later `expires`",
            when(expires, now)
        ));
    }
    let most = Access::of(keys)
        .in_force(now)
        .map(|(_, found)| found)
        .max()
        .unwrap_or(0);
    if most < min_keys {
        faults.push(format!(
            "it has {} in force, [policy] min_keys asks for {min_keys}: nodes would refuse it; publish more, or lower \
             min_keys there",
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
    keys: &[Judged<'_>],
    min_keys: usize,
    now: Timestamp,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if form == Form::Json && document.serial.is_none() {
        warnings.push(
            "it has no serial: nodes cannot tell an old document from a new one; `authkeysctl publish` gives it one"
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
            "it has no `expires`: who can write to the bucket could keep a newer one from the nodes, unseen".to_owned(),
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
        let what = found.get(MANY).cloned();
        warnings.extend(found.into_iter().take(MANY));
        if let (Some(what), 1..) = (what, more) {
            warnings.push(format!("{what}; and {more} more like it"));
        }
    }
    warnings
}

fn windows(keys: &[Judged<'_>], now: Timestamp) -> Vec<String> {
    let messages = keys
        .iter()
        .filter_map(|Judged { key, until, state }| match (state, until) {
            (State::Over, Some(until)) => Some(format!(
                "{}: its window ended at {}",
                name(key),
                when(*until, now)
            )),
            (State::InForce, Some(until)) if until.duration_since(now) < SOON => Some(format!(
                "{}: its window ends at {}",
                name(key),
                when(*until, now)
            )),
            _ => None,
        });
    messages.collect()
}

fn local_times(keys: &[Judged<'_>]) -> Vec<String> {
    let local = |key: &PublishedKey| {
        key.line
            .options
            .clone()
            .take_expiries()
            .iter()
            .any(|expiry| !expiry.utc)
    };
    let text = "its expiry-time has no Z, so that it means each node's local time; use not_after, or add the Z";
    keys.iter()
        .filter(|judged| local(judged.key))
        .map(|judged| format!("{}: {text}", name(judged.key)))
        .collect()
}

/// Accounts that have too few keys, or will soon have none.
fn without_keys(keys: &[Judged<'_>], min_keys: usize, now: Timestamp) -> Vec<String> {
    let who = |account: Option<&UserName>| match account {
        Some(user) => format!("account {user}"),
        None => "accounts that no key names".to_owned(),
    };
    let access = Access::of(keys);
    let few = access
        .in_force(now)
        .filter(|(_, found)| *found < min_keys)
        .map(|(account, found)| {
            let found = counted(found, "key");
            format!(
                "{}: {found} in force, [policy] min_keys asks for {min_keys}: refused there",
                who(account)
            )
        });
    let soon = access
        .ends(now)
        .filter(|(_, end)| *end > now && end.duration_since(now) < LOCK_OUT_SOON);
    few.chain(soon.map(|(account, end)| {
        format!(
            "{}: the last key ends at {}, and none follows",
            who(account),
            when(end, now)
        )
    }))
    .collect()
}

/// Keys with several lines. All lines are installed, so a stricter line has no effect beside a less
/// strict one.
fn several_lines(keys: &[Judged<'_>]) -> Vec<String> {
    let mut seen: BTreeMap<Fingerprint, Vec<&Judged<'_>>> = BTreeMap::new();
    let mut messages = Vec::new();
    for judged in keys {
        let earlier = seen.entry(judged.key.line.key.fingerprint()).or_default();
        let beside: Vec<_> = earlier
            .iter()
            .filter(|other| overlap(other, judged))
            .collect();
        if beside.iter().any(|other| other.key == judged.key) {
            messages.push(format!(
                "{}: it is listed twice in the same words; once is enough",
                name(judged.key)
            ));
        } else if !beside.is_empty() {
            messages.push(format!(
                "{}: it is listed twice for one account, on different terms: both lines are installed, and sshd takes the \
                 first whose `from=` matches",
                name(judged.key)
            ));
        }
        earlier.push(judged);
    }
    messages
}

/// Whether both could be in force for one account at the same time.
fn overlap(one: &Judged<'_>, other: &Judged<'_>) -> bool {
    let accounts = match (&one.key.accounts, &other.key.accounts) {
        (Some(one), Some(other)) => !one.is_disjoint(other),
        _ => true,
    };
    let before = |first: &Judged<'_>, second: &Judged<'_>| {
        first
            .until
            .zip(second.key.not_before)
            .is_some_and(|(until, from)| until <= from)
    };
    accounts && !before(one, other) && !before(other, one)
}

fn revoked(keys: &[Judged<'_>]) -> Vec<String> {
    let revoked = keys.iter().filter(|judged| judged.state == State::Revoked);
    revoked
        .map(|judged| {
            format!(
                "{}: it is listed and revoked; revoked wins",
                name(judged.key)
            )
        })
        .collect()
}

fn strength(keys: &[Judged<'_>]) -> Vec<String> {
    let weak = |judged: &&Judged<'_>| {
        judged
            .key
            .line
            .key
            .rsa_bits()
            .is_some_and(|bits| bits < STRONG_RSA)
    };
    let weak: BTreeSet<_> = keys
        .iter()
        .filter(weak)
        .map(|judged| judged.key.line.key.fingerprint())
        .collect();
    let message = format!(
        "{} under 3072 bits: prefer ssh-ed25519, or longer ones",
        counted(weak.len(), "RSA key")
    );
    if weak.is_empty() {
        Vec::new()
    } else {
        vec![message]
    }
}

/// Options and key types that older versions of sshd do not know, so that they ignore the whole
/// line. `expiry-time` is not among them: nodes write it in the form of their own sshd, or not at
/// all.
fn old_servers(keys: &[Judged<'_>]) -> Vec<String> {
    let mut messages = Vec::new();
    for (option, (major, minor)) in RECENT_OPTIONS {
        if keys
            .iter()
            .any(|judged| judged.key.line.options.has(option))
        {
            messages.push(format!(
                "option {option}: an sshd before OpenSSH {major}.{minor} ignores the whole line, and a node that has one leaves \
                 it out"
            ));
        }
    }
    let kinds: BTreeSet<&str> = keys
        .iter()
        .map(|judged| judged.key.line.key.kind())
        .collect();
    for kind in kinds {
        if let Some((major, minor)) = since(kind) {
            messages.push(format!(
                "keys of type {kind}: an sshd before OpenSSH {major}.{minor} ignores the line, and a node that has one \
                 leaves them out"
            ));
        }
    }
    messages
}

/// Who may log in with which keys. Keys for everybody are stored once, however many accounts there
/// are.
pub(super) struct Access<'a> {
    everybody: Vec<&'a Judged<'a>>,
    named: BTreeMap<&'a UserName, Vec<&'a Judged<'a>>>,
}

impl<'a> Access<'a> {
    pub(super) fn of(keys: &'a [Judged<'a>]) -> Self {
        let mut access = Self {
            everybody: Vec::new(),
            named: BTreeMap::new(),
        };
        for judged in keys {
            match &judged.key.accounts {
                None => access.everybody.push(judged),
                Some(accounts) => {
                    accounts
                        .iter()
                        .for_each(|user| access.named.entry(user).or_default().push(judged));
                }
            }
        }
        access
    }

    /// Each account that a key names, with its own keys beside those for everybody. `None` means
    /// all other accounts, if there are keys for everybody.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (Option<&UserName>, &[&Judged<'a>])> {
        let others = (!self.everybody.is_empty()).then_some((None, &[][..]));
        self.named
            .iter()
            .map(|(user, keys)| (Some(*user), keys.as_slice()))
            .chain(others)
    }

    /// How many valid keys each account has now.
    fn in_force(&self, now: Timestamp) -> impl Iterator<Item = (Option<&UserName>, usize)> {
        let shared = good(&self.everybody, now);
        self.accounts().map(move |(user, own)| {
            (
                user,
                shared.len() + good(own, now).difference(&shared).count(),
            )
        })
    }

    /// The keys that an account has now. `None` is an account that no key names.
    pub(super) fn keys_of(&self, user: Option<&UserName>, now: Timestamp) -> BTreeSet<Fingerprint> {
        let own = user
            .and_then(|user| self.named.get(user))
            .map_or(&[][..], Vec::as_slice);
        good(&self.everybody, now)
            .union(&good(own, now))
            .copied()
            .collect()
    }

    /// For each account, the first time from `now` on at which it has no key. Accounts that always
    /// have one are left out.
    fn ends(&self, now: Timestamp) -> impl Iterator<Item = (Option<&UserName>, Timestamp)> {
        let shared = spans(&self.everybody);
        self.accounts().filter_map(move |(user, own)| {
            let own = spans(own);
            let (mut shared, mut own) = (shared.iter().peekable(), own.iter().peekable());
            let mut covered = now;
            loop {
                let starts = |span: &&&(Timestamp, Timestamp)| span.0 <= covered;
                let next = if shared.peek().is_some_and(|span| starts(&span)) {
                    shared.next()
                } else {
                    None
                };
                let next = next.or_else(|| {
                    if own.peek().is_some_and(|span| starts(&span)) {
                        own.next()
                    } else {
                        None
                    }
                });
                match next {
                    Some((_, until)) if *until == Timestamp::MAX => return None,
                    Some((_, until)) => covered = covered.max(*until),
                    None => return Some((user, covered)),
                }
            }
        })
    }
}

/// The keys that are valid now.
fn good(keys: &[&Judged<'_>], now: Timestamp) -> BTreeSet<Fingerprint> {
    let good = |judged: &&&Judged<'_>| {
        judged.state != State::Revoked
            && judged.key.not_before.is_none_or(|from| from <= now)
            && judged.until.is_none_or(|until| until > now)
    };
    keys.iter()
        .filter(good)
        .map(|judged| judged.key.line.key.fingerprint())
        .collect()
}

/// When the keys are valid, ordered by start.
fn spans(keys: &[&Judged<'_>]) -> Vec<(Timestamp, Timestamp)> {
    let good = keys.iter().filter(|judged| judged.state != State::Revoked);
    let span = |judged: &&Judged<'_>| {
        (
            judged.key.not_before.unwrap_or(Timestamp::MIN),
            judged.until.unwrap_or(Timestamp::MAX),
        )
    };
    let mut spans: Vec<_> = good.map(span).collect();
    spans.sort_unstable();
    spans
}

fn name(key: &PublishedKey) -> String {
    format!("{} {}", key.line.key.fingerprint(), key.line.comment)
        .trim_end()
        .to_owned()
}

/// The number of different keys, and the number of lines if it differs: `2 keys on 3 lines`.
pub fn counted_keys(keys: &[Judged<'_>]) -> String {
    let different: BTreeSet<_> = keys
        .iter()
        .map(|judged| judged.key.line.key.fingerprint())
        .collect();
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

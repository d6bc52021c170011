//! Which keys an account must have at a moment, and which it must not have anywhere.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;

use jiff::Timestamp;

use super::expiry::{ExpiryForm, Moment};
use crate::document::{Document, PublishedKey};
use crate::key::{Fingerprint, KeyBlob, KeyLine};
use crate::user::UserName;

/// A key that must be in the file, and the line that puts it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: KeyBlob,
    /// Its comment.
    pub comment: String,
    /// The whole line, without LF.
    pub line: String,
}

/// What one account's file must and must not hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// The keys in force: the pinned first, then in the documents' order; each key once.
    pub entries: Vec<Entry>,
    /// This node's break-glass keys: never taken away.
    pub pinned: HashSet<Fingerprint>,
    /// Every key that the documents address to the account, in force or not.
    pub addressed: HashSet<Fingerprint>,
    /// Keys that no line may have.
    pub revoked: BTreeSet<Fingerprint>,
    /// When a window opens or closes next.
    pub next_change: Option<Timestamp>,
}

/// Lays the documents (the current one first, whose revocations alone count for all) and the pinned lines over each other for one account.
pub fn desired(documents: &[&Document], pinned: &[KeyLine], user: &UserName, at: &Moment, form: ExpiryForm) -> Desired {
    let mut desired = Desired {
        // What a pending document revokes may be the key that is current until it is promoted.
        revoked: documents.first().map(|current| current.revoked.clone()).unwrap_or_default(),
        pinned: pinned.iter().map(|line| line.key.fingerprint()).collect(),
        ..Desired::default()
    };
    let mut seen: HashSet<Fingerprint> = HashSet::new();
    for line in pinned {
        if seen.insert(line.key.fingerprint()) {
            desired.entries.push(Entry::new(line, None, at, form).0);
        }
    }
    let ours = |key: &&PublishedKey| key.accounts.as_ref().is_none_or(|accounts| accounts.contains(user));
    let keys = documents.iter().flat_map(|document| document.keys.iter().map(|key| (key, &document.revoked)));
    for (key, revoked_beside) in keys.filter(|(key, _)| ours(key)) {
        desired.addressed.insert(key.line.key.fingerprint());
        let revoked = |by: &BTreeSet<_>| !by.is_empty() && by.contains(&key.line.key.fingerprint());
        if revoked(&desired.revoked) || revoked(revoked_beside) {
            continue;
        }
        let (entry, until) = Entry::new(&key.line, key.not_after, at, form);
        let opened = key.not_before.is_none_or(|from| from <= at.now);
        let closed = until.is_some_and(|until| until <= at.now);
        let (by_time, timed) = (opened && !closed, key.not_before.is_some() || until.is_some());
        let standing = at.standing.as_ref().filter(|_| timed);
        let good = standing.map_or(by_time, |keys| keys.contains(&entry.key.fingerprint()));
        // What is held back until the time can be believed is due when it can.
        let held = (good != by_time).then_some(at.now);
        let coming = [key.not_before, until].into_iter().flatten().filter(|change| *change > at.now);
        desired.next_change = coming.chain(held).chain(desired.next_change).min();
        if good && seen.insert(entry.key.fingerprint()) {
            desired.entries.push(entry);
        }
    }
    desired
}

impl Desired {
    /// How many keys are in force beside the pinned ones.
    pub fn published(&self) -> usize {
        self.entries.iter().filter(|entry| !self.pinned.contains(&entry.key.fingerprint())).count()
    }
}

impl Entry {
    /// The entry, and the instant up to which it is good: its window's end or its own option's, the earlier.
    fn new(line: &KeyLine, not_after: Option<Timestamp>, at: &Moment, form: ExpiryForm) -> (Self, Option<Timestamp>) {
        let mut options = line.options.clone();
        let expiries = options.take_expiries();
        let until = expiries.into_iter().filter_map(|expiry| at.resolve(expiry)).chain(not_after).min();
        let expiry = until.and_then(|until| at.option(until, form)).unwrap_or_default();
        let (kind, comment) = (line.key.kind(), &line.comment);
        // The whole of it at once: there are thousands, and a buffer that grows is moved, or wiped, at every step.
        let separators = 4;
        let length = options.written_len() + expiry.len() + kind.len() + line.key.base64_len() + comment.len();
        let mut text = String::with_capacity(length + separators);
        // Writing to a string cannot fail.
        let _ = write!(text, "{options}");
        if !options.is_empty() && !expiry.is_empty() {
            text.push(',');
        }
        text.push_str(&expiry);
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(kind);
        text.push(' ');
        line.key.push_base64(&mut text);
        if !comment.is_empty() {
            text.push(' ');
            text.push_str(comment);
        }
        (Self { key: line.key.clone(), comment: comment.clone(), line: text }, until)
    }
}

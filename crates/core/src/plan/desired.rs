//! Which keys an account must have at a given time, and which it must not have anywhere.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use jiff::Timestamp;

use super::expiry::{ExpiryForm, Moment, PresentLines};
use super::versions::newest_option;
use crate::document::{Document, PublishedKey};
use crate::key::{Fingerprint, KeyBlob, KeyLine};
use crate::user::UserName;

/// A key that must be in the file, and the line that puts it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredEntry {
    /// The key.
    pub key: KeyBlob,
    /// Its comment.
    pub comment: String,
    /// The whole line, without LF.
    pub line: String,
    /// The source of the key, if the account has more than one source.
    pub source: Option<String>,
    /// The option of the line that only a recent sshd knows, and the first version that does.
    pub(super) newest_option: Option<(&'static str, (u32, u32))>,
}

/// A document in force for an account, possibly combined with others.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// The document.
    pub document: &'a Document,
    /// Whether it is its source's current document. What a current document revokes is revoked in
    /// all documents. A pending document may revoke the key that stays current until the promotion,
    /// so it revokes nothing elsewhere.
    pub is_current: bool,
    /// Its source, if the account has several.
    pub source: Option<&'a str>,
}

/// The current document of the only source.
impl<'a> From<&'a Document> for Layer<'a> {
    fn from(document: &'a Document) -> Self {
        Self {
            document,
            is_current: true,
            source: None,
        }
    }
}

/// A line of a wanted key that the installed sshd cannot read, or may be unable to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The key's fingerprint.
    pub key: Fingerprint,
    /// The option that is the reason; `None` if it is the key's type.
    pub option: Option<&'static str>,
    /// Why the line is not installed.
    pub reason: String,
}

/// What one account's file must and must not contain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Desired {
    /// The line above the entries that names the source, if one is known.
    pub head: Option<String>,
    /// The lines of the keys in force: first the pinned ones, then the others in the documents'
    /// order; each line once.
    pub entries: Vec<DesiredEntry>,
    /// This node's break-glass keys, which are never removed.
    pub pinned: HashSet<Fingerprint>,
    /// Every key that the documents list for the account, in force or not.
    pub addressed: HashSet<Fingerprint>,
    /// Keys that no line may have.
    pub revoked: BTreeSet<Fingerprint>,
    /// The next time at which a window opens or closes.
    pub next_change: Option<Timestamp>,
    /// The lines that are missing from the entries because the installed sshd cannot read them.
    pub unreadable: Vec<Unreadable>,
    /// The keys of the documents that are in force, including those that are also pinned.
    pub(super) published: HashSet<Fingerprint>,
}

/// A line of a document that may be in force.
struct CandidateLine<'a> {
    key: &'a PublishedKey,
    entry: DesiredEntry,
    /// When it ends: by its window or by its own option, whichever is earlier.
    until: Option<Timestamp>,
}

/// Combines the documents (each source's current one before its others) and the pinned lines for
/// one account. For each key, the first document that has it in force decides, and all its lines
/// with that key are installed: sshd tries the next line if the `from=` of one does not match.
/// `names` are the spellings of the account's name.
pub fn desired(
    documents: &[Layer<'_>],
    pinned: &[KeyLine],
    names: &[&UserName],
    at: &Moment,
    form: ExpiryForm,
) -> Desired {
    let mut desired = Desired {
        revoked: revoked_for_all(documents),
        pinned: pinned.iter().map(|line| line.key.fingerprint()).collect(),
        ..Desired::default()
    };
    for line in pinned {
        let (entry, _until) = DesiredEntry::new(line, None, at, form);
        desired.entries.push(entry);
    }
    // Which document decides about each key, by its index.
    let mut decided: HashMap<Fingerprint, usize> = HashMap::new();
    for (place, layer) in documents.iter().enumerate() {
        let document = layer.document;
        let mut candidates = Vec::new();
        for key in document.keys.iter().filter(|key| key.is_for(names)) {
            let fingerprint = key.line.key.fingerprint();
            desired.addressed.insert(fingerprint);
            if !desired.revoked.contains(&fingerprint) && !document.revoked.contains(&fingerprint) {
                let (mut entry, until) = DesiredEntry::new(&key.line, key.not_after, at, form);
                entry.source = layer.source.map(str::to_owned);
                candidates.push(CandidateLine { key, entry, until });
            }
        }
        let kept_open = at
            .standing
            .as_ref()
            .map(|standing| kept_open(&candidates, standing));
        for (index, candidate) in candidates.into_iter().enumerate() {
            let by_time = candidate.is_open(at.now);
            let is_in_force = match &kept_open {
                Some(kept_open) => kept_open.contains(&index),
                None => by_time,
            };
            for change in candidate.changes() {
                if change > at.now {
                    desired.next_change = earlier(desired.next_change, Some(change));
                }
            }
            // A change that is held back while the clock is wrong is due as soon as the clock is
            // right.
            if is_in_force != by_time {
                desired.next_change = earlier(desired.next_change, Some(at.now));
            }
            let fingerprint = candidate.entry.key.fingerprint();
            if is_in_force
                && *decided.entry(fingerprint).or_insert(place) == place
                && !desired.pinned.contains(&fingerprint)
            {
                desired.entries.push(candidate.entry);
            }
        }
    }
    desired.published = decided.into_keys().collect();
    keep_first_of_each(&mut desired.entries);
    desired
}

/// The keys that the sources' current documents revoke.
fn revoked_for_all(documents: &[Layer<'_>]) -> BTreeSet<Fingerprint> {
    let mut revoked = BTreeSet::new();
    for layer in documents {
        if layer.is_current {
            revoked.extend(&layer.document.revoked);
        }
    }
    revoked
}

/// Which lines are in force while the clock is wrong: those without a window, and those in the
/// file. If a key is in the file on other terms than any of its lines, its first line is in force.
fn kept_open(candidates: &[CandidateLine<'_>], standing: &PresentLines) -> HashSet<usize> {
    let mut open = HashSet::new();
    let mut served = HashSet::new();
    for (index, candidate) in candidates.iter().enumerate() {
        if candidate.changes().next().is_none()
            || standing.has_line(candidate.entry.line.as_bytes())
        {
            open.insert(index);
            served.insert(candidate.entry.key.fingerprint());
        }
    }
    for (index, candidate) in candidates.iter().enumerate() {
        let fingerprint = candidate.entry.key.fingerprint();
        if standing.has_key(&fingerprint) && served.insert(fingerprint) {
            open.insert(index);
        }
    }
    open
}

/// The earlier of two times; `None` means never.
pub(crate) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Removes repeated lines, which have no effect.
fn keep_first_of_each(entries: &mut Vec<DesiredEntry>) {
    let mut seen = HashSet::with_capacity(entries.len());
    let first: Vec<bool> = entries
        .iter()
        .map(|entry| seen.insert(entry.line.as_str()))
        .collect();
    let mut first = first.into_iter();
    entries.retain(|_| first.next().unwrap_or(true));
}

impl CandidateLine<'_> {
    fn is_open(&self, now: Timestamp) -> bool {
        self.key.not_before.is_none_or(|from| from <= now)
            && self.until.is_none_or(|until| now < until)
    }

    /// When its window opens and closes.
    fn changes(&self) -> impl Iterator<Item = Timestamp> + use<> {
        [self.key.not_before, self.until].into_iter().flatten()
    }
}

impl Desired {
    /// How many keys of the documents are in force, however many lines each has. A pinned key
    /// counts if a document has it too, because then the document is not empty.
    pub fn published(&self) -> usize {
        self.published.len()
    }

    /// Whether only our own lines may have the key. `installed` has all keys that authkeysd ever
    /// installed for the account.
    pub(super) fn is_unwelcome(
        &self,
        fingerprint: &Fingerprint,
        installed: &BTreeSet<Fingerprint>,
    ) -> bool {
        !self.pinned.contains(fingerprint)
            && (self.addressed.contains(fingerprint)
                || self.revoked.contains(fingerprint)
                || installed.contains(fingerprint))
    }
}

impl DesiredEntry {
    /// The entry, and the time until which it is valid: the end of its window or of its own option,
    /// whichever is earlier.
    fn new(
        line: &KeyLine,
        not_after: Option<Timestamp>,
        at: &Moment,
        form: ExpiryForm,
    ) -> (Self, Option<Timestamp>) {
        let mut options = line.options.clone();
        let mut until = not_after;
        for expiry in options.take_expiries() {
            until = earlier(until, at.resolve(expiry));
        }
        let expiry = match until {
            Some(until) => at.option(until, form).unwrap_or_default(),
            None => String::new(),
        };
        let kind = line.key.kind();
        let comment = &line.comment;
        // Allocate the whole length at once: there are thousands of lines, and a growing buffer is
        // moved, or wiped, at every step.
        let separators = 4;
        let length = options.written_len()
            + expiry.len()
            + kind.len()
            + line.key.base64_len()
            + comment.len();
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
        (
            Self {
                key: line.key.clone(),
                comment: comment.clone(),
                line: text,
                source: None,
                newest_option: newest_option(&options),
            },
            until,
        )
    }
}

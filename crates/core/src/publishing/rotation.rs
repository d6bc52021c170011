//! How a rotation edits the published key set: it adds the new key beside the current one, sets an
//! end for the old one, and removes keys. What is already done needs no edit. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use thiserror::Error;

use super::entries::{Edits, PublishedEntry};
use super::grant::Terms;
use crate::document::{Document, PublishedKey};
use crate::key::{Fingerprint, KeyLine};

/// sshd's option that ends a key.
const EXPIRY: &str = "expiry-time";

/// The keys at a secret's stages that matter for the key set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys<'a> {
    /// The key of the current version; `None` if it has none yet.
    pub current: Option<&'a KeyLine>,
    /// The key of the previous version, if it is neither the current nor the new key.
    pub previous: Option<&'a KeyLine>,
}

/// How long a key is still valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// It is not in the key set.
    Absent,
    /// At least one of its entries has no end.
    Open,
    /// Its last entry ends then.
    Ends(Timestamp),
}

/// Why the new key is not added.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAdmitted {
    /// The key set revokes it.
    #[error(
        "the new key {0} is in `revoked` there; `authkeysctl rotate --abort` discards it, then \
         rotate again"
    )]
    Revoked(Fingerprint),
    /// The terms of its entry are not known.
    #[error(
        "the secret's current key {0} is not in the key set there: check the target, or say with \
         --accounts and --option which accounts and options the two keys get"
    )]
    Terms(Fingerprint),
    /// The current key is revoked, and with its entries the terms are gone.
    #[error(
        "the secret's current key {0} is in `revoked` there, and its entries are gone: say with \
         --accounts and --option which accounts and options the new key gets"
    )]
    TermsRevoked(Fingerprint),
    /// The previous rotation has not ended.
    #[error(
        "the key of the rotation before, {key}, is valid until {until}; rotate again after that"
    )]
    Early {
        /// The key before the current one.
        key: Fingerprint,
        /// Its end.
        until: Timestamp,
    },
}

/// How long `key` is still valid according to this document.
pub fn window(document: &Document, key: &Fingerprint) -> Window {
    let mut window = Window::Absent;
    for entry in entries_of(document, key) {
        window = match (entry.not_after, window) {
            (None, _) | (_, Window::Open) => Window::Open,
            (Some(end), Window::Ends(last)) => Window::Ends(end.max(last)),
            (Some(end), Window::Absent) => Window::Ends(end),
        };
    }
    window
}

/// Whether the new key is valid, without an end, wherever the current one is. A current key that is
/// revoked or missing sets no requirement.
pub fn is_admitted(document: &Document, current: Option<&KeyLine>, new: &KeyLine) -> bool {
    let new = new.key.fingerprint();
    let mut granted = entries_of(document, &new);
    granted.retain(|entry| {
        let ends = entry.not_after.is_some() || entry.line.options.has(EXPIRY);
        entry.not_before.is_none() && !ends
    });
    if granted.is_empty() || document.revoked.contains(&new) {
        return false;
    }
    let Some(current) = current else {
        return true;
    };
    for wanted in entries_of(document, &current.key.fingerprint()) {
        let options = lasting_options(wanted);
        let mut entries = granted.iter();
        let is_granted = entries
            .any(|entry| entry.accounts == wanted.accounts && lasting_options(entry) == options);
        if !is_granted {
            return false;
        }
    }
    true
}

/// The edits that add the new key: one entry for each entry of the current key, with the same
/// accounts and options. The previous key's entries are removed, and it is revoked. `places` are
/// the fingerprints of the document's entries; `terms` are for a current key that is not in the
/// document.
pub fn admit(
    document: &Document,
    places: &[Option<Fingerprint>],
    keys: Keys<'_>,
    new: &KeyLine,
    terms: Option<&Terms>,
    now: Timestamp,
) -> Result<Edits, NotAdmitted> {
    let mut edits = Edits::default();
    let new_key = new.key.fingerprint();
    if document.revoked.contains(&new_key) {
        return Err(NotAdmitted::Revoked(new_key));
    }
    if let Some(previous) = keys.previous {
        let previous = previous.key.fingerprint();
        match window(document, &previous) {
            Window::Absent => {}
            Window::Ends(until) if until > now => {
                return Err(NotAdmitted::Early {
                    key: previous,
                    until,
                });
            }
            Window::Ends(_) | Window::Open => {
                remove_and_revoke(document, places, &previous, &mut edits)
            }
        }
    }
    let current = match keys.current {
        Some(line) if !document.revoked.contains(&line.key.fingerprint()) => Some(line),
        _ => None,
    };
    let models = match current {
        Some(line) => entries_of(document, &line.key.fingerprint()),
        None => Vec::new(),
    };
    if is_admitted(document, keys.current, new) {
        return Ok(edits);
    }
    let mut wanted: Vec<PublishedEntry> = Vec::new();
    for model in models {
        let entry = PublishedEntry {
            public_key: PublishedEntry::of(new).public_key,
            options: lasting_options(model),
            ..like(model)
        };
        if !wanted.contains(&entry) {
            wanted.push(entry);
        }
    }
    if wanted.is_empty() {
        let terms = match (terms, current) {
            (Some(terms), _) => terms.clone(),
            (None, Some(line)) => return Err(NotAdmitted::Terms(line.key.fingerprint())),
            // Without any terms it would open every account, and without the options.
            (None, None) => match keys.current {
                Some(revoked) => {
                    return Err(NotAdmitted::TermsRevoked(revoked.key.fingerprint()));
                }
                None => Terms::default(),
            },
        };
        // The current key gets an entry too, so that it stays valid and can be given an end later.
        for line in current.into_iter().chain([new]) {
            wanted.push(PublishedEntry {
                options: terms.options.clone(),
                accounts: terms.accounts.clone(),
                ..PublishedEntry::of(line)
            });
        }
    }
    edits.removed.extend(places_of(places, &new_key));
    edits.added.extend(wanted);
    Ok(edits)
}

/// The edits that end every entry of `old` at `end`, or earlier if the entry ends earlier.
pub fn end(
    document: &Document,
    places: &[Option<Fingerprint>],
    old: &Fingerprint,
    end: Timestamp,
) -> Edits {
    let mut edits = Edits::default();
    let at: Vec<usize> = places_of(places, old).into_iter().collect();
    let entries = entries_of(document, old);
    let is_whole = at.len() == entries.len();
    for (number, published) in entries.into_iter().enumerate() {
        let not_after = match published.not_after {
            Some(before) if before <= end && is_whole => continue,
            Some(before) => before.min(end),
            None => end,
        };
        let entry = PublishedEntry {
            not_before: published.not_before,
            not_after: Some(not_after),
            ..like(published)
        };
        match at.get(number) {
            Some(place) if is_whole => {
                edits.replaced.insert(*place, entry);
            }
            // Nodes leave out some of its entries: those are removed.
            _ => edits.added.push(entry),
        }
    }
    if !is_whole {
        edits.removed.extend(at);
    }
    edits
}

/// Adds the removal and the revocation of a key to the edits.
pub fn remove_and_revoke(
    document: &Document,
    places: &[Option<Fingerprint>],
    key: &Fingerprint,
    edits: &mut Edits,
) {
    edits.removed.extend(places_of(places, key));
    if !document.revoked.contains(key) {
        edits.revoked.insert(*key);
    }
}

fn entries_of<'a>(document: &'a Document, key: &Fingerprint) -> Vec<&'a PublishedKey> {
    let entries = document.keys.iter();
    let of_key = entries.filter(|entry| entry.line.key.fingerprint() == *key);
    of_key.collect()
}

fn places_of(places: &[Option<Fingerprint>], key: &Fingerprint) -> BTreeSet<usize> {
    let mut of_key = BTreeSet::new();
    for (at, place) in places.iter().enumerate() {
        if *place == Some(*key) {
            of_key.insert(at);
        }
    }
    of_key
}

/// The options that a new key gets too: not the end of the old one.
fn lasting_options(published: &PublishedKey) -> Vec<String> {
    let mut options = published.line.options.each();
    options.retain(|option| !option.starts_with(EXPIRY));
    options
}

/// An entry with the same accounts and options, without a window.
fn like(published: &PublishedKey) -> PublishedEntry {
    PublishedEntry {
        accounts: published.accounts.clone(),
        ..PublishedEntry::of(&published.line)
    }
}

#[cfg(test)]
mod tests;

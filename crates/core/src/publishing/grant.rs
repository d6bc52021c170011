//! What `grant` does with a key: adds an entry, replaces one, or refuses with a reason. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use thiserror::Error;

use super::diff::described_key;
use super::entries::{Edits, PublishedEntry};
use crate::document::{Document, PublishedKey};
use crate::key::{BadLine, Fingerprint, KeyLine, LineRules};
use crate::user::UserName;

/// For which accounts and when a key is to be valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// `None`: every account.
    pub accounts: Option<BTreeSet<UserName>>,
    /// In addition to those in the key's own line.
    pub options: Vec<String>,
    /// In force from then on.
    pub not_before: Option<Timestamp>,
    /// In force until just before then.
    pub not_after: Option<Timestamp>,
    /// Replaces the key's own comment.
    pub comment: Option<String>,
}

/// What to do with a key that is already there on other terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherTerms {
    /// Refuse.
    Keep,
    /// Replace the terms.
    Replace,
}

/// The result for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// It gets a new entry, or its entry is replaced.
    Changed,
    /// It is already there on these terms.
    Already,
}

/// Why a key is not granted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotGranted {
    /// No node would accept it.
    #[error(transparent)]
    Bad(#[from] BadLine),
    /// It was given more than once.
    #[error("{0} is given twice; name it once")]
    Twice(Fingerprint),
    /// It is revoked. If it was stolen, the thief could log in again.
    #[error("{0} is in `revoked`, and no node lets it in; grant another key")]
    Revoked(Fingerprint),
    /// It is already there on other terms.
    #[error("{key} is there already on other terms ({terms}); --replace gives it the new ones")]
    OtherTerms {
        /// The key.
        key: Fingerprint,
        /// Its present terms.
        terms: String,
    },
}

/// Adds a key to the edits of a document. `places` are the fingerprints of the document's entries.
pub fn grant(
    document: &Document,
    places: &[Option<Fingerprint>],
    line: &KeyLine,
    terms: &Terms,
    rules: &LineRules,
    other_terms: OtherTerms,
    edits: &mut Edits,
) -> Result<Granted, NotGranted> {
    let entry = entry(line, terms);
    let granted = PublishedKey {
        line: KeyLine::from_parts(&entry.public_key, &entry.options, rules)?,
        place: 0,
        accounts: entry.accounts.clone(),
        not_before: entry.not_before,
        not_after: entry.not_after,
    };
    let fingerprint = granted.line.key.fingerprint();
    for edit in edits.added.iter().chain(edits.replaced.values()) {
        if let Ok(line) = KeyLine::from_parts(&edit.public_key, &edit.options, rules)
            && line.key == granted.line.key
        {
            return Err(NotGranted::Twice(fingerprint));
        }
    }
    if document.revoked.contains(&fingerprint) {
        return Err(NotGranted::Revoked(fingerprint));
    }
    let there: Vec<usize> = (0..places.len())
        .filter(|at| places.get(*at) == Some(&Some(fingerprint)))
        .collect();
    let Some((first, more)) = there.split_first() else {
        edits.added.push(entry);
        return Ok(Granted::Changed);
    };
    let published: Vec<&PublishedKey> = document
        .keys
        .iter()
        .filter(|key| key.line.key == granted.line.key)
        .collect();
    if let [one] = published.as_slice()
        && more.is_empty()
        && is_same(one, &granted)
    {
        return Ok(Granted::Already);
    }
    if other_terms == OtherTerms::Keep {
        let terms = if published.is_empty() {
            "nodes leave it out".to_owned()
        } else {
            described_key(&published)
        };
        return Err(NotGranted::OtherTerms {
            key: fingerprint,
            terms,
        });
    }
    edits.replaced.insert(*first, entry);
    edits.removed.extend(more);
    Ok(Granted::Changed)
}

/// The entry for the key.
fn entry(line: &KeyLine, terms: &Terms) -> PublishedEntry {
    let line = match &terms.comment {
        Some(comment) => KeyLine {
            comment: comment.clone(),
            ..line.clone()
        },
        None => line.clone(),
    };
    let mut entry = PublishedEntry::of(&line);
    entry.options.extend(terms.options.iter().cloned());
    entry.accounts.clone_from(&terms.accounts);
    entry.not_before = terms.not_before;
    entry.not_after = terms.not_after;
    entry
}

fn is_same(one: &PublishedKey, other: &PublishedKey) -> bool {
    one.line == other.line
        && one.accounts == other.accounts
        && one.not_before == other.not_before
        && one.not_after == other.not_after
}

//! What a new document changes compared with the published one, key by key, and which of the
//! changes could lock people out. Pure: time comes in as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;

use super::findings::{Access, judge};
use crate::document::{Document, Name, PublishedKey};
use crate::key::Fingerprint;
use crate::report::text::Colour;
use crate::user::UserName;
use crate::words::counted;

/// The difference between two documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// First the keys that only the new document has, then those that both have but on different
    /// terms, then those that only the old one has.
    pub keys: Vec<(Change, Shown)>,
    /// Other fields: name, old value, new value.
    pub fields: Vec<(&'static str, String, String)>,
}

/// What happens to a key or a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is added.
    Added,
    /// It stays, but changed.
    Changed,
    /// It is removed.
    Removed,
}

/// A key as the diff shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Fingerprint, type, comment.
    pub line: String,
    /// For which accounts and when it is valid, and the previous terms if they changed.
    pub terms: Vec<String>,
}

impl Diff {
    /// Compares the documents. `old` is the published one, if there is one.
    pub fn of(old: &Document, new: &Document) -> Self {
        let (before, after) = (by_key(old), by_key(new));
        let mut diff = Self::default();
        let mut changed = Vec::new();
        for (fingerprint, keys) in in_order(new, &after) {
            match before.get(&fingerprint) {
                None => diff.keys.push((Change::Added, Shown::one(&keys))),
                Some(earlier) if described(earlier) != described(&keys) => {
                    changed.push((Change::Changed, Shown::two(earlier, &keys)));
                }
                Some(_) => {}
            }
        }
        diff.keys.append(&mut changed);
        for (fingerprint, keys) in in_order(old, &before) {
            if !after.contains_key(&fingerprint) {
                diff.keys.push((Change::Removed, Shown::one(&keys)));
            }
        }
        let name = |name: &Option<Name>| name.as_ref().map(Name::to_string).unwrap_or_default();
        let expires = |document: &Document| {
            document
                .expires
                .map(|at| at.to_string())
                .unwrap_or_default()
        };
        for (field, before, after) in [
            ("name", name(&old.name), name(&new.name)),
            ("audience", name(&old.audience), name(&new.audience)),
            ("expires", expires(old), expires(new)),
        ] {
            if before != after {
                diff.fields.push((field, before, after));
            }
        }
        for revoked in new.revoked.difference(&old.revoked) {
            diff.fields
                .push(("revoked", String::new(), revoked.to_string()));
        }
        for revoked in old.revoked.difference(&new.revoked) {
            diff.fields
                .push(("revoked", revoked.to_string(), String::new()));
        }
        diff
    }

    /// Whether nothing that matters to nodes differs, apart from the serial.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.fields.is_empty()
    }

    /// Whether a key is added, removed, changed or revoked, whatever else differs.
    pub fn changes_keys(&self) -> bool {
        !self.keys.is_empty() || self.fields.iter().any(|(field, ..)| *field == "revoked")
    }

    /// One line per key and field, with the same signs as in `authkeysd sync`.
    pub fn render(&self, colour: Colour) -> String {
        let mut text = String::new();
        for (change, shown) in &self.keys {
            let (sign, code) = match change {
                Change::Added => ('+', 32),
                Change::Changed => ('~', 33),
                Change::Removed => ('-', 31),
            };
            let _ = writeln!(
                text,
                "{}",
                colour.paint(code, &format!("  {sign} {}", shown.line))
            );
            for terms in &shown.terms {
                let _ = writeln!(text, "      {terms}");
            }
        }
        for (field, before, after) in &self.fields {
            let (sign, code, value) = match (before.is_empty(), after.is_empty()) {
                (true, _) => ('+', 32, after.clone()),
                (false, true) => ('-', 31, before.clone()),
                (false, false) => ('~', 33, format!("{before} -> {after}")),
            };
            let _ = writeln!(
                text,
                "{}",
                colour.paint(code, &format!("  {sign} {field} {value}"))
            );
        }
        text
    }
}

/// The changes that could lock somebody out at once. A rotation should publish the new key first,
/// and remove the old one after the new one was seen to work (row 10 of docs/failures.md).
pub fn lock_outs(old: &Document, new: &Document, now: Timestamp) -> Vec<String> {
    let (before, after) = (judge(old, now), judge(new, now));
    let (before, after) = (Access::of(&before), Access::of(&after));
    let mut warnings = Vec::new();
    let mut accounts: BTreeSet<Option<&UserName>> =
        before.accounts().map(|(user, _)| user).collect();
    accounts.extend(after.accounts().map(|(user, _)| user));
    for user in accounts {
        let (had, has) = (before.keys_of(user, now), after.keys_of(user, now));
        if had.is_empty() || !had.is_disjoint(&has) {
            continue;
        }
        let who = user.map_or("accounts that no key names".to_owned(), |user| {
            format!("account {user}")
        });
        warnings.push(match has.len() {
            0 => format!("{who}: all of its keys go ({})", counted(had.len(), "key")),
            _ => format!(
                "{who}: all of its keys are replaced at once ({} by {}); whose new key does not work is locked out: \
                 publish both for a while",
                had.len(),
                has.len()
            ),
        });
    }
    warnings
}

/// Keys that are no longer revoked: whoever stole one could log in again. Those that the same
/// document also lists as keys come first.
pub fn readmitted(old: &Document, new: &Document) -> Vec<String> {
    let dropped: Vec<&Fingerprint> = old.revoked.difference(&new.revoked).collect();
    let listed = by_key(new);
    let (back, open): (Vec<_>, Vec<_>) = dropped
        .into_iter()
        .partition(|key| listed.contains_key(*key));
    let mut warnings = Vec::new();
    for fingerprint in back {
        let key = listed
            .get(fingerprint)
            .map(|keys| line(keys))
            .unwrap_or_default();
        warnings.push(format!(
            "REVOKED KEY COMES BACK: {key} was in `revoked`, is not any more, and is among the keys: anyone who stole it can \
             log in again; put it back into `revoked`, or publish another key"
        ));
    }
    if let Some(first) = open.first() {
        let more = if open.len() > 1 {
            format!(" and {} more", open.len() - 1)
        } else {
            String::new()
        };
        warnings.push(format!(
            "{first}{more} left `revoked`: nodes no longer remove the key from lines that others write; keep it there for \
             as long as some copy of it may be left"
        ));
    }
    warnings
}

impl Shown {
    fn one(keys: &[&PublishedKey]) -> Self {
        let mut terms: Vec<String> = keys.iter().map(|key| terms(key)).collect();
        terms.dedup();
        // "Every account" is shown only beside lines on other terms, where it is what counts.
        if terms.len() == 1 {
            terms.retain(|terms| *terms != EVERYBODY);
        }
        Self {
            line: line(keys),
            terms,
        }
    }

    /// The removed lines, then the added ones.
    fn two(before: &[&PublishedKey], after: &[&PublishedKey]) -> Self {
        let (was, is) = (described(before), described(after));
        let gone = was
            .iter()
            .filter(|line| !is.contains(line))
            .map(|line| format!("- {line}"));
        let come = is
            .iter()
            .filter(|line| !was.contains(line))
            .map(|line| format!("+ {line}"));
        let mut terms: Vec<String> = gone.chain(come).collect();
        if terms.is_empty() {
            terms.push("its lines in another order".to_owned());
        }
        Self {
            line: line(after),
            terms,
        }
    }
}

fn line(keys: &[&PublishedKey]) -> String {
    let Some(first) = keys.first() else {
        return String::new();
    };
    let key = &first.line.key;
    format!(
        "{} {} {}",
        key.fingerprint(),
        key.kind(),
        first.line.comment
    )
    .trim_end()
    .to_owned()
}

/// What a document says about a key, line by line. Equal lines are installed once, so they are
/// shown once.
fn described(keys: &[&PublishedKey]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let each = keys
        .iter()
        .map(|key| format!("{}: {}", key.line.comment, terms(key)));
    each.filter(|line| seen.insert(line.clone())).collect()
}

/// The terms of a key, line by line.
pub(super) fn described_key(keys: &[&PublishedKey]) -> String {
    let mut each: Vec<String> = keys.iter().map(|key| terms(key)).collect();
    each.dedup();
    each.join(" / ")
}

const EVERYBODY: &str = "every account";

/// For which accounts and when a line is valid.
fn terms(key: &PublishedKey) -> String {
    let mut terms = vec![
        key.accounts
            .as_ref()
            .map_or(EVERYBODY.to_owned(), |accounts| {
                let names: Vec<&str> = accounts.iter().map(UserName::as_str).collect();
                if names.is_empty() {
                    "no account".to_owned()
                } else {
                    names.join(", ")
                }
            }),
    ];
    terms.extend(key.not_before.map(|from| format!("from {from}")));
    terms.extend(key.not_after.map(|until| format!("until {until}")));
    if !key.line.options.is_empty() {
        terms.push(format!("options {}", key.line.options));
    }
    terms.join("; ")
}

fn by_key(document: &Document) -> BTreeMap<Fingerprint, Vec<&PublishedKey>> {
    let mut keys: BTreeMap<Fingerprint, Vec<&PublishedKey>> = BTreeMap::new();
    document.keys.iter().for_each(|key| {
        keys.entry(key.line.key.fingerprint())
            .or_default()
            .push(key)
    });
    keys
}

/// Each key once, ordered by its first position in the document.
fn in_order<'a>(
    document: &'a Document,
    keys: &'a BTreeMap<Fingerprint, Vec<&'a PublishedKey>>,
) -> impl Iterator<Item = (Fingerprint, Vec<&'a PublishedKey>)> {
    let mut seen = BTreeSet::new();
    let each = document.keys.iter().map(|key| key.line.key.fingerprint());
    let first = each.filter(move |fingerprint| seen.insert(*fingerprint));
    first.map(|fingerprint| {
        (
            fingerprint,
            keys.get(&fingerprint).cloned().unwrap_or_default(),
        )
    })
}

//! What a new document changes compared with the published one, key by key, and which of the
//! changes could lock people out. Pure: time comes in as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;

use super::findings::{Access, account_name, judge};
use crate::document::{Document, PublishedKey};
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
        let before = by_key(old);
        let after = by_key(new);
        let mut diff = Self::default();
        let mut changed = Vec::new();
        for (fingerprint, keys) in in_order(new, &after) {
            match before.get(&fingerprint) {
                None => diff.keys.push((Change::Added, Shown::one(keys))),
                Some(earlier) if described(earlier) != described(keys) => {
                    changed.push((Change::Changed, Shown::two(earlier, keys)));
                }
                Some(_) => {}
            }
        }
        diff.keys.append(&mut changed);
        for (fingerprint, keys) in in_order(old, &before) {
            if !after.contains_key(&fingerprint) {
                diff.keys.push((Change::Removed, Shown::one(keys)));
            }
        }
        for (field, before, after) in [
            ("name", text_of(&old.name), text_of(&new.name)),
            ("audience", text_of(&old.audience), text_of(&new.audience)),
            ("expires", text_of(&old.expires), text_of(&new.expires)),
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

/// A field as text; empty if it is absent.
fn text_of<T: ToString>(field: &Option<T>) -> String {
    match field {
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// The changes that could lock somebody out at once. A rotation should publish the new key first,
/// and remove the old one after the new one was seen to work (row 10 of docs/failures.md).
pub fn lock_outs(old: &Document, new: &Document, now: Timestamp) -> Vec<String> {
    let before = judge(old, now);
    let after = judge(new, now);
    let before = Access::of(&before);
    let after = Access::of(&after);
    let mut warnings = Vec::new();
    let mut accounts = BTreeSet::new();
    for (user, _own) in before.accounts().chain(after.accounts()) {
        accounts.insert(user);
    }
    for user in accounts {
        let had = before.keys_of(user, now);
        let has = after.keys_of(user, now);
        if had.is_empty() || !had.is_disjoint(&has) {
            continue;
        }
        let who = account_name(user);
        warnings.push(match has.len() {
            0 => format!("{who}: all of its keys go ({})", counted(had.len(), "key")),
            _ => format!(
                "{who}: all of its keys are replaced at once ({} by {}); whose new key does not \
                 work is locked out: publish both for a while",
                had.len(),
                has.len()
            ),
        });
    }
    warnings
}

/// Keys whose revocation was removed: anyone who stole one could log in again. Those that the same
/// document also lists as keys come first.
pub fn readmitted(old: &Document, new: &Document) -> Vec<String> {
    let listed = by_key(new);
    let mut open = Vec::new();
    let mut warnings = Vec::new();
    for fingerprint in old.revoked.difference(&new.revoked) {
        let Some(keys) = listed.get(fingerprint) else {
            open.push(fingerprint);
            continue;
        };
        let key = line(keys);
        warnings.push(format!(
            "REVOKED KEY COMES BACK: {key} was in `revoked`, is not any more, and is among the \
             keys: anyone who stole it can log in again; put it back into `revoked`, or publish \
             another key"
        ));
    }
    if let Some(first) = open.first() {
        let more = if open.len() > 1 {
            format!(" and {} more", open.len() - 1)
        } else {
            String::new()
        };
        warnings.push(format!(
            "{first}{more} left `revoked`: nodes no longer remove the key from lines that others \
             write; keep it there for as long as some copy of it may be left"
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
        let was = described(before);
        let is = described(after);
        let mut terms = Vec::new();
        for line in &was {
            if !is.contains(line) {
                terms.push(format!("- {line}"));
            }
        }
        for line in &is {
            if !was.contains(line) {
                terms.push(format!("+ {line}"));
            }
        }
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
    let mut lines = Vec::new();
    for key in keys {
        let line = format!("{}: {}", key.line.comment, terms(key));
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
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
    let accounts = match &key.accounts {
        None => EVERYBODY.to_owned(),
        Some(accounts) if accounts.is_empty() => "no account".to_owned(),
        Some(accounts) => {
            let names: Vec<&str> = accounts.iter().map(UserName::as_str).collect();
            names.join(", ")
        }
    };
    let mut terms = vec![accounts];
    if let Some(from) = key.not_before {
        terms.push(format!("from {from}"));
    }
    if let Some(until) = key.not_after {
        terms.push(format!("until {until}"));
    }
    if !key.line.options.is_empty() {
        terms.push(format!("options {}", key.line.options));
    }
    terms.join("; ")
}

fn by_key(document: &Document) -> BTreeMap<Fingerprint, Vec<&PublishedKey>> {
    let mut keys: BTreeMap<Fingerprint, Vec<&PublishedKey>> = BTreeMap::new();
    for key in &document.keys {
        let of_key = keys.entry(key.line.key.fingerprint()).or_default();
        of_key.push(key);
    }
    keys
}

/// Each key once, ordered by its first position in the document.
fn in_order<'a>(
    document: &'a Document,
    keys: &'a BTreeMap<Fingerprint, Vec<&'a PublishedKey>>,
) -> Vec<(Fingerprint, &'a [&'a PublishedKey])> {
    let mut seen = BTreeSet::new();
    let mut ordered = Vec::with_capacity(keys.len());
    for key in &document.keys {
        let fingerprint = key.line.key.fingerprint();
        if seen.insert(fingerprint)
            && let Some(of_key) = keys.get(&fingerprint)
        {
            ordered.push((fingerprint, of_key.as_slice()));
        }
    }
    ordered
}

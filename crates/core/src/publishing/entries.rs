//! Adds entries to a JSON document, removes entries, and adds to `revoked`. Every byte that is not
//! part of an edit stays as its author wrote it: order, spacing and line ends, and even bytes that
//! are not UTF-8. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::edit::{BLANK, bytes_of, latin_1, layout, span, text_of};
use crate::key::{Fingerprint, KeyLine, identify};
use crate::user::UserName;

/// An entry of `keys` to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedEntry {
    /// `type base64 comment`.
    pub public_key: String,
    /// The options, separately.
    pub options: Vec<String>,
    /// `None`: every account.
    pub accounts: Option<BTreeSet<UserName>>,
    /// In force from then on.
    pub not_before: Option<Timestamp>,
    /// In force until just before then.
    pub not_after: Option<Timestamp>,
}

/// The edits to a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edits {
    /// Entries to remove, by their index in `keys`.
    pub removed: BTreeSet<usize>,
    /// Entries to replace.
    pub replaced: BTreeMap<usize, PublishedEntry>,
    /// Entries to append.
    pub added: Vec<PublishedEntry>,
    /// Fingerprints to add to `revoked`.
    pub revoked: BTreeSet<Fingerprint>,
}

impl Edits {
    /// Whether nothing is to be edited.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.replaced.is_empty()
            && self.added.is_empty()
            && self.revoked.is_empty()
    }
}

impl PublishedEntry {
    /// The entry for a line, with separate options.
    pub fn of(line: &KeyLine) -> Self {
        let bare = KeyLine {
            options: crate::key::OptionList::default(),
            ..line.clone()
        };
        Self {
            public_key: bare.to_string(),
            options: line.options.each(),
            accounts: None,
            not_before: None,
            not_after: None,
        }
    }
}

#[derive(Deserialize)]
struct EntryParts<'a> {
    #[serde(borrow)]
    version: &'a RawValue,
    #[serde(borrow)]
    keys: &'a RawValue,
    #[serde(borrow, default)]
    revoked: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct KeyOnly {
    public_key: String,
}

/// The fingerprint of each entry in `keys`, in order; `None` for an entry without a key. `payload`
/// has no signature.
pub fn fingerprints(payload: &[u8]) -> Option<Vec<Option<Fingerprint>>> {
    let text = text_of(payload);
    let parts: EntryParts<'_> = serde_json::from_str(&text).ok()?;
    let entries: Vec<&RawValue> = serde_json::from_str(parts.keys.get()).ok()?;
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        found.push(fingerprint(entry));
    }
    Some(found)
}

fn fingerprint(entry: &RawValue) -> Option<Fingerprint> {
    let entry: KeyOnly = serde_json::from_str(entry.get()).ok()?;
    let found = identify(entry.public_key.trim_start().as_bytes())?;
    Some(found.key.fingerprint())
}

/// The document after the edits; `None` if `payload` is not a JSON document of version 1. `payload`
/// has no signature.
pub fn edited(payload: &[u8], edits: &Edits) -> Option<Vec<u8>> {
    let text = text_of(payload);
    let parts: EntryParts<'_> = serde_json::from_str(&text).ok()?;
    let is_utf8 = std::str::from_utf8(payload).is_ok();
    let style = Style::of(&text, parts.version)?;
    let mut changes: Vec<(usize, usize, String)> = Vec::new();
    if !(edits.removed.is_empty() && edits.replaced.is_empty() && edits.added.is_empty()) {
        let elements: Vec<&RawValue> = serde_json::from_str(parts.keys.get()).ok()?;
        let model = elements.last().map(|last| last.get());
        let mut kept = Vec::with_capacity(elements.len());
        for (at, element) in elements.iter().enumerate() {
            let text = match edits.replaced.get(&at) {
                Some(entry) => {
                    let entry = style.entry(entry, Some(element.get()));
                    Some(encoded(entry, is_utf8))
                }
                None if edits.removed.contains(&at) => None,
                None => Some(element.get().to_owned()),
            };
            kept.push(text);
        }
        let mut added = Vec::with_capacity(edits.added.len());
        for entry in &edits.added {
            added.push(encoded(style.entry(entry, model), is_utf8));
        }
        let (start, end) = span(&text, parts.keys)?;
        let array = style.array(parts.keys.get(), &elements, kept, added)?;
        changes.push((start, end, array));
    }
    if !edits.revoked.is_empty() {
        let mut added = Vec::with_capacity(edits.revoked.len());
        for fingerprint in &edits.revoked {
            added.push(format!("\"{fingerprint}\""));
        }
        match parts.revoked {
            Some(revoked) => {
                let elements: Vec<&RawValue> = serde_json::from_str(revoked.get()).ok()?;
                let mut kept = Vec::with_capacity(elements.len());
                for element in &elements {
                    kept.push(Some(element.get().to_owned()));
                }
                let (start, end) = span(&text, revoked)?;
                let array = style.array(revoked.get(), &elements, kept, added)?;
                changes.push((start, end, array));
            }
            None => {
                let (_, end) = span(&text, parts.keys)?;
                let list = style.array("[]", &[], Vec::new(), added)?;
                changes.push((
                    end,
                    end,
                    format!(",{}\"revoked\"{}{list}", style.indent, style.colon),
                ));
            }
        }
    }
    // Apply the edits from the end, so that the positions before them stay valid. An insertion (an
    // empty span) at the end of a replaced span comes after the replacement.
    changes.sort_by_key(|(start, end, _)| (*start, *end));
    let mut edited = text.clone();
    for (start, end, new) in changes.into_iter().rev() {
        edited.replace_range(start..end, &new);
    }
    bytes_of(edited, payload)
}

/// A new entry in the encoding in which the document is edited.
fn encoded(entry: String, is_utf8: bool) -> String {
    if is_utf8 {
        entry
    } else {
        latin_1(entry.as_bytes())
    }
}

/// A document with these entries, formatted as in the guides.
pub fn document(entries: &[PublishedEntry]) -> Option<Vec<u8>> {
    let edits = Edits {
        added: entries.to_vec(),
        ..Edits::default()
    };
    edited(b"{\n  \"version\": 1,\n  \"keys\": []\n}\n", &edits)
}

/// How a document is formatted.
struct Style<'a> {
    /// The white space before the name of a field.
    indent: &'a str,
    /// The text between a field's name and its value.
    colon: &'a str,
}

impl<'a> Style<'a> {
    fn of(text: &'a str, version: &RawValue) -> Option<Self> {
        let (start, _) = span(text, version)?;
        let (indent, colon) = layout(text.get(..start)?)?;
        Some(Self { indent, colon })
    }

    /// A blank if the author writes one.
    fn blank(&self) -> &'static str {
        if self.colon.ends_with(BLANK) { " " } else { "" }
    }

    fn is_multi_line(&self) -> bool {
        self.indent.contains('\n')
    }

    /// The indentation one level deeper than a field of the document.
    fn deeper(&self) -> String {
        let unit = self.indent.rsplit('\n').next().unwrap_or_default();
        format!("{}{unit}", self.indent)
    }

    /// An array with some elements removed and others appended. `None` in `kept` is an element to
    /// remove.
    fn array(
        &self,
        array: &str,
        elements: &[&RawValue],
        kept: Vec<Option<String>>,
        added: Vec<String>,
    ) -> Option<String> {
        let mut spans = Vec::with_capacity(elements.len());
        for element in elements {
            spans.push(span(array, element)?);
        }
        let (head, tail, new) = match (spans.first(), spans.last()) {
            (Some((first, _)), Some((_, last))) => {
                let head = array.get(1..*first)?;
                let tail = array.get(*last..array.len() - 1)?;
                let new = match spans.len() {
                    1 if head.contains('\n') => format!(",{head}"),
                    1 => format!(",{}", self.blank()),
                    count => text_before(count - 1, array, &spans)?.to_owned(),
                };
                (head.to_owned(), tail.to_owned(), new)
            }
            _ if self.is_multi_line() => (
                self.deeper(),
                self.indent.to_owned(),
                format!(",{}", self.deeper()),
            ),
            _ => (String::new(), String::new(), format!(",{}", self.blank())),
        };
        let mut text = String::new();
        for (at, element) in kept.into_iter().enumerate() {
            let Some(element) = element else { continue };
            if !text.is_empty() {
                text.push_str(text_before(at, array, &spans)?);
            }
            text.push_str(&element);
        }
        for element in added {
            if !text.is_empty() {
                text.push_str(&new);
            }
            text.push_str(&element);
        }
        Some(if text.is_empty() {
            "[]".to_owned()
        } else {
            format!("[{head}{text}{tail}]")
        })
    }

    /// An entry, formatted like `model`.
    fn entry(&self, entry: &PublishedEntry, model: Option<&str>) -> String {
        let mut inside = model.and_then(without_braces).unwrap_or_default();
        if inside.trim_matches(BLANK).is_empty() {
            inside = "";
        }
        let start = inside.len() - inside.trim_start_matches(BLANK).len();
        let end = inside.trim_end_matches(BLANK).len();
        let open = inside.get(..start).unwrap_or_default();
        let close = inside.get(end..).unwrap_or_default();
        let between = if open.contains('\n') {
            format!(",{open}")
        } else {
            format!(",{}", self.blank())
        };

        let mut fields = vec![("public_key", quoted(&entry.public_key))];
        if !entry.options.is_empty() {
            fields.push((
                "options",
                self.list(entry.options.iter().map(String::as_str)),
            ));
        }
        if let Some(accounts) = &entry.accounts {
            fields.push(("accounts", self.list(accounts.iter().map(UserName::as_str))));
        }
        if let Some(from) = entry.not_before {
            fields.push(("not_before", quoted(&from.to_string())));
        }
        if let Some(until) = entry.not_after {
            fields.push(("not_after", quoted(&until.to_string())));
        }
        let mut texts = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            texts.push(format!("\"{name}\"{}{value}", self.colon));
        }
        format!("{{{open}{}{close}}}", texts.join(&between))
    }

    fn list<'t>(&self, texts: impl Iterator<Item = &'t str>) -> String {
        let texts: Vec<String> = texts.map(quoted).collect();
        format!("[{}]", texts.join(&format!(",{}", self.blank())))
    }
}

/// The text between an element of an array and the one before it.
fn text_before<'t>(at: usize, array: &'t str, spans: &[(usize, usize)]) -> Option<&'t str> {
    let (_, start) = spans.get(at.checked_sub(1)?)?;
    let (end, _) = spans.get(at)?;
    array.get(*start..*end)
}

fn without_braces(object: &str) -> Option<&str> {
    object.strip_prefix('{')?.strip_suffix('}')
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;

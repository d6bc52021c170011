//! Detects private keys. They do not belong on a worker: anyone who can read one can impersonate
//! every other worker.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

/// How many levels of JSON within JSON strings are searched. Nesting grows the text only linearly,
/// so without a limit 1 MiB could nest hundreds of times, each with a copy of the rest and a stack
/// frame of its own.
const MAX_NESTING: u8 = 3;

/// How tools mark a private key: the text before the only P in the mark that starts a word, the
/// mark from that P on, and a description. If a document has several marks, the first one in this
/// list is reported.
const MARKS: [(&[u8], &[u8], &str); 3] = [
    (b"", b"PRIVATE KEY-----", "a PRIVATE KEY block"),
    (b"", b"PuTTY-User-Key-File-", "a PuTTY key file"),
    (b"SSH ", b"PRIVATE KEY FILE FORMAT", "an SSH1 key file"),
];

/// A document that holds private key material. Only in a rotation secret can the public half be
/// separated from the private one; in other documents `allow_private_key` has no effect.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "it holds a private key ({0}), which every node that reads it could misuse; publish the public \
     half alone (ssh-keygen -y -f KEY prints it) and replace the key, or, for a rotation secret \
     (an object with PublicKey), set allow_private_key = true beside the source"
)]
pub struct PrivateKeyFound(pub(super) &'static str);

/// Searches for private key material in any form that ssh tools write.
pub(super) fn find(bytes: &[u8]) -> Option<PrivateKeyFound> {
    find_nested(bytes, 0)
}

fn find_nested(bytes: &[u8], nesting: u8) -> Option<PrivateKeyFound> {
    if let Some(what) = marked(bytes) {
        return Some(PrivateKeyFound(what));
    }
    // A backslash may hide any of these in a JSON string, and the field's name alone is a sign of a
    // private key. So search the decoded strings too.
    let is_object = bytes.trim_ascii_start().first() == Some(&b'{');
    if !is_object || nesting > MAX_NESTING {
        return None;
    }
    scan(bytes, nesting).ok()?
}

/// A description of the first of the `MARKS` that the text contains.
fn marked(bytes: &[u8]) -> Option<&'static str> {
    let mut first = MARKS.len();
    // Every document is searched at every poll, so it is done in one pass: searching for each mark
    // at each byte costs several times as much.
    for (at, byte) in bytes.iter().enumerate() {
        if *byte != b'P' {
            continue;
        }
        let Some((before, rest)) = bytes.split_at_checked(at) else {
            continue;
        };
        if let Some(rank) = rank_of_mark(before, rest) {
            first = first.min(rank);
        }
    }
    let (_, _, what) = MARKS.get(first)?;
    Some(what)
}

/// The index of the mark whose two halves meet here.
fn rank_of_mark(before: &[u8], rest: &[u8]) -> Option<usize> {
    let mut marks = MARKS.iter();
    marks.position(|(start, mark, _)| before.ends_with(start) && rest.starts_with(mark))
}

/// Rejects a document that holds private key material.
pub(super) fn refuse(bytes: &[u8]) -> Result<(), PrivateKeyFound> {
    match find(bytes) {
        Some(found) => Err(found),
        None => Ok(()),
    }
}

/// Whether a JSON value can be searched completely: its nesting, strings and numbers must be within
/// what the parser accepts.
pub(super) fn searchable(json: &[u8]) -> serde_json::Result<()> {
    scan(json, 0)?;
    Ok(())
}

fn scan(json: &[u8], nesting: u8) -> serde_json::Result<Option<PrivateKeyFound>> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let found = Scan { nesting }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found)
}

/// Whether a field is called `PrivateKey`, in any case and with any signs between its letters.
fn names_private_key(field: &str) -> bool {
    let letters = field.bytes().filter(u8::is_ascii_alphanumeric);
    letters.map(|b| b.to_ascii_lowercase()).eq(*b"privatekey")
}

/// Visits every string of a JSON value without building the value, so that a hostile document
/// cannot use many times its size in memory.
#[derive(Clone, Copy)]
struct Scan {
    nesting: u8,
}

impl<'de> DeserializeSeed<'de> for Scan {
    type Value = Option<PrivateKeyFound>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scan {
    type Value = Option<PrivateKeyFound>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(find_nested(text.as_bytes(), self.nesting + 1))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(inside) = values.next_element_seed(self)? {
            found = found.or(inside);
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = fields.next_key::<String>()? {
            if found.is_none() && names_private_key(&name) {
                found = Some(PrivateKeyFound("a field PrivateKey"));
            }
            let inside = fields.next_value_seed(self)?;
            found = found.or(inside);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the plain rule: each mark is looked for at each byte.
    fn plainly(bytes: &[u8]) -> Option<&'static str> {
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let found = MARKS
            .iter()
            .find(|(start, mark, _)| holds(&[*start, mark].concat()));
        found.map(|(_, _, what)| *what)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn one_pass_finds_what_the_plain_search_finds(
            pieces in proptest::collection::vec(0..12_usize, 0..12),
            cut in 0..40_usize,
        ) {
            let words = [
                "P", "S", "SSH ", "PRIVATE KEY", "-----", "PuTTY-User-Key-File-", " FILE FORMAT", "PPuTTY", "\\u0050",
                "AAAAC3NzaC1lZDI1NTE5AAAAIP", "\n", "SSH PRIVATE KEY FILE FORMAT",
            ];
            let text: String = pieces.iter().map(|piece| words[*piece]).collect();
            let bytes = text.as_bytes();
            let short = &bytes[..bytes.len().saturating_sub(cut)];
            prop_assert_eq!(marked(bytes), plainly(bytes));
            prop_assert_eq!(marked(short), plainly(short));
        }
    }

    #[test]
    fn each_mark_is_found_wherever_it_is() {
        for (start, mark, what) in MARKS {
            let text = [b"PP\xffP", start, mark].concat();
            assert_eq!(marked(&text), Some(what));
            assert_eq!(marked(&text[..text.len() - 1]), None);
        }
        let both = b"PuTTY-User-Key-File-3: PRIVATE KEY-----";
        assert_eq!(marked(both), Some("a PRIVATE KEY block"));
    }
}

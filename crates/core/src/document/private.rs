//! Private keys have no business on a worker: who can read one can become every other worker.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

/// How often a string of JSON may hold JSON in turn and still be taken apart. Nesting grows the
/// text only linearly, so without a limit 1 MiB nests hundreds of times, each with a copy of the
/// rest and a stack of its own.
const MAX_NESTING: u8 = 3;

/// A document that holds private key material. Of a rotation secret the public half can be told
/// from the private one; elsewhere `allow_private_key` has nothing to keep.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "it holds a private key ({0}), which every node that reads it could misuse; publish the public half alone \
     (ssh-keygen -y -f KEY prints it) and replace the key, or, for a rotation secret (an object with PublicKey), \
     set allow_private_key = true beside the source"
)]
pub struct PrivateKeyFound(pub(super) &'static str);

/// Looks for private key material in any form that ssh tools write.
pub(super) fn find(bytes: &[u8]) -> Option<PrivateKeyFound> {
    find_nested(bytes, 0)
}

fn find_nested(bytes: &[u8], nesting: u8) -> Option<PrivateKeyFound> {
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    if holds(b"PRIVATE KEY-----") {
        return Some(PrivateKeyFound("a PRIVATE KEY block"));
    }
    if holds(b"PuTTY-User-Key-File-") {
        return Some(PrivateKeyFound("a PuTTY key file"));
    }
    if holds(b"SSH PRIVATE KEY FILE FORMAT") {
        return Some(PrivateKeyFound("an SSH1 key file"));
    }
    // A backslash may hide any of these in a JSON string, and the field's name tells by itself:
    // look at what it decodes to.
    let object = bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    if object && nesting <= MAX_NESTING {
        scan(bytes, nesting).ok().flatten()
    } else {
        None
    }
}

/// Refuses a document that holds private key material.
pub(super) fn refuse(bytes: &[u8]) -> Result<(), PrivateKeyFound> {
    find(bytes).map_or(Ok(()), Err)
}

/// Whether the whole of a JSON value can be searched: no deeper, and with no other strings and
/// numbers, than we read.
pub(super) fn searchable(json: &[u8]) -> serde_json::Result<()> {
    scan(json, 0).map(drop)
}

fn scan(json: &[u8], nesting: u8) -> serde_json::Result<Option<PrivateKeyFound>> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let found = Scan { nesting }.deserialize(&mut deserializer)?;
    deserializer.end().map(|()| found)
}

/// Visits every string of a JSON value without building the value: a hostile document shall not
/// cost many times its size.
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
            let letters = name
                .bytes()
                .filter(u8::is_ascii_alphanumeric)
                .map(|b| b.to_ascii_lowercase());
            let named = letters
                .eq(*b"privatekey")
                .then_some(PrivateKeyFound("a field PrivateKey"));
            let inside = fields.next_value_seed(self)?;
            found = found.or(named).or(inside);
        }
        Ok(found)
    }
}

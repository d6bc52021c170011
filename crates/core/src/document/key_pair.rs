//! The value of a secret that holds a key pair, as the usual rotation functions write it and their
//! clients read it: an object with `PrivateKey` and `PublicKey`. Other fields belong to the
//! secret's owner and are preserved byte for byte.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;
use zeroize::Zeroizing;

const PRIVATE: &str = "PrivateKey";
const PUBLIC: &str = "PublicKey";

/// Why a value does not hold a key pair. Messages never quote the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadKeyPair {
    /// Not a JSON object; most likely the wrong secret.
    #[error(
        "its value is not a JSON object; expected {{\"PrivateKey\": ..., \"PublicKey\": ...}}, \
         or {{}} before the first rotation"
    )]
    NotObject,
    /// A field occurs twice, and readers differ in which one they use.
    #[error("its value has a field twice; remove one")]
    Twice,
    /// A field is not a string.
    #[error("its PrivateKey or PublicKey is not a string")]
    NotText,
    /// Only one half of a pair.
    #[error("its value has only one of PrivateKey and PublicKey; a key pair needs both")]
    Half,
}

/// The fields of an object, in their order and as written.
struct PairFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for PairFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(InOrder).map(Self)
    }
}

impl PairFields<'_> {
    fn text(&self, name: &str) -> Result<Option<Zeroizing<String>>, BadKeyPair> {
        let found = self.0.iter().find(|(field, _)| field == name);
        let Some((_, value)) = found else {
            return Ok(None);
        };
        match serde_json::from_str::<Option<String>>(value.get()) {
            Ok(text) => Ok(text.map(Zeroizing::new).filter(|text| !text.is_empty())),
            Err(_) => Err(BadKeyPair::NotText),
        }
    }
}

fn fields(value: &str) -> Result<PairFields<'_>, BadKeyPair> {
    let fields: PairFields<'_> = serde_json::from_str(value).map_err(|_| BadKeyPair::NotObject)?;
    let names: BTreeSet<&str> = fields.0.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() == fields.0.len() {
        Ok(fields)
    } else {
        Err(BadKeyPair::Twice)
    }
}

/// A key pair. The private half is wiped when it is dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// PEM.
    pub private: Zeroizing<String>,
    /// `type base64 comment`.
    pub public: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public)
    }
}

impl KeyPair {
    /// Reads a secret's value; `None` before the first rotation, when it has neither half.
    pub fn read(value: &str) -> Result<Option<Self>, BadKeyPair> {
        if value.trim().is_empty() {
            return Ok(None);
        }
        let fields = fields(value)?;
        match (fields.text(PRIVATE)?, fields.text(PUBLIC)?) {
            (None, None) => Ok(None),
            (Some(private), Some(public)) => Ok(Some(Self {
                private,
                public: public.trim().to_owned(),
            })),
            _ => Err(BadKeyPair::Half),
        }
    }

    /// A secret's value with its pair replaced by this one. Its other fields are unchanged.
    pub fn write_into(&self, value: &str) -> Result<Zeroizing<String>, BadKeyPair> {
        let value = if value.trim().is_empty() { "{}" } else { value };
        let fields = fields(value)?;
        let halves = [(PRIVATE, self.private.as_str()), (PUBLIC, &self.public)];
        // Large enough that the buffer never moves and leaves a copy behind.
        let room = value.len() + 2 * (self.private.len() + self.public.len()) + 64;
        let mut text = Zeroizing::new(String::with_capacity(room));
        text.push('{');
        let mut is_first = true;
        for (name, value) in &fields.0 {
            let half = halves.iter().find(|(half, _)| half == name);
            separate(&mut text, &mut is_first);
            push_string(&mut text, name);
            text.push_str(": ");
            match half {
                Some((_, half)) => push_string(&mut text, half),
                None => text.push_str(value.get()),
            }
        }
        for (name, half) in halves {
            if !fields.0.iter().any(|(field, _)| field == name) {
                separate(&mut text, &mut is_first);
                push_string(&mut text, name);
                text.push_str(": ");
                push_string(&mut text, half);
            }
        }
        text.push('}');
        Ok(text)
    }
}

fn separate(text: &mut String, is_first: &mut bool) {
    if !std::mem::take(is_first) {
        text.push_str(", ");
    }
}

/// Appends a JSON string without making a copy of it elsewhere.
fn push_string(text: &mut String, string: &str) {
    use std::fmt::Write as _;
    text.push('"');
    for sign in string.chars() {
        match sign {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            sign if sign < ' ' => {
                let _ = write!(text, "\\u{:04x}", u32::from(sign));
            }
            sign => text.push(sign),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> KeyPair {
        KeyPair {
            private: "-----BEGIN X-----\n\"\\\u{1}\n-----END X-----\n"
                .to_owned()
                .into(),
            public: "ssh-ed25519 AAAA c".to_owned(),
        }
    }

    #[test]
    fn other_fields_stay_as_they_are_and_in_their_order() {
        let value = "{ \"User\":  \"ubuntu\", \"PublicKey\":\"old\",\"n\": 1.50, \"PrivateKey\": \"old\", \"x\": {\"y\": [ ]}}";
        let written = pair().write_into(value).unwrap();
        let names = [
            "User",
            "PublicKey",
            "\"n\": 1.50",
            "PrivateKey",
            "{\"y\": [ ]}",
        ];
        let mut places: Vec<usize> = Vec::new();
        for name in names {
            places.push(
                written
                    .find(name)
                    .unwrap_or_else(|| panic!("{name}: {written:?}")),
            );
        }
        assert!(places.is_sorted(), "{written:?}");
        assert_eq!(KeyPair::read(&written), Ok(Some(pair())));
    }

    #[test]
    fn a_value_without_a_pair_gets_one() {
        for value in [
            "",
            "{}",
            " {} ",
            "{\"PublicKey\": null}",
            "{\"PublicKey\": \"\", \"PrivateKey\": \"\"}",
        ] {
            assert_eq!(KeyPair::read(value), Ok(None), "{value}");
            let written = pair().write_into(value).unwrap();
            assert_eq!(KeyPair::read(&written), Ok(Some(pair())), "{value}");
        }
    }

    #[test]
    fn what_is_no_pair_is_named_without_its_words() {
        for (value, fault) in [
            ("hunter2", BadKeyPair::NotObject),
            ("[]", BadKeyPair::NotObject),
            ("{\"a\": 1, \"a\": 2}", BadKeyPair::Twice),
            ("{\"PublicKey\": \"ssh-ed25519\"}", BadKeyPair::Half),
            (
                "{\"PublicKey\": 5, \"PrivateKey\": \"x\"}",
                BadKeyPair::NotText,
            ),
        ] {
            assert_eq!(KeyPair::read(value), Err(fault), "{value}");
            assert!(!fault.to_string().contains("hunter2"));
        }
        assert!(!format!("{:?}", pair()).contains("BEGIN"));
    }
}

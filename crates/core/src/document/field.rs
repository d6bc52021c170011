//! One field of a secret's JSON object, as in the key/value secrets that the AWS console creates.
//!
//! The other fields are skipped without copying them, because one of them may hold a private key
//! that was not requested.

use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::words::{brief, plain};

/// The most names that a message lists.
const NAMED: usize = 20;

/// Why a secret has no document in the requested field. Messages contain field names, never values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldFault {
    /// The value is not a JSON object.
    #[error(
        "it is not a JSON object, so it has no field {field:?}; leave `field=` out, or store the \
         secret as key/value pairs"
    )]
    NotAnObject {
        /// The requested field.
        field: String,
    },
    /// The object has other fields, but not this one.
    #[error(
        "it has no field {field:?}, {others}; correct `field=`, or add the field to the secret"
    )]
    Missing {
        /// The requested field.
        field: String,
        /// The names of the fields that are present.
        others: String,
    },
    /// The field occurs more than once, so it is unclear which value is meant.
    #[error("it has the field {field:?} more than once; keep one of them")]
    Repeated {
        /// The requested field.
        field: String,
    },
    /// The field holds a number, a list, or an object.
    #[error("its field {field:?} is not a string; store the key set there as text")]
    NotText {
        /// The requested field.
        field: String,
    },
}

/// The document in one field of a secret.
pub fn field(secret: &[u8], name: &str) -> Result<Zeroizing<Vec<u8>>, FieldFault> {
    let field = brief(name);
    // The parser's message may quote a value.
    let Ok(FieldValue { values, mut names }) = find_field(secret, name) else {
        return Err(FieldFault::NotAnObject {
            field: field.to_string(),
        });
    };
    let field = field.to_string();
    let value = match values.as_slice() {
        [value] => *value,
        [] => {
            let more = names.len().saturating_sub(NAMED);
            names.truncate(NAMED);
            let mut listed = Vec::new();
            for name in &names {
                listed.push(format!("{:?}", plain(&brief(name), '?')));
            }
            let others = match (listed.is_empty(), more) {
                (true, _) => "nor any other".to_owned(),
                (false, 0) => format!("only {}", listed.join(", ")),
                (false, more) => format!("only {} and {more} more", listed.join(", ")),
            };
            return Err(FieldFault::Missing { field, others });
        }
        _ => return Err(FieldFault::Repeated { field }),
    };
    match serde_json::from_str::<String>(value.get()) {
        Ok(text) => Ok(Zeroizing::new(text.into_bytes())),
        Err(_) => Err(FieldFault::NotText { field }),
    }
}

fn find_field<'a>(secret: &'a [u8], name: &str) -> serde_json::Result<FieldValue<'a>> {
    let mut deserializer = serde_json::Deserializer::from_slice(secret);
    let found = deserializer.deserialize_map(Fields { wanted: name })?;
    deserializer.end()?;
    Ok(found)
}

struct FieldValue<'a> {
    values: Vec<&'a RawValue>,
    names: Vec<String>,
}

struct Fields<'n> {
    wanted: &'n str,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = FieldValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut found = FieldValue {
            values: Vec::new(),
            names: Vec::new(),
        };
        while let Some(name) = fields.next_key::<String>()? {
            if name == self.wanted {
                found.values.push(fields.next_value()?);
            } else {
                fields.next_value::<IgnoredAny>()?;
                found.names.push(name);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_is_taken_and_a_fault_names_fields_and_no_value() {
        let secret = br#"{"user":"jo","pub_key":"ssh-ed25519 AAAA jo\n","private":"-----BEGIN OPENSSH PRIVATE KEY-----\nzzz","n":{"x":[1]}}"#;
        assert_eq!(
            field(secret, "pub_key").unwrap().as_slice(),
            b"ssh-ed25519 AAAA jo\n"
        );
        let fault = field(secret, "pubkey").unwrap_err().to_string();
        assert!(
            fault.contains(r#"no field "pubkey", only "user", "pub_key", "private", "n""#),
            "{fault}"
        );
        assert!(
            !fault.contains("zzz") && !fault.contains("jo\"") && !fault.contains("AAAA"),
            "{fault}"
        );
        assert!(matches!(
            field(secret, "n"),
            Err(FieldFault::NotText { .. })
        ));
        assert!(matches!(
            field(br#"{"a":"1","a":"2"}"#, "a"),
            Err(FieldFault::Repeated { .. })
        ));
        assert!(
            field(b"{}", "a")
                .unwrap_err()
                .to_string()
                .contains("nor any other")
        );
        for text in [
            &b""[..],
            b"\"hunter2\"",
            b"hunter2",
            b"[1]",
            b"{\"a\":\"hunter2\"",
            b"{\"a\":\"hunter2\"} x",
        ] {
            let fault = field(text, "a").unwrap_err();
            assert!(
                matches!(fault, FieldFault::NotAnObject { .. })
                    && !fault.to_string().contains("hunter2"),
                "{fault}"
            );
        }
        let many: Vec<String> = (0..50).map(|n| format!("\"f{n}\\u001b\":1")).collect();
        let fault = field(format!("{{{}}}", many.join(",")).as_bytes(), "a")
            .unwrap_err()
            .to_string();
        assert!(
            fault.contains("and 30 more") && !fault.contains('\u{1b}'),
            "{fault}"
        );
    }
}

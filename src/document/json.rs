//! JSON documents, version 1. Unknown and repeated fields are errors: a mistyped `not_after` must not grant access for ever.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{Digest, Document, LeftOut, Lines, MAX_KEYS, Name, PublishedKey, Refused, Serial, told};
use crate::key::{Fingerprint, KeyLine, LineRules};
use crate::user::UserName;

/// Read first and leniently, so that a future version is named as such rather than by its first unknown field.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow)]
    version: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Top<'a> {
    #[serde(rename = "version")]
    _version: u8,
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    name: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    serial: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    audience: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    expires: Option<&'a RawValue>,
    #[serde(borrow, default)]
    revoked: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    public_key: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default, deserialize_with = "not_null")]
    accounts: Option<Vec<UserName>>,
    #[serde(default, deserialize_with = "not_null")]
    not_before: Option<Time>,
    #[serde(default, deserialize_with = "not_null")]
    not_after: Option<Time>,
}

/// A field that is there has a value: a publisher's tool that failed to compute `not_after` must not grant access for ever.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// An RFC 3339 time with its offset.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Time(Timestamp);

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // jiff also takes a blank for the T, brackets and other relatives of RFC 3339; what grants access is strict.
        let shape =
            text.len() >= 20 && text.is_ascii() && text.as_bytes().get(10) == Some(&b'T') && !text.contains('[');
        match text.parse::<Timestamp>() {
            Ok(time) if shape => Ok(Self(time)),
            _ => Err(format!("{text:?} is no RFC 3339 time with an offset, such as 2027-01-01T00:00:00Z")),
        }
    }
}

/// Reads a document of version 1.
pub(super) fn parse(payload: &[u8], rules: &LineRules) -> Result<Document, Refused> {
    let json = std::str::from_utf8(payload).map_err(|_| Refused::Json("it is not UTF-8".to_owned()))?;
    let wrong = |e: serde_json::Error| Refused::Json(told(e));
    match serde_json::from_str::<Probe<'_>>(json).map_err(wrong)?.version.map(RawValue::get) {
        Some("1") => {}
        Some(other) => {
            return Err(Refused::Json(format!(
                "version {} is not known to this authkeysd; it reads version 1",
                told(other)
            )));
        }
        None => return Err(Refused::Json("it has neither `version` nor `PublicKey`".to_owned())),
    }
    let top: Top<'_> = serde_json::from_str(json).map_err(wrong)?;
    if top.keys.len() > MAX_KEYS {
        return Err(Refused::TooManyKeys(top.keys.len()));
    }
    let place = Place { json, lines: Lines::of(payload) };
    let mut document = Document {
        name: place.optional::<Name>("name", top.name)?,
        serial: place.optional::<Serial>("serial", top.serial)?,
        audience: place.optional::<Name>("audience", top.audience)?,
        expires: place.optional::<Time>("expires", top.expires)?.map(|time| time.0),
        keys: Vec::with_capacity(top.keys.len()),
        revoked: BTreeSet::new(),
        left_out: Vec::new(),
        digest: Digest::of(payload),
    };
    for raw in top.revoked {
        document.revoked.insert(place.value::<Fingerprint>("revoked", raw)?);
    }
    for raw in top.keys {
        let key = place.value::<Key>("keys", raw)?;
        match published(key, rules) {
            Ok(key) => document.keys.push(key),
            Err(reason) => document.left_out.push(LeftOut { line: place.line(raw), reason }),
        }
    }
    Ok(document)
}

/// A well-formed entry may still be no key that can be installed.
fn published(key: Key, rules: &LineRules) -> Result<PublishedKey, String> {
    let line = KeyLine::from_parts(&key.public_key, &key.options, rules).map_err(told)?;
    let (not_before, not_after) = (key.not_before.map(|t| t.0), key.not_after.map(|t| t.0));
    if let (Some(from), Some(until)) = (not_before, not_after)
        && from >= until
    {
        return Err(format!("its window is empty: not_before {from} is not before not_after {until}"));
    }
    Ok(PublishedKey { line, accounts: key.accounts.map(BTreeSet::from_iter), not_before, not_after })
}

/// Finds the line in which a part of the document stands.
struct Place<'a> {
    json: &'a str,
    lines: Lines,
}

impl Place<'_> {
    fn line(&self, raw: &RawValue) -> usize {
        // A raw value borrows from the document, so its address tells its offset.
        self.lines.at((raw.get().as_ptr() as usize).saturating_sub(self.json.as_ptr() as usize))
    }

    fn value<T: for<'de> Deserialize<'de>>(&self, field: &str, raw: &RawValue) -> Result<T, Refused> {
        serde_json::from_str(raw.get()).map_err(|e| {
            let inside = e.line().saturating_sub(1);
            let message = e.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
            Refused::Value { line: self.line(raw) + inside, fault: told(format_args!("{field}: {message}")) }
        })
    }

    fn optional<T: for<'de> Deserialize<'de>>(
        &self,
        field: &str,
        raw: Option<&RawValue>,
    ) -> Result<Option<T>, Refused> {
        raw.map(|raw| self.value(field, raw)).transpose()
    }
}

//! JSON documents, version 1. Unknown and repeated fields are errors: a mistyped `not_after` must
//! not grant access forever.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{
    Digest, Document, LeftOut, Lines, MAX_KEYS, Name, PublishedKey, Refused, Serial, described,
    foreign, rotation,
};
use crate::key::{BadLine, Examination, Fingerprint, KeyLine, LineRules, Mistake};
use crate::user::UserName;
use crate::words::brief;

/// More than fit into 1 MiB.
const MAX_REVOKED: usize = 20_000;

/// The most bytes of the options of one key. A whole line has at most 8 KiB.
const MAX_OPTIONS: usize = 64 * 1_024;

/// Read first, ignoring unknown fields, so that a document of a later version is reported as such
/// and not for its first unknown field.
#[derive(Deserialize)]
struct VersionProbe<'a> {
    #[serde(borrow)]
    version: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Top<'a> {
    #[serde(rename = "version")]
    _version: u8,
    #[serde(borrow)]
    keys: Entries<'a, MAX_KEYS>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    name: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    serial: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    audience: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "not_null")]
    expires: Option<&'a RawValue>,
    #[serde(borrow, default)]
    revoked: Entries<'a, MAX_REVOKED>,
}

/// The elements of an array, of which only the first `MOST` are kept, so that a hostile document
/// cannot use many times its size in memory.
#[derive(Default)]
struct Entries<'a, const MOST: usize> {
    kept: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a, const MOST: usize> Deserialize<'de> for Entries<'a, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self::default())
    }
}

impl<'de: 'a, 'a, const MOST: usize> Visitor<'de> for Entries<'a, MOST> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Self, A::Error> {
        while let Some(element) = elements.next_element()? {
            self.count += 1;
            if self.count <= MOST {
                self.kept.push(element);
            }
        }
        Ok(self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `public_key`")]
struct KeyFields {
    public_key: String,
    #[serde(default, deserialize_with = "not_null")]
    options: Option<OptionTexts>,
    #[serde(default, deserialize_with = "not_null")]
    accounts: Option<BTreeSet<UserName>>,
    #[serde(default, deserialize_with = "not_null")]
    not_before: Option<Time>,
    #[serde(default, deserialize_with = "not_null")]
    not_after: Option<Time>,
}

/// The options of one key, or the fact that they exceed what a line can hold.
enum OptionTexts {
    Some(Vec<String>),
    TooMany,
}

impl<'de> Deserialize<'de> for OptionTexts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoundedList;

        impl<'de> Visitor<'de> for BoundedList {
            type Value = OptionTexts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut elements: A,
            ) -> Result<OptionTexts, A::Error> {
                let mut options = Vec::new();
                let mut length = 0_usize;
                while let Some(option) = elements.next_element::<String>()? {
                    // Including the quotes and the comma.
                    length += option.len() + 3;
                    if length <= MAX_OPTIONS {
                        options.push(option);
                    }
                }
                Ok(if length <= MAX_OPTIONS {
                    OptionTexts::Some(options)
                } else {
                    OptionTexts::TooMany
                })
            }
        }

        deserializer.deserialize_seq(BoundedList)
    }
}

/// Rejects an explicit null: a publisher's tool that failed to compute `not_after` must not grant
/// access forever.
fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    Ok(Some(T::deserialize(field)?))
}

/// An RFC 3339 time with its UTC offset.
struct Time(Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time with an offset, such as \"2027-01-01T00:00:00Z\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Time, E> {
                Time::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl Time {
    fn parse(text: &str) -> Result<Self, String> {
        // jiff also accepts a blank instead of the T, brackets and other variants of RFC 3339. What
        // grants access must be parsed strictly.
        match text.parse::<Timestamp>() {
            Ok(time) if is_rfc_3339(text) => Ok(Self(time)),
            // The times that publishers write for "never" may be some hours later than the last
            // instant that jiff can represent.
            Err(_) if is_rfc_3339(text) && is_past_the_last(text) => Ok(Self(Timestamp::MAX)),
            _ => Err(format!(
                "{:?} is not an RFC 3339 time with an offset, such as 2027-01-01T00:00:00Z",
                brief(text)
            )),
        }
    }
}

/// Whether a valid time is in the last days of the year 9999, which people write for "never" and
/// jiff cannot represent: its last instant is some hours before the end of that year. It is checked
/// by moving it to 9998, which has the same days.
fn is_past_the_last(text: &str) -> bool {
    let days = text.strip_prefix("9999-12-");
    days.is_some_and(|days| format!("9998-12-{days}").parse::<Timestamp>().is_ok())
}

/// `YYYY-MM-DDTHH:MM:SS`, an optional fraction, and `Z` or `+HH:MM`.
fn is_rfc_3339(text: &str) -> bool {
    let Some((time, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let offset = match rest.strip_prefix('.') {
        Some(rest) => rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let fraction = rest.len() - offset.len() != 1;
    let is_offset =
        matches!(offset, "Z" | "z") || has_form(offset, "+00:00") || has_form(offset, "-00:00");
    has_form(time, "0000-00-00T00:00:00") && fraction && is_offset
}

/// Whether a text has a digit wherever the form has a zero, and is equal to it elsewhere.
fn has_form(text: &str, form: &str) -> bool {
    if text.len() != form.len() {
        return false;
    }
    for (byte, expected) in text.bytes().zip(form.bytes()) {
        let fits = if expected == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == expected
        };
        if !fits {
            return false;
        }
    }
    true
}

/// Parses a document of version 1. `digest` is the digest of its bytes.
pub(super) fn parse(
    json: &str,
    rules: &LineRules,
    examination: Examination,
    digest: Digest,
) -> Result<Document, Refused> {
    let probe: VersionProbe<'_> = serde_json::from_str(json).map_err(explained)?;
    match probe.version.map(RawValue::get) {
        Some("1") => {}
        Some(other) => {
            let hint = if other.trim_matches('"').trim() == "1" {
                ", a number without quotes"
            } else {
                ""
            };
            return Err(Refused::Json(format!(
                "version {} is not known to this authkeysd; it reads version 1{hint}",
                described(other)
            )));
        }
        None => return Err(Refused::Json(without_version(json))),
    }
    let top: Top<'_> = serde_json::from_str(json).map_err(explained)?;
    if top.keys.count > MAX_KEYS {
        return Err(Refused::TooManyKeys(top.keys.count));
    }
    if top.revoked.count > MAX_REVOKED {
        return Err(Refused::Json(format!(
            "it revokes {} keys, more than the {MAX_REVOKED} that are read",
            top.revoked.count
        )));
    }
    let place = PartFinder {
        json,
        lines: Lines::of(json.as_bytes()),
    };
    let mut document = Document {
        name: place.optional::<Name>("name", top.name)?,
        serial: place.optional::<Serial>("serial", top.serial)?,
        audience: place.optional::<Name>("audience", top.audience)?,
        expires: place
            .optional::<Time>("expires", top.expires)?
            .map(|time| time.0),
        keys: Vec::with_capacity(top.keys.count),
        revoked: BTreeSet::new(),
        left_out: Vec::new(),
        has_sound_moduli: true,
        digest,
    };
    for raw in top.revoked.kept {
        document
            .revoked
            .insert(place.value::<Fingerprint>("revoked", raw)?);
    }
    // One reader for all entries: a reader for each would have its own buffer, which grows with
    // every escaped string.
    let texts: Vec<&str> = top.keys.kept.iter().map(|raw| raw.get()).collect();
    let texts = texts.join("\n");
    let mut keys = serde_json::Deserializer::from_str(&texts).into_iter::<KeyFields>();
    for raw in top.keys.kept {
        let key = match keys.next() {
            Some(Ok(key)) => key,
            // Parse the entry again alone, to find the line of the fault.
            Some(Err(_)) | None => place.value("keys", raw)?,
        };
        let line = place.line(raw);
        match published(key, line, rules, examination) {
            Ok(key) => {
                if let Some(second) = Mistake::find_second(&key.line.comment) {
                    let reason = described(second);
                    document.left_out.push(LeftOut { line, reason });
                }
                document.keys.push(key);
            }
            Err(reason) => document.left_out.push(LeftOut { line, reason }),
        }
    }
    Ok(document)
}

/// What is wrong with a JSON value that has no `version`.
fn without_version(json: &str) -> String {
    if let Some(fault) = rotation::fault(json) {
        return fault;
    }
    if let Some(printed) = foreign::printed(json) {
        return printed;
    }
    "it has neither `version` nor `PublicKey`; \
     a key set begins with {\"version\": 1, \"keys\": [...]"
        .to_owned()
}

/// The parser's message, with the rule that was most likely broken.
fn explained(fault: serde_json::Error) -> Refused {
    let words = described(&fault);
    let rule = if words.starts_with("trailing characters") {
        "; nothing may follow its last brace"
    } else if fault.is_syntax() {
        "; JSON has straight double quotes only, no comments, and no comma behind the last element"
    } else {
        ""
    };
    Refused::Json(words + rule)
}

/// A well-formed entry may still hold a key that cannot be installed.
fn published(
    key: KeyFields,
    place: usize,
    rules: &LineRules,
    examination: Examination,
) -> Result<PublishedKey, String> {
    let options = match key.options {
        None => Vec::new(),
        Some(OptionTexts::Some(options)) => options,
        Some(OptionTexts::TooMany) => return Err(BadLine::TooLong.to_string()),
    };
    let line =
        KeyLine::examine_parts(&key.public_key, &options, rules, examination).map_err(described)?;
    let not_before = key.not_before.map(|t| t.0);
    let not_after = key.not_after.map(|t| t.0);
    if let (Some(from), Some(until)) = (not_before, not_after)
        && from >= until
    {
        return Err(format!(
            "its window is empty: not_before {from} is not before not_after {until}"
        ));
    }
    Ok(PublishedKey {
        line,
        place,
        accounts: key.accounts,
        not_before,
        not_after,
    })
}

/// Finds the line of a part of the document.
struct PartFinder<'a> {
    json: &'a str,
    lines: Lines<'a>,
}

impl PartFinder<'_> {
    fn line(&self, raw: &RawValue) -> usize {
        // A raw value borrows from the document, so its address gives its offset.
        self.lines
            .at((raw.get().as_ptr() as usize).saturating_sub(self.json.as_ptr() as usize))
    }

    fn value<'r, T: Deserialize<'r>>(&self, field: &str, raw: &'r RawValue) -> Result<T, Refused> {
        serde_json::from_str(raw.get()).map_err(|fault| self.refused(field, raw, &fault))
    }

    fn refused(&self, field: &str, raw: &RawValue, fault: &serde_json::Error) -> Refused {
        let inside = fault.line().saturating_sub(1);
        let message = fault.to_string();
        let message = match message.rsplit_once(" at line ") {
            Some((text, _)) => text,
            None => &message,
        };
        Refused::Value {
            line: self.line(raw) + inside,
            fault: described(format_args!("{field}: {message}")),
        }
    }

    fn optional<T: for<'de> Deserialize<'de>>(
        &self,
        field: &str,
        raw: Option<&RawValue>,
    ) -> Result<Option<T>, Refused> {
        match raw {
            Some(raw) => Ok(Some(self.value(field, raw)?)),
            None => Ok(None),
        }
    }
}

//! Replaces the serial or the expiry in a JSON document and leaves every other byte as its author
//! wrote it, so that a diff between the published and the reviewed document shows only that value.
//! Pure.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::document::Serial;

/// The values that are edited here.
#[derive(Deserialize)]
struct Places<'a> {
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    serial: Option<&'a RawValue>,
    #[serde(borrow)]
    expires: Option<&'a RawValue>,
}

/// The document with that serial. It replaces the present serial, or follows `version` if there is
/// none. `None` if `payload` is not a JSON document of version 1. `payload` has no signature.
pub fn numbered(payload: &[u8], serial: Serial) -> Option<Vec<u8>> {
    bytes_of(with_serial(&text_of(payload), serial)?, payload)
}

/// Like [`numbered`], for the expiry. If there was none, it follows the serial or `version`.
pub fn expiring(payload: &[u8], expires: Timestamp) -> Option<Vec<u8>> {
    let json = text_of(payload);
    let places: Places<'_> = serde_json::from_str(&json).ok()?;
    let value = format!("\"{expires}\"");
    bytes_of(
        with_value(
            &json,
            places.expires,
            places.serial.or(places.version),
            "expires",
            &value,
        )?,
        payload,
    )
}

fn with_serial(json: &str, serial: Serial) -> Option<String> {
    let places: Places<'_> = serde_json::from_str(json).ok()?;
    with_value(
        json,
        places.serial,
        places.version,
        "serial",
        &serial.to_string(),
    )
}

/// Replaces a field's value, or inserts the whole field after another field's value.
fn with_value(
    json: &str,
    old: Option<&RawValue>,
    after: Option<&RawValue>,
    name: &str,
    value: &str,
) -> Option<String> {
    if let Some(old) = old {
        let (start, end) = span(json, old)?;
        return Some(format!("{}{value}{}", json.get(..start)?, json.get(end..)?));
    }
    let (start, end) = span(json, after?)?;
    let (indent, colon) = layout(json.get(..start)?)?;
    Some(format!(
        "{},{indent}\"{name}\"{colon}{value}{}",
        json.get(..end)?,
        json.get(end..)?
    ))
}

/// The serial of a publication: the document's own if it is higher than the published one,
/// otherwise the next one. `None` beyond 2^53.
pub fn next_serial(own: Option<Serial>, published: Option<Serial>) -> Option<Serial> {
    match (own, published) {
        (Some(own), Some(published)) if own > published => Some(own),
        (_, Some(published)) => published.next(),
        (Some(own), None) => Some(own),
        (None, None) => Serial::try_from(1).ok(),
    }
}

/// The serial in a document, whatever else may be wrong with the document. `json` has no signature.
pub fn serial(json: &str) -> Option<Serial> {
    let places: Places<'_> = serde_json::from_str(json).ok()?;
    serde_json::from_str(places.serial?.get()).ok()
}

/// The document as text. If its bytes are not UTF-8, each byte becomes the character with the same
/// number (Latin-1). JSON's own characters are ASCII and keep their positions.
pub(super) fn text_of(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => text.to_owned(),
        Err(_) => latin_1(payload),
    }
}

pub(super) fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes of a text that was made from `payload`.
pub(super) fn bytes_of(text: String, payload: &[u8]) -> Option<Vec<u8>> {
    if std::str::from_utf8(payload).is_ok() {
        return Some(text.into_bytes());
    }
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).ok())
        .collect()
}

/// JSON's white space.
pub(super) const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// Where a part of the document begins and ends.
pub(super) fn span(json: &str, part: &RawValue) -> Option<(usize, usize)> {
    // A raw value borrows from the document, so its address gives its offset.
    let start = (part.get().as_ptr() as usize).checked_sub(json.as_ptr() as usize)?;
    Some((start, start + part.get().len()))
}

/// How the author formatted a field: the white space before its name, and the text between the name
/// and the value. `before` is the document up to the value.
pub(super) fn layout(before: &str) -> Option<(&str, &str)> {
    let named = before
        .trim_end_matches(BLANK)
        .strip_suffix(':')?
        .trim_end_matches(BLANK)
        .strip_suffix('"')?;
    let (to_name, _) = named.rsplit_once('"')?;
    let colon = before.get(named.len() + 1..)?;
    let indent = to_name.get(to_name.trim_end_matches(BLANK).len()..)?;
    Some((indent, colon))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(json: &str, serial: u64) -> String {
        with_serial(json, serial.try_into().unwrap()).unwrap()
    }

    #[test]
    fn only_the_number_changes() {
        for (json, expected) in [
            (
                "{\"version\": 1, \"serial\": 17, \"keys\": []}\n",
                "{\"version\": 1, \"serial\": 18, \"keys\": []}\n",
            ),
            (
                "{\"serial\":999,\"version\":1,\"keys\":[]}",
                "{\"serial\":18,\"version\":1,\"keys\":[]}",
            ),
            ("{\"s\\u0065rial\" :\t17}", "{\"s\\u0065rial\" :\t18}"),
            (
                "{\"keys\": [{\"serial\": 17}], \"a\": \"\\\"serial\\\": 17\", \"serial\": 17 }\r\n",
                "{\"keys\": [{\"serial\": 17}], \"a\": \"\\\"serial\\\": 17\", \"serial\": 18 }\r\n",
            ),
        ] {
            assert_eq!(edited(json, 18), expected);
        }
    }

    #[test]
    fn an_expiry_takes_the_old_ones_place_or_comes_behind_the_serial() {
        let end: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
        for (json, expected) in [
            (
                "{\r\n \"version\": 1,\r\n \"expires\" : \"2020-01-01T00:00:00Z\",\r\n \"keys\": []}",
                "{\r\n \"version\": 1,\r\n \"expires\" : \"2027-01-01T00:00:00Z\",\r\n \"keys\": []}",
            ),
            (
                "{\n  \"version\": 1,\n  \"serial\": 7,\n  \"keys\": []\n}\n",
                "{\n  \"version\": 1,\n  \"serial\": 7,\n  \"expires\": \"2027-01-01T00:00:00Z\",\n  \"keys\": []\n}\n",
            ),
            (
                "{\"version\":1,\"keys\":[]}",
                "{\"version\":1,\"expires\":\"2027-01-01T00:00:00Z\",\"keys\":[]}",
            ),
        ] {
            assert_eq!(expiring(json.as_bytes(), end).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn a_document_without_one_gets_it_laid_out_as_its_version_is() {
        for (json, expected) in [
            (
                "{\"version\": 1, \"keys\": []}\n",
                "{\"version\": 1,\"serial\": 1, \"keys\": []}\n",
            ),
            (
                "{\"version\":1,\"keys\":[]}",
                "{\"version\":1,\"serial\":1,\"keys\":[]}",
            ),
            (
                "{\n  \"version\": 1,\n  \"keys\": []\n}\n",
                "{\n  \"version\": 1,\n  \"serial\": 1,\n  \"keys\": []\n}\n",
            ),
            (
                "{\"keys\": [],\r\n\t\"version\"  :  1\r\n}",
                "{\"keys\": [],\r\n\t\"version\"  :  1,\r\n\t\"serial\"  :  1\r\n}",
            ),
            (
                "{\"keys\": [], \"v\\u0065rsion\": 1}",
                "{\"keys\": [], \"v\\u0065rsion\": 1, \"serial\": 1}",
            ),
            ("{ \"version\" : 1 }", "{ \"version\" : 1, \"serial\" : 1 }"),
        ] {
            assert_eq!(edited(json, 1), expected);
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_stay_as_they_are() {
        let json = b"{\"version\": 1, \"keys\": [\"J\xfcrgen\"]}";
        let wanted = b"{\"version\": 1,\"serial\": 7, \"keys\": [\"J\xfcrgen\"]}";
        assert_eq!(numbered(json, 7.try_into().unwrap()).unwrap(), wanted);
    }

    #[test]
    fn serials_only_grow() {
        let serial = |n: u64| Serial::try_from(n).ok();
        for (own, published, next) in [
            (None, None, 1),
            (serial(17), None, 17),
            (None, serial(17), 18),
            (serial(3), serial(17), 18),
            (serial(17), serial(17), 18),
            (serial(40), serial(17), 40),
        ] {
            assert_eq!(next_serial(own, published), serial(next));
        }
        assert_eq!(next_serial(serial(1), serial(1 << 53)), None);
        assert_eq!(super::serial("{\"serial\": 3, \"keys\": 0}"), serial(3));
        assert_eq!(super::serial("{\"serial\": \"3\"}"), None);
    }

    #[test]
    fn what_is_no_document_is_not_edited() {
        for json in [
            "",
            "[]",
            "{}",
            "{\"keys\": []}",
            "ssh-ed25519 AAAA",
            "{\"version\": 1",
        ] {
            assert_eq!(with_serial(json, 1.try_into().unwrap()), None, "{json}");
        }
    }
}

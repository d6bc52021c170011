//! Puts another serial into a JSON document and leaves every other byte as its author wrote it: a diff of what is
//! published against what was reviewed shows the one number. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::document::Serial;

/// Where the two values stand that matter here.
#[derive(Deserialize)]
struct Places<'a> {
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    serial: Option<&'a RawValue>,
}

/// The document with that serial, in the place of the one it has or, where it has none, after `version`; `None` for
/// what is no JSON document of version 1. `json` has no signature.
pub fn with_serial(json: &str, serial: Serial) -> Option<String> {
    let places: Places<'_> = serde_json::from_str(json).ok()?;
    if let Some(old) = places.serial {
        let (before, after) = around(json, old)?;
        return Some(format!("{before}{serial}{after}"));
    }
    let (before, after) = around(json, places.version?)?;
    let value = places.version?.get();
    // As the author laid `version` out: what stands before its name, and between that and its value.
    let named = before.trim_end_matches(BLANK).strip_suffix(':')?.trim_end_matches(BLANK).strip_suffix('"')?;
    let (to_name, _) = named.rsplit_once('"')?;
    let name_end = named.len() + 1;
    let colon = before.get(name_end..)?;
    let indent = to_name.get(to_name.trim_end_matches(BLANK).len()..)?;
    Some(format!("{before}{value},{indent}\"serial\"{colon}{serial}{after}"))
}

/// The serial that a publication takes: the document's own where that is higher than what is published, else the next.
/// `None` beyond 2^53.
pub fn next_serial(own: Option<Serial>, published: Option<Serial>) -> Option<Serial> {
    match (own, published) {
        (Some(own), Some(published)) if own > published => Some(own),
        (_, Some(published)) => published.next(),
        (Some(own), None) => Some(own),
        (None, None) => Serial::try_from(1).ok(),
    }
}

/// The serial that stands in a document, whatever else may be wrong with it. `json` has no signature.
pub fn serial(json: &str) -> Option<Serial> {
    let places: Places<'_> = serde_json::from_str(json).ok()?;
    serde_json::from_str(places.serial?.get()).ok()
}

/// JSON's white space.
const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// What stands before and after a part of the document.
fn around<'a>(json: &'a str, part: &RawValue) -> Option<(&'a str, &'a str)> {
    // A raw value borrows from the document, so its address tells its offset.
    let start = (part.get().as_ptr() as usize).checked_sub(json.as_ptr() as usize)?;
    Some((json.get(..start)?, json.get(start + part.get().len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(json: &str, serial: u64) -> String {
        with_serial(json, serial.try_into().unwrap()).unwrap()
    }

    #[test]
    fn only_the_number_changes() {
        for (json, told) in [
            ("{\"version\": 1, \"serial\": 17, \"keys\": []}\n", "{\"version\": 1, \"serial\": 18, \"keys\": []}\n"),
            ("{\"serial\":999,\"version\":1,\"keys\":[]}", "{\"serial\":18,\"version\":1,\"keys\":[]}"),
            ("{\"s\\u0065rial\" :\t17}", "{\"s\\u0065rial\" :\t18}"),
            (
                "{\"keys\": [{\"serial\": 17}], \"a\": \"\\\"serial\\\": 17\", \"serial\": 17 }\r\n",
                "{\"keys\": [{\"serial\": 17}], \"a\": \"\\\"serial\\\": 17\", \"serial\": 18 }\r\n",
            ),
        ] {
            assert_eq!(edited(json, 18), told);
        }
    }

    #[test]
    fn a_document_without_one_gets_it_laid_out_as_its_version_is() {
        for (json, told) in [
            ("{\"version\": 1, \"keys\": []}\n", "{\"version\": 1,\"serial\": 1, \"keys\": []}\n"),
            ("{\"version\":1,\"keys\":[]}", "{\"version\":1,\"serial\":1,\"keys\":[]}"),
            (
                "{\n  \"version\": 1,\n  \"keys\": []\n}\n",
                "{\n  \"version\": 1,\n  \"serial\": 1,\n  \"keys\": []\n}\n",
            ),
            (
                "{\"keys\": [],\r\n\t\"version\"  :  1\r\n}",
                "{\"keys\": [],\r\n\t\"version\"  :  1,\r\n\t\"serial\"  :  1\r\n}",
            ),
            ("{\"keys\": [], \"v\\u0065rsion\": 1}", "{\"keys\": [], \"v\\u0065rsion\": 1, \"serial\": 1}"),
            ("{ \"version\" : 1 }", "{ \"version\" : 1, \"serial\" : 1 }"),
        ] {
            assert_eq!(edited(json, 1), told);
        }
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
        for json in ["", "[]", "{}", "{\"keys\": []}", "ssh-ed25519 AAAA", "{\"version\": 1"] {
            assert_eq!(with_serial(json, 1.try_into().unwrap()), None, "{json}");
        }
    }
}

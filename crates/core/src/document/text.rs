//! authorized_keys text: one key a line, for every account that uses the source.

use super::{Document, LeftOut, MAX_KEYS, PublishedKey, Refused, bare, told};
use crate::key::{KeyLine, LineRules};

/// Reads the lines. A last line without its LF that is no good key means that the text was cut off somewhere.
pub(super) fn parse(bytes: &[u8], rules: &LineRules) -> Result<Document, Refused> {
    let (mut keys, mut left_out) = (Vec::new(), Vec::new());
    let mut count = 0;
    for (at, whole) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let line = at + 1;
        let ended = whole.ends_with(b"\n");
        let text = whole.strip_suffix(b"\n").unwrap_or(whole);
        let reason = match text.iter().find(|b| !b.is_ascii_whitespace()) {
            None => continue,
            Some(b'#') => "a comment".to_owned(),
            // Refused in the end; 1 MiB of short lines shall not cost a reason each.
            Some(_) if count >= MAX_KEYS => {
                count += 1;
                continue;
            }
            Some(_) => {
                count += 1;
                match KeyLine::parse(text, rules) {
                    Ok(key) => {
                        keys.push(PublishedKey::unbounded(key));
                        continue;
                    }
                    Err(fault) => {
                        let reason = told(fault);
                        left_out.push(LeftOut { line, reason: reason.clone() });
                        reason
                    }
                }
            }
        };
        if !ended {
            return Err(Refused::CutOff { line, reason });
        }
    }
    if count > MAX_KEYS {
        return Err(Refused::TooManyKeys(count));
    }
    if keys.is_empty() && left_out.is_empty() {
        return Err(Refused::Empty);
    }
    Ok(bare(keys, left_out, bytes))
}

/// Another encoding than UTF-8, by the byte order mark, or by the zero bytes that UTF-16 has in what is ASCII. (A file
/// that lost power has nothing else.)
pub(super) fn foreign_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, 1..=255, ..] | [1..=255, 0, ..] => Some("UTF-16"),
        [0xef, 0xbb, 0xbf, ..] => Some("UTF-8 behind a byte order mark"),
        _ => None,
    }
}

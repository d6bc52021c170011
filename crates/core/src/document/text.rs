//! authorized_keys text: one key per line, for every account that uses the source.

use super::{Document, LeftOut, MAX_KEYS, PublishedKey, Refused, bare, described};
use crate::key::{BadBlob, BadLine, Examination, KeyLine, LineRules, Mistake};

/// Parses the lines. If the last line has no LF and is not a valid key, the text was truncated.
pub(super) fn parse(
    bytes: &[u8],
    rules: &LineRules,
    examination: Examination,
) -> Result<Document, Refused> {
    let mut keys = Vec::new();
    let mut left_out = Vec::new();
    let mut count = 0;
    let mut is_broken = false;
    let mut broken_line = None;
    for (at, whole) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let line = at + 1;
        let ended = whole.ends_with(b"\n");
        let text = whole.strip_suffix(b"\n").unwrap_or(whole);
        let reason = match text.trim_ascii_start().first() {
            None => continue,
            Some(b'#') => "a comment".to_owned(),
            // The document will be rejected; do not record a reason for each short line of 1 MiB.
            Some(_) if count >= MAX_KEYS => {
                count += 1;
                continue;
            }
            Some(_) => {
                count += 1;
                match KeyLine::examine(text, rules, examination) {
                    Ok(key) => {
                        if let Some(second) = Mistake::find_second(&key.comment) {
                            count += 1;
                            left_out.push(LeftOut {
                                line,
                                reason: described(second),
                            });
                        }
                        keys.push(PublishedKey::unbounded(key, line));
                        continue;
                    }
                    Err(fault) => {
                        let fault = match Mistake::find_end(text) {
                            Some(end) if broken_line == Some(at) => {
                                if is_broken {
                                    name_beginning(&mut left_out);
                                }
                                BadLine::Mistake(end)
                            }
                            _ => fault,
                        };
                        is_broken = is_cut(&fault);
                        let is_mistake = match &fault {
                            BadLine::Mistake(mistake) => *mistake != Mistake::NoKey,
                            _ => false,
                        };
                        if is_broken || is_mistake {
                            broken_line = Some(line);
                        }
                        let reason = described(fault);
                        left_out.push(LeftOut {
                            line,
                            reason: reason.clone(),
                        });
                        reason
                    }
                }
            }
        };
        // If the text has no valid key at all, the faults of its lines say more than "truncated",
        // unless they look like truncation themselves.
        if !ended && (!keys.is_empty() || is_broken || left_out.is_empty()) {
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

/// Explains the fault of the previous line: its key continues in this line.
fn name_beginning(left_out: &mut [LeftOut]) {
    if let Some(before) = left_out.last_mut() {
        before.reason = described(Mistake::Part);
    }
}

/// Whether the fault is one that a truncated key line has.
fn is_cut(fault: &BadLine) -> bool {
    matches!(
        fault,
        BadLine::NoKey | BadLine::OpenQuote | BadLine::Blob(BadBlob::Base64 | BadBlob::Damaged)
    )
}

/// An encoding other than UTF-8, recognised by its byte order mark, or by the zero bytes that
/// UTF-16 and UTF-32 have between ASCII characters. (Zero bytes alone are not enough: a file
/// damaged by a power loss may consist of them.)
pub(super) fn foreign_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [1..=127, 0, 0, 0, 1..=127, 0, 0, 0, ..] | [0, 0, 0, 1..=127, 0, 0, 0, 1..=127, ..] => {
            Some("UTF-32")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [1..=127, 0, 1..=127, 0, ..] | [0, 1..=127, 0, 1..=127, ..] => Some("UTF-16"),
        [0xef, 0xbb, 0xbf, ..] => Some("UTF-8 behind a byte order mark"),
        _ => None,
    }
}

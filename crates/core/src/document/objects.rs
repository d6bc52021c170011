//! The objects below a prefix, which together form one document: each is an authorized_keys text,
//! preceded by a line with its name and length.
//!
//! ```text
//! # object alice.pub, 81 bytes
//! ssh-ed25519 AAAA... alice
//! ```
//!
//! Other programs read this line as a comment. The length separates each object from the next one,
//! whatever it contains.

use super::{Document, LeftOut, MAX_KEYS, Refused, bare, explained, private, text};
use crate::key::{Examination, LineRules};
use crate::words::{cut, plain};

/// How the line that names an object begins.
const BEGIN: &str = "# object ";
/// The text between the object's name and its length.
const BETWEEN: &str = ", ";
/// How that line ends.
const END: &str = " bytes";
/// The most characters of a name that a message shows.
const MAX_NAME: usize = 200;

/// One object, and the position of its text.
struct JoinedObject<'a> {
    name: &'a str,
    content: &'a [u8],
    /// The lines of the document that come before it.
    lines_before: usize,
}

/// Joins objects, given by their names below the prefix and their contents, into one document.
pub fn join<'a>(objects: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut document = Vec::new();
    for (name, content) in objects {
        let name = plain(&cut(name, MAX_NAME), '?');
        let head = format!("{BEGIN}{name}{BETWEEN}{}{END}\n", content.len());
        document.extend_from_slice(head.as_bytes());
        document.extend_from_slice(content);
        if !content.ends_with(b"\n") {
            document.push(b'\n');
        }
    }
    document
}

/// Whether the bytes are a document of objects.
pub(super) fn is_joined(bytes: &[u8]) -> bool {
    next(bytes).is_some()
}

/// Parses every object. If one of them has no key, the whole document is rejected: otherwise that
/// key's owner would lose access without anyone noticing.
pub(super) fn parse(
    bytes: &[u8],
    rules: &LineRules,
    examination: Examination,
) -> Result<Document, Refused> {
    let mut keys = Vec::new();
    let mut left_out = Vec::new();
    for object in split(bytes)? {
        let read = match read(object.content, rules, examination) {
            Ok(read) => read,
            Err(refused) => {
                return Err(Refused::Object {
                    name: object.name.to_owned(),
                    fault: Box::new(explained(refused, object.content)),
                });
            }
        };
        for mut key in read.keys {
            key.place += object.lines_before;
            keys.push(key);
        }
        for bad in read.left_out {
            left_out.push(LeftOut {
                line: object.lines_before + bad.line,
                reason: format!("{} line {}: {}", object.name, bad.line, bad.reason),
            });
        }
        if keys.len() + left_out.len() > MAX_KEYS {
            return Err(Refused::TooManyKeys(keys.len() + left_out.len()));
        }
    }
    Ok(bare(keys, left_out, bytes))
}

/// Parses one object.
fn read(content: &[u8], rules: &LineRules, examination: Examination) -> Result<Document, Refused> {
    private::refuse(content)?;
    if content.trim_ascii_start().first() == Some(&b'{') {
        return Err(Refused::Foreign(
            "JSON; below a prefix each object is authorized_keys text",
        ));
    }
    let document = text::parse(content, rules, examination)?;
    match document.left_out.first() {
        Some(bad) if super::count_keys(content) == 0 => Err(Refused::NoGoodKey {
            first: format!("line {}: {}", bad.line, bad.reason),
        }),
        _ => Ok(document),
    }
}

fn split(bytes: &[u8]) -> Result<Vec<JoinedObject<'_>>, Refused> {
    let mut objects = Vec::new();
    let mut rest = bytes;
    let mut lines = 0;
    while !rest.is_empty() {
        let Some((name, content, after)) = next(rest) else {
            return Err(Refused::CutOff {
                line: lines + 1,
                reason: "an object does not end where it should".to_owned(),
            });
        };
        objects.push(JoinedObject {
            name,
            content,
            lines_before: lines + 1,
        });
        let whole = rest.len().saturating_sub(after.len());
        let passed = rest.get(..whole).unwrap_or_default();
        lines += passed.iter().filter(|b| **b == b'\n').count();
        rest = after;
    }
    Ok(objects)
}

/// The first object's name and content, and the bytes that follow it.
fn next(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let head = bytes.strip_prefix(BEGIN.as_bytes())?;
    let end = head.iter().position(|b| *b == b'\n')?;
    let (line, rest) = head.split_at_checked(end)?;
    let line = std::str::from_utf8(line).ok()?.strip_suffix(END)?;
    let (name, length) = line.rsplit_once(BETWEEN)?;
    let (content, rest) = rest
        .strip_prefix(b"\n")?
        .split_at_checked(length.parse().ok()?)?;
    if content.ends_with(b"\n") {
        Some((name, content, rest))
    } else {
        Some((name, content, rest.strip_prefix(b"\n")?))
    }
}

//! Public keys as given on a command line: a file, standard input, or the line itself.

use std::path::Path;

use super::input;
use super::{Exit, unwritten};
use authkeys_core::key::{cut_word, identify, looks_like_type};
use authkeys_core::words::brief;

/// The line of the one key that an argument names. An argument that is not one key is reported.
pub(crate) fn read_line(argument: &str) -> Result<Vec<u8>, Exit> {
    let (name, bytes) = if is_key_itself(argument) {
        let bytes = input::Bytes::new(argument.as_bytes().to_vec());
        ("the key".to_owned(), bytes)
    } else {
        let path = Path::new(argument);
        (input::shown(path), input::read_key(path)?)
    };
    match the_one(&bytes) {
        Ok(line) => Ok(line.to_vec()),
        Err(why) => Err(unwritten(brief(&name), &why)),
    }
}

/// The line of the one key in a file; the error says why there is none.
fn the_one(bytes: &[u8]) -> Result<&[u8], String> {
    if bytes.windows(11).any(|part| part == b"PRIVATE KEY")
        || bytes.starts_with(b"PuTTY-User-Key-File-")
    {
        return Err(
            "it is a private key, which belongs to its owner alone; name the public half, the .pub \
             file"
                .to_owned(),
        );
    }
    let mut keys = Vec::new();
    let mut others = Vec::new();
    for line in bytes.split(|b| *b == b'\n') {
        let line = line.trim_ascii();
        if identify(line).is_some() {
            keys.push(line);
        } else if !line.is_empty() && !line.starts_with(b"#") {
            others.push(line);
        }
    }
    match (keys.as_slice(), others.as_slice()) {
        ([key], _) => Ok(key),
        // The caller reports what is wrong with it.
        ([], [first, ..]) => Ok(first),
        ([], []) => Err("no key in it".to_owned()),
        (keys, _) => Err(format!(
            "it has {} keys; name each of them by itself",
            keys.len()
        )),
    }
}

/// Whether an argument is a key, valid or not, rather than the name of a file.
fn is_key_itself(argument: &str) -> bool {
    let (first, rest) = cut_word(argument);
    let is_line =
        identify(argument.as_bytes()).is_some() || looks_like_type(first) && !rest.is_empty();
    is_line || argument.contains("PRIVATE KEY")
}

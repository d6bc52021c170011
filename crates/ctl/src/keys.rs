//! Public keys as given on a command line: a file, standard input, or the line itself.

use std::path::Path;

use super::input;
use super::{Exit, complain};
use authkeys_core::key::{cut_word, identify, looks_like_type};
use authkeys_core::words::brief;

/// The line of the one key that an argument names. An argument that is not one key is reported.
pub(crate) fn read_line(argument: &str) -> Result<Vec<u8>, Exit> {
    let (name, bytes) = if is_key_itself(argument) {
        (
            "the key".to_owned(),
            input::Bytes::new(argument.as_bytes().to_vec()),
        )
    } else {
        let path = Path::new(argument);
        (input::shown(path), input::read_key(path)?)
    };
    let refused = |why: &str| {
        complain(&format!("{}: {why}; nothing was written", brief(&name)));
        Exit::Failed
    };
    if bytes.windows(11).any(|part| part == b"PRIVATE KEY")
        || bytes.starts_with(b"PuTTY-User-Key-File-")
    {
        return Err(refused(
            "it is a private key, which belongs to its owner alone; name the public half, the .pub \
             file",
        ));
    }
    let lines = bytes.split(|b| *b == b'\n').map(|line| line.trim_ascii());
    let lines: Vec<&[u8]> = lines
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .collect();
    let keys = lines.iter().filter(|line| identify(line).is_some()).count();
    if keys > 1 {
        return Err(refused(&format!(
            "it has {keys} keys; name each of them by itself"
        )));
    }
    let key = lines.iter().find(|line| identify(line).is_some());
    match key.or(lines.first()) {
        Some(line) => Ok(line.to_vec()),
        None => Err(refused("it contains no key")),
    }
}

/// Whether an argument is a key, valid or not, rather than the name of a file.
fn is_key_itself(argument: &str) -> bool {
    let (first, rest) = cut_word(argument);
    let is_line =
        identify(argument.as_bytes()).is_some() || looks_like_type(first) && !rest.is_empty();
    is_line || argument.contains("PRIVATE KEY")
}

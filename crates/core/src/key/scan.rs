//! Where the parts of a key line begin and end, as sshd cuts it.

pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// The options in front of a key, and what follows them; `None` where a quote does not end.
pub fn cut_options(text: &str) -> Option<(&str, &str)> {
    let rest = past_options(text.as_bytes())?;
    let (options, rest) = text.split_at_checked(text.len() - rest.len())?;
    Some((options, rest.trim_start_matches(BLANKS)))
}

/// The first word and what follows it.
pub fn cut_word(text: &str) -> (&str, &str) {
    text.split_once(BLANKS).map_or((text, ""), |(word, rest)| {
        (word, rest.trim_start_matches(BLANKS))
    })
}

/// Whether a first word is meant as a key type rather than as options; none of sshd's options looks
/// like one.
pub fn looks_like_type(word: &str) -> bool {
    let prefixed = ["ssh-", "ecdsa-", "sk-", "rsa-sha2-", "webauthn-sk-"]
        .iter()
        .any(|prefix| word.starts_with(prefix));
    prefixed && !word.contains(['"', '=', ','])
}

/// sshd's `sshkey_advance_past_options`: up to the first blank outside quotes; `None` when a quote
/// does not end.
pub(super) fn past_options(line: &[u8]) -> Option<&[u8]> {
    let mut quoted = false;
    let mut bytes = line.iter().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b' ' | b'\t' if !quoted => return line.get(at..),
            b'\\' if bytes.peek().is_some_and(|(_, next)| **next == b'"') => drop(bytes.next()),
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    if quoted { None } else { Some(&[]) }
}

pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

pub(super) fn skip_blanks(line: &[u8]) -> &[u8] {
    line.iter()
        .position(|b| !is_blank(*b))
        .and_then(|at| line.get(at..))
        .unwrap_or_default()
}

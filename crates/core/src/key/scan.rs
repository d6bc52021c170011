//! Finds where the parts of a key line begin and end, as sshd does.

pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// The options before a key, and what follows them; `None` if a quote is not closed.
pub fn cut_options(text: &str) -> Option<(&str, &str)> {
    let rest = past_options(text.as_bytes())?;
    let (options, rest) = text.split_at_checked(text.len() - rest.len())?;
    Some((options, rest.trim_start_matches(BLANKS)))
}

/// The first word and what follows it.
pub fn cut_word(text: &str) -> (&str, &str) {
    // By bytes: the blank never occurs inside another character, and keys are long.
    let end = text.bytes().position(is_blank);
    match end.and_then(|end| text.split_at_checked(end)) {
        Some((word, rest)) => (word, rest.trim_start_matches(BLANKS)),
        None => (text, ""),
    }
}

/// Whether a first word is meant as a key type rather than as options. No sshd option looks like a
/// type.
pub fn looks_like_type(word: &str) -> bool {
    let prefixed = ["ssh-", "ecdsa-", "sk-", "rsa-sha2-", "webauthn-sk-"]
        .iter()
        .any(|prefix| word.starts_with(prefix));
    prefixed && !word.contains(['"', '=', ','])
}

/// sshd's `sshkey_advance_past_options`: skips to the first blank outside quotes; `None` if a quote
/// is not closed.
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
    let mut rest = line;
    while let [b' ' | b'\t', after @ ..] = rest {
        rest = after;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_ends_at_a_blank_and_at_nothing_else() {
        for (text, word, rest) in [
            ("", "", ""),
            ("word", "word", ""),
            ("word ", "word", ""),
            ("word \t  rest of it ", "word", "rest of it "),
            (" word", "", "word"),
            ("w\u{a0}\u{2003}\u{20}é\tx", "w\u{a0}\u{2003}", "é\tx"),
            ("é\u{120}\u{920} \u{2009}", "é\u{120}\u{920}", "\u{2009}"),
            ("a\nb\rc d", "a\nb\rc", "d"),
        ] {
            assert_eq!(cut_word(text), (word, rest), "{text:?}");
        }
    }
}

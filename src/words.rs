//! Words of others in our messages: never more of them than a person needs, and nothing that deceives.

/// The most characters of a value that a message repeats.
const MAX_VALUE: usize = 100;

/// The begin of a value that is no good, for a message about it: a hostile document shall not cost many times its size.
pub(crate) fn brief(text: &str) -> String {
    cut(text, MAX_VALUE)
}

/// At most so many characters of a text.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most).and_then(|(at, _)| text.get(..at)) {
        Some(start) => format!("{start}..."),
        None => text.to_owned(),
    }
}

/// A text that stays in its line and shows all that it has: `sign` stands where it would not.
pub(crate) fn plain(text: &str, sign: char) -> String {
    let mut plain = String::with_capacity(text.len());
    plain.extend(text.chars().map(|c| if c.is_control() || is_hidden(c) { sign } else { c }));
    plain
}

/// Invisible characters that reorder or hide what a person sees.
pub(crate) fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

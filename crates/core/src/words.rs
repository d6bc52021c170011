//! Text from others in our messages: limited in length, and without deceptive characters.

/// The most characters of a value that a message quotes.
const MAX_VALUE: usize = 100;

/// The first characters of a rejected value, for a message. The length is limited so that a hostile
/// document cannot use many times its size in memory.
pub fn brief(text: &str) -> String {
    cut(text, MAX_VALUE)
}

/// The first `most` characters of a text.
pub fn cut(text: &str, most: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(most)
        && let Some(start) = text.get(..end)
    {
        return format!("{start}...");
    }
    text.to_owned()
}

/// `1 key`, `2 keys`.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A text on one line without hidden characters: each control character and each invisible one is
/// replaced by `sign`.
pub fn plain(text: &str, sign: char) -> String {
    let mut plain = String::with_capacity(text.len());
    plain.extend(text.chars().map(|c| if is_deceptive(c) { sign } else { c }));
    plain
}

/// A text with line breaks that is safe to print: deceptive characters are shown as `?`. The only
/// escape sequences that are kept are the colours of our own texts.
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = COLOURS.iter().find(|colour| rest.starts_with(**colour));
        let (length, is_safe) = match colour {
            Some(colour) => (colour.len(), true),
            None => (c.len_utf8(), c == '\n' || !is_deceptive(c)),
        };
        let (piece, after) = rest.split_at(length);
        safe.push_str(if is_safe { piece } else { "?" });
        rest = after;
    }
    safe
}

/// The escape sequences that begin and end a colour.
const COLOURS: [&str; 6] = [
    "\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[35m",
];

/// Control characters, which a terminal may execute, and invisible characters.
pub fn is_deceptive(c: char) -> bool {
    c.is_control() || is_hidden(c)
}

/// Invisible characters that reorder or hide text.
pub fn is_hidden(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
    ) || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    // Letters and joiners without width or without ink.
    let is_blank = matches!(
        c,
        '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
    ) || matches!(
        c,
        '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{3164}' | '\u{ffa0}'
    ) || matches!(c, '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}');
    is_format || is_blank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_has_our_own_colours_and_nothing_else_that_deceives() {
        let ours = "\x1b[31mred\x1b[0m\n\x1b[1mé 日 ░\x1b[0m\n";
        assert_eq!(printable(ours), ours);
        for bad in [
            '\u{202e}', '\u{200b}', '\u{200d}', '\u{9b}', '\u{feff}', '\u{2066}', '\u{ad}', '\r',
            '\t', '\0', '\u{7f}', '\u{3164}',
        ] {
            assert_eq!(printable(&format!("a{bad}b")), "a?b", "{bad:?}");
        }
        assert_eq!(
            printable("\x1b[2Ja\x1b]0;x\x07\x1b[8mb"),
            "?[2Ja?]0;x??[8mb"
        );
    }
}

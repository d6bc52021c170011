//! Words of others in our messages: never more of them than a person needs.

/// The most characters of a value that a message repeats.
const MAX_VALUE: usize = 100;

/// The begin of a value that is no good, for a message about it: a hostile document shall not cost many times its size.
pub(crate) fn brief(text: &str) -> String {
    let mut words: String = text.chars().take(MAX_VALUE).collect();
    if words.len() < text.len() {
        words.push_str("...");
    }
    words
}

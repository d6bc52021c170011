//! Removes the ids from a text. Tags can be read by anyone who may list instances, and those
//! readers do not need account numbers, ARNs, request ids or key ids. Pure.

/// Replaces an id.
const GONE: &str = "...";
/// Not valid in a tag, and of no use there.
const PUNCTUATION: &[char] = &[
    '`', '"', '\'', '(', ')', '[', ']', '{', '}', '<', '>', ',', ';',
];
/// Words of hex digits, or of mixed letters and digits, count as ids from this length on.
const LONG: usize = 16;

/// The text without ids, in words that are valid in a tag.
pub fn scrub(text: &str) -> String {
    let mut kept = Vec::new();
    for word in text.split_whitespace() {
        let word = word.replace(PUNCTUATION, "");
        let bare = word.trim_end_matches(':');
        if bare.is_empty() {
            continue;
        }
        if is_id(bare) {
            kept.push(GONE.to_owned());
            continue;
        }
        let colon = if bare.len() < word.len() { ":" } else { "" };
        // The parts of paths and URLs are checked one by one.
        let mut parts = Vec::new();
        for part in bare.split('/') {
            parts.push(if is_id(part) { GONE } else { part });
        }
        kept.push(parts.join("/") + colon);
    }
    let text = kept.join(" ");
    // The phrase says nothing without the id.
    text.replace(&format!(" request id {GONE}"), "")
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_id(word: &str) -> bool {
    let lower = word.to_lowercase();
    let mut digits = 0;
    let mut letters = 0;
    for byte in word.bytes() {
        if byte.is_ascii_digit() {
            digits += 1;
        } else if byte.is_ascii_alphabetic() {
            letters += 1;
        }
    }
    // `i-0123456789abcdef0`, `vpce-...`: a short prefix and hex digits.
    let is_resource = match lower.split_once('-') {
        Some((kind, rest)) => {
            (1..=8).contains(&kind.len()) && (8..=32).contains(&rest.len()) && is_hex(rest)
        }
        None => false,
    };
    let bare = lower.replace('-', "");
    let is_secret = digits > 1
        && letters > 1
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+=".contains(&b));
    let is_code = digits > 0
        && word
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    lower.contains("arn:")
        || lower.starts_with("sha256:")
        || is_resource
        || bare.len() >= LONG && is_hex(&bare)
        || word.len() >= LONG && (is_secret || is_code)
        // An account number inside a longer word.
        || lower.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() == 12)
}

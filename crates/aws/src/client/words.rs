//! Parses what servers and libraries report, and makes it fit on one line.

use std::error::Error;

/// The most characters of a service's or a library's message that are passed on.
pub(super) const WORDS: usize = 200;

/// A time as S3's errors, signatures and HTTP's headers write it.
pub(super) fn instant(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let header = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(header.timestamp())
}

/// The text of the first XML element of that name.
pub(super) fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text)
}

/// A server's message, made fit for one line of a log or a terminal.
pub fn words(text: &str) -> String {
    let mut plain = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !plain.is_empty() {
            plain.push(' ');
        }
        for c in word.chars() {
            plain.push(if c.is_ascii_graphic() { c } else { '?' });
        }
        if plain.len() > WORDS {
            // Everything is ASCII here, so every byte is a boundary.
            plain.truncate(WORDS);
            plain.push_str("...");
            break;
        }
    }
    plain
}

pub(super) fn links<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<std::io::Error>() {
            // Its `source()` is that of the error that it wraps, so the wrapped error would be
            // skipped.
            Some(wrapper) => match wrapper.get_ref() {
                Some(inner) => Some(inner as &(dyn Error + 'static)),
                None => None,
            },
            None => error.source(),
        }
    })
}

pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    links(error).find_map(|link| link.downcast_ref())
}

/// The causes, each on a line of its own.
pub(super) fn lines(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for link in links(error) {
        text.push_str(&format!("{link}\n"));
    }
    text
}

/// The chain of causes in one line, without causes that an outer error already includes.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for link in links(error) {
        let link = link.to_string();
        if !parts.iter().any(|before| before.contains(&link)) {
            parts.push(link);
        }
    }
    words(&parts.join(": "))
}

/// The host of a URL: between the scheme (and user) and the port.
pub(super) fn host(url: &str) -> &str {
    let rest = match url.split_once("://") {
        Some((_scheme, rest)) => rest,
        None => url,
    };
    let authority = before(rest, &['/', '?', '#']);
    let host = match authority.rsplit_once('@') {
        Some((_user, host)) => host,
        None => authority,
    };
    match host.strip_prefix('[') {
        Some(v6) => before(v6, &[']']),
        None => before(host, &[':']),
    }
}

/// What comes before the first of these characters, or all of it.
fn before<'a>(text: &'a str, ends: &[char]) -> &'a str {
    text.split(ends).next().unwrap_or_default()
}

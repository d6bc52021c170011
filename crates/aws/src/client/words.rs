//! Parses what servers and libraries report, and makes it fit on one line.

use std::error::Error;

/// The most characters of a service's or a library's message that are passed on.
pub(super) const WORDS: usize = 200;

/// A time as S3's errors and HTTP's headers write it.
pub(super) fn instant(text: &str) -> Option<jiff::Timestamp> {
    let signed = || {
        jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text)
            .ok()?
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()
    };
    let rfc = || jiff::fmt::rfc2822::parse(text).ok();
    text.parse()
        .ok()
        .or_else(|| signed().or_else(rfc).map(|zoned| zoned.timestamp()))
}

/// The text of the first XML element of that name.
pub(super) fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// A server's message, made fit for one line of a log or a terminal.
pub fn words(text: &str) -> String {
    let mut plain = String::new();
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
    {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.extend(
            word.chars()
                .map(|c| if c.is_ascii_graphic() { c } else { '?' }),
        );
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
            Some(wrapper) => wrapper
                .get_ref()
                .map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    links(error).find_map(|link| link.downcast_ref())
}

/// The chain of causes in one line, without causes that an outer error already includes.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for link in links(error).map(ToString::to_string) {
        if !parts.iter().any(|before| before.contains(&link)) {
            parts.push(link);
        }
    }
    words(&parts.join(": "))
}

/// The host of a URL: between the scheme (and user) and the port.
pub(super) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_scheme, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_user, host)| host);
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

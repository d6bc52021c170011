//! Where key sets come from: `source`, one or a list, and the keys that may accompany it.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use toml::de::DeValue;

use super::reader::{Faults, Positioned, Section, boolean, string};
use crate::origin::{SourceUrl, Stage};

/// The most sources of one account.
const MAX_SOURCES: usize = 64;
/// The default of `fallback_after`: how long a source must have been unreachable before a document
/// without a serial is accepted from its fallback if it differs from the one in force.
const FALLBACK_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// The source of one key set, with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where the key set is published.
    pub url: SourceUrl,
    /// Accept the public half of a document that also holds a private key.
    pub allow_private_key: bool,
    /// Where to read the same key set when the source cannot be reached.
    pub fallback: Option<Fallback>,
}

/// A second place of the same key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The URL of that place.
    pub url: SourceUrl,
    /// How long the source must have been unreachable before a document without a serial is
    /// accepted from here if it differs from the one in force.
    pub after: SignedDuration,
}

impl Source {
    /// The URLs that the key set is read from.
    pub fn urls(&self) -> impl Iterator<Item = &SourceUrl> {
        [&self.url]
            .into_iter()
            .chain(self.fallback.iter().map(|fallback| &fallback.url))
    }

    /// Whether a superseded document is in force too (AWSPREVIOUS).
    pub fn has_previous(&self) -> bool {
        self.urls()
            .any(|url| url.stages().contains(&Stage::Previous))
    }
}

/// Reads `source` and its settings from a section. Returns `None` if it is missing or invalid; an
/// invalid one has been reported.
pub(super) fn read(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Vec<Source>> {
    let urls = section.take(faults, "source", urls);
    let allow_private_key = section.take(faults, "allow_private_key", boolean);
    let fallback = section.take(faults, "fallback", string(SourceUrl::parse));
    let after = section.take(faults, "fallback_after", string(time));
    if !section.has("source") {
        refuse_without_source(&allow_private_key, "allow_private_key", section, faults);
        refuse_without_source(&fallback, "fallback", section, faults);
        refuse_without_source(&after, "fallback_after", section, faults);
    }
    if let (Some(after), false) = (&after, section.has("fallback")) {
        let message = "means nothing without `fallback`";
        faults.add(after.at, &section.name("fallback_after"), message);
    }
    let urls = urls?.value;
    let allow_private_key = allow_private_key.is_some_and(|found| found.value);
    let after = match after {
        Some(found) => found.value,
        None => FALLBACK_AFTER,
    };
    let mut valid_fallback = None;
    if let Some(fallback) = fallback
        && let Some(url) = good_fallback(fallback, &urls, section, faults)
    {
        valid_fallback = Some(Fallback { url, after });
    }
    let mut sources = Vec::new();
    for url in urls {
        sources.push(Source {
            url,
            allow_private_key,
            fallback: valid_fallback.clone(),
        });
    }
    Some(sources)
}

/// Reports a setting that means nothing without `source`.
fn refuse_without_source<T>(
    setting: &Option<Positioned<T>>,
    key: &str,
    section: &Section<'_, '_>,
    faults: &mut Faults<'_>,
) {
    if let Some(setting) = setting {
        let message = "needs `source` beside it; set it where the source is";
        faults.add(setting.at, &section.name(key), message);
    }
}

/// A fallback requires exactly one source and must differ from it.
fn good_fallback(
    fallback: Positioned<SourceUrl>,
    urls: &[SourceUrl],
    section: &Section<'_, '_>,
    faults: &mut Faults<'_>,
) -> Option<SourceUrl> {
    let message = match urls {
        [url] if *url != fallback.value => return Some(fallback.value),
        [_] => "is the source itself; name another place, such as a replica in another region",
        _ => "needs a single `source` beside it, and here it is a list",
    };
    faults.add(fallback.at, &section.name("fallback"), message);
    None
}

/// One URL, or a list of them.
fn urls(value: &DeValue<'_>) -> Result<Vec<SourceUrl>, String> {
    let Some(list) = value.as_array() else {
        let text = value
            .as_str()
            .ok_or_else(|| format!("must be a URL or a list of URLs, not {}", value.type_str()))?;
        return Ok(vec![parsed(text)?]);
    };
    if list.is_empty() {
        return Err("names no source; write at least one URL into the list".to_owned());
    }
    if list.len() > MAX_SOURCES {
        return Err(format!(
            "has {} sources, and {MAX_SOURCES} are the most",
            list.len()
        ));
    }
    let mut urls = Vec::new();
    let mut seen = BTreeSet::new();
    for item in list.iter() {
        let text = item.get_ref().as_str().ok_or_else(|| {
            format!(
                "must be a list of URLs, and {} is in it",
                item.get_ref().type_str()
            )
        })?;
        let url = parsed(text)?;
        // Two versions of one object would share a serial.
        if !seen.insert(url.mark()) {
            return Err(format!("has {} twice; leave one out", url.mark()));
        }
        urls.push(url);
    }
    Ok(urls)
}

fn parsed(text: &str) -> Result<SourceUrl, String> {
    SourceUrl::parse(text).map_err(|fault| fault.to_string())
}

fn time(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(time) if !time.is_negative() => Ok(time),
        _ => Err(format!("{text:?} is not a time, such as \"10m\"")),
    }
}

//! Where key sets come from: `source`, one or a list, and what may stand beside it.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use toml::de::DeValue;

use super::reader::{Faults, Found, Section, boolean, string};
use crate::origin::{SourceUrl, Stage};

/// The most sources of one account.
const MAX_SOURCES: usize = 64;
/// How long a source must not have been reached before another content of its fallback is taken,
/// unless `fallback_after` says otherwise.
const FALLBACK_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// One key set's source, with what the configuration says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where the key set is published.
    pub url: SourceUrl,
    /// Take the public half of a document that holds a private key too.
    pub allow_private_key: bool,
    /// Where the same key set is when the source cannot be reached.
    pub fallback: Option<Fallback>,
}

/// A second place of the same key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The place.
    pub url: SourceUrl,
    /// How long the source must not have been reached before a document without a serial is taken
    /// from here that is not the one in force.
    pub after: SignedDuration,
}

impl Source {
    /// The places that it is read from.
    pub fn urls(&self) -> impl Iterator<Item = &SourceUrl> {
        [&self.url]
            .into_iter()
            .chain(self.fallback.iter().map(|fallback| &fallback.url))
    }

    /// Whether documents count that a later one has superseded.
    pub fn has_previous(&self) -> bool {
        self.urls()
            .any(|url| url.stages().contains(&Stage::Previous))
    }
}

/// Takes `source` and what belongs to it out of a section. `None` where there is none, or a wrong
/// one, which has been told.
pub(super) fn read(section: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Option<Vec<Source>> {
    let urls = section.take(faults, "source", urls);
    let allow_private_key = section.take(faults, "allow_private_key", boolean);
    let fallback = section.take(faults, "fallback", string(SourceUrl::parse));
    let after = section.take(faults, "fallback_after", string(time));
    for (key, at) in [
        (
            "allow_private_key",
            allow_private_key.as_ref().map(|found| found.at),
        ),
        ("fallback", fallback.as_ref().map(|found| found.at)),
        ("fallback_after", after.as_ref().map(|found| found.at)),
    ] {
        if let (Some(at), false) = (at, section.has("source")) {
            let message = "stands beside no `source`; set it where the source is";
            faults.add(at, &section.name(key), message);
        }
    }
    if let (Some(after), false) = (&after, section.has("fallback")) {
        let message = "means nothing without `fallback`";
        faults.add(after.at, &section.name("fallback_after"), message);
    }
    let urls = urls?.value;
    let allow_private_key = allow_private_key.is_some_and(|found| found.value);
    let fallback = fallback.and_then(|fallback| good_fallback(fallback, &urls, section, faults));
    let fallback = fallback.map(|url| Fallback {
        url,
        after: after.map_or(FALLBACK_AFTER, |found| found.value),
    });
    let sources = urls.into_iter().map(|url| Source {
        url,
        allow_private_key,
        fallback: fallback.clone(),
    });
    Some(sources.collect())
}

/// A fallback belongs to one source, and is another place.
fn good_fallback(
    fallback: Found<SourceUrl>,
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
        // Two versions of one object would share its serial.
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
    let time = text.parse::<SignedDuration>().ok();
    time.filter(|time| !time.is_negative())
        .ok_or_else(|| format!("{text:?} is no time, such as \"10m\""))
}

//! `nudge` and `nudge_spread`: whether a tag on the node's own instance makes it fetch early.

use jiff::SignedDuration;

use super::Report;
use super::reader::{Faults, Positioned, Section, string};
use crate::report::tags::is_shown_by_metadata;
use crate::schedule::Nudge;

pub(super) fn read(
    top: &mut Section<'_, '_>,
    faults: &mut Faults<'_>,
) -> Option<Positioned<Nudge>> {
    let every = top.take(faults, "nudge", string(every));
    let spread = top.take(faults, "nudge_spread", string(spread));
    if let (Some(spread), false) = (&spread, top.has("nudge")) {
        faults.add(spread.at, "nudge_spread", "needs `nudge` beside it");
    }
    let every = every?;
    let spread = match spread {
        Some(found) => found.value,
        None => Nudge::SPREAD,
    };
    let value = Nudge {
        every: every.value,
        spread,
    };
    Some(Positioned {
        value,
        at: every.at,
    })
}

/// The tag's name comes from `[report]`.
pub(super) fn check(nudge: Option<&Positioned<Nudge>>, report: &Report, faults: &mut Faults<'_>) {
    let tag = report.tag_names.nudge();
    if let Some(nudge) = nudge
        && !is_shown_by_metadata(&tag)
    {
        let message = format!(
            "the metadata service shows no tag that is called {tag:?}; in [report] tag_prefix use \
             ASCII letters, digits and +-=.,_:@"
        );
        faults.add(nudge.at, "nudge", message);
    }
}

fn every(text: &str) -> Result<SignedDuration, String> {
    let second = SignedDuration::from_secs(1);
    let hour = SignedDuration::from_hours(1);
    match text.parse::<SignedDuration>() {
        Ok(time) if (second..=hour).contains(&time) => Ok(time),
        _ => Err(format!(
            "{text:?} is not a time from \"1s\" to \"1h\", such as \"2s\""
        )),
    }
}

fn spread(text: &str) -> Result<SignedDuration, String> {
    let hour = SignedDuration::from_hours(1);
    match text.parse::<SignedDuration>() {
        Ok(time) if !time.is_negative() && time <= hour => Ok(time),
        _ => Err(format!(
            "{text:?} is not a time from \"0s\" to \"1h\"; for a fleet of 10,000 nodes \"2s\" \
             means 5,000 fetches a second"
        )),
    }
}

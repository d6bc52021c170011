//! When the service runs its cycles. Pure: time and randomness come in as values, so that a test
//! can simulate weeks in milliseconds.

mod backoff;
mod clock;
mod nudge;
mod planner;
mod reports;
mod timing;

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::SignedDuration;
use jiff::civil::DateTime;

pub use backoff::Backoff;
pub use clock::Clock;
pub use nudge::{NUDGE_GAP, Nudge};
pub use planner::{Act, Ended, Planner};
pub use reports::{Pace, Reports};
pub use timing::{NodePosition, Timing};

/// How often a cycle runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At this interval, at least one second.
    Every(SignedDuration),
    /// At certain times, in UTC.
    Cron(Box<CronExpression>),
}

/// A cron expression of six fields, starting with seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronExpression(Cron);

/// How far the nodes of a fleet spread the cycles that a cron expression starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splay {
    /// At most this long.
    Fixed(SignedDuration),
    /// A percentage of the time until the expression's next occurrence, from 0 to 100.
    Percent(u8),
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Every(SignedDuration::from_secs(60))
    }
}

impl Default for Splay {
    fn default() -> Self {
        Self::Percent(10)
    }
}

impl Schedule {
    /// Parses `60s`, `10m`, `1h`, or `0 */5 * * * *`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.split_whitespace().count() == 6 && text.parse::<SignedDuration>().is_err() {
            return CronExpression::parse(text).map(|cron| Self::Cron(Box::new(cron)));
        }
        match text.parse::<SignedDuration>() {
            Ok(interval) if interval >= SignedDuration::from_secs(1) => Ok(Self::Every(interval)),
            _ => Err(format!(
                "{text:?} is neither an interval from \"1s\" up nor a six-field cron expression \
                 such as \"0 */5 * * * *\""
            )),
        }
    }
}

impl Splay {
    /// Parses `30s` or `10%`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(percent @ 0..=100) = text
            .strip_suffix('%')
            .and_then(|number| number.parse().ok())
        {
            return Ok(Self::Percent(percent));
        }
        match text.parse::<SignedDuration>() {
            Ok(most) if !most.is_negative() => Ok(Self::Fixed(most)),
            _ => Err(format!(
                "{text:?} is neither a time such as \"30s\" nor a share such as \"10%\""
            )),
        }
    }
}

impl CronExpression {
    fn parse(text: &str) -> Result<Self, String> {
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .build();
        let cron = parser
            .parse(text)
            .map_err(|fault| format!("{text:?} is not a six-field cron expression: {fault}"))?;
        // A 30th of February would never come, and nobody would notice.
        let some_day = DateTime::constant(2_024, 1, 1, 0, 0, 0, 0);
        match cron.find_next_occurrence(&some_day, true) {
            Ok(_) => Ok(Self(cron)),
            Err(_) => Err(format!("{text:?} names a time that never comes")),
        }
    }
}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

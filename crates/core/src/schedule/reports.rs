//! When a node reports: after a change, and regularly as a heartbeat. Each report waits for a
//! random part of the fleet's spread, so that ten thousand nodes that change at once stay within
//! the request limits of an AWS account. Pure: time is a duration since the process started, so
//! that setting the clock has no effect.

use jiff::SignedDuration;

use super::backoff::Backoff;

/// The longest wait before a failed report is retried.
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_hours(1);
/// The range of the first retry, unless the fleet's spread is longer.
const SHORTEST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// The shortest wait before a retry.
const SOONEST: SignedDuration = SignedDuration::from_secs(1);

/// How often reports are sent, and how far they are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A report is repeated after this time without a change.
    pub heartbeat: SignedDuration,
    /// The longest delay of a report, so that the nodes of a fleet do not report all at once.
    pub spread: SignedDuration,
}

/// Plans a node's reports to one destination.
#[derive(Debug, Clone)]
pub struct Reports {
    pace: Pace,
    /// The content that was delivered last; `None` if that is uncertain.
    said: Option<String>,
    /// The content to deliver.
    wanted: Option<String>,
    due: Option<SignedDuration>,
    failures: u32,
}

impl Reports {
    /// Nothing was reported yet, and nothing is due.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            said: None,
            wanted: None,
            due: None,
            failures: 0,
        }
    }

    /// A cycle has ended with this content; an equal text means that nothing changed. `random` is
    /// uniform from 0 to 1.
    pub fn say(&mut self, news: &str, now: SignedDuration, random: f64) {
        let before = self.wanted.replace(news.to_owned());
        let is_new = self.said.as_deref() != Some(news);
        // A pending change is not postponed by the next one, and does not make a retry earlier.
        let waits = self.failures > 0 || before.is_some() && before != self.said;
        if is_new && !waits {
            self.due = Some(now + self.pace.spread.mul_f64(even(random)));
        }
    }

    /// When the next report is due.
    pub fn due(&self) -> Option<SignedDuration> {
        self.due
    }

    /// The content at the time of the delivery has arrived.
    pub fn delivered(&mut self, news: &str, now: SignedDuration, random: f64) {
        self.failures = 0;
        self.said = Some(news.to_owned());
        let put_off = self.pace.spread.mul_f64(even(random));
        // It may have changed during the delivery.
        let wait = if self.wanted == self.said {
            self.pace.heartbeat + put_off
        } else {
            put_off
        };
        self.due = Some(now + wait);
    }

    /// A delivery failed. It is retried with full jitter and growing waits. What the destination
    /// has now is unknown.
    pub fn failed(&mut self, now: SignedDuration, random: f64) {
        self.said = None;
        self.failures = self.failures.saturating_add(1);
        let first = SHORTEST_BACKOFF.max(self.pace.spread);
        let longest = LONGEST_BACKOFF.min(self.pace.heartbeat);
        let backoff = Backoff {
            first: first.unsigned_abs(),
            longest: longest.unsigned_abs(),
        };
        let span = SignedDuration::try_from(backoff.ceiling(self.failures)).unwrap_or(longest);
        self.due = Some(now + span.mul_f64(even(random)).max(SOONEST));
    }
}

fn even(random: f64) -> f64 {
    random.clamp(0.0, 1.0)
}

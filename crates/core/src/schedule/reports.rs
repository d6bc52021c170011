//! When a node reports: after a change, and as a sign of life, each time after a random part of the
//! fleet's spread, so that ten thousand nodes that change at once stay within what an account may
//! ask of EC2. Pure: time is a duration since the process began, so that no clock that is set
//! disturbs it.

use jiff::SignedDuration;

use super::backoff::Backoff;

/// A failed report is tried again after that long at the latest.
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_hours(1);
/// The span of the first retry, unless the fleet's spread is longer.
const SHORTEST_BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// No retry comes sooner.
const SOONEST: SignedDuration = SignedDuration::from_secs(1);

/// How often, and how far spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// A report is repeated after that long without a change.
    pub heartbeat: SignedDuration,
    /// The longest that a report is put off, so that a fleet does not speak all at once.
    pub spread: SignedDuration,
}

/// Plans the reports of one node to one place.
#[derive(Debug, Clone)]
pub struct Reports {
    pace: Pace,
    /// What was delivered last; `None` when that is not certain.
    said: Option<String>,
    /// What is to be delivered.
    wanted: Option<String>,
    due: Option<SignedDuration>,
    failures: u32,
}

impl Reports {
    /// Nothing is said yet, and nothing is to be.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            said: None,
            wanted: None,
            due: None,
            failures: 0,
        }
    }

    /// A cycle has ended with this to say; the same text means that nothing is new. `random` is
    /// even from 0 to 1.
    pub fn say(&mut self, news: &str, now: SignedDuration, random: f64) {
        let before = self.wanted.replace(news.to_owned());
        let is_new = self.said.as_deref() != Some(news);
        // A change that waits already is not put off by the next one, and a retry is not hurried by
        // it.
        let waits = self.failures > 0 || before.is_some() && before != self.said;
        if is_new && !waits {
            self.due = Some(now + self.pace.spread.mul_f64(even(random)));
        }
    }

    /// When the next report is due.
    pub fn due(&self) -> Option<SignedDuration> {
        self.due
    }

    /// What was to be said at the time of the delivery has arrived.
    pub fn delivered(&mut self, news: &str, now: SignedDuration, random: f64) {
        self.failures = 0;
        self.said = Some(news.to_owned());
        let put_off = self.pace.spread.mul_f64(even(random));
        // It may have changed on the way.
        let wait = if self.wanted == self.said {
            self.pace.heartbeat + put_off
        } else {
            put_off
        };
        self.due = Some(now + wait);
    }

    /// A delivery failed: again later, by full jitter, ever more seldom. What the other side has
    /// now is not known.
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

//! The times at which one node of a fleet fetches: spread evenly over the fleet, and always the
//! same for the node.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::backoff::Backoff;
use super::{CronExpression, Schedule, Splay};

/// The longest backoff with a cron expression.
const CRON_BACKOFF: SignedDuration = SignedDuration::from_mins(5);
/// The longest wait after the first failure.
const FIRST_BACKOFF: Duration = Duration::from_secs(2);
/// The shortest wait before a retry.
const SHORTEST_BACKOFF: SignedDuration = SignedDuration::from_secs(1);
/// Used if an expression has no further occurrence within the calendar's range.
const A_DAY: SignedDuration = SignedDuration::from_hours(24);

/// A node's position among those with the same source. The number is the same at every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePosition(u64);

impl NodePosition {
    /// `identity` is the instance id, or the machine id.
    pub fn new(identity: &str, source: &str) -> Self {
        let hash = Sha256::new()
            .chain_update(identity)
            .chain_update([0])
            .chain_update(source)
            .finalize();
        let mut number = 0;
        for byte in hash.iter().take(8) {
            number = number << 8 | u64::from(*byte);
        }
        Self(number)
    }

    /// This node's part of a span of milliseconds, from 0 to the span itself.
    fn share(self, span: i64) -> i64 {
        // The upper 64 of the product's 128 bits: as uniform as the hash, even for spans that are
        // not a power of two.
        let product = u128::from(self.0) * u128::from(span.max(0).unsigned_abs());
        i64::try_from(product >> 64).unwrap_or_default()
    }
}

/// The schedule of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// The fleet's schedule.
    pub schedule: Schedule,
    /// How far a cron expression is spread.
    pub splay: Splay,
    /// The node.
    pub node: NodePosition,
}

impl Timing {
    /// The node's first scheduled time after `now`.
    pub fn next(&self, now: Timestamp) -> Timestamp {
        match &self.schedule {
            Schedule::Every(interval) => {
                let interval = milliseconds(*interval).max(1);
                let phase = self.node.share(interval);
                let past = now
                    .as_millisecond()
                    .saturating_sub(phase)
                    .rem_euclid(interval);
                let next = now.as_millisecond().saturating_add(interval - past);
                Timestamp::from_millisecond(next).unwrap_or(Timestamp::MAX)
            }
            Schedule::Cron(cron) => {
                // The splayed time of the previous occurrence may still be ahead.
                let mut coming = None;
                for occurrence in [cron.previous(now), cron.next(now)].into_iter().flatten() {
                    let at = self.splayed(cron, occurrence);
                    if at > now && coming.is_none_or(|earlier| at < earlier) {
                        coming = Some(at);
                    }
                }
                match coming {
                    Some(at) => at,
                    None => now.saturating_add(A_DAY).unwrap_or(Timestamp::MAX),
                }
            }
        }
    }

    fn splayed(&self, cron: &CronExpression, at: Timestamp) -> Timestamp {
        let gap = match cron.next(at) {
            Some(next) => next.duration_since(at),
            None => A_DAY,
        };
        let most = match self.splay {
            Splay::Fixed(most) => most.min(gap),
            Splay::Percent(percent) => gap / 100 * i32::from(percent),
        };
        let share = SignedDuration::from_millis(self.node.share(milliseconds(most)));
        at.saturating_add(share).unwrap_or(Timestamp::MAX)
    }

    /// When to try again after `failures` consecutive transient failures, with full jitter:
    /// `random` is uniform from 0 to 1. `None` once the backoff would exceed the schedule's own
    /// interval, which always applies.
    pub(super) fn retry(&self, failures: u32, now: Timestamp, random: f64) -> Option<Timestamp> {
        let slot = self.next(now);
        let (period, longest) = match &self.schedule {
            Schedule::Every(interval) => (*interval, *interval),
            Schedule::Cron(_) => (self.next(slot).duration_since(slot), CRON_BACKOFF),
        };
        let backoff = Backoff {
            first: FIRST_BACKOFF,
            longest: longest.unsigned_abs(),
        };
        let ceiling = SignedDuration::try_from(backoff.ceiling(failures)).unwrap_or(longest);
        if ceiling >= period {
            return None;
        }
        let spread = ceiling
            .saturating_sub(SHORTEST_BACKOFF)
            .mul_f64(random.clamp(0.0, 1.0));
        let wait = SHORTEST_BACKOFF.saturating_add(spread);
        match now.saturating_add(wait) {
            Ok(at) if at < slot => Some(at),
            _ => None,
        }
    }
}

impl CronExpression {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        instant(self.0.find_next_occurrence(&utc(after), false).ok()?)
    }

    /// The last occurrence at or before `until`.
    fn previous(&self, until: Timestamp) -> Option<Timestamp> {
        instant(self.0.find_previous_occurrence(&utc(until), true).ok()?)
    }
}

fn utc(at: Timestamp) -> DateTime {
    TimeZone::UTC.to_datetime(at)
}

fn instant(at: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(at).ok()
}

fn milliseconds(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

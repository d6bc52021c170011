//! Fetches that a nudge makes early: spread over the fleet, and at most one every 5 s, however many
//! nudges come.

use jiff::{SignedDuration, Timestamp};

/// The shortest time between two fetches that are due to nudges.
pub const NUDGE_GAP: SignedDuration = SignedDuration::from_secs(5);

/// How often a node checks for a nudge, and how far a fleet spreads the fetches after one nudge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nudge {
    /// The time between two checks.
    pub every: SignedDuration,
    /// All nodes of a fleet fetch within this time.
    pub spread: SignedDuration,
}

impl Nudge {
    /// The default spread.
    pub const SPREAD: SignedDuration = SignedDuration::from_secs(2);

    /// How long a node waits after it has seen a nudge; `random` is uniform from 0 to 1. The nodes
    /// check at different times and so are already spread over [`every`](Self::every). Another
    /// random wait of up to that time would delay them without lowering their peak load.
    pub fn wait(&self, random: f64) -> SignedDuration {
        let rest = self.spread.saturating_sub(self.every);
        rest.max(SignedDuration::ZERO)
            .mul_f64(random.clamp(0.0, 1.0))
    }
}

/// The nudge that a node has not fetched for yet, and when it last fetched because of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Nudged {
    due: Option<Due>,
    last: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    at: Timestamp,
    /// How far in the future that was when the nudge came.
    wait: SignedDuration,
}

impl Nudged {
    /// Notes a nudge that came at `now`; the fetch is due after `wait`. A fetch that is already
    /// waiting is not postponed.
    pub(super) fn note(&mut self, wait: SignedDuration, now: Timestamp) {
        if self.due.is_some() {
            return;
        }
        let mut earliest = now;
        // If the last fetch is in the future, the clock was set back since.
        if let Some(last) = self.last
            && last <= now
            && let Ok(gap_ends) = last.saturating_add(NUDGE_GAP)
        {
            earliest = gap_ends.max(now);
        }
        let at = earliest.saturating_add(wait).unwrap_or(earliest);
        let wait = at.duration_since(now);
        self.due = Some(Due { at, wait });
    }

    /// Whether the fetch is due. It must also be called after the clock was set.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        let Some(due) = &mut self.due else {
            return false;
        };
        // If so, it was planned before the clock was set back.
        if due.at.duration_since(now) > due.wait {
            due.at = now.saturating_add(due.wait).unwrap_or(now);
        }
        due.at <= now
    }

    /// When the fetch is due.
    pub(super) fn at(&self) -> Option<Timestamp> {
        self.due.map(|due| due.at)
    }

    /// Notes the start of a fetch, for whatever reason: it fetches what the nudge was about.
    pub(super) fn fetch_begins(&mut self, now: Timestamp) {
        if let Some(due) = self.due.take()
            && due.at <= now
        {
            self.last = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn seconds(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    #[test]
    fn only_what_the_looks_do_not_spread_already_is_waited() {
        let nudge = |every, spread| Nudge {
            every: seconds(every),
            spread: seconds(spread),
        };
        assert_eq!(nudge(2, 2).wait(0.9), SignedDuration::ZERO);
        assert_eq!(nudge(5, 2).wait(0.9), SignedDuration::ZERO);
        assert_eq!(nudge(2, 10).wait(0.5), seconds(4));
        assert_eq!(nudge(2, 10).wait(7.0), seconds(8));
    }

    #[test]
    fn nudges_without_end_make_one_fetch_in_five_seconds() {
        let mut nudged = Nudged::default();
        let mut fetches = Vec::new();
        for tenth in 0..600 {
            let now = at(0) + SignedDuration::from_millis(tenth * 100);
            nudged.note(SignedDuration::ZERO, now);
            if nudged.is_due(now) {
                nudged.fetch_begins(now);
                fetches.push(now);
            }
        }
        assert_eq!(fetches.len(), 12);
        let apart = fetches
            .windows(2)
            .map(|pair| pair[1].duration_since(pair[0]));
        assert!(apart.min() >= Some(NUDGE_GAP));
    }

    #[test]
    fn a_nudge_that_waits_is_served_by_any_fetch_and_put_off_by_none() {
        let mut nudged = Nudged::default();
        nudged.note(seconds(8), at(0));
        nudged.note(seconds(60), at(1));
        assert_eq!(nudged.at(), Some(at(8)));
        assert!(!nudged.is_due(at(7)) && nudged.is_due(at(8)));
        nudged.fetch_begins(at(7));
        assert_eq!(nudged.at(), None);
        // That one was the schedule's: the next nudge need not keep away from it.
        nudged.note(seconds(0), at(8));
        assert!(nudged.is_due(at(8)));
        nudged.fetch_begins(at(8));
        nudged.note(seconds(1), at(9));
        assert_eq!(nudged.at(), Some(at(14)));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_no_nudge_waiting() {
        let mut nudged = Nudged::default();
        nudged.note(seconds(8), at(100_000));
        assert!(!nudged.is_due(at(0)));
        assert_eq!(nudged.at(), Some(at(8)));
        assert!(nudged.is_due(at(8)));
        nudged.fetch_begins(at(8));
        nudged.note(seconds(0), at(-100_000));
        assert!(nudged.is_due(at(-100_000)), "the last one is to come");
    }
}

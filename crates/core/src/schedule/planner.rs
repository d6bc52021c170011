//! What the service does next, and when: a fetch by the schedule, a retry, or a nudge, or a window
//! that opens or closes, or a document that expires.

use jiff::{SignedDuration, Timestamp};

use super::nudge::Nudged;
use super::{Node, Timing};

/// The most replans in a row while a fetch is due: windows without end must not keep new keys away.
const MOST_REPLANS: u32 = 3;
/// How long a fetch that comes before a window that is due may wait for its sources before the
/// window interrupts it, and the time within which several changes are one replan.
const SECOND: SignedDuration = SignedDuration::from_secs(1);
/// How long a fetch may be due before the node is no longer called ok.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A whole cycle.
    Fetch,
    /// A cycle on the kept documents: a window opens or closes, or one of them expires.
    Replan,
}

/// How a cycle ended, as far as the schedule is concerned. `change` is when a replan is due next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Well, or with a fault that only the next publication, or a person, can cure.
    Settled {
        /// The next change.
        change: Option<Timestamp>,
    },
    /// A source could not be reached; that may pass by itself.
    Transient {
        /// The next change.
        change: Option<Timestamp>,
    },
    /// The state could not be opened or written: nothing was decided.
    NotBegun,
}

/// Plans one node's cycles.
#[derive(Debug, Clone)]
pub struct Planner {
    timing: Timing,
    failures: u32,
    fetch: Timestamp,
    change: Option<Timestamp>,
    /// No replan before then: what changes until then is one replan.
    not_before: Option<Timestamp>,
    /// How many replans in a row have been begun while a fetch was due.
    replans: u32,
    /// When the last replan began.
    begun: Timestamp,
    nudged: Nudged,
}

impl Planner {
    /// The first cycle is due at once.
    pub fn new(timing: Timing, now: Timestamp) -> Self {
        Self {
            timing,
            failures: 0,
            fetch: now,
            change: None,
            not_before: None,
            replans: 0,
            begun: now,
            nudged: Nudged::default(),
        }
    }

    /// What is due now, if anything; the caller begins it. Also to be asked after the clock was
    /// set: no time that was planned on a wrong clock keeps the node waiting longer than its
    /// schedule.
    pub fn due(&mut self, now: Timestamp) -> Option<Act> {
        // A time further away than the longest pause was planned before the clock was set back.
        self.not_before = self
            .not_before
            .filter(|at| at.duration_since(now) <= SECOND);
        let fetch_is_due = self.nudged.is_due(now) || self.fetch <= now;
        let change_is_due = self.changes(now);
        if fetch_is_due && self.replans >= MOST_REPLANS {
            self.replans = 0;
            if change_is_due {
                // Whatever the source does, the window that waits is enforced a second later.
                self.not_before = now.saturating_add(SECOND).ok();
            }
            self.nudged.fetch_begins(now);
            return Some(Act::Fetch);
        }
        // A change asks nobody, so nobody who does not answer can hold it up.
        if change_is_due {
            self.replans = if fetch_is_due {
                self.replans.saturating_add(1)
            } else {
                0
            };
            self.begun = now;
            return Some(Act::Replan);
        }
        if fetch_is_due {
            self.replans = 0;
            self.nudged.fetch_begins(now);
            return Some(Act::Fetch);
        }
        self.fetch = self.fetch.min(self.timing.next(now));
        None
    }

    /// Whether a window opens or closes, or a document expires, also while a fetch goes on.
    pub fn changes(&self, now: Timestamp) -> bool {
        self.change().is_some_and(|change| change <= now)
    }

    /// When that is so next. A change that has a second to itself is enforced in its own
    /// millisecond. What follows a replan within the same second is enforced together, as the next
    /// second begins: never early, and at most a second late.
    pub fn change(&self) -> Option<Timestamp> {
        let change = self.change?;
        Some(
            self.not_before
                .map_or(change, |earliest| change.max(earliest)),
        )
    }

    /// The next time at which something is due.
    pub fn wake(&self) -> Timestamp {
        let fetch = self
            .nudged
            .at()
            .map_or(self.fetch, |nudged| nudged.min(self.fetch));
        self.change().map_or(fetch, |change| change.min(fetch))
    }

    /// Since when a fetch has been due, if that is too long ago.
    pub fn overdue(&self, now: Timestamp) -> Option<Timestamp> {
        (now.duration_since(self.fetch) > OVERDUE).then_some(self.fetch)
    }

    /// Notes how a fetch or a replan ended at `now`; `random` is even from 0 to 1.
    pub fn ended(&mut self, act: Act, ended: Ended, now: Timestamp, random: f64) {
        self.change = match ended {
            // A change that came while the cycle ran is due at once.
            Ended::Settled { change } | Ended::Transient { change } => change,
            Ended::NotBegun => self.change,
        };
        if act == Act::Replan {
            self.not_before = Some(next_second(self.begun));
        }
        let slot = self.timing.next(now);
        match (act, ended) {
            // What the last fetch said stands, and so does its retry.
            (Act::Replan, Ended::Settled { .. } | Ended::Transient { .. }) => {
                self.fetch = self.fetch.min(slot)
            }
            (Act::Fetch, Ended::Settled { .. }) => {
                self.failures = 0;
                self.fetch = slot;
            }
            (Act::Fetch, Ended::Transient { .. }) | (_, Ended::NotBegun) => {
                self.failures = self.failures.saturating_add(1);
                self.fetch = self
                    .timing
                    .retry(self.failures, now, random)
                    .unwrap_or(slot);
            }
        }
        // One that could not be made waits for the retry, lest it be tried without end.
        if ended == Ended::NotBegun {
            self.change = self.change.map(|change| change.max(self.fetch));
        }
    }

    /// The node's place in the schedule is known better now. A retry stays where it is.
    pub fn replace_node(&mut self, node: Node, now: Timestamp) {
        let slot = self.timing.next(now);
        self.timing.node = node;
        if self.fetch == slot {
            self.fetch = self.timing.next(now);
        }
    }

    /// A nudge came: the next fetch is due after that wait, but not within
    /// [`NUDGE_GAP`](super::NUDGE_GAP) of the last one that a nudge made.
    pub fn nudge(&mut self, wait: SignedDuration, now: Timestamp) {
        self.nudged.note(wait, now);
    }

    /// Another schedule; a fetch is due now.
    pub fn restart(&mut self, timing: Timing, now: Timestamp) {
        self.timing = timing;
        self.demand(now);
    }

    /// A demand to fetch now.
    pub fn demand(&mut self, now: Timestamp) {
        self.failures = 0;
        self.fetch = now;
        // Whoever asked for it does not wait for windows either.
        self.replans = MOST_REPLANS;
    }
}

/// The begin of the next whole second.
fn next_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().saturating_add(1)).unwrap_or(Timestamp::MAX)
}

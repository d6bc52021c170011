//! What the service does next, and when: a fetch because of the schedule, a retry or a nudge, or a
//! replan because a window opens or closes or a document expires.

use jiff::{SignedDuration, Timestamp};

use super::nudge::Nudged;
use super::{NodePosition, Timing};

/// The most consecutive replans while a fetch is due: an endless series of windows must not delay
/// new keys.
const MOST_REPLANS: u32 = 3;
/// How long a fetch that starts before a due window may wait for its sources until the window
/// interrupts it. Also the time within which several changes are combined into one replan.
const SECOND: SignedDuration = SignedDuration::from_secs(1);
/// How long a fetch may be overdue before the node stops being ok.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A full cycle.
    Fetch,
    /// A cycle with the documents already fetched, because a window opens or closes or one of them
    /// expires.
    Replan,
}

/// How a cycle ended, as far as it matters for the schedule. `change` is when the next replan is
/// due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It succeeded, or it failed in a way that only the next publication or an operator can
    /// repair.
    Settled {
        /// The next change.
        change: Option<Timestamp>,
    },
    /// A source could not be reached; this may resolve itself.
    Transient {
        /// The next change.
        change: Option<Timestamp>,
    },
    /// The state could not be opened or written, so nothing was decided.
    NotBegun,
}

/// Plans one node's cycles.
#[derive(Debug, Clone)]
pub struct Planner {
    timing: Timing,
    failures: u32,
    fetch: Timestamp,
    change: Option<Timestamp>,
    /// No replan before this time: all changes until then are combined into one.
    not_before: Option<Timestamp>,
    /// How many consecutive replans have started while a fetch was due.
    replans: u32,
    /// When the last replan started.
    started: Timestamp,
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
            started: now,
            nudged: Nudged::default(),
        }
    }

    /// What is due now, if anything; the caller starts it. It must also be called after the clock
    /// was set, so that a time planned while the clock was wrong never makes the node wait longer
    /// than its schedule.
    pub fn due(&mut self, now: Timestamp) -> Option<Act> {
        // A time that is further away than the longest pause was planned before the clock was set
        // back.
        if let Some(at) = self.not_before
            && at.duration_since(now) > SECOND
        {
            self.not_before = None;
        }
        let fetch_is_due = self.nudged.is_due(now) || self.fetch <= now;
        let change_is_due = self.changes(now);
        if fetch_is_due && self.replans >= MOST_REPLANS {
            self.replans = 0;
            if change_is_due {
                // Whatever the source does, the waiting window takes effect a second later.
                self.not_before = now.saturating_add(SECOND).ok();
            }
            self.nudged.fetch_begins(now);
            return Some(Act::Fetch);
        }
        // A replan makes no requests, so an unresponsive source cannot delay it.
        if change_is_due {
            self.replans = if fetch_is_due {
                self.replans.saturating_add(1)
            } else {
                0
            };
            self.started = now;
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

    /// Whether a window opens or closes, or a document expires, by `now`. It may also be called
    /// during a fetch.
    pub fn changes(&self, now: Timestamp) -> bool {
        self.change().is_some_and(|change| change <= now)
    }

    /// When the next such change is due. A single change takes effect within its millisecond.
    /// Changes that follow a replan within the same second take effect together at the start of the
    /// next second: never early, and at most a second late.
    pub fn change(&self) -> Option<Timestamp> {
        let change = self.change?;
        match self.not_before {
            Some(earliest) => Some(change.max(earliest)),
            None => Some(change),
        }
    }

    /// The next time at which something is due.
    pub fn wake(&self) -> Timestamp {
        let mut wake = self.fetch;
        if let Some(nudged) = self.nudged.at() {
            wake = wake.min(nudged);
        }
        if let Some(change) = self.change() {
            wake = wake.min(change);
        }
        wake
    }

    /// Since when a fetch has been due, if that is too long ago.
    pub fn overdue(&self, now: Timestamp) -> Option<Timestamp> {
        if now.duration_since(self.fetch) > OVERDUE {
            Some(self.fetch)
        } else {
            None
        }
    }

    /// Notes how a fetch or a replan ended at `now`; `random` is uniform from 0 to 1.
    pub fn ended(&mut self, act: Act, ended: Ended, now: Timestamp, random: f64) {
        self.change = match ended {
            // A change during the cycle is due at once.
            Ended::Settled { change } | Ended::Transient { change } => change,
            Ended::NotBegun => self.change,
        };
        if act == Act::Replan {
            self.not_before = Some(next_second(self.started));
        }
        let slot = self.timing.next(now);
        match (act, ended) {
            // The result of the last fetch is still valid, and so is its retry.
            (Act::Replan, Ended::Settled { .. } | Ended::Transient { .. }) => {
                self.fetch = self.fetch.min(slot)
            }
            (Act::Fetch, Ended::Settled { .. }) => {
                self.failures = 0;
                self.fetch = slot;
            }
            (Act::Fetch, Ended::Transient { .. }) | (_, Ended::NotBegun) => {
                self.failures = self.failures.saturating_add(1);
                let retry = self.timing.retry(self.failures, now, random);
                self.fetch = retry.unwrap_or(slot);
            }
        }
        // A replan that could not start waits for the retry, so that it is not repeated endlessly.
        if ended == Ended::NotBegun {
            self.change = self.change.map(|change| change.max(self.fetch));
        }
    }

    /// Replaces the node's place in the schedule by a better known one. A retry keeps its time.
    pub fn replace_node(&mut self, node: NodePosition, now: Timestamp) {
        let slot = self.timing.next(now);
        self.timing.node = node;
        if self.fetch == slot {
            self.fetch = self.timing.next(now);
        }
    }

    /// A nudge came: the next fetch is due after `wait`, but not within
    /// [`NUDGE_GAP`](super::NUDGE_GAP) of the last fetch that was due to a nudge.
    pub fn nudge(&mut self, wait: SignedDuration, now: Timestamp) {
        self.nudged.note(wait, now);
    }

    /// Replaces the schedule; a fetch is due now.
    pub fn restart(&mut self, timing: Timing, now: Timestamp) {
        self.timing = timing;
        self.demand(now);
    }

    /// Requests a fetch now.
    pub fn demand(&mut self, now: Timestamp) {
        self.failures = 0;
        self.fetch = now;
        // The requested fetch does not wait for windows either.
        self.replans = MOST_REPLANS;
    }
}

/// The start of the next full second.
fn next_second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().saturating_add(1)).unwrap_or(Timestamp::MAX)
}

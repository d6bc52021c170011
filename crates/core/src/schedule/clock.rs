//! While the clock is wrong, no key's window opens or closes.

use jiff::{SignedDuration, Timestamp};

/// How far a clock may be behind before it is considered wrong. Time servers step clocks by less.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// The time of the node's clock, and a time that it cannot be earlier than.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What the clock says.
    pub wall: Timestamp,
    /// The build time of the program, or the last recorded time, whichever is later.
    pub earliest: Timestamp,
}

impl Clock {
    /// The time that decides about windows. It never goes back, not even when a time server steps
    /// the clock.
    pub fn effective(self) -> Timestamp {
        self.wall.max(self.earliest)
    }

    /// Whether the clock cannot be right. Then neither its time nor `effective` can be trusted:
    /// `effective` may come from a clock that once ran ahead.
    pub fn is_wrong(self) -> bool {
        self.earliest.duration_since(self.wall) > TOLERANCE
    }

    /// Why the clock cannot be right.
    pub fn fault(self) -> Option<String> {
        if !self.is_wrong() {
            return None;
        }
        Some(format!(
            "the clock says {}, but it has been {} already: no key's window opens or closes until \
             that is right; set the clock (chrony, systemd-timesyncd), or if it was ahead before \
             and is right now, look at what is published and run `authkeysd sync \
             --accept-rollback`, which forgets the serials, too",
            self.wall, self.earliest
        ))
    }
}

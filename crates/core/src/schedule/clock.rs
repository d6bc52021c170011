//! A clock that stands wrong opens no window and closes none.

use jiff::{SignedDuration, Timestamp};

/// How far a clock may fall back before it is called wrong: time servers step clocks by less.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// What the node's clock says, and the time before which it cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What the clock says.
    pub wall: Timestamp,
    /// The build of the program, or the last time that was recorded, whichever is later.
    pub earliest: Timestamp,
}

impl Clock {
    /// The time for which windows are judged: it never goes back, not by the steps of a time server
    /// either.
    pub fn effective(self) -> Timestamp {
        self.wall.max(self.earliest)
    }

    /// Whether it cannot be right: what is said of the time is then not to be believed, and neither
    /// is `effective`, which a clock that once ran ahead may have left behind.
    pub fn is_wrong(self) -> bool {
        self.earliest.duration_since(self.wall) > TOLERANCE
    }

    /// Why the clock cannot be right.
    pub fn fault(self) -> Option<String> {
        self.is_wrong().then(|| {
            format!(
                "the clock stands at {}, but it has been {} already: no key's window opens or closes until that is right; \
                 set the clock (chrony, systemd-timesyncd), or if it was ahead before and is right now, look at what is \
                 published and run `authkeysd sync --accept-rollback`, which forgets the serials, too",
                self.wall, self.earliest
            )
        })
    }
}

//! Points in time as OpenSSH's options write them: `expiry-time`, and `valid-after` and
//! `valid-before` of a signer.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, civil};

/// A point in time as an option writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// Year to second.
    pub time: civil::DateTime,
    /// Written with `Z`. Without it, the time is the node's local standard time.
    pub utc: bool,
}

impl Expiry {
    /// sshd's `parse_absolute_time`: 8, 12 or 14 digits; `Z` (or `UTC`) after them means UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let (digits, utc) = match without_utc(&upper) {
            Some(digits) => (digits, true),
            None => (upper.as_str(), false),
        };
        if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let year = digits.get(..4)?.parse().ok()?;
        let month = two_digits(digits, 4)?;
        let day = two_digits(digits, 6)?;
        let hour = two_digits(digits, 8)?;
        let minute = two_digits(digits, 10)?;
        let second = two_digits(digits, 12)?;
        let time = civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        Some(Self { time, utc })
    }

    /// The corresponding instant. Local times are standard times, as in OpenSSH's `mktime` call.
    pub fn instant(self, zone: &TimeZone) -> Option<Timestamp> {
        let utc = Offset::UTC.to_timestamp(self.time).ok()?;
        if self.utc {
            Some(utc)
        } else {
            standard_offset(zone, utc).to_timestamp(self.time).ok()
        }
    }
}

/// The text before `Z` or `UTC`.
fn without_utc(upper: &str) -> Option<&str> {
    match upper.strip_suffix('Z') {
        Some(before) => Some(before),
        None => upper.strip_suffix("UTC"),
    }
}

/// The number of two digits at an index; 0 if the text ends before them.
fn two_digits(digits: &str, from: usize) -> Option<i8> {
    match digits.get(from..from + 2) {
        Some(digits) => digits.parse().ok(),
        None => Some(0),
    }
}

/// A zone's offset at that time, without summer time.
pub fn standard_offset(zone: &TimeZone, at: Timestamp) -> Offset {
    let here = zone.to_offset_info(at);
    if !here.dst().is_dst() {
        return here.offset();
    }
    for before in zone.preceding(at) {
        if !before.dst().is_dst() {
            return before.offset();
        }
    }
    for after in zone.following(at) {
        if !after.dst().is_dst() {
            return after.offset();
        }
    }
    here.offset()
}

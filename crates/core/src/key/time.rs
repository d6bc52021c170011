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
        let local = upper
            .strip_suffix('Z')
            .or_else(|| upper.strip_suffix("UTC"));
        let digits = local.unwrap_or(&upper);
        if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let field = |from: usize, to: usize| {
            digits
                .get(from..to)
                .map_or(Some(0), |d| d.parse::<i16>().ok())
        };
        let small = |from, to| field(from, to).and_then(|n| i8::try_from(n).ok());
        let time = civil::DateTime::new(
            field(0, 4)?,
            small(4, 6)?,
            small(6, 8)?,
            small(8, 10)?,
            small(10, 12)?,
            small(12, 14)?,
            0,
        );
        Some(Self {
            time: time.ok()?,
            utc: local.is_some(),
        })
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

/// A zone's offset at that time, without summer time.
pub fn standard_offset(zone: &TimeZone, at: Timestamp) -> Offset {
    let here = zone.to_offset_info(at);
    if !here.dst().is_dst() {
        return here.offset();
    }
    let before = zone
        .preceding(at)
        .find(|t| !t.dst().is_dst())
        .map(|t| t.offset());
    before
        .or_else(|| {
            zone.following(at)
                .find(|t| !t.dst().is_dst())
                .map(|t| t.offset())
        })
        .unwrap_or(here.offset())
}

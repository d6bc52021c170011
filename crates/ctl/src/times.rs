//! Times and periods on the command line. A time without an offset depends on the machine's time
//! zone, so it is refused.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// Parses a time with an offset or a zone.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    if text.contains('[') {
        if let Ok(zoned) = text.parse::<Zoned>() {
            return Ok(zoned.timestamp());
        }
    } else if let Ok(time) = text.parse() {
        return Ok(time);
    }
    Err(format!(
        "{text:?} is not a time with an offset, such as 2026-12-01T09:00:00Z, \
         2026-12-01T10:00+01:00 or 2026-12-01T10:00[Europe/Berlin]"
    ))
}

/// Parses a period, such as `30d` or `8h`.
pub(crate) fn period(text: &str) -> Result<Span, String> {
    match text.parse::<Span>() {
        Ok(period) if period.is_positive() => Ok(period),
        _ => Err(format!(
            "{text:?} is not a period such as \"30d\" or \"8h\""
        )),
    }
}

/// The end of a period, in whole seconds; `None` if it is later than any time that can be written.
pub(crate) fn end_of(from: Timestamp, period: Span) -> Option<Timestamp> {
    let end = from.to_zoned(TimeZone::UTC).checked_add(period).ok()?;
    Timestamp::from_second(end.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_an_offset_or_a_zone() {
        let nine: Timestamp = "2026-12-01T09:00:00Z".parse().unwrap();
        for text in [
            "2026-12-01T09:00:00Z",
            "2026-12-01T10:00+01:00",
            "2026-12-01 10:00+01",
            "2026-12-01T10:00[Europe/Berlin]",
            "2026-12-01T10:00:00+01:00[Europe/Berlin]",
        ] {
            assert_eq!(moment(text), Ok(nine), "{text}");
        }
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T09:00",
            "tomorrow",
            "2026-12-01T10:00[Nowhere/City]",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn periods_are_counted_from_a_moment() {
        let from: Timestamp = "2026-11-01T09:00:00.5Z".parse().unwrap();
        for (text, end) in [
            ("30d", "2026-12-01T09:00:00Z"),
            ("8h", "2026-11-01T17:00:00Z"),
            ("2w", "2026-11-15T09:00:00Z"),
            ("1mo", "2026-12-01T09:00:00Z"),
        ] {
            assert_eq!(
                end_of(from, period(text).unwrap()),
                Some(end.parse().unwrap()),
                "{text}"
            );
        }
        for text in ["", "30", "-1d", "0s", "soon"] {
            assert!(period(text).is_err(), "{text}");
        }
        assert_eq!(end_of(from, period("9000y").unwrap()), None);
    }
}

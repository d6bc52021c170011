//! Points in time as sshd's `expiry-time` option writes them.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use crate::key::{Expiry, Fingerprint, OptionList, granted, identify, standard_offset};

/// The time at which a plan is made, and the node's time zone.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The time.
    pub now: Timestamp,
    /// The zone in which the node's sshd reads a time without `Z`.
    pub zone: TimeZone,
    /// Set if the clock is wrong: the content of the account's file. It then decides which lines
    /// with a window are in force, instead of the time: no window opens, and none closes.
    pub standing: Option<PresentLines>,
}

/// The keys of a file, and the options of the lines that accept each of them.
#[derive(Debug, Clone, Default)]
pub struct PresentLines(HashMap<Fingerprint, Vec<OptionList>>);

impl PresentLines {
    /// Reads lines without their LF.
    pub fn of<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut present = Self::default();
        for line in lines {
            let Some(found) = identify(line) else {
                continue;
            };
            let options = present.0.entry(found.key.fingerprint()).or_default();
            options.extend(granted(line).map(|(_, options)| options));
        }
        present
    }

    /// Whether some line has the key.
    pub fn has_key(&self, key: &Fingerprint) -> bool {
        self.0.contains_key(key)
    }

    /// Whether some line has the same options as `line`, whenever they end.
    pub(super) fn has_terms(&self, line: &[u8]) -> bool {
        let Some((key, mut own)) = granted(line) else {
            return false;
        };
        own.take_expiries();
        let Some(present) = self.0.get(&key.fingerprint()) else {
            return false;
        };
        present.iter().any(|options| {
            let mut options = options.clone();
            options.take_expiries();
            options == own
        })
    }

    /// Whether some line grants what `line` does. It makes no difference if the line in the file
    /// has no end, as for an sshd that does not know `expiry-time`.
    pub(super) fn has_line(&self, line: &[u8]) -> bool {
        let Some((key, own)) = granted(line) else {
            return false;
        };
        let Some(present) = self.0.get(&key.fingerprint()) else {
            return false;
        };
        let mut endless = own.clone();
        endless.take_expiries();
        present
            .iter()
            .any(|options| *options == own || *options == endless)
    }
}

/// How the installed sshd reads `expiry-time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryForm {
    /// OpenSSH 9.1 and later: `YYYYMMDDHHMMSSZ`.
    Utc,
    /// OpenSSH 7.7 to 9.0 ignore a line with `Z`: local standard time, even in summer.
    LocalStandard,
    /// Before OpenSSH 7.7, the option makes sshd ignore the line. The option is omitted, and the
    /// agent removes the key on time.
    Omit,
}

impl ExpiryForm {
    /// The form for an OpenSSH of that major and minor version. An unknown version is treated as
    /// too old.
    pub fn for_sshd(version: Option<(u32, u32)>) -> Self {
        match version {
            Some(version) if version >= (9, 1) => Self::Utc,
            Some(version) if version >= (7, 7) => Self::LocalStandard,
            _ => Self::Omit,
        }
    }
}

impl Moment {
    /// The instant that an option refers to.
    pub fn resolve(&self, expiry: Expiry) -> Option<Timestamp> {
        expiry.instant(&self.zone)
    }

    /// The option for an instant; `None` if the installed sshd does not have the option.
    pub(super) fn option(&self, until: Timestamp, form: ExpiryForm) -> Option<String> {
        let (offset, suffix) = match form {
            ExpiryForm::Utc => (Offset::UTC, "Z"),
            ExpiryForm::LocalStandard => (standard_offset(&self.zone, until), ""),
            ExpiryForm::Omit => return None,
        };
        let time = offset.to_datetime(until);
        let year = time.year();
        let month = time.month();
        let day = time.day();
        let hour = time.hour();
        let minute = time.minute();
        let second = time.second();
        Some(format!(
            "expiry-time=\"{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}{suffix}\""
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> Moment {
        // POSIX form, so that the test does not need the machine's zone files.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        Moment {
            now: "2026-11-22T00:00:00Z".parse().unwrap(),
            zone,
            standing: None,
        }
    }

    #[test]
    fn f27_an_old_sshd_gets_standard_time_in_summer_too() {
        let summer = "2026-07-01T12:00:00Z".parse().unwrap();
        let winter = "2026-12-01T12:00:00Z".parse().unwrap();
        let option = |at| berlin().option(at, ExpiryForm::LocalStandard).unwrap();
        assert_eq!(option(summer), "expiry-time=\"20260701130000\"");
        assert_eq!(option(winter), "expiry-time=\"20261201130000\"");
        assert_eq!(
            berlin().option(summer, ExpiryForm::Utc).unwrap(),
            "expiry-time=\"20260701120000Z\""
        );
        assert_eq!(berlin().option(summer, ExpiryForm::Omit), None);
    }

    #[test]
    fn a_time_that_was_written_is_read_back_as_the_same_instant() {
        for at in [
            "2026-07-01T12:00:00Z",
            "2026-12-01T12:00:00Z",
            "2026-03-29T01:30:00Z",
            "2026-10-25T01:30:00Z",
        ] {
            let at: Timestamp = at.parse().unwrap();
            for form in [ExpiryForm::Utc, ExpiryForm::LocalStandard] {
                let mut list =
                    crate::key::OptionList::parse(&berlin().option(at, form).unwrap()).unwrap();
                assert_eq!(
                    berlin().resolve(list.take_expiries()[0]),
                    Some(at),
                    "{form:?}"
                );
            }
        }
    }
}

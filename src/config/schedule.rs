//! When the service runs a cycle.

use jiff::SignedDuration;

/// An interval, or a cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// That often, from one second up.
    Every(SignedDuration),
    /// Six fields, the first is seconds; UTC.
    Cron(String),
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Every(SignedDuration::from_secs(60))
    }
}

impl Schedule {
    /// Parses `60s`, `10m`, `1h`, or `0 */5 * * * *`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let cron = |field: &&str| field.bytes().all(|b| b.is_ascii_alphanumeric() || b"*/,-?#".contains(&b));
        match fields.as_slice() {
            [_, _, _, _, _, _] if fields.iter().all(cron) => Ok(Self::Cron(fields.join(" "))),
            _ => match text.parse::<SignedDuration>() {
                Ok(interval) if interval >= SignedDuration::from_secs(1) => Ok(Self::Every(interval)),
                _ => Err(format!(
                    "{text:?} is no interval from \"1s\" up and no six-field cron expression such as \"0 */5 * * * *\""
                )),
            },
        }
    }
}

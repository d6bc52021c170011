//! How long to wait after consecutive failures.

use std::time::Duration;

/// Waits that double with each failure, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// The longest wait after this many consecutive failures, from 1. The caller waits a random
    /// part of it, which spreads a fleet.
    pub fn ceiling(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        self.first
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_overflow() {
        let backoff = Backoff {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(300),
        };
        let waits =
            [0, 1, 2, 3, 8, 9, 33, u32::MAX].map(|failures| backoff.ceiling(failures).as_secs());
        assert_eq!(waits, [2, 2, 4, 8, 256, 300, 300, 300]);
        let short = Backoff {
            first: Duration::from_secs(9),
            longest: Duration::from_secs(5),
        };
        assert_eq!(short.ceiling(1), Duration::from_secs(5));
    }
}

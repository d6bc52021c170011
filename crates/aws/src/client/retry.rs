//! The only retry policy: transient failures only, a few attempts, full jitter, within a limit for
//! the whole operation.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::fault::Call;
use authkeys_core::origin::failure::{Class, FetchError};
use authkeys_core::schedule::Backoff;

/// How often and for how long an operation is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The most attempts, including the first one.
    pub attempts: u32,
    /// The longest wait before the second attempt; it doubles with every further attempt.
    pub base: Duration,
    /// No wait is longer.
    pub cap: Duration,
    /// The limit for the whole operation, attempts and waits together.
    pub limit: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(200),
            cap: Duration::from_secs(2),
            limit: Duration::from_secs(30),
        }
    }
}

/// The source of randomness for waits: picks a duration between zero and the given one.
pub trait Jitter {
    /// A duration of at most `most`.
    fn pick(&self, most: Duration) -> Duration;
}

/// Waits that differ from node to node, so that a fleet that failed together does not retry
/// together.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomJitter;

impl Jitter for RandomJitter {
    fn pick(&self, most: Duration) -> Duration {
        // The seeds of the standard library's hash tables are random, and new each time: that is
        // enough to spread waits, without a dependency.
        let random = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or_default();
        most.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

/// Runs `attempt` until it succeeds, fails permanently, or the policy is used up, and then returns
/// the last failure of `call`.
pub async fn retry<T>(
    policy: &Policy,
    jitter: &impl Jitter,
    call: &Call,
    mut attempt: impl AsyncFnMut() -> Result<T, FetchError>,
) -> Result<T, FetchError> {
    let end = Instant::now() + policy.limit;
    let backoff = Backoff {
        first: policy.base,
        longest: policy.cap,
    };
    let mut made = 0;
    loop {
        made += 1;
        let failure = match timeout_at(end, attempt()).await {
            Err(_elapsed) => call.timed_out(policy.limit),
            Ok(Err(failure)) if failure.class == Class::Transient => failure,
            Ok(settled) => return settled,
        };
        let wait = jitter.pick(backoff.ceiling(made));
        if made >= policy.attempts || Instant::now() + wait >= end {
            return Err(with_attempts(failure, made));
        }
        sleep(wait).await;
    }
}

fn with_attempts(failure: FetchError, attempts: u32) -> FetchError {
    match attempts {
        1 => failure,
        _ => FetchError {
            message: format!("{} ({attempts} attempts)", failure.message),
            ..failure
        },
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// The longest wait each time, and a record of what was asked for.
    #[derive(Default)]
    struct Longest(RefCell<Vec<u128>>);

    impl Jitter for Longest {
        fn pick(&self, most: Duration) -> Duration {
            self.0.borrow_mut().push(most.as_millis());
            most
        }
    }

    fn failure(class: Class) -> FetchError {
        FetchError {
            code: None,
            class,
            message: "it failed".to_owned(),
            remedy: "wait".to_owned(),
        }
    }

    fn call() -> Call {
        Call {
            source: "s3://keys/a".to_owned(),
            operation: "S3 GetObject",
            action: "s3:GetObject",
            resource: "*".to_owned(),
            or_else: "",
            endpoint: "S3".to_owned(),
        }
    }

    /// Fails with the classes in turn, then succeeds; gives the outcome, the attempts, the waits
    /// and the time taken.
    async fn run(
        policy: Policy,
        classes: &[Class],
    ) -> (Result<u32, FetchError>, u32, Vec<u128>, Duration) {
        let jitter = Longest::default();
        let made = Cell::new(0);
        let start = Instant::now();
        let outcome = retry(&policy, &jitter, &call(), async || {
            let at = made.replace(made.get() + 1);
            classes
                .get(at as usize)
                .map_or(Ok(at), |class| Err(failure(*class)))
        })
        .await;
        (outcome, made.get(), jitter.0.into_inner(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn success_is_given_at_once_and_after_transient_failures() {
        assert_eq!(
            run(Policy::default(), &[]).await,
            (Ok(0), 1, vec![], Duration::ZERO)
        );
        let (outcome, made, waits, took) = run(Policy::default(), &[Class::Transient; 2]).await;
        assert_eq!((outcome, made, waits), (Ok(2), 3, vec![200, 400]));
        assert!((600..605).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_last_attempt_the_failure_tells_how_many_were_made() {
        let (outcome, made, ..) = run(Policy::default(), &[Class::Transient; 9]).await;
        assert_eq!(
            (outcome.unwrap_err().message.as_str(), made),
            ("it failed (3 attempts)", 3)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn permanent_failures_are_not_tried_again() {
        for class in [Class::Denied, Class::Missing, Class::Invalid] {
            assert_eq!(
                run(Policy::default(), &[class; 9]).await,
                (Err(failure(class)), 1, vec![], Duration::ZERO)
            );
        }
        let (outcome, made, ..) = run(
            Policy::default(),
            &[Class::Transient, Class::Denied, Class::Transient],
        )
        .await;
        assert_eq!((outcome, made), (Err(failure(Class::Denied)), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_the_cap() {
        let policy = Policy {
            attempts: 7,
            ..Policy::default()
        };
        let (_, made, waits, _) = run(policy, &[Class::Transient; 9]).await;
        assert_eq!(
            (made, waits),
            (7, vec![200, 400, 800, 1_600, 2_000, 2_000, 2_000])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_cuts_off_an_attempt_and_begins_no_wait_that_would_pass_it() {
        let start = Instant::now();
        let hang = async || std::future::pending::<Result<(), _>>().await;
        let hung = retry(&Policy::default(), &RandomJitter, &call(), hang).await;
        let said = hung.unwrap_err().message;
        assert!(said.ends_with(" within 30s"), "{said}");
        assert!(
            start.elapsed() < Duration::from_millis(30_010),
            "{:?}",
            start.elapsed()
        );

        let policy = Policy {
            attempts: 99,
            limit: Duration::from_secs(1),
            ..Policy::default()
        };
        let (outcome, made, _, took) = run(policy, &[Class::Transient; 99]).await;
        // 200 ms and 400 ms fit in the second, another 800 ms would not.
        assert_eq!(
            (outcome.unwrap_err().message.as_str(), made),
            ("it failed (3 attempts)", 3)
        );
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    #[test]
    fn random_waits_stay_in_bounds_and_differ() {
        let most = Duration::from_secs(1);
        let picked: Vec<_> = (0..200).map(|_| RandomJitter.pick(most)).collect();
        assert!(picked.iter().all(|wait| *wait <= most));
        let low = picked.iter().filter(|wait| **wait < most / 2).count();
        assert!((50..150).contains(&low), "{low} of 200 in the lower half");
    }
}

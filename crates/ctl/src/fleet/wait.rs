//! The wait until all nodes have a document: looks again and again, politely, and never longer than
//! was asked for.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Watch;
use authkeys_aws::client::retry::Jitter;
use authkeys_core::fleet::{Fleet, View};
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::schedule::Backoff;

/// Between two looks at up to a thousand nodes, which are one page of an answer; every further page
/// adds a second.
const PAUSE: Duration = Duration::from_secs(2);
const PAGE: usize = 1_000;
/// The longest pause while EC2 throttles or is away.
const LONGEST: Duration = Duration::from_secs(30);
/// How long the last look may take beyond the limit.
const GRACE: Duration = Duration::from_secs(10);
/// How often the one who waits sees that time passes.
const TICK: Duration = Duration::from_secs(1);

/// How the wait ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// All have it; so long it took.
    All(Fleet, Duration),
    /// Not all have it; and what stood in the way of the last look, if anything did.
    Timeout(Fleet, Option<String>),
    /// There is no node, or none any more.
    Nobody,
}

/// Who is told how far it is.
pub(super) trait Tell {
    /// After each look, and each second in between.
    fn tell(&mut self, fleet: &Fleet, passed: Duration, trouble: Option<&FetchError>);
}

/// Looks until all have it. Nodes that come or go meanwhile count from the next look on. The first
/// look must succeed; after it, what may pass by itself is waited out.
pub(super) async fn until_all_have_it(
    mut watch: impl Watch,
    view: impl Fn(Timestamp) -> View,
    clock: impl Fn() -> Timestamp,
    limit: Duration,
    jitter: &impl Jitter,
    progress: &mut impl Tell,
) -> Result<Ended, FetchError> {
    let begun = Instant::now();
    let end = begun + limit;
    let mut fleet = view(clock()).judge(watch.nodes().await?);
    let (mut trouble, mut failures) = (None, 0_u32);
    loop {
        if fleet.rows.is_empty() {
            return Ok(Ended::Nobody);
        }
        progress.tell(&fleet, begun.elapsed(), trouble.as_ref());
        match fleet.rows.len() {
            all if trouble.is_none() && fleet.done() == all => {
                return Ok(Ended::All(fleet, begun.elapsed()));
            }
            _ if Instant::now() >= end => {
                return Ok(Ended::Timeout(
                    fleet,
                    trouble.map(|fault| fault.to_string()),
                ));
            }
            _ => {}
        }
        let next = Instant::now() + pause(fleet.rows.len(), failures, jitter);
        while Instant::now() < next.min(end) {
            sleep_until(next.min(end).min(Instant::now() + TICK)).await;
            progress.tell(&fleet, begun.elapsed(), trouble.as_ref());
        }
        match timeout_at(end + GRACE, watch.nodes()).await {
            Ok(Ok(nodes)) => {
                fleet = view(clock()).judge(nodes);
                (trouble, failures) = (None, 0);
            }
            Ok(Err(fault)) if fault.class != Class::Transient => return Err(fault),
            Ok(Err(fault)) => {
                trouble = Some(fault);
                failures = failures.saturating_add(1);
            }
            Err(_elapsed) => {
                return Ok(Ended::Timeout(
                    fleet,
                    Some("the last look got no answer in time".to_owned()),
                ));
            }
        }
    }
}

/// Doubles with each look that failed, and differs by a quarter to either side: several may wait at
/// the same time.
fn pause(nodes: usize, failures: u32, jitter: &impl Jitter) -> Duration {
    let further = u32::try_from(nodes.saturating_sub(1) / PAGE).unwrap_or(u32::MAX);
    let pause = PAUSE.saturating_add(Duration::from_secs(1).saturating_mul(further));
    let pause = Backoff {
        first: pause,
        longest: LONGEST.max(pause),
    }
    .ceiling(failures.saturating_add(1));
    pause * 3 / 4 + jitter.pick(pause / 2)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use jiff::SignedDuration;

    use super::*;
    use authkeys_aws::client::retry::RandomJitter;
    use authkeys_core::fleet::Node;
    use authkeys_core::report::tags::TagNames;

    const AT: &str = "2026-11-24T12:00:00Z";

    type Look = Result<Vec<Node>, FetchError>;

    /// What each look finds in turn, the last one for ever; and when the looks were.
    struct Script<'a>(RefCell<Vec<Look>>, &'a RefCell<Vec<Instant>>);

    impl Watch for Script<'_> {
        async fn nodes(&mut self) -> Look {
            self.1.borrow_mut().push(Instant::now());
            let mut looks = self.0.borrow_mut();
            if looks.len() > 1 {
                looks.remove(0)
            } else {
                looks[0].clone()
            }
        }
    }

    impl Tell for Cell<usize> {
        fn tell(&mut self, _: &Fleet, _: Duration, _: Option<&FetchError>) {
            self.set(self.get() + 1);
        }
    }

    fn node(id: &str, serial: u32, status: &str) -> Node {
        let set = format!("web/{serial}");
        let tags = [
            ("authkeysd:status", status),
            ("authkeysd:keyset", &set),
            ("authkeysd:synced", AT),
        ];
        TagNames::default().node(id, tags)
    }

    fn fault(class: Class) -> FetchError {
        FetchError {
            class,
            message: "EC2 answered 503".to_owned(),
            remedy: "wait".to_owned(),
        }
    }

    async fn ended(looks: Vec<Look>, limit: u64) -> (Result<Ended, FetchError>, Vec<Duration>) {
        let (begun, times) = (Instant::now(), RefCell::default());
        let wanted = Some("web/2".parse().unwrap());
        let view = |at| View {
            at,
            heartbeat: SignedDuration::from_hours(6),
            wanted: wanted.clone(),
        };
        let script = Script(RefCell::new(looks), &times);
        let limit = Duration::from_secs(limit);
        let mut ticks = Cell::new(0);
        let ended = until_all_have_it(
            script,
            view,
            || AT.parse().unwrap(),
            limit,
            &RandomJitter,
            &mut ticks,
        )
        .await;
        let times: Vec<_> = times
            .into_inner()
            .into_iter()
            .map(|time| time - begun)
            .collect();
        let empty = matches!(ended, Ok(Ended::Nobody));
        assert!(
            ended.is_err() || empty || ticks.get() >= times.len(),
            "each look is told"
        );
        (ended, times)
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_all_have_it_and_who_is_gone_does_not_count() {
        let looks = vec![
            Ok(vec![node("a", 1, "ok"), node("b", 1, "ok")]),
            Ok(vec![
                node("a", 2, "ok"),
                node("b", 1, "ok"),
                node("c", 1, "ok"),
            ]),
            Ok(vec![node("a", 2, "ok"), node("c", 2, "stale")]),
        ];
        let (ended, times) = ended(looks, 600).await;
        assert!(
            matches!(&ended, Ok(Ended::All(fleet, _)) if fleet.rows.len() == 2),
            "{ended:?}"
        );
        assert_eq!(times.len(), 3);
        for pair in times.windows(2) {
            let pause = pair[1] - pair[0];
            assert!((1_500..2_600).contains(&pause.as_millis()), "{pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_at_the_timeout_with_one_last_look() {
        let (ended, times) = ended(
            vec![Ok(vec![node("a", 2, "ok"), node("b", 2, "degraded")])],
            60,
        )
        .await;
        assert!(
            matches!(&ended, Ok(Ended::Timeout(fleet, None)) if fleet.done() == 1),
            "{ended:?}"
        );
        assert_eq!(times.last().unwrap().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn no_node_is_never_all_nodes() {
        assert!(matches!(
            ended(vec![Ok(vec![])], 60).await.0,
            Ok(Ended::Nobody)
        ));
        let gone = vec![Ok(vec![node("a", 1, "ok")]), Ok(vec![])];
        assert!(matches!(ended(gone, 60).await.0, Ok(Ended::Nobody)));
    }

    #[tokio::test(start_paused = true)]
    async fn f07_throttling_is_waited_out_with_longer_pauses_and_is_never_success() {
        let mut looks = vec![Ok(vec![node("a", 1, "ok")])];
        looks.extend((0..6).map(|_| Err(fault(Class::Transient))));
        looks.push(Ok(vec![node("a", 2, "ok")]));
        let (all, times) = ended(looks, 600).await;
        assert!(matches!(all, Ok(Ended::All(..))), "{all:?}");
        let last = *times.last().unwrap() - times[times.len() - 2];
        assert!((22..39).contains(&last.as_secs()), "{last:?}");

        let looks = vec![Ok(vec![node("a", 1, "ok")]), Err(fault(Class::Transient))];
        let (timeout, _) = ended(looks, 60).await;
        assert!(
            matches!(&timeout, Ok(Ended::Timeout(_, Some(why))) if why.contains("503")),
            "{timeout:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_will_not_pass_ends_it_and_so_does_a_first_look_that_fails() {
        let denied = vec![Ok(vec![node("a", 1, "ok")]), Err(fault(Class::Denied))];
        assert_eq!(ended(denied, 600).await.0.unwrap_err().class, Class::Denied);
        assert_eq!(
            ended(vec![Err(fault(Class::Transient))], 600)
                .await
                .0
                .unwrap_err()
                .class,
            Class::Transient
        );
    }

    #[test]
    fn larger_fleets_are_looked_at_less_often() {
        for (nodes, seconds) in [(1, 2), (1_000, 2), (1_001, 3), (10_000, 11)] {
            let pause = pause(nodes, 0, &RandomJitter).as_secs_f64();
            let seconds = f64::from(seconds);
            assert!(
                (seconds * 0.74..seconds * 1.26).contains(&pause),
                "{nodes}: {pause}"
            );
        }
    }
}

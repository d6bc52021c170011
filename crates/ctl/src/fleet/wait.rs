//! Waits until all nodes have a document: polls politely, and never for longer than requested.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::WatchNodes;
use authkeys_aws::client::retry::Jitter;
use authkeys_core::fleet::{Fleet, Node, View};
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::schedule::Backoff;

/// The pause between two looks at up to a thousand nodes, which are one page of an answer; every
/// further page adds a second. Only the nodes that are still polled count.
const PAUSE: Duration = Duration::from_secs(2);
const PAGE: usize = 1_000;
/// The longest pause while EC2 throttles or is unavailable.
const LONGEST: Duration = Duration::from_secs(30);
/// How far the last look may run past the limit.
const GRACE: Duration = Duration::from_secs(10);
/// How often the shown elapsed time is updated.
const TICK: Duration = Duration::from_secs(1);

/// How the wait ended.
#[derive(Debug)]
pub(super) enum WaitEnd {
    /// All nodes have it, after this long.
    All(Fleet, Duration),
    /// Not all nodes have it in time; with the fault of the last look, if it failed.
    Timeout(Fleet, Option<String>),
    /// There are no nodes, or none are left.
    Nobody,
}

/// Receives the progress of a wait.
pub(super) trait Tell {
    /// Called after each look, and every second in between.
    fn tell(&mut self, fleet: &Fleet, passed: Duration, trouble: Option<&FetchError>);
}

/// Polls until all nodes have the document. After the first look, only the nodes without it are
/// polled; when none is left, one more look at all nodes ends the wait or finds new nodes. The
/// first look must succeed; later transient failures are waited out.
pub(super) async fn until_all_have_it(
    mut watch: impl WatchNodes,
    view: impl Fn(Timestamp) -> View,
    clock: impl Fn() -> Timestamp,
    limit: Duration,
    jitter: &impl Jitter,
    progress: &mut impl Tell,
) -> Result<WaitEnd, FetchError> {
    let started = Instant::now();
    let end = started + limit;
    let mut nodes = BTreeMap::new();
    replace(&mut nodes, &LookEnd::All, watch.nodes().await?);
    let mut last = LookEnd::All;
    let mut trouble = None;
    let mut failures = 0_u32;
    loop {
        let fleet = view(clock()).judge(nodes.values().cloned().collect());
        if !fleet.rows.is_empty() {
            progress.tell(&fleet, started.elapsed(), trouble.as_ref());
        }
        let missing = missing(&fleet);
        let all_have_it = missing.is_empty() && trouble.is_none();
        match last {
            LookEnd::All if all_have_it && fleet.rows.is_empty() => return Ok(WaitEnd::Nobody),
            LookEnd::All if all_have_it => return Ok(WaitEnd::All(fleet, started.elapsed())),
            _ if Instant::now() >= end && !all_have_it => {
                let trouble = trouble.map(|fault: FetchError| fault.with_code());
                return Ok(WaitEnd::Timeout(fleet, trouble));
            }
            _ => {}
        }
        if !all_have_it {
            let next = Instant::now() + pause(missing.len(), failures, jitter);
            while Instant::now() < next.min(end) {
                sleep_until(next.min(end).min(Instant::now() + TICK)).await;
                progress.tell(&fleet, started.elapsed(), trouble.as_ref());
            }
        }
        last = match missing.is_empty() {
            true => LookEnd::All,
            false => LookEnd::Missing(missing),
        };
        let looked = async {
            match &last {
                LookEnd::All => watch.nodes().await,
                LookEnd::Missing(ids) => watch.nodes_again(ids).await,
            }
        };
        match timeout_at(end + GRACE, looked).await {
            Ok(Ok(found)) => {
                replace(&mut nodes, &last, found);
                (trouble, failures) = (None, 0);
            }
            Ok(Err(fault)) if fault.class != Class::Transient => return Err(fault),
            Ok(Err(fault)) => {
                trouble = Some(fault);
                failures = failures.saturating_add(1);
            }
            Err(_elapsed) => {
                let why = "the last request got no answer in time".to_owned();
                return Ok(WaitEnd::Timeout(fleet, Some(why)));
            }
        }
    }
}

/// Which nodes a look covers.
enum LookEnd {
    All,
    /// The nodes with these ids.
    Missing(Vec<String>),
}

fn missing(fleet: &Fleet) -> Vec<String> {
    let mut missing = Vec::new();
    for row in &fleet.rows {
        if !fleet.is_done(row) {
            missing.push(row.node.id.clone());
        }
    }
    missing
}

/// Merges the result of a look; a node that it did not find is removed.
fn replace(nodes: &mut BTreeMap<String, Node>, look: &LookEnd, found: Vec<Node>) {
    match look {
        LookEnd::All => nodes.clear(),
        LookEnd::Missing(ids) => {
            for id in ids {
                nodes.remove(id);
            }
        }
    }
    for node in found {
        nodes.insert(node.id.clone(), node);
    }
}

/// Doubles with each failed look, and varies by a quarter either way, because several waits may run
/// at the same time.
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
    use authkeys_core::report::tags::TagNames;

    const AT: &str = "2026-11-24T12:00:00Z";

    type Found = Result<Vec<Node>, FetchError>;

    /// When a look was, and at whom; `None` is at all.
    type Asked = (Instant, Option<Vec<String>>);

    /// What there is at each look in turn, the last one for ever; and the looks.
    struct Script<'a>(Vec<Found>, &'a RefCell<Vec<Asked>>);

    impl Script<'_> {
        fn next(&mut self, ids: Option<&[String]>) -> Found {
            let asked = (Instant::now(), ids.map(<[String]>::to_vec));
            self.1.borrow_mut().push(asked);
            match self.0.len() {
                1 => self.0[0].clone(),
                _ => self.0.remove(0),
            }
        }
    }

    impl WatchNodes for Script<'_> {
        async fn nodes(&mut self) -> Found {
            self.next(None)
        }

        async fn nodes_again(&mut self, ids: &[String]) -> Found {
            let mut nodes = self.next(Some(ids))?;
            nodes.retain(|node| ids.contains(&node.id));
            Ok(nodes)
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
            code: None,
            class,
            message: "EC2 answered 503".to_owned(),
            remedy: "wait".to_owned(),
        }
    }

    async fn ended(looks: Vec<Found>, limit: u64) -> (Result<WaitEnd, FetchError>, Vec<Duration>) {
        let (ended, asked) = ended_and_asked(looks, limit).await;
        let started = asked[0].0;
        (
            ended,
            asked.iter().map(|(time, _)| *time - started).collect(),
        )
    }

    async fn ended_and_asked(
        looks: Vec<Found>,
        limit: u64,
    ) -> (Result<WaitEnd, FetchError>, Vec<Asked>) {
        let asked = RefCell::default();
        let wanted = Some("web/2".parse().unwrap());
        let view = |at| View {
            at,
            heartbeat: SignedDuration::from_hours(6),
            wanted: wanted.clone(),
        };
        let script = Script(looks, &asked);
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
        let asked = asked.into_inner();
        let empty = matches!(ended, Ok(WaitEnd::Nobody));
        assert!(
            ended.is_err() || empty || ticks.get() >= asked.len(),
            "each look is told"
        );
        (ended, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn only_nodes_that_are_missing_are_asked_again_and_all_of_them_at_the_end() {
        let looks = vec![
            Ok(vec![
                node("a", 2, "ok"),
                node("b", 1, "ok"),
                node("c", 1, "ok"),
            ]),
            Ok(vec![node("b", 2, "ok"), node("c", 1, "ok")]),
            Ok(vec![node("c", 2, "ok")]),
            // One came, and one went back.
            Ok(vec![
                node("a", 1, "ok"),
                node("b", 2, "ok"),
                node("c", 2, "ok"),
                node("d", 1, "ok"),
            ]),
            Ok(vec![node("a", 2, "ok"), node("d", 2, "ok")]),
            Ok(vec![
                node("a", 2, "ok"),
                node("b", 2, "ok"),
                node("c", 2, "ok"),
                node("d", 2, "ok"),
            ]),
        ];
        let (ended, asked) = ended_and_asked(looks, 600).await;
        assert!(
            matches!(&ended, Ok(WaitEnd::All(fleet, _)) if fleet.rows.len() == 4),
            "{ended:?}"
        );
        let asked: Vec<_> = asked
            .iter()
            .map(|(_, ids)| ids.as_ref().map(|ids| ids.join(" ")))
            .collect();
        let expected = [None, Some("b c"), Some("c"), None, Some("a d"), None];
        assert_eq!(asked, expected.map(|ids| ids.map(str::to_owned)));
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
            Ok(vec![]),
            Ok(vec![node("a", 2, "ok"), node("c", 2, "stale")]),
        ];
        let (ended, times) = ended(looks, 600).await;
        assert!(
            matches!(&ended, Ok(WaitEnd::All(fleet, _)) if fleet.rows.len() == 2),
            "{ended:?}"
        );
        assert_eq!(times.len(), 4);
        for pair in times[..3].windows(2) {
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
            matches!(&ended, Ok(WaitEnd::Timeout(fleet, None)) if fleet.done() == 1),
            "{ended:?}"
        );
        assert_eq!(times.last().unwrap().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn no_node_is_never_all_nodes() {
        assert!(matches!(
            ended(vec![Ok(vec![])], 60).await.0,
            Ok(WaitEnd::Nobody)
        ));
        let gone = vec![Ok(vec![node("a", 1, "ok")]), Ok(vec![])];
        assert!(matches!(ended(gone, 60).await.0, Ok(WaitEnd::Nobody)));
    }

    #[tokio::test(start_paused = true)]
    async fn f07_throttling_is_waited_out_with_longer_pauses_and_is_never_success() {
        let mut looks = vec![Ok(vec![node("a", 1, "ok")])];
        looks.extend((0..6).map(|_| Err(fault(Class::Transient))));
        looks.push(Ok(vec![node("a", 2, "ok")]));
        let (all, times) = ended(looks, 600).await;
        assert!(matches!(all, Ok(WaitEnd::All(..))), "{all:?}");
        let last = times[times.len() - 2] - times[times.len() - 3];
        assert!((22..39).contains(&last.as_secs()), "{last:?}");

        let looks = vec![Ok(vec![node("a", 1, "ok")]), Err(fault(Class::Transient))];
        let (timeout, _) = ended(looks, 60).await;
        assert!(
            matches!(&timeout, Ok(WaitEnd::Timeout(_, Some(why))) if why.contains("503")),
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

//! Ten thousand nodes that are nudged, with the real planning: how busy the source's busiest second
//! is, how soon nodes fetch, and what somebody who sets the tag without end can cause.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use authkeys_core::schedule::{
    Act, Ended, NUDGE_GAP, NodePosition, Nudge, Planner, Schedule, Splay, Timing,
};
use jiff::{SignedDuration, Timestamp};

const NODES: usize = 10_000;
const START: i64 = 1_800_000_000;
/// The schedule, in seconds.
const INTERVAL: i64 = 300;
/// When the tag is set for the first time, in seconds after the start.
const PUBLISHED: i64 = 330;
/// How many instances one CreateTags call tags, and how long it takes.
const CHUNK: usize = 1_000;
const CALL: SignedDuration = SignedDuration::from_millis(150);

/// An even random number from 0 to 1, the same at each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// What happens to one node next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Its fetcher looks at the tag.
    Look,
    /// Its planner may have something to do.
    Wake,
}

struct Seen {
    /// Fetches in each second from the start.
    rate: Vec<u32>,
    /// When each node fetched.
    fetches: Vec<Vec<Timestamp>>,
}

impl Seen {
    fn busiest(&self, from: i64, to: i64) -> u32 {
        let span = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
        *self.rate[span].iter().max().unwrap()
    }

    /// From the publication to each node's first fetch after its tag was set, in order.
    fn delays(&self) -> Vec<SignedDuration> {
        let nodes = self.fetches.iter().enumerate();
        let mut delays: Vec<_> = nodes
            .map(|(number, times)| {
                let first = times.iter().find(|at| **at >= tagged(number)).unwrap();
                first.duration_since(at(PUBLISHED))
            })
            .collect();
        delays.sort();
        delays
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

/// When the publisher has set the node's tag.
fn tagged(number: usize) -> Timestamp {
    at(PUBLISHED) + CALL * i32::try_from(number / CHUNK + 1).unwrap()
}

/// Runs the fleet; `value` is the tag's value for a node at a time. A fetcher that has told its
/// installer is asked again 5 s later, as in the service, and looks a random part of the pace later.
fn fleet(nudge: Nudge, seconds: i64, value: impl Fn(usize, Timestamp) -> i64) -> Seen {
    let mut random = Random(23);
    let schedule = Schedule::Every(SignedDuration::from_secs(INTERVAL));
    let mut nodes = Vec::new();
    let mut queue = BinaryHeap::new();
    for number in 0..NODES {
        let start = at(0) + SignedDuration::from_secs_f64(random.next() * 60.0);
        let timing = Timing {
            schedule: schedule.clone(),
            splay: Splay::default(),
            node: NodePosition::new(&format!("i-{number:017x}"), "s3://keys/prod/workers.json"),
        };
        nodes.push((Planner::new(timing, start), value(number, start), start));
        // Nothing changes before.
        let first = at(PUBLISHED) - nudge.every.mul_f64(random.next());
        queue.push(Reverse((start, number, Event::Wake)));
        queue.push(Reverse((first, number, Event::Look)));
    }
    let mut seen = Seen {
        rate: vec![0; usize::try_from(seconds).unwrap()],
        fetches: vec![Vec::new(); NODES],
    };
    while let Some(Reverse((now, number, event))) = queue.pop() {
        let looked_enough = event == Event::Look && now > at(PUBLISHED + 60);
        if now >= at(seconds) || looked_enough {
            continue;
        }
        let (planner, known, wake) = &mut nodes[number];
        if event == Event::Look {
            let current = value(number, now);
            let mut next = now + nudge.every;
            if current != *known {
                *known = current;
                planner.nudge(nudge.wait(random.next()), now);
                next = now + NUDGE_GAP + nudge.every.mul_f64(random.next());
                *wake = planner.wake().max(now);
                queue.push(Reverse((*wake, number, Event::Wake)));
            }
            queue.push(Reverse((next, number, Event::Look)));
            continue;
        }
        // A nudge came after this alarm was set, and set another.
        if now != *wake {
            continue;
        }
        if planner.due(now) == Some(Act::Fetch) {
            let second = now.duration_since(at(0)).as_secs();
            seen.rate[usize::try_from(second).unwrap()] += 1;
            seen.fetches[number].push(now);
            let took = SignedDuration::from_millis((random.next() * 100.0) as i64);
            let settled = Ended::Settled { change: None };
            planner.ended(Act::Fetch, settled, now + took, random.next());
        }
        *wake = planner.wake().max(now);
        queue.push(Reverse((*wake, number, Event::Wake)));
    }
    seen
}

fn seconds(nudge: i64, spread: i64) -> Nudge {
    Nudge {
        every: SignedDuration::from_secs(nudge),
        spread: SignedDuration::from_secs(spread),
    }
}

/// One publication, which sets each node's tag once.
fn publication(number: usize, now: Timestamp) -> i64 {
    i64::from(now >= tagged(number))
}

#[test]
fn one_nudge_is_spread_and_soon_and_leaves_no_herd_behind() {
    for (nudge, most, last) in [
        (seconds(2, 2), 5_000, 4.0),
        (seconds(2, 10), 1_250, 12.0),
        (seconds(5, 30), 400, 32.0),
    ] {
        let seen = fleet(nudge, PUBLISHED + 340, publication);
        let delays = seen.delays();
        let (median, longest) = (delays[NODES / 2], delays[NODES - 1]);
        let usual = seen.busiest(300, PUBLISHED);
        let peak = seen.busiest(PUBLISHED, PUBLISHED + 40);
        let after = seen.busiest(PUBLISHED + 40, PUBLISHED + 340);
        println!(
            "every {:#}, spread {:#}: median {median:#}, the last {longest:#}; at most {peak} \
             requests a second, usually {usual}, later {after}",
            nudge.every, nudge.spread
        );
        assert!(f64::from(peak) < f64::from(most) * 1.1 + f64::from(usual));
        assert!(longest.as_secs_f64() < last, "{longest:#}");
        assert!(after < usual + usual / 3, "{after}, usually {usual}");
        if nudge.spread <= nudge.every {
            assert!(median < SignedDuration::from_secs(2), "{median:#}");
        }
    }
}

#[test]
fn a_tagger_without_end_causes_each_node_one_fetch_in_five_seconds() {
    let hostile = |_: usize, now: Timestamp| {
        let since = now.duration_since(at(PUBLISHED));
        (since.as_millis() / 100).max(0).try_into().unwrap()
    };
    let seen = fleet(seconds(1, 0), PUBLISHED + 60, hostile);
    let mut most = 0;
    for times in &seen.fetches {
        let within = times.iter().filter(|time| **time >= at(PUBLISHED));
        most = most.max(within.count());
        let nudged = times.windows(3).filter(|three| three[0] >= at(PUBLISHED));
        for three in nudged {
            // One of three in a row may be the schedule's own.
            let apart = three[2].duration_since(three[0]);
            assert!(apart >= NUDGE_GAP, "{apart:#}");
        }
    }
    let mean: u32 = seen.rate[350..390].iter().sum();
    println!(
        "a hostile tagger: at most {most} fetches of a node in 60 s, {} requests a second in the \
         mean, at most {}",
        mean / 40,
        seen.busiest(PUBLISHED + 5, PUBLISHED + 60)
    );
    assert!(most <= 60 / 5 + 2, "{most}");
    assert!(mean / 40 <= 2_100, "{mean}");
}

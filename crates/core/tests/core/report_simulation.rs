//! Ten thousand nodes that all have something to tell at once, with the real planning, against
//! EC2's budget for an account.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use authkeys_core::schedule::{Pace, Reports};
use jiff::SignedDuration;

const NODES: usize = 10_000;
const HEARTBEAT: SignedDuration = SignedDuration::from_hours(6);
/// The documented `report_spread` for so many nodes, in seconds.
const SPREAD: i32 = 2_000;
/// All nodes have found a new key set after one interval of the usual schedule.
const INTERVAL: f64 = 60.0;

/// EC2's allowance for CreateTags: a burst, and so many a second.
struct Bucket {
    tokens: f64,
    at: SignedDuration,
}

impl Bucket {
    const BURST: f64 = 100.0;
    const RATE: f64 = 10.0;

    fn new() -> Self {
        Self {
            tokens: Self::BURST,
            at: SignedDuration::ZERO,
        }
    }

    fn allows(&mut self, now: SignedDuration) -> bool {
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * Self::RATE).min(Self::BURST);
        self.at = now;
        let allowed = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(allowed));
        allowed
    }
}

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

#[derive(Debug, Default)]
struct Seen {
    /// Calls in each second.
    calls: Vec<u32>,
    throttled: u32,
    /// When the last node had told the change.
    last: f64,
}

impl Seen {
    /// The most calls a second over any ten seconds.
    fn busiest(&self) -> f64 {
        self.calls
            .windows(10)
            .map(|window| f64::from(window.iter().sum::<u32>()) / 10.0)
            .fold(0.0, f64::max)
    }
}

/// Every node finds the change at a time of its own within the interval, and tells it; the fleet is
/// watched that long.
fn publication(spread: SignedDuration, seconds: usize) -> Seen {
    let mut random = Random(7);
    let mut bucket = Bucket::new();
    let mut seen = Seen {
        calls: vec![0; seconds],
        ..Seen::default()
    };
    let mut queue = BinaryHeap::new();
    let mut nodes: Vec<Reports> = Vec::new();
    for number in 0..NODES {
        let mut node = Reports::new(Pace {
            heartbeat: HEARTBEAT,
            spread,
        });
        let found = SignedDuration::from_secs_f64(random.next() * INTERVAL);
        node.say("workers/2", found, random.next());
        queue.push(Reverse((node.due().unwrap(), number)));
        nodes.push(node);
    }
    let mut told = 0;
    while let Some(Reverse((now, number))) = queue.pop() {
        let Some(count) = seen.calls.get_mut(usize::try_from(now.as_secs()).unwrap()) else {
            break;
        };
        *count += 1;
        let node = &mut nodes[number];
        if bucket.allows(now) {
            node.delivered("workers/2", now, random.next());
            told += 1;
            if told == NODES {
                seen.last = now.as_secs_f64();
            }
        } else {
            seen.throttled += 1;
            node.failed(now, random.next());
        }
        queue.push(Reverse((node.due().unwrap(), number)));
    }
    assert!(told >= NODES, "{told} of {NODES} nodes were heard");
    seen
}

#[test]
fn f08_with_the_documented_spread_a_fleet_stays_within_the_budget_and_is_heard_in_time() {
    let spread = SignedDuration::from_secs(1) * SPREAD;
    let seen = publication(spread, 4_000);
    println!(
        "at most {:.1} calls a second over ten seconds, {} throttled, all heard after {:.0} s",
        seen.busiest(),
        seen.throttled,
        seen.last
    );
    assert!(
        seen.busiest() <= Bucket::RATE && seen.throttled == 0,
        "{}",
        seen.busiest()
    );
    assert!(seen.last <= f64::from(SPREAD) + INTERVAL, "{}", seen.last);
}

#[test]
fn f08_the_heartbeats_of_a_day_stay_spread() {
    let seen = publication(SignedDuration::from_secs(1) * SPREAD, 24 * 3_600);
    let heartbeats = &seen.calls[3 * 3_600..];
    let busiest = heartbeats
        .windows(10)
        .map(|window| window.iter().sum::<u32>())
        .max()
        .unwrap();
    println!("heartbeats: at most {busiest} in ten seconds");
    assert!(busiest <= 100 && seen.throttled == 0, "{busiest}");
}

#[test]
fn f08_a_spread_that_is_far_too_short_costs_time_but_ends_well() {
    let seen = publication(SignedDuration::from_secs(30), 12 * 3_600);
    println!(
        "{} calls throttled, all heard after {:.0} s",
        seen.throttled, seen.last
    );
    // Each node tries a few times, ever more seldom: no storm that keeps itself alive.
    assert!(
        seen.throttled < 8 * u32::try_from(NODES).unwrap(),
        "{}",
        seen.throttled
    );
    assert!(seen.last < 5_400.0, "{}", seen.last);
}

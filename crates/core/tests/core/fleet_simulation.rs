//! Ten thousand nodes with the real scheduling: no second of the source's day is much busier than
//! another.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use authkeys_core::schedule::{Ended, NodePosition, Planner, Schedule, Splay, Timing};
use jiff::{SignedDuration, Timestamp};

const NODES: u32 = 10_000;
const INTERVAL: usize = 60;
const START: i64 = 1_800_000_000;
const MINUTE: usize = 60;

/// Requests in each second from the simulation's start.
struct Rate(Vec<u32>);

impl Rate {
    /// The busiest second of a span over the mean.
    fn peak_over_mean(&self, from: usize, to: usize) -> f64 {
        let span = &self.0[from..to];
        let mean = f64::from(span.iter().sum::<u32>()) / span.len() as f64;
        f64::from(*span.iter().max().unwrap()) / mean
    }

    fn per_minute(&self, minute: usize) -> u32 {
        self.0[minute * MINUTE..(minute + 1) * MINUTE].iter().sum()
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

/// Runs the fleet; each node starts at `start(random)` seconds, and the source is away between the
/// seconds of `outage`.
fn fleet(seconds: usize, outage: std::ops::Range<usize>, start: impl Fn(f64) -> f64) -> Rate {
    let mut random = Random(42);
    let mut rate = Rate(vec![0; seconds]);
    let begin = Timestamp::from_second(START).unwrap();
    let mut queue = BinaryHeap::new();
    let mut nodes: Vec<Planner> = Vec::new();
    for number in 0..NODES {
        let now = begin + SignedDuration::from_secs_f64(start(random.next()));
        let node = NodePosition::new(
            &format!("{number:032x}"),
            "s3://acme-ssh-keys/prod/workers.json",
        );
        let schedule = Schedule::Every(SignedDuration::from_secs(i64::try_from(INTERVAL).unwrap()));
        nodes.push(Planner::new(
            Timing {
                schedule,
                splay: Splay::default(),
                node,
            },
            now,
        ));
        queue.push(Reverse((now, nodes.len() - 1)));
    }
    while let Some(Reverse((now, number))) = queue.pop() {
        let second = usize::try_from(now.duration_since(begin).as_secs()).unwrap();
        if second >= seconds {
            continue;
        }
        if let Some(act) = nodes[number].due(now) {
            rate.0[second] += 1;
            // An answer takes its time, and so does a failure.
            let took = SignedDuration::from_millis((random.next() * 400.0) as i64);
            let away = outage.contains(&second);
            let ended = if away {
                Ended::Transient { change: None }
            } else {
                Ended::Settled { change: None }
            };
            nodes[number].ended(act, ended, now + took, random.next());
        }
        queue.push(Reverse((nodes[number].wake().max(now), number)));
    }
    rate
}

fn report(what: &str, rate: &Rate, from: usize, to: usize) {
    let ratio = rate.peak_over_mean(from, to);
    println!("{what}: peak over mean {ratio:.3} over {} s", to - from);
    assert!(ratio < 1.3, "{what}: {ratio}");
}

#[test]
fn f08_the_rate_of_ten_thousand_nodes_is_even_in_steady_state() {
    let rate = fleet(30 * MINUTE, 0..0, |random| random * 600.0);
    report("steady state", &rate, 11 * MINUTE, 30 * MINUTE);
}

#[test]
fn f08_a_simultaneous_reboot_is_over_with_its_first_second() {
    // All nodes come up in the same second; each one's first cycle is at once, as it must be.
    let rate = fleet(30 * MINUTE, 0..0, |random| random);
    assert!(rate.0[0] >= NODES, "{}", rate.0[0]);
    report("after a reboot", &rate, 2, 30 * MINUTE);
}

#[test]
fn f12_an_outage_neither_multiplies_the_load_nor_leaves_a_herd_behind() {
    let (from, to) = (10 * MINUTE, 20 * MINUTE);
    let rate = fleet(40 * MINUTE, from..to, |random| random * 60.0);
    report(
        "in the outage, once backed off",
        &rate,
        from + 3 * MINUTE,
        to,
    );
    report("after the outage", &rate, to, 40 * MINUTE);
    let usual = rate.per_minute(5);
    let worst = (10..20)
        .map(|minute| rate.per_minute(minute))
        .max()
        .unwrap();
    println!("requests in a minute: usually {usual}, at worst in the outage {worst}");
    assert!(worst < 5 * usual);
}

#[test]
fn f12_a_reboot_into_an_outage_ends_evenly_too() {
    let rate = fleet(30 * MINUTE, 0..5 * MINUTE, |random| random);
    report(
        "after a reboot into an outage",
        &rate,
        5 * MINUTE,
        30 * MINUTE,
    );
}

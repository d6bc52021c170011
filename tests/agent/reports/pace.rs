//! When a report is sent, and when a failed one is tried again.

use authkeys_core::schedule::{Pace, Reports};
use jiff::SignedDuration;

use super::SECOND;

fn pace(heartbeat: i64, spread: i64) -> Pace {
    Pace {
        heartbeat: SECOND * i32::try_from(heartbeat).unwrap(),
        spread: SECOND * i32::try_from(spread).unwrap(),
    }
}

fn at(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn a_change_is_told_within_the_spread_and_a_second_one_does_not_put_it_off() {
    let mut plan = Reports::new(pace(3_600, 30));
    assert_eq!(plan.due(), None);
    plan.say("a", at(0), 0.5);
    assert_eq!(plan.due(), Some(at(15)));
    plan.say("b", at(10), 1.0);
    plan.say("b", at(14), 1.0);
    assert_eq!(plan.due(), Some(at(15)));
    plan.delivered("b", at(16), 0.1);
    assert_eq!(
        plan.due(),
        Some(at(16 + 3_600 + 3)),
        "and then the heartbeat"
    );
    plan.say("b", at(60), 0.9);
    assert_eq!(plan.due(), Some(at(3_619)), "no news");
    plan.say("c", at(70), 0.1);
    assert_eq!(plan.due(), Some(at(73)));
}

#[test]
fn what_changed_on_the_way_is_told_next() {
    let mut plan = Reports::new(pace(3_600, 30));
    plan.say("a", at(0), 0.0);
    plan.say("b", at(1), 0.0);
    plan.delivered("a", at(2), 0.5);
    assert_eq!(plan.due(), Some(at(17)));
    plan.delivered("b", at(17), 0.0);
    assert_eq!(plan.due(), Some(at(17 + 3_600)));
}

#[test]
fn f12_a_report_that_fails_is_tried_again_ever_more_seldom_whatever_is_new() {
    let mut plan = Reports::new(pace(21_600, 30));
    plan.say("a", at(0), 0.0);
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..12 {
        plan.failed(now, 1.0);
        let due = plan.due().unwrap();
        plan.say("b", now, 0.0);
        assert_eq!(plan.due(), Some(due), "news do not hurry it");
        waits.push(due.as_secs() - now.as_secs());
        now = due;
    }
    assert_eq!(
        waits,
        [
            30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600, 3_600, 3_600
        ]
    );
    plan.failed(now, 0.0);
    assert_eq!(
        plan.due(),
        Some(now + SECOND),
        "full jitter, but no hammering"
    );
    plan.delivered("b", now, 0.0);
    assert_eq!(plan.due(), Some(now + at(21_600)));
}

//! Windows of keys in whole cycles, without a source and with a wrong clock.

use authkeys_core::origin::Class;
use authkeys_core::outcome::{FaultClass, Status};
use authkeys_testing::numbered::ed;
use authkeysd::agent::Intent;
use jiff::Timestamp;

use super::{TWO, block, classes};
use crate::world::{A, World};

#[test]
fn windows_go_on_while_the_source_is_away() {
    let world = World::new(TWO);
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","not_after":"2026-11-22T10:00:00Z"}},{{"public_key":"{}","not_before":"2026-11-22T10:00:00Z"}}]}}"#,
        ed(1),
        ed(2)
    );
    world.publish("file:/k", "1", &json);
    world.cycle();
    assert!(
        world
            .host
            .text(A)
            .contains(&format!("expiry-time=\"20261122100000Z\" {}", ed(1)))
    );
    world.fail("file:/k", Class::Transient);
    *world.now.borrow_mut() = "2026-11-22T10:00:00Z".parse().unwrap();
    assert_eq!(world.cycle().status, Status::Stale);
    assert_eq!(world.host.text(A), block(&[&ed(2)]));
}

#[test]
fn f39_a_clock_at_1970_closes_no_window_and_opens_none() {
    let world = World::new(TWO);
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","not_before":"2026-11-01T00:00:00Z"}},{{"public_key":"{}","not_before":"2026-12-01T00:00:00Z"}},{{"public_key":"{}","not_after":"2026-11-01T00:00:00Z"}}]}}"#,
        ed(1),
        ed(2),
        ed(3)
    );
    world.publish("file:/k", "1", &json);
    world.cycle();
    assert_eq!(world.host.text(A), block(&[&ed(1)]));
    *world.now.borrow_mut() = Timestamp::UNIX_EPOCH;
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, classes(&outcome)),
        (Status::Degraded, vec![FaultClass::Failed])
    );
    assert!(outcome.detail.contains("clock"), "{}", outcome.detail);
    assert_eq!(
        (world.host.text(A), outcome.changed()),
        (block(&[&ed(1)]), false)
    );
    *world.now.borrow_mut() = "2026-12-01T00:00:00Z".parse().unwrap();
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1), &ed(2)]))
    );
}

#[test]
fn f39_a_time_that_a_clock_ahead_left_behind_opens_no_window_and_closes_none() {
    let world = World::new(TWO);
    let json = |serial: u8, expires: &str, keys: &[(u16, &str)]| {
        let key =
            |(key, window): &(u16, &str)| format!(r#"{{"public_key":"{}"{window}}}"#, ed(*key));
        let keys: Vec<String> = keys.iter().map(key).collect();
        format!(
            r#"{{"version":1,"serial":{serial}{expires},"keys":[{}]}}"#,
            keys.join(",")
        )
    };
    let set = |time: &str| *world.now.borrow_mut() = time.parse().unwrap();
    world.publish("file:/k", "1", &json(1, "", &[(1, ""), (4, "")]));
    set("2027-01-01T00:00:00Z");
    assert_eq!(world.cycle().status, Status::Ok);
    set("2026-11-22T00:00:00Z");
    let opens = r#","not_before":"2026-12-01T00:00:00Z""#;
    let closes = r#","not_after":"2026-12-15T00:00:00Z""#;
    let keys = [(1, ""), (2, opens), (3, ""), (4, closes)];
    world.publish(
        "file:/k",
        "2",
        &json(2, r#","expires":"2026-12-20T00:00:00Z""#, &keys),
    );
    let until = format!("expiry-time=\"20261215000000Z\" {}", ed(4));
    let held = block(&[&ed(1), &ed(3), &until]);
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, classes(&outcome)),
        (Status::Degraded, vec![FaultClass::Failed])
    );
    assert_eq!(
        (world.host.text(A), outcome.sources[0].status),
        (held.clone(), Status::Ok)
    );
    // It is judged as soon as the time can be believed.
    assert_eq!(
        outcome.accounts[0].next_change,
        Some("2027-01-01T00:00:00Z".parse().unwrap())
    );
    let kept = world.cycle_kept(&outcome, "2026-12-16T00:00:00Z".parse().unwrap());
    assert_eq!((kept.changed(), world.host.text(A)), (false, held));
    let kept = world.cycle_kept(&kept, "2026-12-20T00:00:00Z".parse().unwrap());
    assert_eq!(
        kept.sources[0].status,
        Status::Stale,
        "by the recorded time, and by the clock as well"
    );
    set("2026-12-01T00:00:00Z");
    let outcome = world.cycle_as(Intent {
        accept_rollback: true,
        ..Intent::default()
    });
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1), &ed(2), &ed(3), &until]))
    );
}

//! Windows, expiry and clocks over many cycles.

use authkeys_core::origin::Class;
use authkeys_core::outcome::Status;
use authkeys_testing::numbered::ed;
use authkeysd::state::Store;
use jiff::{SignedDuration, Timestamp};

use super::{ONE, Running};
use crate::cycles::block;
use crate::world::A;

#[test]
fn windows_cut_over_without_a_fetch_and_keep_what_was_said_of_the_source() {
    let mut node = Running::new(ONE);
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","not_after":"2026-11-22T10:00:00Z"}},{{"public_key":"{}","not_before":"2026-11-22T10:00:00Z"}}]}}"#,
        ed(1),
        ed(2)
    );
    let opens: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    node.world.publish("file:/k", "1", &json);
    assert_eq!(node.cycle().0.next_change, Some(opens));
    node.world.fail("file:/k", Class::Denied);
    let (before, _) = node.next();
    // A source that would answer: it must not be asked.
    node.world.publish("file:/k", "2", &format!("{}\n", ed(3)));
    let after = node.world.cycle_kept(&before, opens);
    assert_eq!((after.status, after.next_change), (Status::Stale, None));
    assert_eq!(
        (after.sources[0].problem, after.sources[0].fetched),
        (before.sources[0].problem, before.sources[0].fetched)
    );
    assert_eq!(node.world.host.text(A), block(&[&ed(2)]));
}

#[test]
fn a_document_that_is_held_for_having_too_few_keys_is_taken_when_its_window_opens() {
    let mut node = Running::new(ONE);
    let coming = format!(
        r#"{{"public_key":"{}","not_before":"2026-11-22T10:00:00Z"}}"#,
        ed(2)
    );
    let json = format!(r#"{{"version":1,"keys":[{coming}]}}"#);
    let opens: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    for before in [None, Some(format!("{}\n", ed(1)))] {
        if let Some(text) = &before {
            node = Running::new(ONE);
            node.world.publish("file:/k", "0", text);
            assert_eq!(node.cycle().0.status, Status::Ok);
        }
        node.world.publish("file:/k", "1", &json);
        let (held, _) = node.cycle();
        assert!(
            held.status > Status::Ok && held.detail.contains("min_keys"),
            "{}",
            held.detail
        );
        assert_eq!(held.next_change, Some(opens), "{before:?}");
        let after = node.world.cycle_kept(&held, opens);
        assert_eq!(
            (after.status, after.next_change),
            (Status::Ok, None),
            "{before:?}"
        );
        assert_eq!(node.world.host.text(A), block(&[&ed(2)]));
    }
}

#[test]
fn a_document_is_stale_from_the_moment_at_which_it_expires_and_nobody_is_asked() {
    let mut node = Running::new(ONE);
    let json = |more: &str| {
        format!(
            r#"{{"version":1{more},"keys":[{{"public_key":"{}"}}]}}"#,
            ed(1)
        )
    };
    let expires: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    node.world.publish(
        "file:/k",
        "1",
        &json(r#","expires":"2026-11-22T10:00:00Z""#),
    );
    let (before, _) = node.cycle();
    assert_eq!(
        (before.status, before.next_change),
        (Status::Ok, Some(expires))
    );
    node.world.publish("file:/k", "2", &json(""));
    let after = node.world.cycle_kept(&before, expires);
    assert_eq!(
        (after.status, after.next_change, after.changed()),
        (Status::Stale, None, false)
    );
    assert!(after.detail.contains("expired at"), "{}", after.detail);
}

#[test]
fn f39_a_clock_that_is_wrong_opens_no_window_closes_none_and_is_reported() {
    let mut node = Running::new(ONE);
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","not_before":"2026-11-22T10:00:00Z"}},{{"public_key":"{}","not_after":"2026-11-22T12:00:00Z"}}]}}"#,
        ed(1),
        ed(2)
    );
    node.world.publish("file:/k", "1", &json);
    *node.world.now.borrow_mut() = "2026-11-22T11:00:00Z".parse().unwrap();
    node.cycle();
    let right = node.world.host.text(A);
    assert!(right.contains(&ed(1)) && right.contains(&ed(2)));
    // Set back, also to where the first window was not open yet; and at boot, in 1970.
    for wrong in ["2026-11-22T09:00:00Z", "1970-01-01T00:00:05Z"] {
        *node.world.now.borrow_mut() = wrong.parse().unwrap();
        let (outcome, told) = node.cycle();
        assert_eq!(
            (outcome.status, node.world.host.text(A)),
            (Status::Degraded, right.clone()),
            "{wrong}"
        );
        assert!(
            outcome.detail.contains("the clock says"),
            "{}",
            outcome.detail
        );
        assert_eq!(
            told.len(),
            usize::from(wrong.starts_with("2026")),
            "told once: {told:?}"
        );
    }
    *node.world.now.borrow_mut() = "2026-11-22T12:00:00Z".parse().unwrap();
    let (outcome, _) = node.cycle();
    assert_eq!(
        (outcome.status, node.world.host.text(A)),
        (Status::Ok, block(&[&ed(1)]))
    );
}

#[test]
fn f39_time_is_recorded_rarely_and_survives_restarts() {
    let mut node = Running::new(ONE);
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    node.cycle();
    let state = node.world.state.path().join("state.json");
    let mut writes = 0;
    let mut last = std::fs::read(&state).unwrap();
    for _ in 0..600 {
        node.next();
        let now = std::fs::read(&state).unwrap();
        writes += usize::from(now != last);
        last = now;
    }
    assert_eq!(writes, 10, "ten hours");
    let store = Store::open(node.world.state.path()).unwrap();
    let age = node
        .world
        .now
        .borrow()
        .duration_since(store.state().clock.unwrap());
    assert!(age < SignedDuration::from_hours(1), "{age}");
}

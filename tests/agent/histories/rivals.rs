//! Who else writes an account's file: people now and then, and programs again and again.

use authkeys_core::history::History;
use authkeys_core::outcome::Status;
use authkeys_core::report::kind::Kind;
use authkeys_testing::numbered::ed;
use jiff::SignedDuration;

use super::{MINUTE, ONE, Running};
use crate::cycles::block;
use crate::world::A;

#[test]
fn drift_is_told_apart_from_what_was_published() {
    let mut node = Running::new(ONE);
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    node.cycle();
    node.world
        .publish("file:/k", "2", &format!("{}\n{}\n", ed(1), ed(2)));
    assert!(!node.next().1.contains(&Kind::DriftRepaired));
    node.world.host.set(A, &block(&[&ed(1), &ed(9)]));
    let (outcome, told) = node.next();
    assert_eq!(
        (outcome.status, outcome.accounts[0].repairs),
        (Status::Ok, 1)
    );
    assert_eq!(
        told,
        [Kind::DriftRepaired, Kind::KeyAdded, Kind::KeyRemoved]
    );
    // The first cycle with another configuration proves nothing about others.
    node.world
        .config
        .push_str("[policy]\nmin_rsa_bits = 3072\n");
    node.world.host.set(A, "");
    assert_eq!(node.next().1, [Kind::KeyAdded, Kind::KeyAdded]);
}

#[test]
fn a_rival_writer_is_named_after_the_third_repair_in_a_row_until_he_rests() {
    // The cron job that this node forgot, every 20 minutes, under a schedule of one.
    let mut node = Running::new(ONE);
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    node.cycle();
    for minute in 1..=70 {
        if minute % 20 == 0 {
            node.world.host.set(A, &format!("{} old\n", ed(9)));
        }
        let (outcome, told) = node.next();
        let named = told.contains(&Kind::RivalWriter);
        assert_eq!(named, minute == 60, "minute {minute}: {told:?}");
        assert_eq!(
            outcome.status,
            if minute < 60 {
                Status::Ok
            } else {
                Status::Degraded
            },
            "minute {minute}"
        );
    }
    let (last, _) = (0..60).map(|_| node.next()).last().unwrap();
    assert_eq!(last.status, Status::Ok, "he rests");
}

#[test]
fn a_rival_writer_is_named_also_where_each_cycle_is_a_process_of_its_own() {
    let mut node = Running::new(ONE);
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    node.cycle();
    for repair in 1..=4 {
        let written = serde_json::to_string(node.history.last().unwrap()).unwrap();
        node.history = History::new(Some(serde_json::from_str(&written).unwrap()));
        node.world.host.set(A, &format!("{} old\n", ed(9)));
        node.pass(MINUTE * 19);
        let (outcome, told) = node.next();
        assert!(told.contains(&Kind::DriftRepaired), "{told:?}");
        assert_eq!(outcome.accounts[0].repairs, repair);
        assert_eq!(
            outcome.status,
            if repair < 3 {
                Status::Ok
            } else {
                Status::Degraded
            }
        );
    }
}

#[test]
fn a_human_who_edits_now_and_then_is_no_rival() {
    let mut node = Running::new(ONE);
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    node.cycle();
    for _ in 0..6 {
        node.pass(SignedDuration::from_hours(50));
        node.world.host.set(A, "");
        let (outcome, told) = node.next();
        assert_eq!(outcome.status, Status::Ok);
        assert!(told.contains(&Kind::DriftRepaired));
    }
}

//! A source with a fallback: the same key set elsewhere, for the time in which the source cannot be
//! reached.

use authkeys_core::origin::Class;
use authkeys_core::outcome::{FaultCode, Outcome, Problem, Status};
use authkeys_core::report::entries::entries;
use authkeys_core::report::kind::Kind;
use authkeys_core::report::text::{self, Colour};
use authkeys_testing::numbered::ed;
use jiff::ToSpan as _;

use super::cycles::block;
use crate::world::{A, World};

const FIRST: &str = "s3://keys/k?region=eu-central-1";
const SECOND: &str = "s3://replica/k?region=eu-west-1";

fn world() -> World {
    World::new(&format!(
        "source = \"{FIRST}\"\nfallback = \"{SECOND}\"\n[[account]]\nuser = \"a\"\n"
    ))
}

fn numbered(serial: u32, keys: &[u16]) -> String {
    let entry = |key: &u16| format!("{{\"public_key\":\"{}\"}}", ed(*key));
    let keys: Vec<String> = keys.iter().map(entry).collect();
    format!(
        r#"{{"version":1,"serial":{serial},"keys":[{}]}}"#,
        keys.join(",")
    )
}

fn text(keys: &[u16]) -> String {
    keys.iter().map(|key| format!("{}\n", ed(*key))).collect()
}

fn pass(world: &World, minutes: i64) {
    let now = *world.now.borrow();
    *world.now.borrow_mut() = now + minutes.minutes();
}

fn answered_by(outcome: &Outcome) -> Option<&str> {
    let by = outcome.sources[0].answered_by.as_ref()?;
    Some(&by.source)
}

#[test]
fn f60_a_replica_answers_while_the_source_cannot_be_reached() {
    let world = world();
    world.publish(FIRST, "v1", &numbered(1, &[1]));
    world.publish(SECOND, "r1", &numbered(1, &[1]));
    let before = world.cycle();
    assert_eq!((before.status, answered_by(&before)), (Status::Ok, None));

    world.fail(FIRST, Class::Transient);
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, answered_by(&outcome), outcome.changed()),
        (Status::Ok, Some(SECOND), false)
    );
    let shown =
        text::render(&outcome, false, Colour::No) + &text::warning_lines(&outcome, Colour::No);
    assert!(
        shown.contains(&format!("from its fallback {SECOND}")),
        "{shown}"
    );
    assert!(
        shown.contains("has not been reached since 2026-11-22T00:00:00Z"),
        "{shown}"
    );
    let told = entries(Some(&before), &outcome, false);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].kind, Kind::Warning);
    assert!(told[0].message.contains("injected"), "{}", told[0].message);

    // What is published meanwhile reaches the replica alone; a serial tells that it is newer.
    pass(&world, 1);
    world.publish(SECOND, "r2", &numbered(2, &[2]));
    let during = world.cycle();
    assert_eq!(
        (during.status, world.host.text(A)),
        (Status::Ok, block(&[&ed(2)]))
    );
    assert_eq!(during.sources[0].fetched, Some(*world.now.borrow()));
    let kept = world.cycle_kept(&during, *world.now.borrow());
    assert_eq!(
        answered_by(&kept),
        Some(SECOND),
        "a replan repeats what was said"
    );

    world.publish(FIRST, "v2", &numbered(2, &[2]));
    let after = world.cycle();
    assert_eq!(
        (after.status, answered_by(&after), after.changed()),
        (Status::Ok, None, false)
    );
    let told = entries(Some(&during), &after, false);
    assert_eq!(told[0].kind, Kind::SourceRecovered);
}

#[test]
fn f60_a_replica_that_is_behind_is_refused() {
    let world = world();
    world.publish(FIRST, "v2", &numbered(2, &[2]));
    world.publish(SECOND, "r1", &numbered(1, &[1]));
    world.cycle();
    world.fail(FIRST, Class::Transient);
    for _ in 0..3 {
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, outcome.sources[0].problem),
            (Status::Stale, Some(Problem::Refused))
        );
        let detail = &outcome.sources[0].detail;
        assert!(
            detail.contains("injected") && detail.contains(SECOND),
            "{detail}"
        );
        assert_eq!(world.host.text(A), block(&[&ed(2)]));
        pass(&world, 60);
    }
    // Nor does the source take back what came from a replica.
    world.publish(SECOND, "r3", &numbered(3, &[3]));
    world.cycle();
    world.publish(FIRST, "v2", &numbered(2, &[2]));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Stale, block(&[&ed(3)]))
    );
}

#[test]
fn f60_without_serials_another_content_is_taken_only_after_some_time() {
    let world = world();
    world.publish(FIRST, "v1", &text(&[1]));
    world.publish(SECOND, "r1", &text(&[2]));
    world.cycle();
    world.fail(FIRST, Class::Transient);
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Stale, block(&[&ed(1)]))
    );
    let source = &outcome.sources[0];
    assert_eq!(source.code, Some(FaultCode::SourceUnreachable));
    assert!(
        source.detail.contains("from 2026-11-22T00:10:00Z on"),
        "{}",
        source.detail
    );
    pass(&world, 9);
    assert_eq!(world.cycle().status, Status::Stale);
    pass(&world, 1);
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, answered_by(&outcome), world.host.text(A)),
        (Status::Ok, Some(SECOND), block(&[&ed(2)]))
    );
    // The source counts as soon as it is there again.
    world.publish(FIRST, "v1", &text(&[1]));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1)]))
    );
    // And the time begins anew.
    world.fail(FIRST, Class::Transient);
    assert_eq!(world.cycle().status, Status::Stale);
}

#[test]
fn f60_the_same_content_is_taken_at_once_and_so_is_any_where_nothing_is_known() {
    let world = world();
    world.publish(FIRST, "v1", &text(&[1]));
    world.publish(SECOND, "r1", &text(&[1]));
    world.cycle();
    world.fail(FIRST, Class::Transient);
    assert_eq!(world.cycle().status, Status::Ok);

    let new = self::world();
    new.fail(FIRST, Class::Transient);
    new.publish(SECOND, "r1", &text(&[1]));
    assert_eq!(
        (new.cycle().status, new.host.text(A)),
        (Status::Ok, block(&[&ed(1)]))
    );
}

#[test]
fn f60_a_source_that_answers_is_not_replaced_whatever_it_says() {
    for class in [Class::Denied, Class::Missing, Class::Invalid] {
        let world = world();
        world.publish(FIRST, "v1", &numbered(1, &[1]));
        world.publish(SECOND, "r2", &numbered(2, &[2]));
        world.cycle();
        world.fail(FIRST, class);
        pass(&world, 60);
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, answered_by(&outcome), world.host.text(A)),
            (Status::Stale, None, block(&[&ed(1)])),
            "{class:?}"
        );
    }
    let world = world();
    world.publish(FIRST, "v1", &numbered(1, &[1]));
    world.publish(SECOND, "r2", &numbered(2, &[2]));
    world.cycle();
    world.publish(FIRST, "v2", "no keys\n");
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Stale, block(&[&ed(1)]))
    );
}

#[test]
fn f60_both_away_is_one_fault_that_names_both() {
    let world = world();
    world.publish(FIRST, "v1", &numbered(1, &[1]));
    world.cycle();
    world.fail(FIRST, Class::Transient);
    world.fail(SECOND, Class::Denied);
    let outcome = world.cycle();
    assert_eq!(outcome.status, Status::Stale);
    assert_eq!(outcome.faults.len(), 1);
    let text = &outcome.faults[0].text;
    assert!(text.contains(FIRST) && text.contains(SECOND), "{text}");
    assert_eq!(world.host.text(A), block(&[&ed(1)]));
}

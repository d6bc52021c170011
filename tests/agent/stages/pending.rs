//! A secret's pending document, in whole cycles.

use authkeys_core::origin::Stage::Pending;
use authkeys_core::outcome::{Problem, Status};
use authkeys_core::report::entries::entries;
use authkeys_core::report::text::{self, Colour};
use authkeys_testing::numbered::ed;

use super::{URL, json, line, stages, written};
use crate::cycles::{TWO, block};
use crate::world::{A, World};

#[test]
fn a_pending_document_that_does_not_count_is_noted() {
    let world = World::new(TWO);
    let document = |serial: u32, key: u8| {
        format!(
            r#"{{"version":1,"serial":{serial},"keys":[{{"public_key":"{}"}}]}}"#,
            ed(key.into())
        )
    };
    world.publish(URL, "v5", &document(5, 1));
    world.stage(URL, Pending, "v3", &document(3, 2));
    for _ in 0..2 {
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, world.host.text(A)),
            (Status::Ok, block(&[&ed(1)]))
        );
        let notes = &outcome.sources[0].notes;
        assert!(
            notes.len() == 1 && notes[0].starts_with("AWSPENDING (version v3) does not count"),
            "{notes:?}"
        );
        let lines = text::warning_lines(&outcome, Colour::No);
        assert!(
            lines.starts_with("warning: file:/k: AWSPENDING (version v3) does not count"),
            "{lines}"
        );
    }
    world.stage(URL, Pending, "v6", &document(6, 2));
    assert!(world.cycle().sources[0].notes.is_empty());
}

#[test]
fn a_bad_pending_document_hurts_no_other_changes_nothing_and_is_told() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &line(1));
    world.stage(URL, Pending, "v2", "<html>no</html>\n");
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, outcome.sources[0].problem),
        (Status::Stale, Some(Problem::Refused))
    );
    assert!(
        outcome
            .detail
            .starts_with("file:/k: AWSPENDING (version v2): no valid key in it"),
        "{}",
        outcome.detail
    );
    assert_eq!(
        (world.host.text(A), outcome.accounts[0].status),
        (block(&[&ed(1)]), Status::Ok)
    );
    let before = written(&world);
    assert_eq!(
        (world.cycle().detail, written(&world)),
        (outcome.detail, before),
        "the verdict is repeated"
    );

    world.stage(URL, Pending, "v3", &line(3));
    assert_eq!(world.cycle().status, Status::Ok);
    world.stage(URL, Pending, "v4", "");
    world.publish(URL, "v5", &line(5));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, stages(&outcome)),
        (
            Status::Stale,
            vec!["AWSCURRENT v5".into(), "AWSPENDING v3".into()]
        )
    );
    assert_eq!(
        world.host.text(A),
        block(&[&ed(5), &ed(3)]),
        "the last good pending document stays, as any other would"
    );
}

#[test]
fn a_pending_document_that_became_current_does_not_come_back_behind_a_bad_one() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &line(1));
    world.stage(URL, Pending, "v2", &line(2));
    world.cycle();
    world.publish(URL, "v2", &line(2));
    world.stage(URL, Pending, "v3", "");
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Stale, block(&[&ed(2)]))
    );
    world.publish(URL, "v4", &line(4));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Stale, block(&[&ed(4)]))
    );
}

#[test]
fn a_pending_document_counts_only_when_its_serial_is_higher() {
    let bare = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}]}}",
        ed(2)
    );
    for (pending, counts) in [
        (json(6, 2, &[]), true),
        (json(5, 2, &[]), false),
        (json(4, 2, &[]), false),
        (bare, false),
    ] {
        let world = World::new(TWO);
        world.publish(URL, "v1", &json(5, 1, &[]));
        world.stage(URL, Pending, "v2", &pending);
        let wanted = if counts {
            block(&[&ed(1), &ed(2)])
        } else {
            block(&[&ed(1)])
        };
        assert_eq!(
            (world.cycle().status, world.host.text(A)),
            (Status::Ok, wanted),
            "{pending}"
        );
        let before = written(&world);
        assert_eq!((world.cycle().changed(), written(&world)), (false, before));
    }
}

#[test]
fn what_a_pending_document_revokes_stays_until_it_is_current() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &json(1, 1, &[3]));
    world.stage(URL, Pending, "v2", &json(2, 2, &[1]));
    world.cycle();
    assert_eq!(
        world.host.text(A),
        block(&[&ed(1), &ed(2)]),
        "the key that is current lets in"
    );
    world.stage(URL, Pending, "v3", &json(3, 3, &[]));
    world.cycle();
    assert_eq!(
        world.host.text(A),
        block(&[&ed(1)]),
        "what the current one revokes, no stage brings back"
    );
    world.publish(URL, "v2", &json(2, 2, &[1]));
    world.unstage(URL, Pending);
    world.cycle();
    assert_eq!(world.host.text(A), block(&[&ed(2)]));
}

#[test]
fn the_pending_document_outlives_restarts_outages_and_an_unchanged_poll_writes_nothing() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &line(1));
    world.stage(URL, Pending, "v2", &line(2));
    world.cycle();
    let before = written(&world);
    assert_eq!((world.cycle().changed(), written(&world)), (false, before));
    world.fail(URL, authkeys_core::origin::Class::Transient);
    world.host.set(A, "");
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Stale, block(&[&ed(1), &ed(2)]))
    );
    assert_eq!(
        world.cycle_kept(&outcome, *world.now.borrow()).sources[0]
            .stages
            .len(),
        2
    );
}

#[test]
fn a_pending_document_is_told_when_it_comes() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &line(1));
    let before = world.cycle();
    world.stage(URL, Pending, "v2", &line(2));
    let now = world.cycle();
    let told = entries(Some(&before), &now, false);
    assert_eq!(
        told[0].message,
        "document accepted: file:/k AWSPENDING version v2"
    );
    assert_eq!(
        told[0].digest,
        now.sources[0].stages[1]
            .document
            .digest
            .map(|digest| digest.to_string())
    );
    let text =
        authkeys_core::report::text::render(&now, false, authkeys_core::report::text::Colour::No);
    assert!(
        text.starts_with("source file:/k, version v1\n  and AWSPENDING, version v2\n"),
        "{text}"
    );
}

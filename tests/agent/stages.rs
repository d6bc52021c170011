//! A secret's stages in whole cycles: the union of its documents, and none of them at another's
//! cost.

use std::os::unix::fs::MetadataExt as _;

use authkeys_core::origin::Class;
use authkeys_core::origin::Stage::{Pending, Previous};
use authkeys_core::outcome::{Outcome, Problem, Status};
use authkeys_core::report::entries::entries;
use authkeys_core::report::kind::Kind;
use authkeys_core::report::text::{self, Colour};
use authkeys_testing::numbered::{ed, print};
use authkeysd::agent::Intent;

use super::cycles::{TWO, block};
use crate::world::{A, B, World};

const URL: &str = "file:/k";

fn line(key: u16) -> String {
    format!("{}\n", ed(key))
}

fn json(serial: u32, key: u16, revoked: &[u16]) -> String {
    let revoked: Vec<String> = revoked
        .iter()
        .map(|key| format!("\"{}\"", print(&ed(*key))))
        .collect();
    let key = ed(key);
    format!(
        "{{\"version\":1,\"serial\":{serial},\"keys\":[{{\"public_key\":\"{key}\"}}],\"revoked\":[{}]}}",
        revoked.join(",")
    )
}

/// The versions of the stages in force, as the outcome tells them.
fn stages(outcome: &Outcome) -> Vec<String> {
    outcome.sources[0]
        .stages
        .iter()
        .map(|stage| format!("{} {}", stage.stage, stage.version))
        .collect()
}

/// The identity and the time of the state file: whether it was written.
fn written(world: &World) -> (u64, i64, i64) {
    let found = std::fs::metadata(world.state.path().join("state.json")).unwrap();
    (found.ino(), found.mtime(), found.mtime_nsec())
}

#[test]
fn f10_through_a_rotation_each_key_that_can_be_current_is_installed_and_then_the_old_one_is_gone() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &line(1));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1)]))
    );

    world.stage(URL, Pending, "v2", &line(2));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, stages(&outcome)),
        (
            Status::Ok,
            vec!["AWSCURRENT v1".into(), "AWSPENDING v2".into()]
        )
    );
    assert_eq!(
        outcome.sources[0].version.as_deref(),
        Some("v1"),
        "the source speaks of the current document"
    );
    assert_eq!(
        (world.host.text(A), world.host.text(B)),
        (block(&[&ed(1), &ed(2)]), block(&[&ed(1), &ed(2)]))
    );

    world.publish(URL, "v2", &line(2));
    world.unstage(URL, Pending);
    let outcome = world.cycle();
    assert_eq!((outcome.status, stages(&outcome).len()), (Status::Ok, 0));
    assert_eq!(
        (world.host.text(A), outcome.accounts[0].removed.len()),
        (block(&[&ed(2)]), 1)
    );
}

#[test]
fn an_abandoned_rotations_key_goes_when_its_stage_goes() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &line(1));
    world.stage(URL, Pending, "v2", &line(2));
    world.cycle();
    world.unstage(URL, Pending);
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1)]))
    );
}

#[test]
fn the_first_of_two_lines_with_one_key_is_that_of_the_more_important_stage() {
    let world = World::new(TWO);
    world.publish(URL, "v3", &format!("{} current\n", ed(1)));
    world.stage(
        URL,
        Pending,
        "v4",
        &format!("{} pending\n{} new\n", ed(1), ed(2)),
    );
    world.stage(
        URL,
        Previous,
        "v2",
        &format!("{} previous\n{} old\n{} older\n", ed(1), ed(2), ed(3)),
    );
    world.cycle();
    let wanted = [
        format!("{} current", ed(1)),
        format!("{} new", ed(2)),
        format!("{} older", ed(3)),
    ];
    assert_eq!(
        world.host.text(A),
        block(&wanted.each_ref().map(String::as_str))
    );
}

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
fn a_bad_current_document_leaves_the_last_good_ones_of_all_stages_in_force() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &line(1));
    world.stage(URL, Pending, "v2", &line(2));
    world.cycle();
    world.publish(URL, "v3", "");
    world.unstage(URL, Pending);
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Stale, block(&[&ed(1), &ed(2)]))
    );
}

#[test]
fn only_the_current_document_reads_and_raises_the_serial_mark() {
    let world = World::new(TWO);
    world.publish(URL, "v5", &json(5, 1, &[]));
    world.stage(URL, Pending, "v9", &json(9, 2, &[]));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1), &ed(2)]))
    );
    // A rotation that was given up: the next serial is the publisher's choice, below the one that
    // never was current.
    world.unstage(URL, Pending);
    world.publish(URL, "v6", &json(6, 3, &[]));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(3)]))
    );
    world.publish(URL, "v5", &json(5, 1, &[]));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Stale, block(&[&ed(3)]))
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
fn the_policy_judges_the_union_and_holds_all_of_it() {
    let world = World::new(&format!("{TWO}[policy]\nmin_keys = 2\n"));
    world.publish(URL, "v1", &line(1));
    world.stage(URL, Pending, "v2", &line(2));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1), &ed(2)]))
    );
    world.publish(URL, "v3", &line(3));
    world.unstage(URL, Pending);
    let outcome = world.cycle();
    assert_eq!(
        (outcome.accounts[0].status, world.host.text(A)),
        (Status::Stale, block(&[&ed(1), &ed(2)]))
    );
    world.host.set(A, "");
    world.cycle();
    assert_eq!(
        world.host.text(A),
        block(&[&ed(1), &ed(2)]),
        "repairs go on under both of them"
    );
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
fn a_state_from_before_there_were_stages_is_read() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &json(7, 1, &[]));
    world.cycle();
    let text = std::fs::read_to_string(world.state.path().join("state.json")).unwrap();
    // What has no stages is written as it was then, so this is a state of that time.
    assert!(
        !text.contains("further") && text.contains("\"schema\": 1"),
        "{text}"
    );
    world.fail(URL, authkeys_core::origin::Class::Transient);
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Stale, block(&[&ed(1)]))
    );
    world.publish(URL, "v2", &json(6, 1, &[]));
    assert_eq!(
        world.cycle_as(Intent::default()).sources[0].problem,
        Some(Problem::Refused),
        "the mark is known"
    );
}

#[test]
fn a_rotation_that_lies_for_a_day_is_a_warning_and_no_fault_and_a_finished_one_is_none() {
    let world = World::new(TWO);
    world.publish(URL, "v1", &line(1));
    world.stage(URL, Pending, "v2", &line(2));
    world.cycle();
    *world.now.borrow_mut() = "2026-11-22T23:59:59Z".parse().unwrap();
    let young = world.cycle();
    assert!(young.sources[0].warnings.is_empty());
    *world.now.borrow_mut() = "2026-11-23T00:00:00Z".parse().unwrap();
    let old = world.cycle();
    assert_eq!(
        (old.status, old.faults.len(), old.sources[0].warnings.len()),
        (Status::Ok, 0, 1)
    );
    let text = &old.sources[0].warnings[0];
    assert!(
        text.starts_with("file:/k: AWSPENDING: version v2 is pending since 2026-11-22T00:00:00Z"),
        "{text}"
    );
    assert_eq!(
        text::warning_lines(&old, Colour::No),
        format!("warning: {text} [AK064]\n")
    );
    let kinds = |before: &Outcome, now: &Outcome| -> Vec<Kind> {
        entries(Some(before), now, false)
            .into_iter()
            .map(|entry| entry.kind)
            .collect()
    };
    assert_eq!(
        (kinds(&young, &old), kinds(&old, &world.cycle())),
        (vec![Kind::Warning], vec![]),
        "told once"
    );
    world.publish(URL, "v2", &line(2));
    world.unstage(URL, Pending);
    assert!(world.cycle().sources[0].warnings.is_empty());
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

#[test]
fn a_field_of_a_secret_is_the_document_and_nothing_beside_it_is_kept_or_told() {
    const FIELD: &str = "secretsmanager:team?field=pub_key";
    let world = World::new(&TWO.replace("file:/k", FIELD));
    let secret = |name: &str, key: u16| {
        let private = "-----BEGIN OPENSSH PRIVATE KEY-----\\nc2VjcmV0\\n";
        format!(
            "{{\"{name}\":\"{}\",\"PrivateKey\":\"{private}\"}}",
            ed(key)
        )
    };
    world.publish(FIELD, "v1", &secret("pub_key", 1));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1)])),
        "{outcome:?}"
    );
    // The field left the secret: nothing is taken away, and names are named.
    world.publish(FIELD, "v2", &secret("public", 2));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Stale, block(&[&ed(1)]))
    );
    assert_eq!(outcome.sources[0].problem, Some(Problem::Refused));
    let detail = &outcome.sources[0].detail;
    assert!(
        detail.contains("no field \"pub_key\", only \"public\", \"PrivateKey\""),
        "{detail}"
    );
    // A pending version without the field costs the current one nothing.
    world.publish(FIELD, "v3", &secret("pub_key", 3));
    world.stage(FIELD, Pending, "v4", "{}");
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Stale, block(&[&ed(3)])),
        "{outcome:?}"
    );
    world.unstage(FIELD, Pending);
    assert_eq!(world.cycle().status, Status::Ok);
    let told = format!("{outcome:?}");
    let documents = std::fs::read_dir(world.state.path().join("documents")).unwrap();
    let kept: Vec<String> = documents
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert_eq!(kept, [ed(3)]);
    for text in kept.iter().chain([&told]) {
        assert!(
            !text.contains("c2VjcmV0") && !text.contains("OPENSSH"),
            "{text}"
        );
    }
}

#[test]
fn what_is_known_of_one_field_of_a_secret_lets_nobody_in_by_another_field() {
    let world = World::new(
        "source = \"secretsmanager:team?field=a\"\n[[account]]\nuser = \"a\"\n\
         [[account]]\nuser = \"b\"\nsource = \"secretsmanager:team?field=b\"\n",
    );
    world.publish(
        "secretsmanager:team?field=a",
        "v1",
        &format!("{{\"a\":\"{}\"}}", ed(1)),
    );
    world.fail("secretsmanager:team?field=b", Class::Transient);
    for _ in 0..2 {
        let outcome = world.cycle();
        assert_eq!(
            (world.host.text(A), world.host.text(B)),
            (block(&[&ed(1)]), String::new())
        );
        assert_eq!(
            [0, 1].map(|at| outcome.accounts[at].status),
            [Status::Ok, Status::Failed]
        );
    }
}

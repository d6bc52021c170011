//! An account with several sources: the union of their key sets, and none of them at another's
//! cost.

use authkeys_core::origin::Class;
use authkeys_core::outcome::{FaultCode, Outcome, Status};
use authkeys_core::report::entries::entries;
use authkeys_core::report::kind::Kind;
use authkeys_core::report::metrics;
use authkeys_core::report::object::{self, ReportedNode};
use authkeys_core::report::summary::Summary;
use authkeys_core::report::tags::{TagNames, tags};
use authkeys_core::report::text::{self, Colour};
use authkeys_testing::numbered::{ed, print};

use super::cycles::block;
use crate::world::{A, World};

const TEAM_A: &str = "s3://team-a/keys.json";
const TEAM_B: &str = "s3://team-b/keys.json";

fn config(policy: &str) -> String {
    format!(
        "source = [\"{TEAM_A}\", \"{TEAM_B}\"]\n[[account]]\nuser = \"a\"\n[policy]\n{policy}\n"
    )
}

/// A document with these keys, and what it revokes.
fn document(name: &str, serial: u32, keys: &[u16], revoked: &[u16]) -> String {
    let entry = |key: &u16| format!("{{\"public_key\":\"{}\"}}", ed(*key));
    let keys: Vec<String> = keys.iter().map(entry).collect();
    let revoked: Vec<String> = revoked
        .iter()
        .map(|key| format!("\"{}\"", print(&ed(*key))))
        .collect();
    format!(
        r#"{{"version":1,"name":"{name}","serial":{serial},"keys":[{}],"revoked":[{}]}}"#,
        keys.join(","),
        revoked.join(",")
    )
}

/// Team A has keys 1 and 2, team B 2 and 3.
fn both(policy: &str) -> World {
    let world = World::new(&config(policy));
    world.publish(TEAM_A, "a1", &document("team-a", 1, &[1, 2], &[]));
    world.publish(TEAM_B, "b1", &document("team-b", 1, &[2, 3], &[]));
    world
}

fn sources(outcome: &Outcome) -> Vec<Status> {
    outcome.sources.iter().map(|source| source.status).collect()
}

#[test]
fn f59_an_account_has_the_keys_of_all_its_sources_each_once() {
    let world = both("");
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1), &ed(2), &ed(3)]))
    );
    let head = format!(
        "# managed by authkeysd from {TEAM_A} and {TEAM_B}: changes between these lines are overwritten\n"
    );
    assert!(world.host.whole_text(A).contains(&head));
    let from: Vec<_> = outcome.accounts[0]
        .in_force
        .iter()
        .map(|key| key.source.as_deref())
        .collect();
    assert_eq!(from, [Some(TEAM_A), Some(TEAM_A), Some(TEAM_B)]);
    let again = world.cycle();
    assert!(!again.changed());

    // Order decides between two lines of one key, and nothing else.
    world.publish(
        TEAM_B,
        "b2",
        &document("team-b", 2, &[2, 3], &[]).replace(&ed(2), &format!("{} of b", ed(2))),
    );
    assert!(!world.cycle().changed());
}

#[test]
fn f59_everybody_is_told_which_source_a_key_came_from() {
    let world = both("");
    let outcome = world.cycle();
    let text = text::render(&outcome, false, Colour::No);
    assert!(
        text.contains(&format!("source {TEAM_A}: team-a/1")),
        "{text}"
    );
    assert!(text.contains(&format!(" (from {TEAM_B})")), "{text}");
    let told = entries(None, &outcome, true);
    let third = print(&ed(3));
    let added = told
        .iter()
        .find(|entry| entry.kind == Kind::KeyAdded && entry.fingerprint.as_ref() == Some(&third));
    assert_eq!(added.unwrap().source.as_deref(), Some(TEAM_B));
    let summary = Summary::of(&outcome).unwrap();
    assert_eq!(summary.keyset, "team-a/1 team-b/1");
    assert_eq!(summary.digest.len(), 16 + 1 + 16);
    let object = object::render(&summary, &outcome, &ReportedNode::host("id", "web-1"));
    let object: serde_json::Value = serde_json::from_slice(&object).unwrap();
    assert_eq!(object["accounts"][0]["documents"][1]["source"], TEAM_B);
    assert_eq!(object["accounts"][0]["documents"][1]["serial"], 1);
    let page = metrics::render(&outcome, None);
    for (source, keys) in [(TEAM_A, 2), (TEAM_B, 1)] {
        let line =
            format!("authkeysd_account_source_keys{{account=\"a\",source=\"{source}\"}} {keys}\n");
        assert!(page.contains(&line), "{page}");
    }
    assert!(
        page.contains(&format!("document_serial{{source=\"{TEAM_B}\"}} 1")),
        "{page}"
    );
    // A wait for either team's document ends when the node has it.
    let by_object = authkeys_core::fleet::object::node("i-1", object.to_string().as_bytes());
    let names = TagNames::default();
    let values = tags(&summary, &names);
    assert_eq!(values["authkeysd:keyset"], "team-a/1 team-b/1");
    let values = values
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let by_tags = names.node("i-1", values);
    for (wanted, met) in [("team-a/1", true), ("team-b/1", true), ("team-b/2", false)] {
        let wanted: authkeys_core::fleet::Wanted = wanted.parse().unwrap();
        for node in [&by_object, &by_tags] {
            let report = node.report().unwrap();
            assert_eq!(wanted.is_met(report), met, "{wanted}");
            assert_eq!(report.key_sets().as_deref(), Some("team-a/1 team-b/1"));
        }
    }
}

#[test]
fn f59_a_source_that_fails_or_is_refused_costs_no_key_of_the_others() {
    for class in [
        Class::Transient,
        Class::Denied,
        Class::Missing,
        Class::Invalid,
    ] {
        let world = both("");
        world.cycle();
        world.fail(TEAM_A, class);
        world.publish(TEAM_B, "b2", &document("team-b", 2, &[3, 4], &[]));
        let outcome = world.cycle();
        assert_eq!(
            (sources(&outcome), world.host.text(A)),
            (
                vec![Status::Stale, Status::Ok],
                block(&[&ed(1), &ed(2), &ed(3), &ed(4)])
            ),
            "{class:?}"
        );
    }
    let world = both("");
    world.cycle();
    world.publish(TEAM_A, "a0", &document("team-a", 0, &[9], &[]));
    world.publish(TEAM_B, "b2", &document("team-b", 2, &[4], &[]));
    let outcome = world.cycle();
    assert_eq!(
        (sources(&outcome), world.host.text(A)),
        (
            vec![Status::Stale, Status::Ok],
            block(&[&ed(1), &ed(2), &ed(4)])
        ),
        "each has a serial of its own"
    );
}

#[test]
fn f59_what_one_source_revokes_is_revoked_for_all() {
    let world = both("");
    world.host.set(A, &format!("{} by hand\n", ed(7)));
    world.cycle();
    world.publish(TEAM_B, "b2", &document("team-b", 2, &[3], &[1, 7]));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Ok, block(&[&ed(2), &ed(3)]))
    );
    // Also while the source that has it cannot be reached, and by what is kept alone.
    world.fail(TEAM_A, Class::Transient);
    let outcome = world.cycle();
    assert_eq!(world.host.text(A), block(&[&ed(2), &ed(3)]));
    let now = *world.now.borrow();
    world.cycle_kept(&outcome, now);
    assert_eq!(world.host.text(A), block(&[&ed(2), &ed(3)]));
}

#[test]
fn f59_a_source_that_was_never_read_takes_nothing_away() {
    for mode in ["block", "exclusive"] {
        let mut world = both("");
        world.config = format!(
            "source = [\"{TEAM_A}\", \"{TEAM_B}\"]\n[[account]]\nuser = \"a\"\nmode = \"{mode}\"\n"
        );
        world.cycle();
        // Its memory is lost, and team B cannot be reached.
        std::fs::remove_dir_all(world.state.path().join("documents")).unwrap();
        std::fs::remove_file(world.state.path().join("state.json")).unwrap();
        world.fail(TEAM_B, Class::Transient);
        world.publish(TEAM_A, "a2", &document("team-a", 2, &[1, 5], &[2]));
        let outcome = world.cycle();
        let text = world.host.text(A);
        assert!(text.contains(&ed(3)), "{mode}: {text}");
        assert!(!text.contains(&ed(2)), "{mode}: it is revoked: {text}");
        assert!(text.contains(&ed(5)), "{mode}: {text}");
        assert_eq!(sources(&outcome), [Status::Ok, Status::Stale], "{mode}");
        assert_eq!(outcome.accounts[0].status, Status::Stale);
        assert_eq!(outcome.accounts[0].code, Some(FaultCode::NoKeySet));
        let shown = text::render(&outcome, false, Colour::No);
        assert!(
            shown.contains("not read yet; until then only revoked keys are removed"),
            "{shown}"
        );
        assert!(
            shown.contains("(one of its sources was not read yet)"),
            "{shown}"
        );
        let told = entries(None, &outcome, false);
        let refused = told
            .iter()
            .filter(|entry| entry.kind == Kind::DocumentRefused);
        assert_eq!(refused.count(), 0, "the source alone is told of");
        assert!(!world.cycle().changed(), "{mode}");

        world.publish(TEAM_B, "b2", &document("team-b", 2, &[6], &[]));
        let outcome = world.cycle();
        assert_eq!(outcome.status, Status::Ok, "{:?}", outcome.faults);
        let text = world.host.text(A);
        assert!(
            text.contains(&ed(6)) && !text.contains(&ed(3)),
            "{mode}: {text}"
        );
    }
}

#[test]
fn f59_nothing_is_known_where_no_source_was_ever_read() {
    let world = World::new(&config(""));
    world.fail(TEAM_A, Class::Transient);
    world.fail(TEAM_B, Class::Denied);
    world.host.set(A, &format!("{} by hand\n", ed(7)));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, sources(&outcome), world.host.text(A)),
        (
            Status::Failed,
            vec![Status::Failed, Status::Failed],
            format!("{} by hand\n", ed(7))
        )
    );
}

#[test]
fn f59_the_limits_count_over_the_union() {
    // Two of four would go, the half.
    let world = both("max_removals = \"40%\"");
    world.cycle();
    world.publish(TEAM_A, "a2", &document("team-a", 2, &[4], &[]));
    let outcome = world.cycle();
    assert_eq!(
        outcome.accounts[0].status,
        Status::Ok,
        "only key 1 of three went"
    );
    world.publish(TEAM_B, "b2", &document("team-b", 2, &[5], &[]));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.accounts[0].code, world.host.text(A)),
        (
            Some(FaultCode::TooManyRemovals),
            block(&[&ed(4), &ed(2), &ed(3)])
        )
    );
    let followed: Vec<String> = outcome.accounts[0]
        .documents
        .iter()
        .map(|one| format!("{} {}", one.source, one.document.serial.unwrap()))
        .collect();
    assert_eq!(followed, [format!("{TEAM_A} 2"), format!("{TEAM_B} 1")]);

    // One source alone may be empty for the account.
    let world = both("min_keys = 1");
    world.publish(TEAM_A, "a1", &document("team-a", 1, &[], &[]));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Ok, block(&[&ed(2), &ed(3)]))
    );
}

#[test]
fn f59_a_source_that_leaves_the_list_takes_its_keys_with_it() {
    let mut world = both("");
    world.cycle();
    world.config = format!("source = [\"{TEAM_B}\"]\n[[account]]\nuser = \"a\"\n");
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Ok, block(&[&ed(2), &ed(3)]))
    );
    assert_eq!(outcome.accounts[0].in_force[0].source, None);
    world.config = config("");
    world.cycle();
    assert_eq!(world.host.text(A), block(&[&ed(1), &ed(2), &ed(3)]));
}

//! `layout = "coreos"`: plans over several files, and cycles with a stand-in for update-ssh-keys
//! that can fail and lie.

use std::collections::{BTreeMap, BTreeSet};

use authkeys_core::document::{self, Rules};
use authkeys_core::outcome::Status;
use authkeys_core::plan::{
    Desired, ExpiryForm, Fragments, Generator, Mode, Moment, desired, plan_fragments, repair,
};
use authkeys_core::user::UserName;
use authkeys_testing::numbered::{ed, on_curve, print, rules, wire};
use authkeysd::agent::Intent;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use crate::world::{Program, World};

const ONE: &str = "source = \"file:/k\"\n[policy]\nmin_keys = 0\n[[account]]\nuser = \"a\"\nlayout = \"coreos\"\n";
const GENERATED: &str = "/home/a/.ssh/authorized_keys";
const OURS: &str = "/home/a/.ssh/authorized_keys.d/authkeysd";
const OLD: &str = "/home/a/.ssh/authorized_keys.d/old_authorized_keys";
const IGNITION: &str = "/home/a/.ssh/authorized_keys.d/coreos-ignition";

fn world(program: Program) -> World {
    let world = World::new(ONE);
    *world.host.program.borrow_mut() = program;
    world
}

fn sk() -> String {
    let kind = "sk-ssh-ed25519@openssh.com";
    format!(
        "{kind} {}",
        wire(&[kind.as_bytes(), &on_curve([9; 32]), b"ssh:"])
    )
}

/// The lines with a key in them, without comments, in order of their text.
fn keys(text: &str) -> Vec<String> {
    let bare = |line: &str| {
        line.split_inclusive(' ')
            .scan(false, |past, word| {
                let here = !*past;
                *past |= word.starts_with("AAAA");
                here.then_some(word)
            })
            .collect::<String>()
            .trim()
            .to_owned()
    };
    let mut keys: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(bare)
        .collect();
    keys.sort();
    keys
}

fn sorted(lines: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    lines.sort();
    lines
}

#[test]
fn our_fragment_names_its_source_and_what_the_program_takes_out_of_it_is_not_written_again() {
    let head = "# managed by authkeysd from file:/k: changes between these lines are overwritten\n";
    let world = world(Program::Absent);
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.cycle();
    assert_eq!(world.host.whole_text(OURS), format!("{head}{}\n", ed(1)));

    // update-ssh-keys writes each fragment anew, without comments.
    *world.host.program.borrow_mut() = Program::Works;
    world.publish("file:/k", "2", &format!("{}\n", ed(2)));
    world.cycle();
    assert_eq!(keys(&world.host.whole_text(OURS)), [ed(2)]);
    let writes = *world.host.writes.borrow();
    for _ in 0..2 {
        assert!(!world.cycle().changed());
    }
    assert_eq!(*world.host.writes.borrow(), writes);
}

#[test]
fn f09_what_the_first_run_imports_loses_the_keys_that_an_old_puller_left() {
    let world = world(Program::Works);
    let (old, new, own) = (ed(1), ed(2), ed(9));
    world.host.set(
        GENERATED,
        &format!("{old} puller\n{new} puller\n{own} of her own\n"),
    );
    let document = |revoked: &str| {
        format!(
            r#"{{"version":1,"keys":[{{"public_key":"{new}","options":["restrict","pty"]}}],"revoked":[{revoked}]}}"#
        )
    };
    world.publish("file:/k", "1", &document(&format!("\"{}\"", print(&old))));
    let dry = world.cycle_as(Intent {
        dry_run: true,
        ..Intent::default()
    });
    assert_eq!(
        (dry.status, dry.changed(), *world.host.runs.borrow()),
        (Status::Ok, true, 0)
    );

    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, outcome.changed()),
        (Status::Ok, true),
        "{outcome:#?}"
    );
    let account = &outcome.accounts[0];
    assert_eq!(account.file, OURS);
    for account in [account, &dry.accounts[0]] {
        assert_eq!(
            (
                account.added.len(),
                account.updated.len(),
                account.removed.len()
            ),
            (0, 1, 1),
            "{account:#?}"
        );
        assert_eq!(account.removed[0].fingerprint.to_string(), print(&old));
    }
    assert_eq!(keys(&world.host.text(OLD)), std::slice::from_ref(&own));
    assert_eq!(
        keys(&world.host.text(OURS)),
        [format!("restrict,pty {new}")]
    );
    assert_eq!(
        keys(&world.host.text(GENERATED)),
        sorted(&[&format!("restrict,pty {new}"), &own])
    );
    assert_eq!(
        *world.host.runs.borrow(),
        2,
        "to import, and to make the file"
    );
    let kept = std::fs::read_to_string(world.state.path().join("replaced-a")).unwrap();
    assert!(kept.contains(&format!("{old} puller\n")), "{kept}");

    // Nothing changes: nothing is written, and the program is left alone, although it writes all in
    // its own way.
    let writes = *world.host.writes.borrow();
    let again = world.cycle();
    assert_eq!((again.status, again.changed()), (Status::Ok, false));
    assert_eq!(
        (*world.host.runs.borrow(), *world.host.writes.borrow()),
        (2, writes)
    );

    // Somebody pulls once more, into the file and into another fragment.
    world.host.set(GENERATED, &format!("{old} puller\n"));
    world.host.set(IGNITION, &format!("{old}\n{own}\n"));
    let outcome = world.cycle();
    assert_eq!((outcome.status, outcome.changed()), (Status::Ok, true));
    assert_eq!(keys(&world.host.text(IGNITION)), std::slice::from_ref(&own));
    assert_eq!(
        keys(&world.host.text(GENERATED)),
        sorted(&[&format!("restrict,pty {new}"), &own, &own])
    );
}

#[test]
fn a_set_that_is_empty_on_purpose_leaves_no_key_of_ours_whatever_the_program_says() {
    for program in [
        Program::Works,
        Program::Lies,
        Program::Fails,
        Program::Absent,
    ] {
        let world = world(Program::Works);
        world.publish("file:/k", "1", &format!("{}\n", ed(1)));
        world.cycle();
        assert_eq!(keys(&world.host.text(GENERATED)), [ed(1)]);
        *world.host.program.borrow_mut() = program;
        world.publish("file:/k", "2", r#"{"version":1,"keys":[]}"#);
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, outcome.changed()),
            (Status::Ok, true),
            "{outcome:#?}"
        );
        assert_eq!(
            (
                keys(&world.host.text(GENERATED)),
                keys(&world.host.text(OURS))
            ),
            (vec![], vec![])
        );
        assert!(!world.cycle().changed());
    }
}

#[test]
fn a_program_that_fails_or_lies_locks_nobody_out_and_keeps_nobody_in() {
    for program in [Program::Fails, Program::Lies] {
        let world = world(Program::Works);
        world
            .host
            .set(GENERATED, &format!("{} of her own\n", ed(9)));
        world.publish("file:/k", "1", &format!("{}\n", ed(1)));
        world.cycle();
        *world.host.program.borrow_mut() = program;
        world.publish("file:/k", "2", &format!("{} new\n", ed(2)));
        for changed in [true, false, false] {
            let outcome = world.cycle();
            assert_eq!(
                (outcome.status, outcome.changed()),
                (Status::Degraded, changed),
                "{outcome:#?}"
            );
            assert!(
                outcome.detail.contains("update-ssh-keys") && outcome.detail.contains(GENERATED),
                "{}",
                outcome.detail
            );
            assert_eq!(keys(&world.host.text(GENERATED)), sorted(&[&ed(9), &ed(2)]));
        }
        *world.host.program.borrow_mut() = Program::Works;
        assert_eq!(world.cycle().status, Status::Ok);
        assert_eq!(keys(&world.host.text(GENERATED)), sorted(&[&ed(9), &ed(2)]));
        assert!(!world.host.text(GENERATED).contains("BEGIN"));
    }
}

#[test]
fn a_first_run_that_does_not_come_off_leaves_no_directory_that_would_never_be_imported() {
    let world = world(Program::Fails);
    world
        .host
        .set(GENERATED, &format!("{} of her own\n", ed(9)));
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let outcome = world.cycle();
    assert_eq!(outcome.status, Status::Degraded);
    assert_eq!(world.host.text(OURS), "");
    assert_eq!(keys(&world.host.text(GENERATED)), sorted(&[&ed(9), &ed(1)]));
    *world.host.program.borrow_mut() = Program::Works;
    assert_eq!(world.cycle().status, Status::Ok);
    assert_eq!(
        keys(&world.host.text(OLD)),
        [ed(9)],
        "its own key is imported, ours is not"
    );
    assert_eq!(keys(&world.host.text(GENERATED)), sorted(&[&ed(9), &ed(1)]));
}

#[test]
fn f06_a_security_key_that_the_program_leaves_out_is_in_force_and_named_for_as_long() {
    let world = world(Program::Works);
    world.publish("file:/k", "1", &format!("{}\n{}\n", ed(1), sk()));
    for changed in [true, false, false] {
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, outcome.changed()),
            (Status::Degraded, changed),
            "{outcome:#?}"
        );
        assert!(
            outcome.detail.contains("leaves out SHA256:")
                && outcome.detail.contains("sk-ssh-ed25519")
        );
        assert_eq!(keys(&world.host.text(GENERATED)), sorted(&[&ed(1), &sk()]));
    }
    let runs = *world.host.runs.borrow();
    world.host.set(GENERATED, &format!("{} \n", ed(1)));
    assert!(world.cycle().changed(), "somebody else ran it");
    assert_eq!(
        (keys(&world.host.text(GENERATED)), *world.host.runs.borrow()),
        (sorted(&[&ed(1), &sk()]), runs)
    );
    world.publish("file:/k", "2", &format!("{}\n", ed(1)));
    assert_eq!(world.cycle().status, Status::Ok);
    assert_eq!(
        world
            .host
            .text(GENERATED)
            .lines()
            .filter(|line| line.contains("AAAA"))
            .count(),
        1
    );
}

#[test]
fn without_the_program_the_fragment_is_all_and_no_plain_copy_defeats_it() {
    let world = world(Program::Absent);
    let (old, new, own) = (ed(1), ed(2), ed(9));
    world.host.set(
        GENERATED,
        &format!("{old}\n{new} puller\n{own}\n{new} again\n"),
    );
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{new}","options":["from=\"10.0.0.0/8\""]}},{{"public_key":"{}"}}],"revoked":["{}"]}}"#,
        ed(3),
        print(&old)
    );
    world.publish("file:/k", "1", &json);
    assert_eq!(world.cycle().status, Status::Ok);
    let restricted = format!("from=\"10.0.0.0/8\" {new}");
    assert_eq!(world.host.text(OURS), format!("{restricted}\n{}\n", ed(3)));
    // Were sshd not to read the fragments, the key that was there would still let its owner in.
    assert_eq!(world.host.text(GENERATED), format!("{restricted}\n{own}\n"));
    assert!(!world.cycle().changed());
    assert_eq!(*world.host.runs.borrow(), 0);
}

#[test]
fn options_that_the_program_lost_are_not_taken_for_ours() {
    let world = world(Program::Works);
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","options":["restrict"]}}]}}"#,
        ed(1)
    );
    world.publish("file:/k", "1", &json);
    world.cycle();
    let runs = *world.host.runs.borrow();
    for spoilt in [
        ed(1),
        format!("restrict,pty {}", ed(1)),
        format!("restrict {0}\n{0}", ed(1)),
    ] {
        world.host.set(GENERATED, &format!("{spoilt}\n"));
        assert_eq!(
            (world.cycle().status, keys(&world.host.text(GENERATED))),
            (Status::Ok, vec![format!("restrict {}", ed(1))])
        );
        world.host.set(OURS, &format!("{spoilt}\n"));
        assert_eq!(
            (world.cycle().status, keys(&world.host.text(OURS))),
            (Status::Ok, vec![format!("restrict {}", ed(1))])
        );
    }
    assert_eq!(*world.host.runs.borrow(), runs + 6);
    world.host.set(
        GENERATED,
        &format!("# auto\n RESTRICT\t{}\t other comment\n", ed(1)),
    );
    assert!(!world.cycle().changed(), "another spelling is the same");
}

#[test]
fn a_node_that_knows_no_key_set_gets_its_pinned_keys_and_loses_nothing() {
    let pinned = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pinned.path(), format!("{} break glass\n", ed(5))).unwrap();
    let mut world = world(Program::Works);
    world.config = format!("pinned_keys = \"{}\"\n{ONE}", pinned.path().display());
    world.host.set(GENERATED, &format!("{}\n", ed(9)));
    let outcome = world.cycle();
    assert_eq!(outcome.status, Status::Failed);
    assert_eq!(
        keys(&world.host.text(GENERATED)),
        sorted(&[&ed(9), &ed(5)]),
        "{outcome:#?}"
    );
    assert!(!world.cycle().changed());
}

#[test]
fn two_accounts_of_one_home_are_refused_whatever_their_layouts() {
    let two = ONE.replace("[[account]]", "[[account]]\nuser = \"twin\"\n[[account]]");
    let world = World::new(&two);
    world.host.set(GENERATED, &format!("{}\n", ed(9)));
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let outcome = world.cycle();
    assert!(
        outcome
            .accounts
            .iter()
            .all(|account| account.detail.contains("several accounts share")),
        "{outcome:#?}"
    );
    assert_eq!(world.host.text(GENERATED), format!("{}\n", ed(9)));
}

#[test]
fn f46_all_lines_of_a_key_reach_the_fragment_and_what_the_program_makes_of_it() {
    let (one, two) = (
        format!("from=\"10.0.0.0/8\" {}", ed(1)),
        format!("from=\"127.0.0.0/8\" {}", ed(1)),
    );
    for program in [Program::Works, Program::Absent, Program::Lies] {
        let world = World::new(ONE);
        *world.host.program.borrow_mut() = program;
        world.host.set(GENERATED, &format!("{}\n", ed(1)));
        world.publish("file:/k", "1", &format!("{one}\n{two}\n{one}\n"));
        let outcome = world.cycle();
        assert_eq!(outcome.accounts[0].in_force.len(), 1, "{outcome:#?}");
        let generated = world.host.text(GENERATED);
        assert!(
            generated.contains(&one) && generated.contains(&two),
            "{generated}"
        );
        assert_eq!(generated.matches(&ed(1)).count(), 2, "{generated}");
        assert!(!world.cycle().changed());
    }
}

fn wanted(text: &str) -> Desired {
    let document = document::parse(
        text.as_bytes(),
        &Rules {
            line: rules(),
            allow_private_key: false,
        },
    )
    .unwrap();
    let at = Moment {
        now: "2026-11-22T00:00:00Z".parse().unwrap(),
        zone: TimeZone::UTC,
        standing: None,
    };
    desired(
        &[(&document).into()],
        &[],
        &[&UserName::parse("a").unwrap()],
        &at,
        ExpiryForm::Utc,
    )
}

fn some_lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        (1_u16..9).prop_map(ed),
        (1_u16..9).prop_map(|n| format!("restrict {} c d", ed(n))),
        Just("# BEGIN authkeysd".to_owned()),
        Just("# END authkeysd".to_owned()),
        "[ -~]{0,20}",
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn a_plan_that_was_carried_out_leaves_nothing_to_plan_and_no_unwelcome_key(
        ours in prop::option::of(some_lines()),
        other in some_lines(),
        generated in prop::option::of(some_lines()),
        block: bool,
        generator in prop_oneof![Just(Generator::None), Just(Generator::UpdateSshKeys), Just(Generator::Blocked)],
    ) {
        let json = format!(
            r#"{{"version":1,"keys":[{{"public_key":"{0}","options":["restrict"]}},{{"public_key":"{1}"}},
                {{"public_key":"{0}","options":["no-pty"]}},{{"public_key":"{0} again","options":["no-pty"]}}],"revoked":["{2}"]}}"#,
            ed(1), ed(2), print(&ed(3))
        );
        let (desired, installed) = (wanted(&json), BTreeSet::from([print(&ed(4)).parse_fingerprint()]));
        let mode = if block { Mode::Block } else { Mode::Exclusive };
        let others = BTreeMap::from([("x".to_owned(), other.into_bytes())]);
        let (ours, generated) = (ours.map(String::into_bytes), generated.map(String::into_bytes));
        let present = Fragments { ours, others, generated, generator, directory_missing: false };
        let plan = plan_fragments(&desired, mode, &present, &installed);
        let mut after = present.after(&plan);
        if plan.refresh {
            let all = after.ours.iter().chain(after.others.values()).map(|text| String::from_utf8(text.clone()).unwrap());
            let lines: Vec<String> = all.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
            let keys: Vec<String> = lines.into_iter().filter(|line| !line.starts_with('#')).collect();
            after.generated = Some(keys.join("\n").into_bytes());
        }
        if let Some(right) = repair(&desired, &after, &installed) {
            after.generated = Some(right);
        }
        prop_assert_eq!(repair(&desired, &after, &installed), None);
        let again = plan_fragments(&desired, mode, &after, &installed);
        prop_assert!(again.content.is_none() && again.others.is_empty(), "{again:#?}");
        prop_assert!(again.added.is_empty() && again.removed.is_empty() && again.updated.is_empty(), "{again:#?}");
        for (text, all) in [(&after.ours, true), (&after.generated, generator != Generator::None)] {
            let text = String::from_utf8(text.clone().unwrap_or_default()).unwrap();
            for gone in [ed(3), ed(4)] {
                prop_assert!(!text.lines().any(|line| authkeys_core::key::identify(line.as_bytes())
                    .is_some_and(|found| found.key.fingerprint().to_string() == print(&gone))), "{text}");
            }
            if all {
                prop_assert!(text.contains(&format!("restrict {}", ed(1))) && text.contains(&ed(2)), "{text}");
                prop_assert!(text.contains(&format!("no-pty {}", ed(1))), "{text}");
            }
        }
    }
}

trait ParseFingerprint {
    fn parse_fingerprint(&self) -> authkeys_core::key::Fingerprint;
}

impl ParseFingerprint for String {
    fn parse_fingerprint(&self) -> authkeys_core::key::Fingerprint {
        authkeys_core::key::Fingerprint::parse(self).unwrap()
    }
}

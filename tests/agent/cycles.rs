//! Whole cycles on a host and a source made of memory, with the real state directory.

use std::path::Path;

use authkeys_core::origin::Class;
use authkeys_core::outcome::{Fault, FaultClass, Outcome, Problem, Status};
use authkeys_core::user::UserName;
use authkeys_testing::numbered::ed;
use authkeysd::agent::Intent;
use authkeysd::state::Store;
use jiff::Timestamp;

use crate::world::{A, B, PANICS, World};

pub(super) fn block(keys: &[&str]) -> String {
    format!(
        "# BEGIN authkeysd\n{}# END authkeysd\n",
        keys.iter().map(|k| format!("{k}\n")).collect::<String>()
    )
}

pub(super) fn classes(outcome: &Outcome) -> Vec<FaultClass> {
    outcome.faults.iter().map(Fault::class).collect()
}

pub(super) const TWO: &str =
    "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n[[account]]\nuser = \"b\"\n";

#[test]
fn the_published_set_reaches_every_account_and_then_nothing_is_written() {
    let world = World::new(TWO);
    world.publish("file:/k", "1", &format!("{}\n{}\n", ed(1), ed(2)));
    let outcome = world.cycle();
    assert_eq!(
        (
            outcome.status,
            outcome.accounts[0].added.len(),
            outcome.changed()
        ),
        (Status::Ok, 2, true)
    );
    assert_eq!(
        (world.host.text(A), world.host.text(B)),
        (block(&[&ed(1), &ed(2)]), block(&[&ed(1), &ed(2)]))
    );
    let state = std::fs::metadata(world.state.path().join("state.json")).unwrap();
    let again = world.cycle();
    assert_eq!(
        (again.status, again.changed(), *world.host.writes.borrow()),
        (Status::Ok, false, 2)
    );
    let same = std::fs::metadata(world.state.path().join("state.json")).unwrap();
    assert_eq!(
        state.modified().unwrap(),
        same.modified().unwrap(),
        "an unchanged poll writes no state either"
    );
}

#[test]
fn an_upgrade_writes_nothing_and_the_line_that_names_the_source_comes_with_the_next_change() {
    let world = World::new(TWO);
    let exclusive = "source = \"file:/k\"\n[[account]]\nuser = \"a\"\nmode = \"exclusive\"\n";
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.cycle();
    let head = "# managed by authkeysd from file:/k: changes between these lines are overwritten\n";
    let with_head = format!("# BEGIN authkeysd\n{head}{}\n# END authkeysd\n", ed(1));
    assert_eq!(world.host.whole_text(A), with_head);
    // As an earlier version left it.
    world.host.set(A, &block(&[&ed(1)]));
    let writes = *world.host.writes.borrow();
    let outcome = world.cycle();
    assert_eq!(
        (
            outcome.status,
            outcome.changed(),
            *world.host.writes.borrow()
        ),
        (Status::Ok, false, writes)
    );
    assert_eq!(world.host.whole_text(A), block(&[&ed(1)]));
    world.publish("file:/k", "2", &format!("{}\n", ed(2)));
    world.cycle();
    assert!(
        world
            .host
            .whole_text(A)
            .starts_with(&format!("# BEGIN authkeysd\n{head}{}\n", ed(2)))
    );

    let world = World::new(exclusive);
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.cycle();
    assert_eq!(world.host.whole_text(A), format!("{head}{}\n", ed(1)));
    world.host.set(A, &format!("{}\n", ed(1)));
    assert!(!world.cycle().changed());
}

#[test]
fn f47_a_document_may_name_an_account_as_the_configuration_or_as_the_name_service_does() {
    for (configured, counts) in [("jo", ["jo", "jo@example.org"].as_slice()), ("a", &["a"])] {
        for (account, wanted) in [
            ("jo", "jo"),
            ("jo@example.org", "jo@example.org"),
            ("a", "a"),
            ("Jo", "Jo"),
        ] {
            let world = World::new(&format!(
                "source = \"file:/k\"\n[[account]]\nuser = \"{configured}\"\n"
            ));
            let json = format!(
                r#"{{"version":1,"keys":[{{"public_key":"{}","accounts":["{account}"]}}]}}"#,
                ed(1)
            );
            world.publish("file:/k", "1", &json);
            let outcome = world.cycle();
            let means = counts.contains(&wanted);
            assert_eq!(
                outcome.status == Status::Ok,
                means,
                "{configured} {account}: {outcome:#?}"
            );
            let file = world
                .host
                .text(&format!("/home/{configured}/.ssh/authorized_keys"));
            assert_eq!(file.contains(&ed(1)), means, "{file}");
            if !means {
                // To lower min_keys would empty the account.
                assert!(
                    outcome.detail.contains("0 keys in force"),
                    "{}",
                    outcome.detail
                );
                assert!(
                    !outcome.detail.contains("lower min_keys"),
                    "{}",
                    outcome.detail
                );
            }
        }
    }
}

#[test]
fn f37_all_sources_are_asked_at_the_same_time_so_that_one_that_hangs_does_not_delay_the_others() {
    let world = World::new(
        "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n[[account]]\nuser = \"b\"\nsource = \"file:/l\"\n",
    );
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.publish("file:/l", "1", &format!("{}\n", ed(2)));
    world.published.2.set(2);
    assert_eq!(world.cycle().status, Status::Ok);
    assert_eq!(
        (world.host.text(A), world.host.text(B)),
        (block(&[&ed(1)]), block(&[&ed(2)]))
    );
}

#[test]
fn f07_a_source_that_fails_changes_nothing_and_is_told_by_class() {
    let world = World::new(TWO);
    world.host.set(A, &format!("{} theirs\n", ed(9)));
    for (class, expected) in [
        (Class::Transient, FaultClass::Unreachable),
        (Class::Denied, FaultClass::Denied),
        (Class::Missing, FaultClass::Failed),
        (Class::Invalid, FaultClass::Failed),
    ] {
        world.fail("file:/k", class);
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, classes(&outcome)),
            (Status::Failed, vec![expected])
        );
        assert_eq!(world.host.text(A), format!("{} theirs\n", ed(9)));
    }
    assert_eq!(*world.host.writes.borrow(), 0);
}

#[test]
fn f34_f35_a_bad_document_leaves_the_last_good_set_in_force_and_repairs_go_on() {
    let world = World::new(TWO);
    let good = format!("{}\n{}\n", ed(1), ed(2));
    world.publish("file:/k", "1", &good);
    world.cycle();
    for bad in [
        "",
        "<html>login</html>\n",
        "# nothing\n",
        &good[..good.len() - 6],
        "{\"version\":1,\"keys\":[",
    ] {
        world.publish("file:/k", bad, bad);
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, classes(&outcome)),
            (Status::Stale, vec![FaultClass::Failed]),
            "{bad}"
        );
        assert_eq!(outcome.sources[0].version.as_deref(), Some("1"));
        assert_eq!(world.host.text(A), block(&[&ed(1), &ed(2)]));
    }
    world.host.set(A, "");
    assert_eq!(world.cycle().accounts[0].status, Status::Ok);
    assert_eq!(world.host.text(A), block(&[&ed(1), &ed(2)]));
}

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

#[test]
fn the_guard_holds_a_document_for_one_account_and_the_last_one_stays_in_force() {
    let config = format!("{TWO}[policy]\nmin_keys = 2\n");
    let world = World::new(&config);
    let two = |first: u16| {
        format!(
            r#"{{"version":1,"keys":[{{"public_key":"{}","accounts":["a"]}},{{"public_key":"{}","accounts":["a"]}},{{"public_key":"{}"}},{{"public_key":"{}"}}]}}"#,
            ed(first),
            ed(first + 1),
            ed(40),
            ed(41)
        )
    };
    world.publish("file:/k", "1", &two(1));
    assert_eq!(world.cycle().status, Status::Ok);
    let only_a = two(5).replace(
        &format!("\"{}\"}}", ed(40)),
        &format!("\"{}\",\"accounts\":[\"a\"]}}", ed(40)),
    );
    world.publish("file:/k", "2", &only_a);
    let outcome = world.cycle();
    assert_eq!(
        world.host.text(A),
        block(&[&ed(5), &ed(6), &ed(40), &ed(41)])
    );
    assert_eq!(world.host.text(B), block(&[&ed(40), &ed(41)]));
    assert_eq!(outcome.accounts[1].status, Status::Stale);
    assert!(
        outcome.faults[0].text.contains("account b") && outcome.faults[0].text.contains("min_keys")
    );
    world.host.set(B, "");
    world.cycle();
    assert_eq!(
        world.host.text(B),
        block(&[&ed(40), &ed(41)]),
        "repairs go on under the last accepted document"
    );
}

#[test]
fn the_guard_never_blocks_an_expiry_under_an_accepted_document() {
    let world = World::new(TWO);
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","not_after":"2026-11-22T10:00:00Z"}}]}}"#,
        ed(1)
    );
    world.publish("file:/k", "1", &json);
    world.cycle();
    *world.now.borrow_mut() = "2026-11-22T10:00:00Z".parse().unwrap();
    assert_eq!(world.cycle().status, Status::Ok);
    assert_eq!(world.host.text(A), block(&[]));
}

#[test]
fn one_account_that_fails_stops_nobody_else() {
    let world = World::new(&format!("{TWO}[[account]]\nuser = \"ghost\"\n"));
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.host.broken.borrow_mut().push(A.into());
    let outcome = world.cycle();
    assert_eq!(outcome.status, Status::Degraded);
    assert_eq!(
        outcome
            .accounts
            .iter()
            .map(|a| a.status)
            .collect::<Vec<_>>(),
        [Status::Failed, Status::Ok, Status::Failed]
    );
    assert_eq!(world.host.text(B), block(&[&ed(1)]));
    assert!(outcome.faults[1].text.contains("no account ghost"));
}

#[test]
fn f22_a_file_that_changes_under_us_is_read_again_and_nothing_is_lost() {
    let world = World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\n");
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.host.meddle.borrow_mut().push((
        A.into(),
        format!("{} added meanwhile\n", ed(9)).into_bytes(),
    ));
    assert_eq!(world.cycle().status, Status::Ok);
    assert_eq!(
        world.host.text(A),
        format!("{} added meanwhile\n{}", ed(9), block(&[&ed(1)]))
    );
    let storm = (0..9)
        .map(|n| (A.into(), format!("{} {n}\n", ed(9)).into_bytes()))
        .collect();
    *world.host.meddle.borrow_mut() = storm;
    world.publish("file:/k", "2", &format!("{}\n", ed(2)));
    let outcome = world.cycle();
    assert!(
        outcome.faults[0].text.contains("keeps writing it"),
        "{:?}",
        outcome.faults
    );
}

#[test]
fn f24_accounts_that_come_to_the_same_file_are_both_left_alone() {
    let world = World::new(
        "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n[[account]]\nuser = \"twin\"\n",
    );
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, *world.host.writes.borrow()),
        (Status::Failed, 0)
    );
    assert!(
        outcome.faults[0]
            .text
            .contains("several accounts share this file")
    );
}

#[test]
fn f24_accounts_that_come_to_one_file_by_different_paths_are_left_alone() {
    let world = World::new(
        "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n[[account]]\nuser = \"link\"\n",
    );
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, *world.host.writes.borrow()),
        (Status::Failed, 0)
    );
    assert!(
        outcome.faults[1]
            .text
            .contains("/home/link/.ssh/authorized_keys: several accounts share this file")
    );
}

#[test]
fn f24_who_comes_late_to_the_file_of_one_who_has_been_served_adds_nothing_and_both_are_told() {
    for other in ["twin", "link"] {
        let world = World::new(&format!(
            "[[account]]\nuser = \"a\"\nsource = \"file:/k\"\n[[account]]\nuser = \"{other}\"\nsource = \"file:/l\"\n"
        ));
        world.publish("file:/k", "1", &format!("{}\n", ed(1)));
        world.publish("file:/l", "1", &format!("{}\n", ed(2)));
        world.host.late.borrow_mut().push("twin".to_owned());
        world
            .host
            .late_files
            .borrow_mut()
            .push("/home/link/.ssh/authorized_keys".into());
        let outcome = world.cycle();
        assert_eq!(
            (world.host.text(A), *world.host.writes.borrow()),
            (block(&[&ed(1)]), 1),
            "{other}"
        );
        assert!(
            outcome
                .accounts
                .iter()
                .all(|one| one.detail.contains("several accounts share")),
            "{outcome:#?}"
        );
        assert!(
            outcome.accounts[0].changed && outcome.status == Status::Failed,
            "{outcome:#?}"
        );
        // On time, both are left alone.
        let outcome = world.cycle();
        assert!(
            outcome
                .accounts
                .iter()
                .all(|one| one.detail.contains("several accounts share")),
            "{outcome:#?}"
        );
        assert_eq!(*world.host.writes.borrow(), 1);
    }
}

#[test]
fn f24_nor_does_an_account_without_a_key_set_get_another_ones_keys() {
    let world = World::new(
        "[[account]]\nuser = \"a\"\nsource = \"file:/k\"\n[[account]]\nuser = \"link\"\nsource = \"file:/none\"\n",
    );
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let outcome = world.cycle();
    assert!(
        outcome
            .accounts
            .iter()
            .all(|one| one.detail.contains("several accounts share")),
        "{outcome:#?}"
    );
    assert_eq!(*world.host.writes.borrow(), 0);
}

#[test]
fn f37_an_account_that_comes_late_is_served_once_and_remembered_before_it_is_written() {
    let world = World::new(TWO);
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.host.late.borrow_mut().push("a".to_owned());
    world.host.late_files.borrow_mut().push(A.into());
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, *world.host.writes.borrow()),
        (Status::Ok, 2),
        "{outcome:#?}"
    );
    assert!(
        outcome
            .accounts
            .iter()
            .map(|one| one.user.as_str())
            .eq(["a", "b"]),
        "{outcome:#?}"
    );
    let store = Store::peek(world.state.path()).unwrap();
    assert!(
        store
            .state()
            .accounts
            .values()
            .all(|one| one.installed.len() == 1 && one.judged.is_some())
    );
    // Lost memory is told also when only he who comes late shows it.
    std::fs::remove_file(world.state.path().join("state.json")).unwrap();
    world.host.files.borrow_mut().remove(Path::new(B));
    world.host.late_files.borrow_mut().push(A.into());
    let outcome = world.cycle();
    assert!(
        outcome
            .faults
            .iter()
            .any(|fault| fault.text.contains(&format!("{A} holds keys"))),
        "{outcome:#?}"
    );
}

#[test]
fn f48_a_comment_of_a_pinned_key_that_was_altered_is_said() {
    let pins = tempfile::tempdir().unwrap();
    let text = [ed(7).as_bytes(), b" J\xfcrgen\n"].concat();
    authkeysd::host::write_durable(pins.path(), "pinned", &text, 0o600).unwrap();
    let top = format!(
        "pinned_keys = \"{}\"\n",
        pins.path().join("pinned").display()
    );
    let world = World::new(&format!(
        "{top}source = \"file:/k\"\n[[account]]\nuser = \"a\"\n"
    ));
    world.publish("file:/k", "1", &ed(1));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, outcome.accounts[0].in_force.len()),
        (Status::Ok, 2),
        "{outcome:#?}"
    );
    let warned = &outcome.sources[0].warnings;
    assert!(
        warned.len() == 1 && warned[0].contains("pinned: the comment in line 1 "),
        "{warned:?}"
    );
}

#[test]
fn pinned_keys_are_installed_also_while_no_key_set_is_known() {
    let pins = tempfile::tempdir().unwrap();
    let pinned = format!("{} break glass", ed(7));
    authkeysd::host::write_durable(
        pins.path(),
        "pinned",
        format!("{pinned}\n").as_bytes(),
        0o600,
    )
    .unwrap();
    let top = format!(
        "pinned_keys = \"{}\"\n",
        pins.path().join("pinned").display()
    );
    let theirs = format!("{} theirs\n", ed(9));
    for (mode, before, after) in [
        (
            "block",
            theirs.clone(),
            format!("{theirs}{}", block(&[&pinned])),
        ),
        (
            "block",
            theirs.clone() + &block(&[&ed(1)]),
            theirs.clone() + &block(&[&pinned, &ed(1)]),
        ),
        (
            "block",
            format!("{theirs}# BEGIN authkeysd\n{}", ed(1)),
            format!(
                "{theirs}# BEGIN authkeysd\n{}\n{}",
                ed(1),
                block(&[&pinned])
            ),
        ),
        (
            "block",
            format!("{} by hand", ed(7)),
            format!("{} by hand", ed(7)),
        ),
        ("exclusive", theirs.clone(), format!("{theirs}{pinned}\n")),
    ] {
        let world = World::new(&format!(
            "{top}source = \"file:/k\"\n[[account]]\nuser = \"a\"\nmode = \"{mode}\"\n"
        ));
        world.host.set(A, &before);
        world.fail("file:/k", Class::Transient);
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, world.host.text(A)),
            (Status::Failed, after.clone()),
            "{before}"
        );
        let again = &world.cycle().accounts[0];
        assert!(!again.changed);
        assert_eq!(again.in_force.len(), 1, "{before}");
        assert_eq!(world.host.text(A), after);
        world.publish("file:/k", "1", "{\"version\":1,\"keys\":[]}");
        assert_eq!(world.cycle().status, Status::Failed, "held by min_keys");
        assert_eq!(world.host.text(A), after);
    }
}

#[test]
fn exclusive_keeps_once_what_it_replaces() {
    let world =
        World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\nmode = \"exclusive\"\n");
    world.host.set(A, "# theirs\n");
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.cycle();
    world.publish("file:/k", "2", &format!("{}\n", ed(2)));
    world.cycle();
    assert_eq!(world.host.text(A), format!("{}\n", ed(2)));
    assert_eq!(
        std::fs::read(world.state.path().join("replaced-a")).unwrap(),
        b"# theirs\n"
    );
}

#[test]
fn exclusive_keeps_what_it_replaces_of_each_file_that_the_account_comes_to() {
    let at = |file: &str| {
        format!(
            "source = \"file:/k\"\n[[account]]\nuser = \"a\"\nmode = \"exclusive\"\nfile = \"{file}\"\n"
        )
    };
    let ours = |key: u16| format!("{}\n", ed(key));
    let mut world = World::new(&at("/srv/one"));
    for name in ["one", "two", "three"] {
        world
            .host
            .set(&format!("/srv/{name}"), &format!("# {name}\n"));
    }
    // The copy of a run that could not replace the file then.
    std::fs::write(world.state.path().join("replaced-a"), "# before\n").unwrap();
    for (turn, file) in (1..).zip(["one", "two", "one", "three", "two"]) {
        world.config = at(&format!("/srv/{file}"));
        world.publish("file:/k", &turn.to_string(), &ours(turn));
        world.cycle();
        assert_eq!(world.host.text(&format!("/srv/{file}")), ours(turn));
    }
    for (name, content) in [
        ("replaced-a", Some("# before\n")),
        ("replaced-a:2", Some("# one\n")),
        ("replaced-a:3", Some("# two\n")),
        ("replaced-a:4", Some("# three\n")),
        ("replaced-a:5", None),
    ] {
        let kept = std::fs::read_to_string(world.state.path().join(name)).ok();
        assert_eq!(kept.as_deref(), content, "{name}");
    }
    let (store, user) = (
        Store::open(world.state.path()).unwrap(),
        UserName::parse("a").unwrap(),
    );
    for number in 0..40 {
        store
            .keep_replaced(&user, format!("# {number}\n").as_bytes())
            .unwrap();
    }
    let copies = |name: &str| name.starts_with("replaced-a");
    let names = std::fs::read_dir(world.state.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert_eq!(
        names.filter(|name| copies(name.to_str().unwrap())).count(),
        16
    );
    let last = std::fs::read_to_string(world.state.path().join("replaced-a:16")).unwrap();
    assert_eq!(last, "# 39\n");
}

#[test]
fn a_document_in_the_place_of_another_sources_opens_no_account_that_its_keys_do_not_name() {
    let world = World::new(
        "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n[[account]]\nuser = \"b\"\nsource = \"file:/l\"\n",
    );
    let for_account = |user: &str, serial: u32, key: &str| {
        format!(
            "{{\"version\":1,\"serial\":{serial},\"keys\":[{{\"public_key\":\"{key}\",\"accounts\":[\"{user}\"]}}]}}"
        )
    };
    world.publish("file:/k", "1", &for_account("a", 1, &ed(1)));
    world.publish("file:/l", "1", &for_account("b", 1, &ed(2)));
    assert_eq!(world.cycle().status, Status::Ok);
    world.publish("file:/l", "2", &for_account("a", 2, &ed(1)));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, outcome.accounts[1].status),
        (Status::Stale, Status::Stale)
    );
    assert_eq!(
        (world.host.text(A), world.host.text(B)),
        (block(&[&ed(1)]), block(&[&ed(2)]))
    );
}

#[test]
fn a_dry_run_writes_nothing_at_all() {
    let world = World::new(TWO);
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let outcome = world.cycle_as(Intent {
        dry_run: true,
        accept_rollback: false,
    });
    assert!(outcome.changed() && outcome.accounts[0].added.len() == 1);
    assert_eq!(*world.host.writes.borrow(), 0);
    assert_eq!(std::fs::read_dir(world.state.path()).unwrap().count(), 0);
}

#[test]
fn a_changed_policy_judges_the_kept_document_again() {
    let mut world = World::new(TWO);
    world.publish(
        "file:/k",
        "1",
        &format!("{}\n{}\n", ed(1), authkeys_testing::numbered::rsa(2_048, 3)),
    );
    assert_eq!(world.cycle().status, Status::Ok);
    world.config = format!("{TWO}[policy]\nmin_rsa_bits = 3072\n");
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, outcome.accounts[0].left_out.len()),
        (Status::Degraded, 1)
    );
    assert_eq!(world.host.text(A), block(&[&ed(1)]));
    world.config = format!("{TWO}[trust]\naudience = \"prod\"\n");
    world.host.set(A, "");
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, outcome.sources[0].problem),
        (Status::Stale, Some(Problem::Untrusted))
    );
    assert!(outcome.detail.contains("audience"), "{}", outcome.detail);
    let both = block(&[&ed(1), &authkeys_testing::numbered::rsa(2_048, 3)]);
    assert_eq!(world.host.text(A), both, "it goes on being enforced");
}

#[test]
fn an_expired_document_is_stale_and_its_keys_stay() {
    let world = World::new(TWO);
    let json = format!(
        r#"{{"version":1,"expires":"2026-11-01T00:00:00Z","keys":[{{"public_key":"{}"}}]}}"#,
        ed(1)
    );
    world.publish("file:/k", "1", &json);
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Stale, block(&[&ed(1)]))
    );
    assert!(outcome.detail.contains("expired"));
}

#[test]
fn f42_a_panic_below_one_fetch_is_that_sources_failure_and_nobody_elses() {
    let world = World::new(
        "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n[[account]]\nuser = \"b\"\nsource = \"file:/l\"\n",
    );
    let text = |key| format!("{}\n", ed(key));
    world.publish("file:/k", "1", &text(1));
    world.publish("file:/l", "1", &text(2));
    assert_eq!(world.cycle().status, Status::Ok);
    world.publish("file:/k", PANICS, "");
    world.publish("file:/l", "2", &text(3));
    world.host.set(A, "");
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, classes(&outcome)),
        (Status::Stale, vec![FaultClass::Unreachable])
    );
    assert!(
        outcome.detail.contains("file:/k") && outcome.detail.contains("nobody expected"),
        "{}",
        outcome.detail
    );
    assert_eq!(
        (world.host.text(A), world.host.text(B)),
        (block(&[&ed(1)]), block(&[&ed(3)]))
    );
}

#[test]
fn each_source_and_each_account_is_a_step_of_a_cycle_that_takes_long() {
    let accounts: Vec<String> = ('a'..='t')
        .map(|name| format!("[[account]]\nuser = \"{name}\"\n"))
        .collect();
    let world = World::new(&format!("source = \"file:/k\"\n{}", accounts.concat()));
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, *world.host.steps.borrow()),
        (Status::Ok, 21)
    );
    world.cycle_kept(&outcome, *world.now.borrow());
    assert_eq!(*world.host.steps.borrow(), 42);
}

//! Whole cycles on a host and a source made of memory, with the real state directory.

use authkeys_core::origin::Class;
use authkeys_core::outcome::{Fault, FaultClass, Outcome, Problem, Status};
use authkeys_testing::numbered::ed;
use authkeysd::agent::Intent;

use crate::world::{A, B, PANICS, World};

mod files;
mod pinned;
mod windows;

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

//! The files that accounts come to: one file for two accounts, an account that comes late, and what
//! exclusive mode replaces.

use std::path::Path;

use authkeys_core::outcome::Status;
use authkeys_core::user::UserName;
use authkeys_testing::numbered::ed;
use authkeysd::state::Store;

use super::{TWO, block};
use crate::world::{A, B, World};

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

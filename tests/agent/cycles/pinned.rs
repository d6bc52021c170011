//! Pinned keys in whole cycles.

use authkeys_core::origin::Class;
use authkeys_core::outcome::Status;
use authkeys_testing::numbered::ed;

use super::block;
use crate::world::{A, World};

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

//! Keys that the installed sshd cannot read: not installed, not counted, named.

use authkeys_core::outcome::{FaultClass, Status};
use authkeys_testing::numbered::{ed, modulus, on_curve, p256_point, wire};

use super::cycles::block;
use crate::world::{A, World};

const ONE: &str = "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n";

fn recent() -> Vec<(String, (u32, u32))> {
    let mut composite = modulus(1_312 * 8 - 1, 7);
    composite.extend_from_slice(&on_curve([9; 32]));
    let line = |kind: &str, fields: &[&[u8]]| {
        let fields: Vec<&[u8]> = std::iter::once(kind.as_bytes())
            .chain(fields.iter().copied())
            .collect();
        format!("{kind} {}", wire(&fields))
    };
    vec![
        (
            line("sk-ssh-ed25519@openssh.com", &[&on_curve([9; 32]), b"ssh:"]),
            (8, 2),
        ),
        (
            line(
                "sk-ecdsa-sha2-nistp256@openssh.com",
                &[b"nistp256", &p256_point(5), b"ssh:"],
            ),
            (8, 2),
        ),
        (
            line("ssh-mldsa44-ed25519@openssh.com", &[&composite]),
            (10, 4),
        ),
        (line("ssh-mldsa44-ed25519", &[&composite]), (10, 6)),
    ]
}

#[test]
fn f45_a_key_that_the_installed_sshd_cannot_read_does_not_take_the_place_of_one_that_works() {
    for (key, (major, minor)) in recent() {
        let before = if minor == 0 {
            (major - 1, 9)
        } else {
            (major, minor - 1)
        };
        for old in [before, (7, 7), (8, 0), (6, 6)] {
            let world = World::new(ONE);
            world.host.sshd.borrow_mut().replace(Some(old));
            world.publish("file:/k", "1", &format!("{}\n", ed(1)));
            assert_eq!(world.cycle().status, Status::Ok);
            world.publish("file:/k", "2", &format!("# new\n{key} new\n"));
            for _ in 0..2 {
                let outcome = world.cycle();
                assert_eq!(world.host.text(A), block(&[&ed(1)]), "{key}");
                assert_eq!(outcome.status, Status::Degraded, "{}", outcome.detail);
                assert!(
                    outcome
                        .faults
                        .iter()
                        .any(|fault| fault.text.contains("min_keys")),
                    "{:?}",
                    outcome.faults
                );
                let named = format!(
                    "need OpenSSH {major}.{minor}, and the sshd installed here is {}.{}",
                    old.0, old.1
                );
                assert!(
                    outcome
                        .faults
                        .iter()
                        .any(|fault| fault.text.contains(&named)),
                    "{:?}",
                    outcome.faults
                );
                assert!(outcome.accounts[0].left_out[0].reason.contains(&named));
                assert_eq!(outcome.accounts[0].left_out[0].line, 2);
            }
        }
    }
}

#[test]
fn f45_beside_a_key_that_is_read_it_is_left_out_and_comes_with_the_upgrade() {
    for (key, version) in recent() {
        let world = World::new(ONE);
        world.host.sshd.borrow_mut().replace(Some((7, 4)));
        world.publish("file:/k", "1", &format!("{}\n{key} new\n", ed(1)));
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, outcome.accounts[0].in_force.len()),
            (Status::Degraded, 1)
        );
        assert!(
            outcome
                .faults
                .iter()
                .all(|fault| fault.class() == FaultClass::Failed)
        );
        assert_eq!(world.host.text(A), block(&[&ed(1)]));
        for new in [version, (version.0 + 1, 0), (11, 3)] {
            world.host.sshd.borrow_mut().replace(Some(new));
            assert_eq!(world.cycle().status, Status::Ok, "{new:?}");
            assert_eq!(
                world.host.text(A),
                block(&[&ed(1), &format!("{key} new")]),
                "{new:?}"
            );
        }
    }
}

#[test]
fn f45_where_sshd_does_not_tell_its_version_such_a_key_stays_where_it_is_and_comes_nowhere() {
    for (key, version) in recent() {
        let world = World::new(ONE);
        world.host.sshd.borrow_mut().replace(None);
        world.publish("file:/k", "1", &format!("{}\n{key} new\n", ed(1)));
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, world.host.text(A)),
            (Status::Degraded, block(&[&ed(1)]))
        );
        assert!(
            outcome
                .detail
                .contains("the version of the sshd installed here is not known"),
            "{}",
            outcome.detail
        );
        world.host.sshd.borrow_mut().replace(Some(version));
        assert_eq!(world.cycle().status, Status::Ok);
        // A machine that boots may be too slow to answer: the key that works must not go.
        world.host.sshd.borrow_mut().replace(None);
        for _ in 0..2 {
            assert_eq!(world.cycle().status, Status::Ok);
            assert_eq!(world.host.text(A), block(&[&ed(1), &format!("{key} new")]));
        }
        world.publish("file:/k", "2", &format!("{}\n", ed(1)));
        assert_eq!(
            (world.cycle().status, world.host.text(A)),
            (Status::Ok, block(&[&ed(1)]))
        );
    }
}

#[test]
fn f45_a_pinned_key_that_sshd_cannot_read_is_named_too() {
    let (key, _) = recent().remove(0);
    let pinned = tempfile::NamedTempFile::new_in(authkeys_testing::scratch()).unwrap();
    std::fs::write(pinned.path(), format!("{} glass\n{key} new\n", ed(7))).unwrap();
    let world = World::new(&format!(
        "pinned_keys = \"{}\"\n{ONE}",
        pinned.path().display()
    ));
    world.host.sshd.borrow_mut().replace(Some((8, 0)));
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let outcome = world.cycle();
    assert_eq!(
        world.host.text(A),
        block(&[&format!("{} glass", ed(7)), &ed(1)]),
        "{:?}",
        outcome.faults
    );
    assert_eq!(outcome.status, Status::Degraded);
    assert!(
        outcome.detail.contains("the pinned key SHA256:"),
        "{}",
        outcome.detail
    );
}

/// Options that not every sshd knows, and the first version that does.
const OPTIONS: [(&str, (u32, u32)); 5] = [
    ("permitlisten=\"localhost:8080\"", (7, 8)),
    ("touch-required", (8, 2)),
    ("no-touch-required", (8, 2)),
    ("verify-required", (8, 4)),
    ("no-verify-required", (8, 4)),
];

fn with_options() -> World {
    World::new(&format!(
        "{ONE}[policy]\nallow_options = [\"restrict\", \"permitlisten\", \"touch-required\", \
         \"no-touch-required\", \"verify-required\", \"no-*\"]\n"
    ))
}

/// The versions of Amazon Linux 2, RHEL 8, Ubuntu 20.04, Debian 11, Amazon Linux 2023 and RHEL 9,
/// Debian 12 and 13.
const VERSIONS: [(u32, u32); 7] = [(7, 4), (8, 0), (8, 2), (8, 4), (8, 7), (9, 2), (10, 0)];

#[test]
fn f45_a_line_whose_option_the_installed_sshd_does_not_know_replaces_none_that_works() {
    for (option, least) in OPTIONS {
        let line = format!("restrict,{option} {}", ed(2));
        for sshd in VERSIONS {
            let world = with_options();
            world.host.sshd.borrow_mut().replace(Some(sshd));
            world.publish("file:/k", "1", &format!("{}\n", ed(1)));
            assert_eq!(world.cycle().status, Status::Ok);
            world.publish("file:/k", "2", &format!("# new\n{line}\n"));
            let outcome = world.cycle();
            if sshd >= least {
                assert_eq!(outcome.status, Status::Ok, "{option} {sshd:?}");
                assert_eq!(world.host.text(A), block(&[&line]), "{option} {sshd:?}");
                continue;
            }
            assert_eq!(world.host.text(A), block(&[&ed(1)]), "{option} {sshd:?}");
            assert_eq!(outcome.status, Status::Degraded, "{}", outcome.detail);
            let named = format!(
                "option {} needs OpenSSH {}.{}, and the sshd installed here is {}.{}",
                option.split('=').next().unwrap(),
                least.0,
                least.1,
                sshd.0,
                sshd.1
            );
            for words in ["min_keys", &named] {
                let mut faults = outcome.faults.iter();
                assert!(faults.any(|fault| fault.text.contains(words)), "{words}");
            }
            assert_eq!(outcome.accounts[0].left_out[0].line, 2);
        }
    }
}

#[test]
fn f45_a_key_with_another_line_that_sshd_reads_counts_and_the_other_line_is_named() {
    let (plain, newer) = (
        format!("from=\"10.0.0.0/8\" {}", ed(1)),
        format!("verify-required {}", ed(1)),
    );
    let policy = "[policy]\nallow_options = [\"from\", \"verify-required\"]\n";
    let world = World::new(&format!("{ONE}{policy}"));
    world.host.sshd.borrow_mut().replace(Some((8, 0)));
    world.publish("file:/k", "1", &format!("{plain}\n{newer}\n"));
    let outcome = world.cycle();
    assert_eq!(outcome.status, Status::Degraded, "{}", outcome.detail);
    assert_eq!(world.host.text(A), block(&[&plain]));
    assert_eq!(outcome.accounts[0].in_force.len(), 1);
    assert_eq!(outcome.accounts[0].left_out[0].line, 2);
    assert!(
        !outcome
            .faults
            .iter()
            .any(|fault| fault.text.contains("min_keys")),
        "{:?}",
        outcome.faults
    );
}

#[test]
fn f45_where_sshd_does_not_tell_its_version_a_line_with_such_an_option_stays_where_it_is() {
    for (option, least) in OPTIONS {
        let line = format!("{option} {}", ed(2));
        let world = with_options();
        world.host.sshd.borrow_mut().replace(None);
        world.publish("file:/k", "1", &format!("{}\n{line}\n", ed(1)));
        let outcome = world.cycle();
        assert_eq!(
            (outcome.status, world.host.text(A)),
            (Status::Degraded, block(&[&ed(1)])),
            "{option}"
        );
        world.host.sshd.borrow_mut().replace(Some(least));
        assert_eq!(world.cycle().status, Status::Ok, "{option}");
        world.host.sshd.borrow_mut().replace(None);
        for _ in 0..2 {
            assert_eq!(world.cycle().status, Status::Ok, "{option}");
            assert_eq!(world.host.text(A), block(&[&ed(1), &line]), "{option}");
        }
    }
}

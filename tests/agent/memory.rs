//! What a cycle remembers, and what becomes of it.

use std::path::Path;

use authkeys_core::origin::Class;
use authkeys_core::outcome::{FaultClass, Outcome, Problem, Status};
use authkeys_testing::numbered::{ed, print};
use authkeysd::agent::Intent;
use authkeysd::state::{StateError, Store};

use jiff::SignedDuration;

use super::cycles::{TWO, block, classes};
use crate::world::{A, World};

#[test]
fn f38_a_rollback_is_refused_across_restarts_until_it_is_asked_for() {
    let world = World::new(TWO);
    let json = |serial: u8, key: u16| {
        format!(
            "{{\"version\":1,\"serial\":{serial},\"keys\":[{{\"public_key\":\"{}\"}}]}}",
            ed(key)
        )
    };
    world.publish("file:/k", "1", &json(17, 1));
    assert_eq!(world.cycle().status, Status::Ok);
    world.publish("file:/k", "2", &json(16, 2));
    let outcome = world.cycle();
    assert_eq!(outcome.status, Status::Stale);
    assert!(
        outcome.detail.contains("--accept-rollback"),
        "{}",
        outcome.detail
    );
    assert_eq!(world.host.text(A), block(&[&ed(1)]));
    let preview = world.cycle_as(Intent {
        dry_run: true,
        accept_rollback: true,
    });
    assert!(preview.changed());
    assert_eq!(
        world.cycle().status,
        Status::Stale,
        "a dry run resets nothing"
    );
    let outcome = world.cycle_as(Intent {
        dry_run: false,
        accept_rollback: true,
    });
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Ok, block(&[&ed(2)]))
    );
    world.publish("file:/k", "3", &json(17, 3));
    assert_eq!(
        world.cycle().status,
        Status::Ok,
        "counting goes on from there"
    );
}

#[test]
fn f38_a_state_that_was_lost_is_told_once_and_takes_no_key_away() {
    let mut world = World::new(TWO);
    world.host.set(A, &format!("{} theirs\n", ed(9)));
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    assert_eq!(
        world.cycle().status,
        Status::Ok,
        "the first cycle of a node has lost nothing"
    );
    world.state = tempfile::tempdir().unwrap();
    world.publish("file:/k", "2", &format!("{}\n", ed(2)));
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, classes(&outcome)),
        (Status::Degraded, vec![FaultClass::Failed])
    );
    assert!(
        outcome.detail.starts_with(A) && outcome.detail.contains("lost, emptied or moved"),
        "{}",
        outcome.detail
    );
    assert!(world.host.text(A).ends_with(&block(&[&ed(2)])));
    assert_eq!(world.cycle().status, Status::Ok);
}

#[test]
fn a_state_that_cannot_be_written_stops_new_keys_and_no_revocation() {
    let world = World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\n");
    world.publish("file:/k", "1", &format!("{}\n{}\n", ed(1), ed(2)));
    world.cycle();
    let with_broken_state = || {
        let mut store = Store::open(world.state.path()).unwrap();
        let file = world.state.path().join("state.json");
        let kept = world.state.path().join("kept");
        std::fs::rename(&file, &kept).unwrap();
        std::fs::create_dir(&file).unwrap();
        let outcome = world.cycle_in(&mut store, Intent::default());
        std::fs::remove_dir(&file).unwrap();
        std::fs::rename(&kept, &file).unwrap();
        outcome
    };
    world.publish("file:/k", "2", &format!("{}\n", ed(1)));
    let outcome = with_broken_state();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Degraded, block(&[&ed(1)])),
        "{:?}",
        outcome.faults
    );
    assert!(
        outcome.faults[0].text.contains("state.json"),
        "{:?}",
        outcome.faults
    );
    world.publish("file:/k", "3", &format!("{}\n{}\n", ed(1), ed(3)));
    let outcome = with_broken_state();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Degraded, block(&[&ed(1)]))
    );
    assert!(
        outcome.accounts[0]
            .detail
            .contains("1 of 2 keys not installed"),
        "{:?}",
        outcome.accounts[0].detail
    );
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1), &ed(3)]))
    );
}

/// Runs a cycle on a state directory that is spoilt for that time.
fn without(world: &World, spoil: impl FnOnce(&Path), mend: impl FnOnce(&Path)) -> Outcome {
    let path = world.state.path();
    spoil(path);
    let outcome = world.cycle();
    mend(path);
    outcome
}

#[test]
fn f50_removals_go_on_without_a_memory_and_nothing_is_installed() {
    let text = |keys: &[u16]| {
        keys.iter()
            .map(|key| format!("{}\n", ed(*key)))
            .collect::<String>()
    };
    let world = World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\n");
    world.publish("file:/k", "1", &text(&[1, 2, 3]));
    world.cycle();
    // A link to nowhere: the directory is gone and cannot be made.
    let away = |state: &Path| {
        std::fs::rename(state, state.with_extension("gone")).unwrap();
        std::os::unix::fs::symlink("/nonexistent/state", state).unwrap();
    };
    let back = |state: &Path| {
        std::fs::remove_file(state).unwrap();
        std::fs::rename(state.with_extension("gone"), state).unwrap();
    };
    world.publish("file:/k", "2", &text(&[1, 3]));
    assert_eq!(without(&world, away, back).status, Status::Degraded);
    assert_eq!(world.host.text(A), block(&[&ed(1), &ed(3)]), "a removal");
    world.publish("file:/k", "3", &text(&[3, 4]));
    let outcome = without(&world, away, back);
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Degraded, block(&[&ed(3)])),
        "beside an addition"
    );
    assert!(
        outcome.detail.contains("state directory"),
        "{}",
        outcome.detail
    );
    world.publish("file:/k", "4", &text(&[5]));
    let outcome = without(&world, away, back);
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Failed, block(&[&ed(3)])),
        "nobody is locked out"
    );
    // An empty memory proves nothing, and is not written over what is there.
    assert!(
        !outcome
            .faults
            .iter()
            .any(|fault| fault.text.contains("lost, emptied")),
        "{:?}",
        outcome.faults
    );
    world.publish("file:/k", "5", &text(&[6]));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(6)]))
    );
    // A lock that cannot be written can still be taken.
    std::fs::remove_file(world.state.path().join("lock")).unwrap();
    std::fs::create_dir(world.state.path().join("lock")).unwrap();
    world.publish("file:/k", "6", &text(&[7]));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(7)]))
    );
}

#[test]
fn f50_what_was_removed_without_a_memory_does_not_come_back_from_it() {
    let world = World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\n");
    world.publish("file:/k", "1", &format!("{}\n{}\n", ed(1), ed(2)));
    world.cycle();
    // It cannot be written once, and the process remembers that.
    world.publish("file:/k", "2", &format!("{}\n", ed(1)));
    let state = world.state.path();
    let mut store = Store::open(state).unwrap();
    std::fs::rename(state.join("state.json"), state.join("kept")).unwrap();
    std::fs::create_dir(state.join("state.json")).unwrap();
    world.cycle_in(&mut store, Intent::default());
    assert!(store.is_outdated());
    std::fs::remove_dir(state.join("state.json")).unwrap();
    std::fs::rename(state.join("kept"), state.join("state.json")).unwrap();
    drop(store);
    assert_eq!(world.host.text(A), block(&[&ed(1)]));
    world.fail("file:/k", Class::Transient);
    let mut store = Store::open(state).unwrap();
    store.set_outdated(true);
    let outcome = world.cycle_in(&mut store, Intent::default());
    assert_eq!(
        (world.host.text(A), outcome.changed()),
        (block(&[&ed(1)]), false),
        "{outcome:#?}"
    );
    world.publish("file:/k", "2", &format!("{}\n", ed(1)));
    world.cycle_in(&mut store, Intent::default());
    assert!(!store.is_outdated());
}

/// Nothing can be written or removed while `work` runs, as on a file system that is read-only.
fn without_state(world: &World, work: impl FnOnce()) {
    let [state, away] = [
        world.state.path().to_owned(),
        world.state.path().join("away"),
    ];
    for (name, stands) in [("state.json", "state.json/x"), ("documents", "documents")] {
        std::fs::create_dir_all(&away).unwrap();
        std::fs::rename(state.join(name), away.join(name)).unwrap();
        std::fs::create_dir_all(state.join(stands)).unwrap();
    }
    work();
    for name in ["state.json", "documents"] {
        std::fs::remove_dir_all(state.join(name)).unwrap();
        std::fs::rename(away.join(name), state.join(name)).unwrap();
    }
}

fn pass_an_hour(world: &World) {
    let later = *world.now.borrow() + SignedDuration::from_mins(61);
    *world.now.borrow_mut() = later;
}

#[test]
fn f50_nor_does_it_when_the_time_is_recorded_while_the_source_is_away() {
    let world = World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\n");
    world.publish("file:/k", "1", &format!("{}\n{}\n", ed(1), ed(2)));
    world.cycle();
    world.publish("file:/k", "2", &format!("{}\n", ed(1)));
    let mut store = Store::open(world.state.path()).unwrap();
    without_state(&world, || {
        world.cycle_in(&mut store, Intent::default());
        assert_eq!(world.host.text(A), block(&[&ed(1)]));
    });
    world.fail("file:/k", Class::Transient);
    for _ in 0..2 {
        pass_an_hour(&world);
        world.cycle_in(&mut store, Intent::default());
        assert_eq!(world.host.text(A), block(&[&ed(1)]));
    }
}

#[test]
fn f50_a_moment_in_which_only_the_time_could_not_be_recorded_stops_no_repair() {
    let world = World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\n");
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.cycle();
    let begun = *world.now.borrow();
    let mut store = Store::open(world.state.path()).unwrap();
    without_state(&world, || {
        pass_an_hour(&world);
        let outcome = world.cycle_in(&mut store, Intent::default());
        assert_ne!(outcome.status, Status::Ok, "it is told");
    });
    // The time need not be recorded now, which alone would show that it can be.
    *world.now.borrow_mut() = begun;
    world.fail("file:/k", Class::Transient);
    world.host.set(A, "");
    world.cycle_in(&mut store, Intent::default());
    assert_eq!(world.host.text(A), block(&[&ed(1)]));
}

#[test]
fn f50_a_state_that_all_sources_agree_with_is_enough_again() {
    let world = World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\n");
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.cycle();
    let mut store = Store::open(world.state.path()).unwrap();
    store.set_outdated(true);
    world.cycle_in(&mut store, Intent::default());
    assert!(!store.is_outdated());
}

#[test]
fn f50_what_was_removed_on_a_full_disk_does_not_come_back_with_another_process() {
    let world = World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\n");
    world.publish("file:/k", "1", &format!("{}\n{}\n", ed(1), ed(2)));
    world.cycle();
    // Nothing can be written for that time; names can still be removed, as on a full disk.
    let full = |state: &Path| {
        std::fs::rename(state.join("state.json"), state.join("kept")).unwrap();
        std::fs::create_dir(state.join("state.json")).unwrap();
        std::fs::copy(state.join("kept"), state.join("state.json/kept")).unwrap();
    };
    let space = |state: &Path| {
        std::fs::remove_dir_all(state.join("state.json")).unwrap();
        std::fs::rename(state.join("kept"), state.join("state.json")).unwrap();
    };
    world.publish("file:/k", "2", &format!("{}\n", ed(1)));
    let path = world.state.path();
    let mut store = Store::open(path).unwrap();
    full(path);
    world.cycle_in(&mut store, Intent::default());
    space(path);
    drop(store);
    assert_eq!(world.host.text(A), block(&[&ed(1)]));
    world.fail("file:/k", Class::Transient);
    for _ in 0..2 {
        let outcome = world.cycle();
        assert_eq!(
            (world.host.text(A), outcome.changed()),
            (block(&[&ed(1)]), false),
            "{outcome:#?}"
        );
    }
    world.publish("file:/k", "3", &format!("{}\n{}\n", ed(1), ed(3)));
    assert_eq!(
        (world.cycle().status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1), &ed(3)]))
    );
}

#[test]
fn what_will_be_installed_is_remembered_before_it_is() {
    let world = World::new(TWO);
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.host.broken.borrow_mut().push(A.into());
    world.cycle();
    let state =
        String::from_utf8(std::fs::read(world.state.path().join("state.json")).unwrap()).unwrap();
    assert!(state.contains(&print(&ed(1))));
}

#[test]
fn a_kept_document_that_was_damaged_is_fetched_again() {
    let world = World::new(TWO);
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.cycle();
    for entry in std::fs::read_dir(world.state.path().join("documents")).unwrap() {
        std::fs::OpenOptions::new()
            .append(true)
            .open(entry.unwrap().path())
            .unwrap()
            .set_len(3)
            .unwrap();
    }
    assert_eq!(world.cycle().status, Status::Ok);
}

#[test]
fn a_private_key_never_reaches_the_disk() {
    let world =
        World::new("source = \"file:/k\"\nallow_private_key = true\n[[account]]\nuser = \"a\"\n");
    let secret = format!(
        "{{\"PublicKey\":\"{}\",\"PrivateKey\":\"-----BEGIN OPENSSH PRIVATE KEY-----SECRET\"}}",
        ed(1)
    );
    world.publish("file:/k", "1", &secret);
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, world.host.text(A)),
        (Status::Ok, block(&[&ed(1)]))
    );
    let digest = outcome.sources[0].document.digest;
    let files =
        ["", "documents"].map(|dir| std::fs::read_dir(world.state.path().join(dir)).unwrap());
    for entry in files
        .into_iter()
        .flatten()
        .map(Result::unwrap)
        .filter(|e| e.file_type().unwrap().is_file())
    {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(
            !bytes.windows(6).any(|w| w == b"SECRET"),
            "{:?}",
            entry.path()
        );
    }
    world.fail("file:/k", Class::Transient);
    assert_eq!(
        world.cycle().sources[0].document.digest,
        digest,
        "the digest is the published document's, also from the kept half"
    );
    // Permitted no more, it is refused as if it came today, and what it let in stays.
    world.publish("file:/k", "1", &secret);
    assert_eq!(world.cycle().status, Status::Ok);
    let world = World {
        config: world.config.replace("allow_private_key = true\n", ""),
        ..world
    };
    world.host.set(A, "");
    let outcome = world.cycle();
    assert_eq!(
        (outcome.status, outcome.sources[0].problem),
        (Status::Stale, Some(Problem::Refused))
    );
    assert!(outcome.detail.contains("private key"), "{}", outcome.detail);
    assert_eq!(world.host.text(A), block(&[&ed(1)]));
}

#[test]
fn pinned_keys_survive_everything_and_their_file_too() {
    let pins = tempfile::tempdir().unwrap();
    let path = pins.path().join("pinned");
    let write = |text: &str| {
        authkeysd::host::write_durable(pins.path(), "pinned", text.as_bytes(), 0o600).unwrap()
    };
    write(&format!("{} break glass\n", ed(7)));
    let world = World::new(&format!("pinned_keys = \"{}\"\n{TWO}", path.display()));
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}"}}],"revoked":["{}"]}}"#,
        ed(1),
        print(&ed(7))
    );
    world.publish("file:/k", "1", &json);
    let pinned = format!("{} break glass", ed(7));
    assert_eq!(world.cycle().status, Status::Ok);
    for text in ["", "garbage\n"] {
        write(text);
        let outcome = world.cycle();
        assert_eq!(outcome.status, Status::Degraded, "{text:?}");
        assert_eq!(world.host.text(A), block(&[&pinned, &ed(1)]));
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(world.cycle().status, Status::Degraded);
    assert_eq!(world.host.text(A), block(&[&pinned, &ed(1)]));
}

#[test]
fn a_damaged_or_newer_state_is_refused_and_nothing_is_begun() {
    let world = World::new(TWO);
    world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    world.cycle();
    for (text, word) in [
        ("{", "damaged"),
        ("{\"schema\":2,\"new\":1}", "later version"),
        ("{\"schema\":1}", "damaged"),
    ] {
        authkeysd::host::write_durable(world.state.path(), "state.json", text.as_bytes(), 0o600)
            .unwrap();
        let fault = Store::open(world.state.path()).unwrap_err().to_string();
        assert!(fault.contains(word), "{fault}");
    }
}

#[test]
fn a_state_too_large_to_be_read_again_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let mut state = store.state().clone();
    state.pinned = Some("x".repeat(65 << 20));
    let error = store.save(&state).unwrap_err();
    assert!(matches!(error, StateError::TooLarge(_)), "{error}");
    drop(store);
    assert!(Store::open(directory.path()).is_ok());
}

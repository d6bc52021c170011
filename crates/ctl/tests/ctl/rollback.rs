//! `authkeysctl rollback`: back to an earlier version, without the keys that were revoked since.

use authkeys_testing::Key;
use serde_json::Value;

use crate::cloud::{Cloud, OBJECT, id, without};
use crate::desk::{document, serial};

#[test]
fn a_rollback_takes_the_next_serial_and_readmits_nothing_that_was_revoked_since() {
    let Some(cloud) = Cloud::versioned() else {
        return;
    };
    let [one, two, stolen, dropped, kept] =
        ["one", "two", "stolen", "dropped", "kept"].map(Key::new);
    // Revoked, taken out of `revoked` again, and let in again: each in a version of its own.
    cloud.publish(OBJECT, &document(None, &[&one, &stolen, &dropped, &kept]));
    cloud.publish(OBJECT, &without(&document(None, &[&one]), &dropped));
    cloud.publish(OBJECT, &without(&document(None, &[&one]), &kept));
    cloud.publish(OBJECT, &without(&document(None, &[&two, &kept]), &stolen));
    let first = id(&cloud.versions(OBJECT)[3]).to_owned();

    let dry = cloud.run(&["rollback", OBJECT, "--to", &first, "--dry-run"]);
    assert!(
        dry.status == 0 && dry.stdout.contains("workers/4 -> workers/5"),
        "{dry:?}"
    );
    let run = cloud.run(&["rollback", OBJECT, "--to", &first]);
    assert_eq!(run.status, 0, "{run:?}");
    let text = cloud.moto.object("keys", "prod/workers.json");
    let read: Value = serde_json::from_str(&text).unwrap();
    let mut wanted = document(Some(5), &[&one, &kept]);
    let mut revoked = [stolen.fingerprint(), dropped.fingerprint()];
    revoked.sort();
    assert_eq!(
        read["keys"],
        serde_json::from_str::<Value>(&wanted).unwrap()["keys"],
        "{text}"
    );
    let mut found: Vec<&str> = read["revoked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|print| print.as_str().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, revoked);

    // On purpose, and only what was revoked.
    let print = stolen.fingerprint();
    let run = cloud.run(&[
        "rollback",
        OBJECT,
        "--to",
        &first,
        "--readmit",
        &one.fingerprint(),
    ]);
    run.fails(1, &[&["was not revoked since then"]]);
    let run = cloud.run(&["rollback", OBJECT, "--to", &first, "--readmit", &print]);
    assert!(
        run.status == 1 && run.stderr.contains("REVOKED KEY COMES BACK"),
        "{run:?}"
    );
    assert_eq!(cloud.moto.object("keys", "prod/workers.json"), text);
    let run = cloud.run(&[
        "rollback",
        OBJECT,
        "--to",
        &first,
        "--readmit",
        &print,
        "--yes",
    ]);
    assert_eq!(run.status, 0, "{run:?}");
    wanted = cloud.moto.object("keys", "prod/workers.json");
    assert!(
        serial(&wanted) == 6 && wanted.contains(stolen.base64()) && !wanted.contains(&print),
        "{wanted}"
    );

    // To what is there: nothing is to be done. To what is not: a clear word.
    let current = id(&cloud.versions(OBJECT)[0]).to_owned();
    let run = cloud.run(&["rollback", OBJECT, "--to", &current]);
    assert!(
        run.status == 0 && run.stdout.contains("this is what is published already"),
        "{run:?}"
    );
    let run = cloud.run(&["rollback", OBJECT, "--to", "no-such-version"]);
    run.fails(1, &[&["no-such-version"]]);
    assert_eq!(cloud.moto.object("keys", "prod/workers.json"), wanted);
}

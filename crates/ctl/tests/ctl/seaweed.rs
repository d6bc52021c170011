//! The commands on a second S3, which is not moto and checks signatures: SeaweedFS.

use std::process::Stdio;
use std::time::Duration;

use crate::desk::document;
use authkeys_testing::seaweed::Seaweed;
use authkeys_testing::{Key, Run, clean_ctl, outcome_of};
use serde_json::{Value, json};

const TARGET: &str = "s3://keys/prod/workers.json";

struct Store(Seaweed);

impl Store {
    fn start() -> Option<Self> {
        Seaweed::prepare().then(|| Self(Seaweed::start("keys")))
    }

    fn versioned() -> Option<Self> {
        let store = Self::start()?;
        store.0.switch_versions_on("keys");
        Some(store)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        outcome_of(clean_ctl().envs(self.0.stand_in()).args(arguments))
    }

    fn good(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.status, 0, "{arguments:?}: {run:?}");
        run.stdout
    }

    fn publish(&self, text: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        self.good(&["publish", file.path().to_str().unwrap(), TARGET, "--yes"])
    }

    /// The published bytes.
    fn raw(&self) -> String {
        self.good(&["show", TARGET, "--raw"])
    }

    /// The stored versions, the newest first.
    fn versions(&self) -> Vec<Value> {
        let shown: Value =
            serde_json::from_str(&self.good(&["history", TARGET, "--json"])).unwrap();
        shown["versions"].as_array().unwrap().clone()
    }
}

/// It counts in seconds.
fn next_second() {
    std::thread::sleep(Duration::from_millis(1_100));
}

#[test]
fn another_s3_that_checks_signatures_takes_every_command_and_keeps_every_version() {
    let Some(store) = Store::versioned() else {
        return;
    };
    let [kept, one, two, three] = ["kept", "one", "two", "three"].map(Key::new);
    assert!(
        store
            .publish(&document(None, &[&kept, &one]))
            .contains("published workers/1 at")
    );
    next_second();
    let told = store.good(&["grant", TARGET, &two.line, "--accounts", "jo"]);
    assert!(
        told.contains(&format!("+ {}", two.fingerprint()))
            && told.contains("published workers/2 at"),
        "{told}"
    );
    next_second();
    let told = store.good(&["revoke", TARGET, &one.fingerprint()]);
    assert!(told.contains("published workers/3 at"), "{told}");
    next_second();

    // What is written is read again by the ETag's condition: of two at once one loses.
    let started: Vec<_> = ["a", "b"]
        .map(|name| {
            let mut command = clean_ctl();
            command
                .envs(store.0.stand_in())
                .args(["grant", TARGET, &Key::new(name).line]);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .into();
    let before = store.versions().len();
    let mut ended: Vec<(Option<i32>, String)> = started
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .map(|output| {
            (
                output.status.code(),
                String::from_utf8(output.stderr).unwrap(),
            )
        })
        .collect();
    ended.sort();
    let written = ended
        .iter()
        .filter(|(status, _)| *status == Some(0))
        .count();
    assert!(
        written >= 1
            && ended
                .iter()
                .all(|(status, _)| matches!(status, Some(0 | 1))),
        "{ended:?}"
    );
    for (_, said) in ended.iter().filter(|(status, _)| *status == Some(1)) {
        assert!(said.contains("somebody else published meanwhile"), "{said}");
    }
    assert!(before <= 3 + written);

    let versions = store.versions();
    assert_eq!(versions.len(), 3 + written, "{versions:?}");
    let serials: Vec<_> = versions
        .iter()
        .map(|version| version["serial"].as_u64().unwrap())
        .collect();
    assert_eq!(serials, (1..=serials[0]).rev().collect::<Vec<_>>());
    let named = |serial: u64| versions[versions.len() - usize::try_from(serial).unwrap()].clone();
    let pinned = |serial: u64| {
        format!(
            "{TARGET}?version_id={}",
            named(serial)["stored_version"].as_str().unwrap()
        )
    };
    let shown = store.good(&["show", &pinned(2)]);
    assert!(
        shown.contains(": workers/2\n")
            && shown.contains(&one.fingerprint())
            && shown.contains("jo"),
        "{shown}"
    );
    let differs = store.run(&["diff", &pinned(1), &pinned(2)]);
    assert!(
        differs.status == 3 && differs.stdout.contains(&format!("+ {}", two.fingerprint())),
        "{differs:?}"
    );
    let at = named(2)["published"].as_str().unwrap().to_owned();
    let then = store.good(&["show", TARGET, "--at", &at]);
    assert!(then.contains(": workers/2\n"), "{then}");
    store
        .run(&["show", TARGET, "--at", "2020-01-01T00:00:00Z"])
        .fails(1, &[&["the first version that is kept was made at"]]);

    // The revoked key stays out, and nothing is overwritten that somebody else put there meanwhile.
    let first = named(1)["stored_version"].as_str().unwrap().to_owned();
    store.good(&["rollback", TARGET, "--to", &first, "--yes"]);
    let published = store.raw();
    let keys: Value = serde_json::from_str(&published).unwrap();
    assert_eq!(
        keys["keys"],
        json!([{"public_key": kept.line}]),
        "{published}"
    );
    assert_eq!(keys["revoked"], json!([one.fingerprint()]), "{published}");
    store
        .0
        .put_object("keys", "prod/workers.json", &document(Some(30), &[&three]));
    assert!(
        store
            .good(&["grant", TARGET, &two.line])
            .contains("published workers/31 at")
    );

    next_second();
    store.0.delete_object("keys", "prod/workers.json");
    assert_eq!(store.versions()[0]["state"], "deleted");
    store.run(&["show", TARGET]).fails(1, &[&[TARGET]]);
    // After a deletion serials go on.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, document(None, &[&three])).unwrap();
    let file = file.path().to_str().unwrap();
    store.run(&["publish", file, TARGET]).fails(
        1,
        &[
            &["it was deleted there", "the serial 31"],
            &["nothing was written", "--yes"],
        ],
    );
    assert!(
        store
            .good(&["publish", file, TARGET, "--yes"])
            .contains("published workers/32 at")
    );
}

#[test]
fn another_s3_without_versions_says_so_and_a_wrong_key_is_refused() {
    let Some(store) = Store::start() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    store.publish(&document(None, &[&one]));
    store.good(&["grant", TARGET, &two.line]);
    let history = store.good(&["history", TARGET]);
    assert!(
        history.contains("workers/2") && history.contains("the bucket keeps no versions"),
        "{history}"
    );
    let before = store.raw();
    for arguments in [
        &["show", TARGET][..],
        &["history", TARGET],
        &["revoke", TARGET, &two.fingerprint()],
    ] {
        let mut stranger = clean_ctl();
        stranger
            .envs(store.0.stand_in())
            .env("AWS_SECRET_ACCESS_KEY", "another")
            .args(arguments);
        outcome_of(&mut stranger).fails(77, &[&["SignatureDoesNotMatch"]]);
    }
    assert_eq!(store.raw(), before);
}

#[test]
fn an_object_for_each_person_is_read_over_all_pages_of_another_s3() {
    let Some(store) = Store::start() else {
        return;
    };
    let [alice, bob] = ["alice", "bob"].map(Key::new);
    let people = "s3://keys/people/";
    store
        .run(&["show", people])
        .fails(1, &[&[people, "found no object"]]);
    store.0.put_folders("keys", "people/", 1_001);
    store
        .0
        .put_object("keys", "people/0000/alice.pub", &alice.line);
    store
        .0
        .put_object("keys", "people/zz%20b.pub", &format!("{}\n", bob.line));
    store.0.put_object("keys", "elsewhere/c.pub", "nothing");
    let shown = store.good(&["show", people]);
    for key in [&alice, &bob] {
        assert!(shown.contains(&key.fingerprint()), "{shown}");
    }
    let raw = store.good(&["show", people, "--raw"]);
    assert!(
        raw.contains("# object 0000/alice.pub, ") && raw.contains("# object zz b.pub, "),
        "{raw}"
    );
    assert!(store.good(&["lint", people]).contains("2 keys"));
    // One object at fault is named.
    store.0.put_object("keys", "people/dora.pub", "hello");
    let run = store.run(&["lint", people]);
    assert!(
        run.status == 1 && format!("{run:?}").contains("dora.pub"),
        "{run:?}"
    );
    // Where one document is meant, a prefix is refused.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, document(None, &[&alice])).unwrap();
    let file = file.path().to_str().unwrap();
    for arguments in [
        vec!["publish", file, people, "--yes"],
        vec!["grant", people, &bob.line],
        vec!["revoke", people, &bob.line],
        vec!["rollback", people, "--to", "1"],
    ] {
        store.run(&arguments).fails(64, &[&["names a prefix"]]);
    }
    for arguments in [
        &["history", people][..],
        &["show", people, "--at", "2026-11-01T00:00:00Z"],
    ] {
        store
            .run(arguments)
            .fails(64, &[&["names a prefix, which has no versions"]]);
    }
}

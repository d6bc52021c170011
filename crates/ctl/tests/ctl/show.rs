//! `authkeysctl show`, `history`, `diff` and `rollback`: what was published when, in all three
//! services, and back to it.

use std::time::Duration;

use crate::desk::{Desk, aws_json, bucket, document, serial};
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Run, clean_ctl, outcome_of, stand_in};
use serde_json::{Value, json};

const OBJECT: &str = "s3://keys/prod/workers.json";
const SECRET: &str = "secretsmanager:prod/keys";
const PARAMETER: &str = "ssm:/prod/keys";

struct Cloud {
    moto: Moto,
    desk: Desk,
}

impl Cloud {
    fn new() -> Option<Self> {
        let (moto, desk) = bucket()?;
        Some(Self { moto, desk })
    }

    fn versioned() -> Option<Self> {
        let cloud = Self::new()?;
        cloud.moto.switch_versions_on("keys");
        Some(cloud)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        outcome_of(
            clean_ctl()
                .envs(stand_in(&self.moto.endpoint()))
                .args(arguments),
        )
    }

    /// What is printed as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(run.status, 0, "{run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    }

    fn publish(&self, target: &str, text: &str) -> Run {
        self.desk.file("document", text);
        let run = self.desk.publish("document", target, &["--yes"]);
        assert_eq!(run.status, 0, "{run:?}");
        run
    }

    /// The versions that `history` tells of, the newest first.
    fn versions(&self, source: &str) -> Vec<Value> {
        self.json(&["history", source])["versions"]
            .as_array()
            .unwrap()
            .clone()
    }
}

fn id(version: &Value) -> &str {
    version["stored_version"].as_str().unwrap()
}

/// The services count in seconds.
fn next_second() {
    std::thread::sleep(Duration::from_millis(1_100));
}

fn without(text: &str, key: &Key) -> String {
    let revoked = format!("  ],\n  \"revoked\": [\"{}\"]\n", key.fingerprint());
    text.replacen("  ]\n", &revoked, 1)
}

#[test]
fn a_key_set_is_shown_with_the_state_of_each_key() {
    let Some(cloud) = Cloud::new() else { return };
    let [now, later, over, gone] = ["now", "later", "over", "gone"].map(Key::new);
    let entry = |key: &Key, more: &str| format!("{{\"public_key\": \"{}\"{more}}}", key.line);
    let text = format!(
        "{{\"version\": 1, \"name\": \"workers\", \"serial\": 3, \"audience\": \"prod\", \"expires\": \"2999-01-01T00:00:00Z\", \
         \"keys\": [{}, {}, {}, {}], \"revoked\": [\"{}\"]}}\n",
        entry(&now, ", \"accounts\": [\"jo\"], \"options\": [\"no-pty\"]"),
        entry(&later, ", \"not_before\": \"2998-01-01T00:00:00Z\""),
        entry(&over, ", \"not_after\": \"2020-01-01T00:00:00Z\""),
        entry(&gone, ""),
        gone.fingerprint()
    );
    let file = cloud.desk.file("keys.json", &text).display().to_string();
    cloud
        .moto
        .put_object("keys", "prod/workers.json", text.as_bytes());
    for source in [file.as_str(), OBJECT, &format!("file:{file}")] {
        let run = cloud.run(&["show", source]);
        run.succeeds();
        let lines: Vec<&str> = run.stdout.lines().collect();
        assert!(lines[0].ends_with(": workers/3"), "{run:?}");
        for (key, state, more) in [
            (&now, "in force", "jo"),
            (&later, "from 2998-01-01T00:00:00Z", "all"),
            (&over, "over", "all"),
            (&gone, "revoked", "all"),
        ] {
            let line = lines
                .iter()
                .find(|line| line.contains(&key.fingerprint()) && line.contains("ssh-ed25519"))
                .unwrap();
            assert!(line.starts_with(state) && line.contains(more), "{line}");
        }
        for word in [
            "  audience  prod\n",
            "  expires   2999-01-01T00:00:00Z",
            "4 keys, 1 in force\n",
            "1 fingerprint revoked\n",
        ] {
            assert!(run.stdout.contains(word), "{word}: {run:?}");
        }
        let shown = cloud.json(&["show", source, "--account", "al"]);
        assert_eq!(shown["keys"].as_array().unwrap().len(), 3, "{shown}");
        assert_eq!(
            (&shown["name"], &shown["serial"], &shown["account"]),
            (&json!("workers"), &json!(3), &json!("al"))
        );
        assert_eq!(cloud.run(&["show", source, "--raw"]).stdout, text);
    }
    // Its windows at another time.
    let then = cloud.run(&["show", &file, "--at", "2019-06-01T12:00:00+02:00"]);
    let line = then
        .stdout
        .lines()
        .find(|line| line.contains(&over.fingerprint()))
        .unwrap();
    assert!(line.starts_with("in force"), "{then:?}");
    assert!(
        then.stderr.contains("the file was last changed at"),
        "{then:?}"
    );
    cloud
        .run(&["show", &file, "--at", "yesterday"])
        .fails(64, &[&["is not a time with an offset"]]);
}

#[test]
fn what_deceives_a_terminal_and_what_is_private_is_not_printed() {
    let Some(cloud) = Cloud::new() else { return };
    let key = Key::new("k");
    let private = std::fs::read_to_string(key.private()).unwrap();
    let rotation = json!({"PublicKey": key.line, "PrivateKey": private}).to_string();
    let file = cloud.desk.file("rotation", &rotation).display().to_string();
    let shown = cloud.run(&["show", &file]);
    shown.succeeds();
    assert!(
        shown.stdout.contains(&key.fingerprint()) && !shown.stdout.contains("PRIVATE"),
        "{shown:?}"
    );
    let raw = cloud.run(&["show", &file, "--raw"]);
    raw.fails(1, &[&["is not printed: it holds a private key"]]);
    assert!(raw.stdout.is_empty());
    let evil = format!("{} \u{1b}]0;x\u{7}\u{202e}\n", key.bare());
    let file = cloud.desk.file("evil", evil).display().to_string();
    for arguments in [
        &["show", &file][..],
        &["history", &file],
        &["diff", "/dev/null", &file],
    ] {
        let run = cloud.run(arguments);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{run:?}");
    }
    for (text, word) in [
        ("", "it is empty"),
        ("{\"version\": 2}", "version 2 is not known"),
        ("<html>", "web page"),
    ] {
        let file = cloud.desk.file("bad", text).display().to_string();
        cloud.run(&["show", &file]).fails(1, &[&[word]]);
    }
}

#[test]
fn a_difference_is_told_by_the_exit_status() {
    let Some(cloud) = Cloud::new() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    let file = |name: &str, text: &str| cloud.desk.file(name, text).display().to_string();
    let a = file("a", &document(Some(1), &[&one]));
    let b = file("b", &document(Some(2), &[&one]));
    let c = file("c", &document(Some(2), &[&one, &two]));
    let d = file("d", &without(&document(Some(2), &[&one]), &two));
    let e = file(
        "e",
        &document(Some(2), &[&one]).replace("workers", "others"),
    );
    for (before, after, status, told) in [
        (&a, &b, 0, "  no key changes\n".to_owned()),
        (
            &a,
            &c,
            3,
            format!("  + {} ssh-ed25519 two\n", two.fingerprint()),
        ),
        (
            &c,
            &a,
            3,
            format!("  - {} ssh-ed25519 two\n", two.fingerprint()),
        ),
        (&a, &d, 3, format!("  + revoked {}\n", two.fingerprint())),
        (&a, &e, 0, "  ~ name workers -> others\n".to_owned()),
    ] {
        let run = cloud.run(&["diff", before, after]);
        assert!(
            run.status == status && run.stdout.ends_with(&told) && run.stderr.is_empty(),
            "{run:?}"
        );
    }
    cloud.moto.put_object(
        "keys",
        "prod/workers.json",
        document(Some(1), &[&one]).as_bytes(),
    );
    assert_eq!(cloud.run(&["diff", OBJECT, &c]).status, 3);
    cloud
        .run(&["diff", OBJECT, "s3://keys/none"])
        .fails(1, &[&["s3://keys/none"]]);
    cloud
        .run(&["diff", "-", "-"])
        .fails(64, &[&["standard input holds one key set only"]]);
}

#[test]
fn the_history_of_an_object_has_its_versions_and_delete_markers_and_what_was_no_document() {
    let Some(cloud) = Cloud::versioned() else {
        return;
    };
    let (one, two, ops) = (Key::new("one"), Key::new("two"), Key::new("ops"));
    cloud
        .moto
        .put_object("keys", "prod/workers.json.old", b"another object");
    let before = now();
    next_second();
    cloud.publish(OBJECT, &document(None, &[&one]));
    next_second();
    let first = now();
    next_second();
    cloud.publish(OBJECT, &document(None, &[&one, &two]));
    next_second();
    cloud.moto.delete_object("keys", "prod/workers.json");
    next_second();
    let deleted = now();
    next_second();
    cloud
        .moto
        .put_object("keys", "prod/workers.json", b"{\"version\": 9}\n");
    next_second();
    let sign = ops.private().display().to_string();
    cloud
        .desk
        .file("c", without(&document(Some(7), &[&two]), &one));
    assert_eq!(
        cloud
            .desk
            .publish("c", OBJECT, &["--yes", "--sign", &sign])
            .status,
        0
    );

    let run = cloud.run(&["history", OBJECT]);
    run.succeeds();
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 7, "{run:?}");
    for (line, words) in lines[1..].iter().zip([
        &[
            "current",
            "workers/7",
            "1 in force",
            "-1 1 revoked",
            "SHA256:",
        ][..],
        &["no document", "version 9"],
        &["deleted"],
        &["workers/2", "2 in force", "+1"],
        &["workers/1", "1 in force", "+1"],
        &["this is the first version that the bucket keeps"],
    ]) {
        assert!(
            words.iter().all(|word| line.contains(word)),
            "{words:?}: {line}"
        );
    }
    let versions = cloud.versions(OBJECT);
    let states: Vec<&str> = versions
        .iter()
        .map(|version| version["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states,
        ["document", "unreadable", "deleted", "document", "document"]
    );
    assert_eq!(
        (
            &versions[0]["removed"],
            &versions[0]["revoked"],
            &versions[3]["added"]
        ),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        (&versions[0]["current"], &versions[3]["current"]),
        (&json!(true), &json!(false))
    );
    let short = cloud.run(&["history", OBJECT, "--limit", "4"]);
    assert!(
        short.stdout.contains("workers/2") && !short.stdout.contains("workers/1"),
        "{short:?}"
    );
    assert!(
        short.stdout.contains("+1")
            && short
                .stdout
                .ends_with("there are older versions; --limit shows more\n"),
        "{short:?}"
    );

    // Who could log in, and when.
    let at = |time: &str| cloud.run(&["show", OBJECT, "--at", time]);
    let run = at(&first);
    assert!(
        run.status == 0
            && run.stdout.contains(": workers/1\n")
            && run.stdout.contains(&one.fingerprint()),
        "{run:?}"
    );
    // The same moment elsewhere.
    for zone in ["Pacific/Auckland", "America/St_Johns"] {
        let there = first
            .parse::<jiff::Timestamp>()
            .unwrap()
            .in_tz(zone)
            .unwrap();
        for time in [
            there.to_string(),
            there.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        ] {
            assert_eq!(at(&time).stdout, run.stdout, "{time}");
        }
    }
    at(&deleted).fails(
        1,
        &[&[
            "nothing was published there at",
            "it had been deleted since",
        ]],
    );
    at(&before).fails(
        1,
        &[&[
            "the first version that is kept was made at",
            "the first version that the bucket keeps",
        ]],
    );
    let pinned = format!("{OBJECT}?version_id={}", id(&versions[3]));
    let run = cloud.run(&["show", &pinned]);
    assert!(
        run.status == 0 && run.stdout.contains(": workers/2\n"),
        "{run:?}"
    );
    assert_eq!(cloud.run(&["diff", &pinned, OBJECT]).status, 3);
}

fn now() -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_bucket_without_versions_says_so_and_many_other_keys_beside_do_not_matter() {
    let Some(cloud) = Cloud::new() else { return };
    let one = Key::new("one");
    cloud.run(&["history", OBJECT]).fails(
        1,
        &[&["nothing is published there, and no earlier version is kept"]],
    );
    cloud.publish(OBJECT, &document(None, &[&one]));
    let run = cloud.run(&["history", OBJECT]);
    run.succeeds();
    assert!(
        run.stdout.contains("workers/1") && run.stdout.contains("the bucket keeps no versions"),
        "{run:?}"
    );
    cloud
        .run(&["show", OBJECT, "--at", "2020-01-01T00:00:00Z"])
        .fails(1, &[&["was made at", "the bucket keeps no versions"]]);

    // Three pages of them.
    cloud.moto.switch_versions_on("keys");
    for at in 0..3_000 {
        cloud
            .moto
            .put_object("keys", &format!("prod/workers.json.{at}"), b"x");
    }
    cloud.publish(OBJECT, &document(None, &[&one, &Key::new("two")]));
    let versions = cloud.versions(OBJECT);
    assert_eq!(versions.len(), 2, "{versions:?}");
    let file = cloud
        .desk
        .file("keys", document(Some(1), &[&one]))
        .display()
        .to_string();
    let run = cloud.run(&["history", &file]);
    assert!(
        run.status == 0 && run.stdout.ends_with("a file keeps no earlier versions\n"),
        "{run:?}"
    );
}

#[test]
fn the_history_of_a_secret_has_versions_with_and_without_stages() {
    let Some(cloud) = Cloud::new() else { return };
    let keys: Vec<Key> = (0..4).map(|at| Key::new(&format!("k{at}"))).collect();
    for upto in 1..=3 {
        cloud.publish(
            SECRET,
            &document(None, &keys[..upto].iter().collect::<Vec<_>>()),
        );
        next_second();
    }
    let put = json!({"SecretId": "prod/keys", "SecretString": document(Some(9), &[&keys[3]]), "VersionStages": ["AWSPENDING"],
                     "ClientRequestToken": "0".repeat(32)});
    aws_json(
        &cloud.moto.endpoint(),
        "secretsmanager",
        "secretsmanager.PutSecretValue",
        &put,
    );
    let versions = cloud.versions(SECRET);
    let told: Vec<(String, Value)> = versions
        .iter()
        .map(|version| (version["stages"].to_string(), version["serial"].clone()))
        .collect();
    let named = |stage: &str, serial: u64| (stage.to_owned(), json!(serial));
    assert_eq!(
        told[..3],
        [
            named("[\"AWSPENDING\"]", 9),
            named("[\"AWSCURRENT\"]", 3),
            named("[\"AWSPREVIOUS\"]", 2)
        ]
    );
    let run = cloud.run(&["history", SECRET]);
    assert!(
        run.stdout
            .contains("Secrets Manager keeps about 100 versions"),
        "{run:?}"
    );

    let run = cloud.run(&["show", SECRET]);
    run.fails(
        0,
        &[&[
            "note: nodes take the keys of AWSPENDING too",
            "?stages=AWSPENDING shows it",
        ]],
    );
    assert!(run.stdout.contains(": workers/3\n"), "{run:?}");
    for (pin, set) in [
        ("?stages=AWSPREVIOUS".to_owned(), "workers/2"),
        ("?stages=AWSPENDING".to_owned(), "workers/9"),
        (format!("?version_id={}", id(&versions[2])), "workers/2"),
    ] {
        let run = cloud.run(&["show", &format!("{SECRET}{pin}")]);
        run.succeeds();
        assert!(run.stdout.contains(&format!(": {set}\n")), "{run:?}");
    }
    let made = versions[2]["published"].as_str().unwrap();
    let run = cloud.run(&["show", SECRET, "--at", made]);
    assert!(
        run.status == 0 && run.stdout.contains(": workers/2\n"),
        "{run:?}"
    );
    assert!(
        run.stderr.contains("not when it became the current one"),
        "{run:?}"
    );
    cloud.run(&["rollback", SECRET, "--to", "AWSPREVIOUS", "--yes"]);
    let run = cloud.run(&["show", SECRET]);
    assert!(
        run.stdout.contains(": workers/4\n") && run.stdout.contains("2 keys, 2 in force\n"),
        "{run:?}"
    );
}

#[test]
fn the_history_of_a_parameter_is_read_page_by_page_with_its_labels() {
    let Some(cloud) = Cloud::new() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    cloud.publish(PARAMETER, &document(None, &[&one]));
    let call = |call: &str, body: &Value| {
        aws_json(
            &cloud.moto.endpoint(),
            "ssm",
            &format!("AmazonSSM.{call}"),
            body,
        )
    };
    for at in 2..=60 {
        let text = document(Some(at), &[&one]);
        call(
            "PutParameter",
            &json!({"Name": "/prod/keys", "Value": text, "Overwrite": true}),
        );
    }
    call(
        "LabelParameterVersion",
        &json!({"Name": "/prod/keys", "ParameterVersion": 3, "Labels": ["good"]}),
    );
    cloud.publish(PARAMETER, &document(None, &[&one, &two]));
    let shown = cloud.json(&["history", PARAMETER, "--limit", "100"]);
    let versions = shown["versions"].as_array().unwrap();
    assert_eq!((versions.len(), &shown["complete"]), (61, &json!(true)));
    assert_eq!(
        (
            id(&versions[0]),
            &versions[0]["added"],
            &versions[0]["current"]
        ),
        ("61", &json!(1), &json!(true))
    );
    assert_eq!(
        (id(&versions[58]), &versions[58]["stages"]),
        ("3", &json!(["good"]))
    );
    for pin in ["3", "good"] {
        let run = cloud.run(&["show", &format!("{PARAMETER}:{pin}")]);
        assert!(
            run.status == 0 && run.stdout.contains(": workers/3\n"),
            "{run:?}"
        );
    }
    let run = cloud.run(&["rollback", PARAMETER, "--to", "good"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        run.stdout.contains("workers/61 -> workers/62") && run.stdout.contains("  - "),
        "{run:?}"
    );
}

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
    assert!(
        run.status != 0 && run.stderr.lines().count() == 1,
        "{run:?}"
    );
    assert_eq!(cloud.moto.object("keys", "prod/workers.json"), wanted);
}

#[test]
fn one_field_of_a_secret_is_shown_with_its_history() {
    let Some(cloud) = Cloud::new() else { return };
    let [old, new] = ["old", "new"].map(Key::new);
    let value = |key: &Key| json!({"pub_key": key.line, "private": "hunter2"}).to_string();
    let endpoint = cloud.moto.endpoint();
    let call = |name: &str, body: &Value| {
        aws_json(&endpoint, "secretsmanager", name, body);
    };
    let create = json!({"Name": "team", "SecretString": value(&old)});
    call("CreateSecret", &create);
    next_second();
    let put = json!({"SecretId": "team", "SecretString": value(&new)});
    call("PutSecretValue", &put);
    let source = "secretsmanager:team?field=pub_key";
    let shown = cloud.run(&["show", source]);
    shown.succeeds();
    assert!(shown.stdout.contains(&new.fingerprint()), "{shown:?}");
    let versions = cloud.versions(source);
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert!(
        versions
            .iter()
            .all(|version| version["keys"] == 1 || version["keys_in_force"] == 1),
        "{versions:?}"
    );
    let then = cloud.run(&["show", &format!("{source}&version_id={}", id(&versions[1]))]);
    then.succeeds();
    assert!(then.stdout.contains(&old.fingerprint()), "{then:?}");
    let raw = cloud.run(&["show", source, "--raw"]);
    assert_eq!(raw.stdout, new.line, "{raw:?}");
    let missing = cloud.run(&["show", "secretsmanager:team?field=other"]);
    missing.fails(1, &[&["other", "pub_key"]]);
    for run in [shown, then, raw, missing] {
        assert!(!format!("{run:?}").contains("hunter2"), "{run:?}");
    }
}

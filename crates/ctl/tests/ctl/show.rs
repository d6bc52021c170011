//! `authkeysctl show` and `diff`: a key set with the state of each key, what is not printed, and
//! how two key sets differ.

use authkeys_testing::Key;
use serde_json::{Value, json};

use crate::cloud::{Cloud, OBJECT, id, next_second, without};
use crate::desk::{aws_json, document};

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
    let plain = cloud.desk.file("plain", &key.line).display().to_string();
    for (arguments, status, shown) in [
        (&["show", &file][..], 0, "]0;x"),
        (&["history", &file], 0, "1 in force"),
        (&["diff", &plain, &file], 3, "]0;x"),
    ] {
        let run = cloud.run(arguments);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{run:?}");
        assert!(
            run.status == status && run.stdout.contains(shown),
            "{run:?}"
        );
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
            .all(|version| version["keys"] == 1 && version["in_force"] == 1),
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

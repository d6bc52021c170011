//! `authkeysctl history`: what was published when, in all three services.

use authkeys_testing::Key;
use serde_json::{Value, json};

use crate::cloud::{Cloud, OBJECT, id, next_second, without};
use crate::desk::{aws_json, document};

const SECRET: &str = "secretsmanager:prod/keys";
const PARAMETER: &str = "ssm:/prod/keys";

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

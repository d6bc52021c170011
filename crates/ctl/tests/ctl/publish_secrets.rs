//! `authkeysctl publish` to Secrets Manager: nodes see the old document or the new one, and of two
//! publishers at once none is lost unseen.

use authkeys_testing::Key;
use authkeys_testing::moto::Moto;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use serde_json::{Value, json};

use crate::desk::{Desk, aws_json, document, serial};
use crate::json_services::{bodies, node_takes, race, start};

const SECRET: &str = "secretsmanager:prod/keys";

fn secrets(moto: &Moto, call: &str, body: &Value) -> Value {
    aws_json(
        &moto.endpoint(),
        "secretsmanager",
        &format!("secretsmanager.{call}"),
        body,
    )
}

fn current(moto: &Moto) -> String {
    let found = secrets(
        moto,
        "GetSecretValue",
        &json!({"SecretId": "prod/keys", "VersionStage": "AWSCURRENT"}),
    );
    found["SecretString"].as_str().unwrap().to_owned()
}

/// The labels of all versions.
fn labels(moto: &Moto) -> Vec<String> {
    let found = secrets(moto, "DescribeSecret", &json!({"SecretId": "prod/keys"}));
    let stages = found["VersionIdsToStages"].as_object().unwrap().values();
    let mut labels: Vec<String> = stages
        .flat_map(|stages| stages.as_array().unwrap())
        .map(|label| label.as_str().unwrap().to_owned())
        .collect();
    labels.sort();
    labels
}

#[test]
fn a_secret_is_made_and_then_followed_version_by_version() {
    let Some((moto, desk)) = start() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    desk.file("a", document(None, &[&one]));
    let run = desk.publish("a", SECRET, &[]);
    run.succeeds();
    assert!(
        run.stdout
            .starts_with(&format!("{SECRET}: nothing is published there yet")),
        "{run:?}"
    );
    assert_eq!(labels(&moto), ["AWSCURRENT"]);
    node_takes(&moto, SECRET, &[&one]);

    desk.file("a", document(None, &[&one, &two]));
    let run = desk.publish("a", SECRET, &[]);
    run.succeeds();
    assert!(run.stdout.contains(": workers/1 -> workers/2\n"), "{run:?}");
    assert_eq!(serial(&current(&moto)), 2);
    assert_eq!(
        labels(&moto),
        ["AWSCURRENT", "AWSPREVIOUS"],
        "its own label is gone"
    );
    node_takes(&moto, SECRET, &[&one, &two]);
    let version = run
        .stdout
        .split("version ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap()
        .to_owned();
    let found = secrets(
        &moto,
        "GetSecretValue",
        &json!({"SecretId": "prod/keys", "VersionStage": "AWSCURRENT"}),
    );
    assert_eq!(found["VersionId"], version);
}

#[test]
fn a_secret_without_a_value_gets_its_first_one() {
    let Some((moto, desk)) = start() else { return };
    let key = Key::new("k");
    secrets(
        &moto,
        "CreateSecret",
        &json!({"Name": "prod/keys", "ClientRequestToken": "0".repeat(32)}),
    );
    desk.file("a", document(None, &[&key]));
    desk.publish("a", SECRET, &[]).succeeds();
    assert_eq!(
        (serial(&current(&moto)), labels(&moto)),
        (1, vec!["AWSCURRENT".to_owned()])
    );
    node_takes(&moto, SECRET, &[&key]);
}

#[test]
fn the_label_that_a_killed_publisher_left_is_swept_by_the_next_one_and_no_other() {
    let Some((moto, desk)) = start() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    desk.file("a", document(None, &[&one]));
    desk.publish("a", SECRET, &[]).succeeds();
    let put = |number: u8, stages: &[&str]| {
        let id = format!("{number:032}");
        let put = json!({"SecretId": "prod/keys", "SecretString": "{}", "ClientRequestToken": id, "VersionStages": stages});
        secrets(&moto, "PutSecretValue", &put);
    };
    // As it stands after a publisher was killed before he moved AWSCURRENT; and what looks like it
    // but is not.
    put(1, &["authkeysctl-00000000000000000000000000000001"]);
    put(
        2,
        &["AWSPENDING", "authkeysctl-00000000000000000000000000000002"],
    );
    put(3, &["their-authkeysctl-3", "canary"]);
    // The stand-in counts in seconds.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    desk.file("a", document(None, &[&one, &two]));
    desk.publish("a", SECRET, &[]).succeeds();
    let kept = [
        "AWSCURRENT",
        "AWSPENDING",
        "AWSPREVIOUS",
        "authkeysctl-00000000000000000000000000000002",
        "canary",
    ];
    assert_eq!(
        labels(&moto),
        [&kept[..], &["their-authkeysctl-3"]].concat()
    );
    node_takes(
        &moto,
        "secretsmanager:prod/keys?stages=AWSCURRENT",
        &[&one, &two],
    );
}

#[test]
fn who_may_not_look_for_such_labels_publishes_all_the_same_and_is_told_what_to_allow() {
    let key = Key::new("k");
    let current = |id: &str, serial: u64| {
        let text = document(Some(serial), &[&key]);
        let answer =
            json!({"VersionId": id, "SecretString": text, "VersionStages": ["AWSCURRENT"]});
        StubAnswer::json(&answer.to_string())
    };
    let put = StubAnswer::json(r#"{"VersionId": "2", "VersionStages": ["authkeysctl-2"]}"#);
    let moved = || StubAnswer::json("{}");
    let denied = StubAnswer::json_error("400 Bad Request", "AccessDeniedException", "no");
    let stub = Stub::start([
        current("1", 5),
        put,
        moved(),
        moved(),
        denied,
        current("2", 6),
    ]);
    let desk = Desk::new(&stub.endpoint());
    desk.file("a", document(Some(6), &[&key]));
    let run = desk.publish("a", SECRET, &[]);
    run.fails(
        0,
        &[&[
            "warning: labels of killed publishers may stay",
            "allow secretsmanager:ListSecretVersionIds on",
        ]],
    );
    assert!(run.stdout.contains("published workers/6 at "), "{run:?}");
}

#[test]
fn of_two_publishers_of_a_secret_at_once_none_is_lost() {
    let Some((moto, desk)) = start() else { return };
    let (successes, losses) = race(&desk, SECRET, "nothing was overwritten");
    assert_eq!(serial(&current(&moto)), successes);
    assert!(losses > 0, "{successes}: they never met");
    let labels = labels(&moto);
    assert!(
        labels.iter().all(|label| label.starts_with("AWS")),
        "{labels:?}"
    );
}

/// Some guide of AWS says that a version with a label of one's own becomes the current one at once.
#[test]
fn a_secret_that_moves_awscurrent_at_once_still_tells_whom_it_overwrote() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let value = |version: &str, text: &str| {
        StubAnswer::json(
            &json!({"VersionId": version, "SecretString": text, "VersionStages": ["AWSCURRENT"]})
                .to_string(),
        )
    };
    let old = document(Some(4), &[&one]);
    let put = || {
        StubAnswer::json(
            "{\"VersionId\":\"new\",\"VersionStages\":[\"AWSCURRENT\",\"authkeysctl-x\"]}",
        )
    };
    let done = || StubAnswer::json("{}");
    let versions = || StubAnswer::json("{\"Versions\":[]}");
    for (previous, overwritten) in [("v1", false), ("v2", true)] {
        let answers = [
            value("v1", &old),
            put(),
            value(previous, &old),
            done(),
            versions(),
            value("new", &document(Some(5), &[&one, &two])),
        ];
        let stub = Stub::start(answers);
        let desk = Desk::new(&stub.endpoint());
        desk.file("a", document(Some(5), &[&one, &two]));
        let run = desk.publish("a", SECRET, &[]);
        let moved = bodies(&stub, "UpdateSecretVersionStage");
        assert!(!moved.is_empty(), "its own label is taken away");
        assert!(
            moved
                .iter()
                .all(|body| body["VersionStage"] != "AWSCURRENT"),
            "{moved:?}"
        );
        if overwritten {
            run.fails(
                1,
                &[&[
                    "somebody else's version v2 was overwritten by ours",
                    "--version-id v2",
                ]],
            );
        } else {
            run.succeeds();
        }
    }
}

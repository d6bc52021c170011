//! `authkeysctl publish` to Secrets Manager and Parameter Store: nodes see the old document or the
//! new one, and of two publishers at once none is lost unseen.

use authkeys_testing::moto::Moto;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, Setup, me};
use serde_json::{Value, json};

use crate::desk::{Desk, aws_json, document, serial};

const SECRET: &str = "secretsmanager:prod/keys";
const PARAMETER: &str = "ssm:/prod/keys";

fn start() -> Option<(Moto, Desk)> {
    if !Moto::prepare() {
        return None;
    }
    let moto = Moto::start();
    let desk = Desk::new(&moto.endpoint());
    Some((moto, desk))
}

fn secrets(moto: &Moto, call: &str, body: &Value) -> Value {
    aws_json(
        &moto.endpoint(),
        "secretsmanager",
        &format!("secretsmanager.{call}"),
        body,
    )
}

fn parameters(moto: &Moto, call: &str, body: &Value) -> Value {
    aws_json(&moto.endpoint(), "ssm", &format!("AmazonSSM.{call}"), body)
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

/// A node that follows `source` takes what is published.
fn node_takes(moto: &Moto, source: &str, keys: &[&Key]) {
    let setup = Setup::new();
    let path = setup.path("keys").join(me());
    let file = format!("file = \"{}/%u\"", setup.path("keys").display());
    let mut setup = setup.account(&me(), &file);
    setup.source = source.to_owned();
    setup.use_s3_at(&moto.endpoint());
    setup.run(["sync"]).succeeds();
    let found = std::fs::read_to_string(path).unwrap();
    let lines: String = keys.iter().map(|key| format!("{}\n", key.line)).collect();
    let head = format!(
        "# managed by authkeysd from {source}: changes between these lines are overwritten\n"
    );
    assert_eq!(
        found,
        format!("# BEGIN authkeysd\n{head}{lines}# END authkeysd\n")
    );
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

#[test]
fn a_parameter_is_made_and_then_followed_version_by_version() {
    let Some((moto, desk)) = start() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    desk.file("a", document(None, &[&one]));
    let run = desk.publish("a", PARAMETER, &[]);
    run.succeeds();
    assert!(
        run.stdout
            .contains(&format!("published workers/1 at {PARAMETER}, version 1,")),
        "{run:?}"
    );
    node_takes(&moto, PARAMETER, &[&one]);
    desk.file("a", document(None, &[&one, &two]));
    let run = desk.publish("a", PARAMETER, &[]);
    run.succeeds();
    assert!(run.stdout.contains("version 2,"), "{run:?}");
    node_takes(&moto, PARAMETER, &[&one, &two]);

    let large: Vec<Key> = (0..8)
        .map(|at| Key::new(&format!("{at}-{}", "x".repeat(950))))
        .collect();
    let large: Vec<&Key> = large.iter().chain([&one]).collect();
    desk.file("a", document(None, &large));
    let run = desk.publish("a", PARAMETER, &[]);
    run.fails(
        1,
        &[&["more than 8192, the most of a parameter; publish it in S3"]],
    );
    desk.file("a", document(None, &large[4..]));
    desk.publish("a", PARAMETER, &[]).succeeds();
    desk.publish("a", "ssm:/prod/keys:1", &[]).fails(
        64,
        &[&["is not a target", "leave what follows the name out"]],
    );
}

#[test]
fn an_encrypted_parameter_keeps_its_type_and_its_key() {
    let Some((moto, desk)) = start() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    let text = document(Some(4), &[&one]);
    let put =
        json!({"Name": "/prod/keys", "Value": text, "Type": "SecureString", "KeyId": "alias/ours"});
    parameters(&moto, "PutParameter", &put);
    desk.file("a", document(None, &[&one, &two]));
    desk.publish("a", PARAMETER, &[]).succeeds();
    let found = parameters(&moto, "DescribeParameters", &json!({}));
    assert_eq!(
        (
            &found["Parameters"][0]["Type"],
            &found["Parameters"][0]["KeyId"]
        ),
        (&"SecureString".into(), &"alias/ours".into())
    );
    node_takes(&moto, PARAMETER, &[&one, &two]);
}

#[test]
fn of_two_publishers_of_a_parameter_at_once_each_that_lost_something_is_told() {
    let Some((moto, desk)) = start() else { return };
    let (successes, losses) = race(&desk, PARAMETER, "publish again");
    // Each write is one version. One that went over another's has its serial.
    let history = parameters(&moto, "GetParameterHistory", &json!({"Name": "/prod/keys"}));
    let versions = history["Parameters"].as_array().unwrap().iter();
    let serials: Vec<u64> = versions
        .map(|version| serial(version["Value"].as_str().unwrap()))
        .collect();
    let mut distinct = serials.clone();
    distinct.dedup();
    let (distinct, repeated) = (
        distinct.len() as u64,
        (serials.len() - distinct.len()) as u64,
    );
    assert!(
        successes <= distinct,
        "a success was lost: {successes} of {serials:?}"
    );
    assert!(
        losses >= repeated && losses > 0,
        "somebody was not told: {losses} of {serials:?}"
    );
}

/// Ten rounds of two publishers at once: how often one got through, and how often one was told of
/// the other.
fn race(desk: &Desk, target: &str, words: &str) -> (u64, u64) {
    let (successes, losses) = desk.race(target, 10);
    for told in &losses {
        assert!(
            told.contains("somebody else") && told.contains(words),
            "{told}"
        );
    }
    (successes, losses.len() as u64)
}

/// A parameter as GetParameter answers with it.
fn parameter(kind: &str, version: u32, text: &str) -> StubAnswer {
    let body = json!({"Parameter": {"Name": "/prod/keys", "Type": kind, "Value": text, "Version": version,
        "ARN": "arn:aws:ssm:us-east-1:123456789012:parameter/prod/keys"}});
    StubAnswer::json(&body.to_string())
}

fn described(key: Option<&str>, next: Option<&str>) -> StubAnswer {
    let found = key.map(|key| json!({"Name": "/prod/keys", "Type": "SecureString", "KeyId": key}));
    let found: Vec<Value> = found.into_iter().collect();
    StubAnswer::json(&json!({"Parameters": found, "NextToken": next}).to_string())
}

/// The bodies of the calls of one kind.
fn bodies(stub: &Stub, call: &str) -> Vec<Value> {
    let requests = stub.requests();
    let of_kind = requests.iter().filter(|request| {
        request
            .header("x-amz-target")
            .is_some_and(|name| name.ends_with(call))
    });
    of_kind
        .map(|request| serde_json::from_str(&request.body).unwrap())
        .collect()
}

#[test]
fn the_key_of_an_encrypted_parameter_is_looked_for_on_every_page_or_nothing_is_written() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let old = document(Some(4), &[&one]);
    let secure = || parameter("SecureString", 4, &old);
    let put = || StubAnswer::json("{\"Version\":5}");
    let pages = [
        described(None, Some("1")),
        described(None, Some("2")),
        described(Some("alias/ours"), None),
    ];
    let stub = Stub::start(
        [
            vec![secure(), secure()],
            pages.to_vec(),
            vec![put(), secure()],
        ]
        .concat(),
    );
    let desk = Desk::new(&stub.endpoint());
    desk.file("a", document(None, &[&one, &two]));
    desk.publish("a", PARAMETER, &[]);
    let written = bodies(&stub, "PutParameter");
    assert_eq!(
        (&written[0]["KeyId"], &written[0]["Type"]),
        (&"alias/ours".into(), &"SecureString".into())
    );
    let tokens: Vec<Value> = bodies(&stub, "DescribeParameters")
        .into_iter()
        .map(|body| body["NextToken"].clone())
        .collect();
    assert_eq!(tokens, [Value::Null, "1".into(), "2".into()]);

    for page in [described(None, None), described(None, Some("again"))] {
        let stub = Stub::start([
            secure(),
            secure(),
            page.clone(),
            page.clone(),
            page,
            secure(),
        ]);
        let desk = Desk::new(&stub.endpoint());
        desk.file("a", document(None, &[&one, &two]));
        desk.publish("a", PARAMETER, &[])
            .fails(1, &[&["does not name the KMS key", "nothing was written"]]);
        assert_eq!(bodies(&stub, "PutParameter"), [] as [Value; 0]);
    }
}

#[test]
fn an_arn_is_published_to_by_its_name_in_its_own_account_alone() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let found = || parameter("String", 4, &document(Some(4), &[&one]));
    let target = "ssm:arn:aws:ssm:us-east-1:123456789012:parameter/prod/keys";
    let stub = Stub::start([
        found(),
        found(),
        StubAnswer::json("{\"Version\":5}"),
        found(),
    ]);
    let desk = Desk::new(&stub.endpoint());
    desk.file("a", document(None, &[&one, &two]));
    desk.publish("a", target, &[]);
    assert_eq!(bodies(&stub, "PutParameter")[0]["Name"], "/prod/keys");

    let missing = StubAnswer::json_error("400 Bad Request", "ParameterNotFound", "");
    let shared = "ssm:arn:aws:ssm:us-east-1:999999999999:parameter/prod/keys";
    for ours in [found(), missing] {
        let stub = Stub::start([found(), ours, found()]);
        let desk = Desk::new(&stub.endpoint());
        desk.file("a", document(None, &[&one, &two]));
        desk.publish("a", shared, &[])
            .fails(1, &[&["of another account", "nothing was written"]]);
        assert_eq!(bodies(&stub, "PutParameter"), [] as [Value; 0]);
    }
    for (target, word) in [
        ("ssm:/aws/keys", "must not begin with `aws` or `ssm`"),
        ("ssm:ssmkeys", "must not begin with `aws` or `ssm`"),
        ("ssm:/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p", "at most 15 levels"),
    ] {
        desk.publish("a", target, &[]).fails(64, &[&[word]]);
    }
}

#[test]
fn an_advanced_parameter_stays_one_and_the_other_refusals_say_what_to_do() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let found = || parameter("String", 4, &document(Some(4), &[&one]));
    let refused = |code, message| StubAnswer::json_error("400 Bad Request", code, message);
    let downgrade = refused(
        "ValidationException",
        "This parameter uses the advanced-parameter tier. You can't downgrade a parameter",
    );
    let stub = Stub::start([
        found(),
        found(),
        downgrade,
        StubAnswer::json("{\"Version\":5}"),
        found(),
    ]);
    let desk = Desk::new(&stub.endpoint());
    desk.file("a", document(None, &[&one, &two]));
    desk.publish("a", PARAMETER, &[]);
    let tiers: Vec<Value> = bodies(&stub, "PutParameter")
        .into_iter()
        .map(|body| body["Tier"].clone())
        .collect();
    assert_eq!(tiers, [Value::Null, "Advanced".into()]);

    for (code, status, word) in [
        (
            "TooManyUpdates",
            75,
            "somebody else writes it at this moment",
        ),
        (
            "ParameterMaxVersionLimitExceeded",
            1,
            "move that label to a newer version",
        ),
        ("ParameterLimitExceeded", 1, "ask AWS for a higher quota"),
    ] {
        let stub = Stub::start([found(), found(), refused(code, ""), found()]);
        let desk = Desk::new(&stub.endpoint());
        desk.file("a", document(None, &[&one, &two]));
        desk.publish("a", PARAMETER, &[])
            .fails(status, &[&[code, word]]);
    }
    let stub = Stub::start([found()]);
    let desk = Desk::new(&stub.endpoint());
    desk.file(
        "b",
        document(None, &[&one, &two]).replace(&two.line, &format!("{} {{{{x}}}}", two.line)),
    );
    desk.publish("b", PARAMETER, &[])
        .fails(1, &[&["it contains `{{`"]]);
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

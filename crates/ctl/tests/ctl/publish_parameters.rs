//! `authkeysctl publish` to Parameter Store: type, key and tier of a parameter stay, and of two
//! publishers at once each that lost something is told.

use authkeys_testing::Key;
use authkeys_testing::moto::Moto;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use serde_json::{Value, json};

use crate::desk::{Desk, aws_json, document, serial};
use crate::json_services::{bodies, node_takes, race, start};

const PARAMETER: &str = "ssm:/prod/keys";

fn parameters(moto: &Moto, call: &str, body: &Value) -> Value {
    aws_json(&moto.endpoint(), "ssm", &format!("AmazonSSM.{call}"), body)
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

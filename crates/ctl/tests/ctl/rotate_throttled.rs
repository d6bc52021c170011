//! A rotation while AWS refuses calls because there are too many: it waits and goes on, or stops with
//! one line, and the next run goes on.

use std::process::{Command, Stdio};
use std::time::Duration;

use authkeys_testing::moto::Moto;
use authkeys_testing::throttle::Throttle;
use authkeys_testing::{Key, clean_ctl, eventually, outcome_of, stand_in};
use serde_json::{Value, json};

use crate::instances::{REGION, run_instances, tag};
use crate::using::pair as pair_of;

const SECRET: &str = "prod/web";

fn published(moto: &Moto) -> Value {
    serde_json::from_str(&moto.object("keys", "web.json")).unwrap()
}

/// The node says that it has what is published.
fn report(moto: &Moto, instance: &str) {
    let keyset = format!("web/{}", published(moto)["serial"]);
    let synced = Command::new("date").args(["-u", "+%FT%TZ"]).output();
    let synced = String::from_utf8(synced.unwrap().stdout).unwrap();
    let tags = [
        ("authkeysd:keyset", keyset.as_str()),
        ("authkeysd:status", "ok"),
        ("authkeysd:synced", synced.trim()),
    ];
    tag(moto, instance, &tags);
}

#[test]
fn a_rotation_waits_for_an_api_that_asks_for_fewer_calls_or_stops_and_goes_on_with_the_next_run() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    moto.make_bucket("keys");
    let admin = Key::new("admin");
    let document =
        json!({"version": 1, "name": "web", "serial": 1, "keys": [{"public_key": admin.line}]});
    moto.put_object("keys", "web.json", document.to_string().as_bytes());
    let body = json!({"Name": SECRET, "SecretString": pair_of(&Key::new("old"))}).to_string();
    moto.json(
        "secretsmanager",
        REGION,
        "secretsmanager.CreateSecret",
        &body,
    );
    let instance = run_instances(&moto, 1, &[("RotateSSHKeys", "True")]).remove(0);
    let throttle = Throttle::before(&moto.endpoint());
    let rotate = |timeout: &str| {
        let mut command = clean_ctl();
        command
            .envs(stand_in(&throttle.endpoint()))
            .env("AWS_REGION", REGION)
            .args(["rotate", "s3://keys/web.json", "--secret", SECRET])
            .args(["--filter", "tag:RotateSSHKeys=True", "--grace", "1s"])
            .args(["--timeout", timeout]);
        command
    };

    // All the time: it stops, says who refused what, and has changed nothing.
    throttle.shut_for(Duration::from_secs(3_600));
    let run = outcome_of(&mut rotate("60s"));
    run.fails(75, &[&["RequestLimitExceeded", "attempts)"]]);
    assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    assert_eq!(published(&moto)["serial"], 1);

    // For a moment again and again: it goes on.
    throttle.open();
    let before = throttle.refused();
    let mut command = rotate("60s");
    command.args(["--accounts", "alice"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for serial in [2, 3] {
        throttle.shut_for(Duration::from_millis(400));
        eventually("the next key set is published", || {
            published(&moto)["serial"] == json!(serial)
        });
        throttle.shut_for(Duration::from_millis(400));
        report(&moto, &instance);
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert!(throttle.refused() > before, "it was never in the way");
    let document = published(&moto);
    assert_eq!(document["keys"].as_array().unwrap().len(), 2, "{document}");

    // In the middle of it, for too long: the next run goes on where this one stopped.
    let child = rotate("60s")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    let serial = document["serial"].as_u64().unwrap() + 1;
    eventually("the new key is published", || {
        published(&moto)["serial"] == json!(serial)
    });
    // It does not see the report.
    throttle.shut_for(Duration::from_secs(3_600));
    report(&moto, &instance);
    let mut child = child;
    // While it waits for nodes it looks again until the time is over.
    std::thread::sleep(Duration::from_secs(1));
    child.kill().unwrap();
    child.wait().unwrap();
    let run = outcome_of(&mut rotate("1s"));
    assert_eq!(run.status, 75, "{run:?}");
    assert_eq!(
        published(&moto)["serial"],
        json!(serial),
        "nothing was lost"
    );
    throttle.open();
    report(&moto, &instance);
    let run = outcome_of(&mut rotate("1s"));
    // It is past the promotion, and the node has not reported the old key's end.
    run.fails(1, &[&["0 of 1 nodes have web/"]]);
    assert!(run.stdout.starts_with("create  (before)"), "{run:?}");
    report(&moto, &instance);
    outcome_of(&mut rotate("1s")).succeeds();
}

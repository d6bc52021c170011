//! Reports as the fleet sees them: tags on the own instance, a report object, metrics; and what
//! becomes of the keys when they fail (nothing).

use std::net::TcpListener;
use std::time::Duration;

use authkeys_testing::ec2::Ec2Stub;
use authkeys_testing::imds::Imds;
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Service, Setup, eventually, me};
use nix::sys::signal::Signal;
use serde_json::Value;

mod objects;

const ID: &str = "i-0e2e0000000000001";
const QUICK: &str = "[report]\nec2_tags = true\nreport_spread = \"0s\"\nheartbeat = \"2s\"\n";
const SLOW: &str = "[report]\nec2_tags = true\nreport_spread = \"0s\"\n";

/// An instance with one account and one published key set, and what it reports.
fn setup(imds: &Imds, endpoint: &str, report: &str) -> Setup {
    let mut setup = Setup::new();
    setup.top = "schedule = \"1s\"".to_owned();
    setup.environment = imds.environment().to_vec();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "not-a-secret"),
        ("AWS_MAX_ATTEMPTS", "1"),
    ] {
        setup.environment.push((name.to_owned(), value.to_owned()));
    }
    let file = setup.path("authorized_keys");
    let setup = setup
        .account(&me(), &format!("file = \"{}\"", file.display()))
        .tables(report);
    publish(&setup, 1);
    setup
}

fn publish(setup: &Setup, serial: u32) -> Key {
    let key = Key::new("test");
    let keys = format!(r#"[{{"public_key":"{}"}}]"#, key.bare());
    setup.publish(format!(
        r#"{{"version":1,"name":"workers","serial":{serial},"keys":{keys}}}"#
    ));
    key
}

fn status(setup: &Setup) -> Value {
    let file = std::fs::read(setup.runtime_dir().join("status.json"));
    file.ok()
        .and_then(|file| serde_json::from_slice(&file).ok())
        .unwrap_or_default()
}

fn holds(setup: &Setup, key: &Key) -> bool {
    std::fs::read_to_string(setup.path("authorized_keys"))
        .unwrap_or_default()
        .contains(key.base64())
}

fn tag(ec2: &Ec2Stub, name: &str) -> String {
    ec2.tags(ID).get(name).cloned().unwrap_or_default()
}

#[test]
fn a_node_tags_itself_on_a_change_and_as_a_sign_of_life() {
    let (imds, ec2) = (Imds::start(ID), Ec2Stub::start());
    let setup = setup(&imds, &ec2.endpoint(), SLOW);
    let service = Service::start(&setup, |_| {});
    eventually("the tags", || tag(&ec2, "authkeysd:keyset") == "workers/1");
    let names = [
        "EC2KeyName",
        "authkeysd:detail",
        "authkeysd:digest",
        "authkeysd:keyset",
        "authkeysd:status",
        "authkeysd:synced",
    ];
    assert_eq!(
        ec2.tags(ID).keys().map(String::as_str).collect::<Vec<_>>(),
        names
    );
    let words = ["EC2KeyName", "authkeysd:status", "authkeysd:detail"].map(|name| tag(&ec2, name));
    assert_eq!(words.each_ref().map(String::as_str), ["workers", "ok", ""]);
    let digest = status(&setup)["accounts"][0]["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let short = tag(&ec2, "authkeysd:digest");
    assert!(
        short.len() == 16 && digest.starts_with(&format!("sha256:{short}")),
        "{short} {digest}"
    );
    eventually("it is noted", || {
        status(&setup)["reports"][0]["delivered"] == true
    });
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(ec2.calls().len(), 1, "cycles without news are none for EC2");
    publish(&setup, 2);
    eventually("the change", || {
        tag(&ec2, "authkeysd:keyset") == "workers/2"
    });
    assert_eq!(ec2.calls().len(), 2);
    assert_eq!(service.end(Signal::SIGTERM).0, Some(0));

    let beating = self::setup(&imds, &ec2.endpoint(), QUICK);
    let _service = Service::start(&beating, |_| {});
    eventually("the tags", || tag(&ec2, "authkeysd:keyset") == "workers/1");
    let first = tag(&ec2, "authkeysd:synced");
    eventually("a heartbeat", || tag(&ec2, "authkeysd:synced") > first);
    let calls = ec2.calls();
    let last = &calls[calls.len() - 2..];
    assert!(last[1].at - last[0].at >= Duration::from_millis(1_900));
}

#[test]
fn f08_what_denies_or_throttles_the_tags_concerns_no_key_and_is_seen() {
    let (imds, ec2) = (Imds::start(ID), Ec2Stub::start());
    ec2.refuse(403, "UnauthorizedOperation");
    let setup = setup(&imds, &ec2.endpoint(), QUICK);
    let service = Service::start(&setup, |_| {});
    let report = || status(&setup)["reports"][0].clone();
    eventually("three failures", || {
        report()["failures"].as_u64() >= Some(3)
    });
    assert!(
        report()["detail"]
            .as_str()
            .unwrap()
            .contains("allow ec2:CreateTags"),
        "{}",
        report()
    );
    let run = setup.run(["status"]);
    assert!(
        run.status == 0 && run.stdout.contains("report ec2_tags: failed"),
        "{run:?}"
    );
    let key = publish(&setup, 2);
    eventually("the key", || holds(&setup, &key));
    ec2.refuse(503, "RequestLimitExceeded");
    eventually("throttled", || {
        report()["detail"]
            .as_str()
            .unwrap_or_default()
            .contains("RequestLimitExceeded")
    });
    ec2.be_good();
    eventually("the tags", || tag(&ec2, "authkeysd:keyset") == "workers/2");
    eventually("it is noted", || {
        report()["delivered"] == true && report()["failures"] == 0
    });
    let log = service.log();
    let told = |text: &str| log.matches(text).count();
    assert_eq!(
        (
            told("report failed"),
            told("report arrives again: ec2_tags")
        ),
        (2, 1),
        "{log}"
    );
    assert!(
        ec2.calls()
            .windows(2)
            .all(|two| two[1].at - two[0].at >= Duration::from_millis(950)),
        "no hammering"
    );
}

#[test]
fn a_metadata_service_or_an_ec2_that_is_away_costs_nothing_but_the_tags() {
    let (imds, ec2) = (Imds::start(ID), Ec2Stub::start());
    imds.change(|manner| manner.hop_limit = true);
    let setup = setup(&imds, &ec2.endpoint(), QUICK);
    let service = Service::start(&setup, |_| {});
    let detail = || {
        status(&setup)["reports"][0]["detail"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    eventually("it is told", || {
        detail().contains("a hop limit of 1 in a container")
    });
    assert_eq!(status(&setup)["status"], "ok");
    imds.change(|manner| manner.hop_limit = false);
    eventually("the tags", || tag(&ec2, "authkeysd:status") == "ok");
    drop(service);

    // It takes connections and never answers.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = self::setup(
        &imds,
        &format!("http://{}", hung.local_addr().unwrap()),
        QUICK,
    );
    let service = Service::start(&setup, |_| {});
    let _asked = hung.accept().unwrap();
    let key = publish(&setup, 2);
    eventually("the key", || holds(&setup, &key));
    let (code, took) = service.end(Signal::SIGTERM);
    assert!(
        code == Some(0) && took < Duration::from_secs(2),
        "{code:?} after {took:?}"
    );
}

#[test]
fn sync_reports_at_once_and_fails_for_no_report() {
    let (imds, ec2) = (Imds::start(ID), Ec2Stub::start());
    let setup = setup(
        &imds,
        &ec2.endpoint(),
        "[report]\nec2_tags = true\nreport_spread = \"1h\"\n",
    );
    assert_eq!(setup.run(["sync", "--dry-run"]).status, 3);
    assert_eq!(ec2.calls().len(), 0, "a dry run leaves no trace");
    setup.run(["sync"]).succeeds();
    assert_eq!(tag(&ec2, "authkeysd:keyset"), "workers/1");
    ec2.refuse(403, "UnauthorizedOperation");
    let key = publish(&setup, 2);
    let run = setup.run(["sync", "--json"]);
    run.fails(
        0,
        &[&[
            "warning: report failed",
            "ec2:CreateTags",
            "UnauthorizedOperation",
        ]],
    );
    assert!(holds(&setup, &key));
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (
            &json["reports"][0]["report"],
            &json["reports"][0]["delivered"]
        ),
        (&"ec2_tags".into(), &false.into())
    );
    assert_eq!(status(&setup), json);
    // Two stale cycles change no tag, the third one does.
    ec2.be_good();
    setup.publish("nothing good");
    for word in ["ok", "ok", "stale"] {
        assert_eq!(setup.run(["sync"]).status, 1);
        assert_eq!(tag(&ec2, "authkeysd:status"), word);
    }
}

#[test]
fn sync_writes_tags_for_news_and_as_a_sign_of_life_only() {
    let (imds, ec2) = (Imds::start(ID), Ec2Stub::start());
    let mut setup = setup(
        &imds,
        &ec2.endpoint(),
        "[report]\nec2_tags = true\nheartbeat = \"1h\"\n",
    );
    let calls = |setup: &Setup| {
        setup.run(["sync"]).succeeds();
        ec2.calls().len()
    };
    assert_eq!([calls(&setup), calls(&setup), calls(&setup)], [1, 1, 1]);
    let told = status(&setup)["reports"][0].clone();
    assert!(
        told["delivered"] == true && told["last_success"].is_string(),
        "{told}"
    );
    publish(&setup, 2);
    assert_eq!([calls(&setup), calls(&setup)], [2, 2]);
    setup.tables = setup.tables.replace("1h", "1s");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(calls(&setup), 3, "a sign of life");
    setup.tables = setup.tables.replace("1s", "1h") + "tag_prefix = \"other\"\n";
    assert_eq!([calls(&setup), calls(&setup)], [4, 4], "other tags");
    // What was not delivered is tried again by the next one.
    ec2.refuse(403, "UnauthorizedOperation");
    publish(&setup, 3);
    for failures in [1, 2] {
        assert_eq!(setup.run(["sync"]).status, 0);
        assert_eq!(status(&setup)["reports"][0]["failures"], failures);
    }
    ec2.be_good();
    let before = ec2.calls().len();
    assert_eq!([calls(&setup) - before, calls(&setup) - before], [1, 1]);
}

#[test]
fn check_online_tells_whether_the_tags_may_be_written() {
    let (imds, ec2) = (Imds::start(ID), Ec2Stub::start());
    let setup = setup(&imds, &ec2.endpoint(), SLOW);
    let finding = || {
        let run = setup.run(["check", "--online", "--json"]);
        let json: Value = serde_json::from_str(&run.stdout).unwrap();
        let report = json["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|found| found["check"] == "report")
            .unwrap();
        (
            run.status,
            report["level"].clone(),
            report["message"].as_str().unwrap().to_owned(),
        )
    };
    let (_, level, message) = finding();
    assert_eq!(
        (level, message),
        ("ok".into(), format!("{ID} may be tagged"))
    );
    ec2.refuse(403, "UnauthorizedOperation");
    let (exit, level, message) = finding();
    assert_eq!((exit, level), (77, "failed".into()));
    assert!(
        message.contains("arn:aws:ec2:eu-west-1:123456789012:instance/i-0e2e"),
        "{message}"
    );
    assert!(
        message.contains("authkeysd:keyset") && message.contains("EC2KeyName"),
        "{message}"
    );
    // Each partition has ARNs of its own.
    for (region, partition) in [
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"),
        ("us-iso-east-1", "aws-iso"),
    ] {
        let said = format!(
            "{{\"instanceId\":\"{ID}\",\"region\":\"{region}\",\"accountId\":\"123456789012\"}}"
        );
        let path = "/latest/dynamic/instance-identity/document".to_owned();
        imds.change(|manner| drop(manner.says.insert(path, said)));
        let (_, _, message) = finding();
        assert!(
            message.contains(&format!(
                "arn:{partition}:ec2:{region}:123456789012:instance/{ID}"
            )),
            "{message}"
        );
    }
    imds.change(|manner| manner.fails = Some(403));
    let (exit, level, message) = finding();
    assert!(
        (exit, level) == (75, "failed".into()) && message.contains("switched off"),
        "{message}"
    );
    assert_eq!(ec2.tags(ID).len(), 0, "nothing was written");
}

#[test]
fn motos_ec2_has_the_tags_of_the_node_and_none_of_its_others_is_gone() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    let run = "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&MinCount=1&MaxCount=1&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=env&TagSpecification.1.Tag.1.Value=prod";
    let answer = moto.query("ec2", "eu-west-1", run);
    let id = answer
        .split_once("<instanceId>")
        .unwrap()
        .1
        .split('<')
        .next()
        .unwrap();
    let imds = Imds::start(id);
    let setup = setup(&imds, &moto.endpoint(), SLOW);
    let _service = Service::start(&setup, |_| {});
    let tags = || moto.query("ec2", "eu-west-1", "Action=DescribeTags&Version=2016-11-15");
    eventually("the tags", || tags().contains("<value>workers/1</value>"));
    let tags = tags();
    for key in [
        "env",
        "EC2KeyName",
        "authkeysd:status",
        "authkeysd:synced",
        "authkeysd:detail",
        "authkeysd:digest",
    ] {
        assert!(tags.contains(&format!("<key>{key}</key>")), "{key}: {tags}");
    }
}

#[test]
fn names_of_tags_that_instance_metadata_refuses_are_used_and_warned_of() {
    let (imds, ec2) = (Imds::start(ID), Ec2Stub::start());
    let mut setup = setup(&imds, &ec2.endpoint(), SLOW);
    setup.tables += "tag_prefix = \"acme/ssh/\"\n";
    let warning = "[report] tag_prefix = \"acme/ssh/\": EC2 refuses '/' in a tag's key";
    let service = Service::start(&setup, |_| {});
    eventually("the tag", || {
        ec2.tags(ID)
            .get("acme/ssh/status")
            .is_some_and(|status| status == "ok")
    });
    assert_eq!(
        service.log().matches(warning).count(),
        1,
        "{}",
        service.log()
    );
    let run = setup.run(["check", "--json"]);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let found = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["check"] == "report")
        .unwrap();
    assert!(
        found["level"] == "warning" && found["message"].as_str().unwrap().starts_with(warning),
        "{found}"
    );
}

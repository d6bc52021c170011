//! Which instance this is: found out by the metadata service, without anybody waiting for it.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use authkeys_core::schedule::{NodePosition, Schedule, Splay, Timing};
use authkeys_testing::imds::Imds;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, Manager, Run, Service, Setup, eventually, lab, me, somebody_else};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use serde_json::Value;

const ID: &str = "i-0e2e0000000000001";

/// One account, one published key, and this metadata service.
fn setup(environment: &[(String, String)], schedule: &str) -> Setup {
    let mut setup = Setup::new();
    setup.top = format!("schedule = \"{schedule}\"");
    setup.environment = environment.to_vec();
    let file = setup.path("authorized_keys");
    let setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
    setup.publish(Key::new("test").bare() + "\n");
    setup
}

fn status(setup: &Setup) -> Value {
    let file = std::fs::read(setup.runtime_dir().join("status.json"));
    file.ok()
        .and_then(|file| serde_json::from_slice(&file).ok())
        .unwrap_or_default()
}

#[test]
fn sync_tells_the_instance() {
    let imds = Imds::start(ID);
    let run = setup(&imds.environment(), "60s").run(["sync", "--json"]);
    run.succeeds();
    assert_eq!(
        serde_json::from_str::<Value>(&run.stdout).unwrap()["instance_id"],
        ID
    );
    // No credentials were needed: nothing but the token and the document was asked for.
    assert_eq!(
        imds.requests(),
        [
            "PUT /latest/api/token",
            "GET /latest/dynamic/instance-identity/document"
        ]
    );
}

#[test]
fn nobody_waits_for_a_metadata_service_that_is_away_or_is_none() {
    let imds = Imds::start(ID);
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = (
        "AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(),
        format!("http://{closed}"),
    );
    let there = imds.environment().to_vec();
    let away = vec![there[0].clone(), nobody];
    for (what, environment, hop_limit, fails) in [
        ("hop limit", &there, true, None),
        ("switched off", &there, false, Some(403)),
        ("another cloud", &there, false, Some(404)),
        ("failing", &there, false, Some(503)),
        ("nobody there", &away, false, None),
    ] {
        imds.change(|manner| (manner.hop_limit, manner.fails) = (hop_limit, fails));
        let begun = Instant::now();
        let run = setup(environment, "60s").run(["sync", "--json"]);
        run.succeeds();
        assert!(
            begun.elapsed() < Duration::from_secs(9),
            "{what}: {:?}",
            begun.elapsed()
        );
        assert_eq!(
            serde_json::from_str::<Value>(&run.stdout).unwrap()["instance_id"],
            Value::Null,
            "{what}"
        );
    }
}

#[test]
fn it_is_found_at_its_usual_address_and_where_nobody_is_nobody_waits() {
    lab(|| {
        let ip = |arguments: &str| {
            assert!(
                Command::new("ip")
                    .args(arguments.split(' '))
                    .status()
                    .unwrap()
                    .success()
            )
        };
        let timed = || {
            let begun = Instant::now();
            let setup = setup(
                &[("AWS_EC2_METADATA_DISABLED".to_owned(), "false".to_owned())],
                "60s",
            );
            let run = setup.run(["sync", "--json"]);
            run.succeeds();
            (
                serde_json::from_str::<Value>(&run.stdout).unwrap()["instance_id"].clone(),
                begun.elapsed(),
            )
        };
        // No route there at all.
        let (instance, took) = timed();
        assert!(
            instance == Value::Null && took < Duration::from_secs(9),
            "{instance} after {took:?}"
        );
        // Whatever is sent there is lost.
        ip("link add name hole type veth peer name end");
        ip("addr add 198.51.100.1/24 dev hole");
        ip("link set hole up");
        ip("link set end up");
        ip("route add 169.254.0.0/16 dev hole");
        ip("neigh add 169.254.169.254 lladdr 02:00:00:00:00:01 dev hole");
        let (instance, took) = timed();
        assert!(
            instance == Value::Null && took < Duration::from_secs(9),
            "{instance} after {took:?}"
        );
        ip("link delete hole");
        ip("addr add 169.254.169.254/32 dev lo");
        let imds = Imds::start_at("169.254.169.254:80", ID);
        assert_eq!(timed().0, ID);
        assert_eq!(imds.requests().len(), 2);
    });
}

#[test]
fn where_it_is_disabled_it_is_not_asked() {
    let imds = Imds::start(ID);
    let mut environment = imds.environment().to_vec();
    environment[0].1 = "true".to_owned();
    let setup = setup(&environment, "60s");
    setup.run(["sync"]).succeeds();
    assert_eq!(
        (imds.requests().len(), &status(&setup)["instance_id"]),
        (0, &Value::Null)
    );
}

#[test]
fn the_service_is_ready_before_a_late_metadata_service_and_takes_its_word_then() {
    let imds = Imds::start(ID);
    imds.change(|manner| manner.hop_limit = true);
    let setup = setup(&imds.environment(), "1h");
    let manager = Manager::at(&setup.path("notify"));
    let begun = Instant::now();
    let service = Service::start(&setup, |command| {
        command.env("NOTIFY_SOCKET", &manager.name);
    });
    manager.hear_until("READY=1");
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(status(&setup)["instance_id"], Value::Null);
    imds.change(|manner| manner.hop_limit = false);
    eventually("the instance", || status(&setup)["instance_id"] == ID);
    assert_eq!(status(&setup)["status"], "ok");
    assert!(
        !service.log().contains("metadata"),
        "no noise: {}",
        service.log()
    );
    assert_eq!(service.end(Signal::SIGTERM).0, Some(0));

    // A restart knows it at once, also without the metadata service.
    imds.change(|manner| manner.hop_limit = true);
    let again = Service::start(&setup, |_| {});
    eventually("a further cycle", || again.log().contains("keys in force"));
    assert_eq!(status(&setup)["instance_id"], ID);
}

#[test]
fn f08_the_phase_in_the_interval_is_the_instances_own() {
    let imds = Imds::start(ID);
    let setup = setup(&imds.environment(), "1h");
    let service = Service::start(&setup, |_| {});
    eventually("the instance", || status(&setup)["instance_id"] == ID);
    let now = Timestamp::now();
    service.signal(Signal::SIGHUP);
    let next = || {
        status(&setup)["next_cycle"]
            .as_str()
            .and_then(|time| time.parse::<Timestamp>().ok())
    };
    let schedule = Schedule::Every(SignedDuration::from_hours(1));
    let timing = Timing {
        schedule,
        splay: Splay::default(),
        node: NodePosition::new(ID, &setup.source),
    };
    eventually("its own phase", || next() == Some(timing.next(now)));
}

const ROLE: &str = "/latest/meta-data/iam/security-credentials/";
const REGION: &str = "/latest/meta-data/placement/region";
const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";

/// A node with two sources, a parameter and a file: what happens to it when the metadata service
/// says this.
fn told_by_metadata(place: &str, said: &str) -> (Run, bool) {
    let imds = Imds::start(ID);
    imds.change(|manner| drop(manner.says.insert(place.to_owned(), said.to_owned())));
    let value = Key::new("k").line;
    let body =
        format!("{{\"Parameter\":{{\"Type\":\"String\",\"Version\":1,\"Value\":\"{value}\"}}}}");
    let stub = Stub::start([StubAnswer::json(&body)]);
    let mut environment = imds.environment().to_vec();
    environment.push(("AWS_ENDPOINT_URL".to_owned(), stub.endpoint()));
    let mut setup = setup(&environment, "60s");
    setup.accounts[0].extra += "\nsource = \"ssm:/keys\"";
    let keys = setup.path("keys").join(somebody_else());
    let other = format!("file = \"{}/%u\"", setup.path("keys").display());
    // Only root may write for somebody else.
    let root = nix::unistd::geteuid().is_root();
    let setup = if root {
        setup.account(somebody_else(), &other)
    } else {
        setup
    };
    let run = setup.run(["sync"]);
    (
        run,
        !root || std::fs::read_to_string(keys).is_ok_and(|text| text.contains("ssh-ed25519")),
    )
}

#[test]
fn f42_whatever_the_metadata_service_says_ends_no_process_and_is_one_line() {
    let credentials = |key: &str, secret: &str, token: &str, expiration: &str| {
        format!(
            r#"{{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"{key}","SecretAccessKey":"{secret}","Token":"{token}",
               "LastUpdated":"2026-01-01T00:00:00Z","Expiration":"{expiration}"}}"#
        )
    };
    let later = "2099-01-01T00:00:00Z";
    let agent = format!("{ROLE}agent");
    let mut cases = Vec::new();
    // What stands in a header or a path.
    let odd = ["a\n", "\n", "a\r\nb: c", "a\0b", "a b", "é", "a#b%zz?c", ""];
    for said in odd {
        cases.extend([
            ("token", said.to_owned()),
            (ROLE, said.to_owned()),
            (REGION, said.to_owned()),
        ]);
    }
    cases.extend([
        ("token", "x".repeat(100_000)),
        (ROLE, "x".repeat(100_000)),
        (REGION, "x".repeat(100_000)),
    ]);
    cases.extend([
        (ROLE, "../../x".to_owned()),
        (ROLE, "//x".to_owned()),
        (REGION, "evil.example/".to_owned()),
    ]);
    for ttl in [
        "18446744073709551615",
        "9223372036854775807",
        "18446744073709551616",
        "-1",
        "",
        "x",
        "1e9",
        "é",
        "0",
    ] {
        cases.push(("ttl", ttl.to_owned()));
    }
    for said in [r"a\n", r"a\u0000b", "é", r"\u202e", "a b", ""] {
        cases.push((&agent, credentials(said, "s", "t", later)));
        cases.push((&agent, credentials("AKIDEXAMPLE", said, "t", later)));
        cases.push((&agent, credentials("AKIDEXAMPLE", "s", said, later)));
    }
    for date in [
        "",
        "x",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "99999-01-01T00:00:00Z",
        "2026-13-45T99:99:99Z",
    ] {
        cases.push((&agent, credentials("AKIDEXAMPLE", "s", "t", date)));
    }
    for date in [
        "-292277022657-01-27T08:29:52Z",
        "2099-01-01T00:00:00.999999999999Z",
        "1969-12-31T23:59:59.9999999999Z",
    ] {
        cases.push((&agent, credentials("AKIDEXAMPLE", "s", "t", date)));
    }
    for said in [
        "",
        "{",
        "[]",
        "null",
        "\u{0}",
        r#"{"Code":"Failed","Message":"a\nb\u001b[2J"}"#,
        r#"{"Expiration":1e999}"#,
    ] {
        cases.extend([
            (agent.as_str(), said.to_owned()),
            (DOCUMENT, said.to_owned()),
        ]);
    }
    for region in ["a\\n", "", "\\u0000", "evil.example/"] {
        let document =
            format!(r#"{{"accountId":"123456789012","region":"{region}","instanceId":"{ID}"}}"#);
        cases.push((DOCUMENT, document));
    }
    let mut faults = Vec::new();
    for (place, said) in cases {
        let (run, served) = told_by_metadata(place, &said);
        let what = format!(
            "{place} {:?}: {run:#?}",
            said.chars().take(300).collect::<String>()
        );
        let clean = run
            .stderr
            .lines()
            .all(|line| !line.contains(char::is_control) && line.len() < 1_000);
        let one_line = run.stderr.lines().count() == usize::from(run.status != 0);
        let named = run.status == 0 || run.stderr.contains("metadata service");
        if ![0, 1, 75, 77].contains(&run.status) || !served || !clean || !one_line || !named {
            faults.push(what);
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

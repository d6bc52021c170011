//! Report objects and the metrics file.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use authkeys_testing::ec2::Ec2Stub;
use authkeys_testing::imds::Imds;
use authkeys_testing::moto::Moto;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Service, eventually};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{ID, QUICK, publish, setup};

#[test]
fn a_report_object_is_small_and_names_no_key() {
    if !Moto::prepare() {
        return;
    }
    let (imds, moto) = (Imds::start(ID), Moto::start());
    moto.make_bucket("reports");
    let report = "[report]\ns3 = \"s3://reports/fleet?region=us-east-1\"\n";
    let setup = setup(&imds, &moto.endpoint(), report);
    let key = publish(&setup, 7);
    setup.run(["sync"]).succeeds();
    let body = moto.object("reports", &format!("fleet/{ID}.json"));
    let json: Value = serde_json::from_str(&body).unwrap();
    assert!(
        body.len() < 2_000 && !body.contains(&key.fingerprint()) && !body.contains("\"test\""),
        "{body}"
    );
    assert_eq!(
        (&json["node"], &json["keyset"], &json["status"]),
        (&ID.into(), &"workers/7".into(), &"ok".into())
    );
    assert_eq!(
        (&json["accounts"][0]["keys"], &json["account_id"]),
        (&1.into(), &"123456789012".into())
    );
    // Off EC2 a host has a name of its own, which tells nothing of its machine id.
    let mut elsewhere = self::setup(&imds, &moto.endpoint(), report);
    elsewhere
        .environment
        .retain(|(name, _)| !name.starts_with("AWS_EC2_METADATA"));
    elsewhere.run(["sync"]).succeeds();
    let listed = moto.list("reports");
    let host = listed
        .iter()
        .find_map(|name| name.strip_prefix("fleet/host-")?.strip_suffix(".json"))
        .unwrap();
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    assert!(host.len() == 16 && !machine.contains(host), "{listed:?}");
    // A bucket that is not there is told.
    let setup = self::setup(
        &imds,
        &moto.endpoint(),
        "[report]\ns3 = \"s3://nowhere/?region=us-east-1\"\n",
    );
    setup
        .run(["sync"])
        .fails(0, &[&["s3://nowhere/", "S3 PutObject", "NoSuchBucket"]]);
}

#[test]
fn f55_a_report_object_carries_a_checksum_of_its_bytes_in_a_header() {
    let (imds, stub) = (
        Imds::start(ID),
        Stub::start([StubAnswer::whole("200 OK", &["ETag: \"e1\""], "")]),
    );
    let setup = setup(
        &imds,
        &stub.endpoint(),
        "[report]\ns3 = \"s3://reports/fleet?region=us-east-1\"\n",
    );
    setup.run(["sync"]).succeeds();
    let requests = stub.requests();
    let put = requests
        .iter()
        .find(|request| request.method == "PUT")
        .unwrap();
    assert!(
        serde_json::from_str::<Value>(&put.body).is_ok(),
        "the bytes come as they are: {}",
        put.body
    );
    let digest = BASE64_STANDARD.encode(Sha256::digest(put.body.as_bytes()));
    assert_eq!(put.header("x-amz-checksum-sha256"), Some(digest.as_str()));
}

#[test]
fn report_objects_ask_for_the_encryption_that_the_configuration_names_and_else_for_none() {
    let arn = "arn:aws:kms:us-east-1:123456789012:key/0a";
    let imds = Imds::start(ID);
    for (sse, algorithm, key) in [
        ("", None, None),
        ("s3_sse = \"AES256\"\n", Some("AES256"), None),
        ("s3_sse = \"aws:kms\"\n", Some("aws:kms"), None),
        (
            "s3_sse = \"aws:kms:alias/reports\"\n",
            Some("aws:kms"),
            Some("alias/reports"),
        ),
        (
            &format!("s3_sse = \"aws:kms:{arn}\"\n"),
            Some("aws:kms"),
            Some(arn),
        ),
    ] {
        let stub = Stub::start([StubAnswer::whole("200 OK", &["ETag: \"e1\""], "")]);
        let report = format!("[report]\ns3 = \"s3://reports/fleet?region=us-east-1\"\n{sse}");
        setup(&imds, &stub.endpoint(), &report)
            .run(["sync"])
            .succeeds();
        let requests = stub.requests();
        let put = requests
            .iter()
            .find(|request| request.method == "PUT")
            .unwrap();
        assert_eq!(
            put.header("x-amz-server-side-encryption"),
            algorithm,
            "{sse}"
        );
        assert_eq!(
            put.header("x-amz-server-side-encryption-aws-kms-key-id"),
            key,
            "{sse}"
        );
    }
}

#[test]
fn metrics_are_good_for_promtool_and_replaced_whole() {
    let (imds, ec2) = (Imds::start(ID), Ec2Stub::start());
    ec2.refuse(403, "UnauthorizedOperation");
    let mut setup = setup(&imds, &ec2.endpoint(), QUICK);
    let file = setup.path("authkeysd.prom");
    setup.tables += &format!("prometheus = \"{}\"\n", file.display());
    let service = Service::start(&setup, |_| {});
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    let failed = "authkeysd_reports_total{report=\"ec2_tags\",result=\"failed\"} 2";
    eventually("the metrics", || text().contains(failed));
    assert!(
        text().contains("authkeysd_report_up{report=\"ec2_tags\"} 0"),
        "{}",
        text()
    );
    assert!(
        text().contains("authkeysd_report_up{report=\"prometheus\"} 1"),
        "{}",
        text()
    );
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o644
    );
    promtool_likes(&text());
    drop(service);
    let parts = std::fs::read_dir(setup.path("")).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".authkeysd.prom")
    });
    assert_eq!(parts.count(), 0);

    setup.run(["sync"]);
    assert!(!text().contains("_total"));
    promtool_likes(&text());
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let begun = Instant::now();
    let run = setup.run(["sync"]);
    assert!(
        run.status == 0 && run.stderr.contains("authkeysd.prom: make its directory"),
        "{run:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(12));
}

fn promtool_likes(text: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match started {
        Ok(promtool) => promtool,
        Err(_) if std::env::var_os("CI").is_none_or(|ci| ci != "true") => {
            eprintln!("SKIPPED: no promtool (Debian package prometheus)");
            return;
        }
        Err(why) => panic!("no promtool: {why}"),
    };
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success() && said.is_empty(),
        "{}\n{text}",
        String::from_utf8_lossy(&said)
    );
}

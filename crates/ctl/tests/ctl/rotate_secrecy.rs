//! Where the private key of `authkeysctl rotate` is not, from the moment on in which Secrets Manager
//! has it: on the disk, in an argument, in the environment, in a core dump, in the memory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, clean_ctl, eventually, lab, stand_in};
use serde_json::{Value, json};

use crate::using::pair as pair_of;
use crate::using_secrecy::{copies, limits_of_cores, marks_of, places};

const SECRET: &str = "prod/web";

fn secret(moto: &Moto, call: &str, body: &Value) -> Value {
    let target = format!("secretsmanager.{call}");
    let answer = moto.json("secretsmanager", "us-east-1", &target, &body.to_string());
    serde_json::from_str(&answer).unwrap()
}

/// The value under a stage, where there is a pair.
fn pair(moto: &Moto, stage: &str) -> Option<Value> {
    let found = secret(moto, "DescribeSecret", &json!({"SecretId": SECRET}));
    let versions = found["VersionIdsToStages"].as_object().unwrap();
    let (id, _) = versions
        .iter()
        .find(|(_, labels)| labels.as_array().unwrap().contains(&json!(stage)))?;
    let found = secret(
        moto,
        "GetSecretValue",
        &json!({"SecretId": SECRET, "VersionId": id}),
    );
    let value: Value = serde_json::from_str(found["SecretString"].as_str().unwrap()).unwrap();
    value["PrivateKey"].is_string().then_some(value)
}

fn marks(pair: &Value) -> Vec<Vec<u8>> {
    let public = pair["PublicKey"].as_str().unwrap();
    let public = public.split(' ').nth(1).unwrap();
    marks_of(pair["PrivateKey"].as_str().unwrap(), public)
}

fn published(moto: &Moto) -> Value {
    serde_json::from_str(&moto.object("keys", "web.json")).unwrap()
}

/// The one node says that it has what is published.
fn report(moto: &Moto) {
    let serial = &published(moto)["serial"];
    let synced = Command::new("date").args(["-u", "+%FT%TZ"]).output();
    let synced = String::from_utf8(synced.unwrap().stdout).unwrap();
    let report = json!({"schema": 1, "node": "n", "status": "ok", "detail": "", "keyset": format!("web/{serial}"),
                        "digest": "", "synced": synced.trim(), "host": "n", "sources": []});
    moto.put_object("reports", "web/n.json", report.to_string().as_bytes());
}

#[test]
fn a_rotation_that_waits_has_the_private_key_nowhere() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let moto = Moto::start();
        moto.make_bucket("keys");
        moto.make_bucket("reports");
        let admin = Key::new("admin");
        let document =
            json!({"version": 1, "name": "web", "serial": 1, "keys": [{"public_key": admin.line}]});
        moto.put_object("keys", "web.json", document.to_string().as_bytes());
        secret(
            &moto,
            "CreateSecret",
            &json!({"Name": SECRET, "SecretString": pair_of(&Key::new("old"))}),
        );
        report(&moto);
        let mut command = clean_ctl();
        let mut child = command
            .envs(stand_in(&moto.endpoint()))
            .env("CONTROL", "this is found")
            .args(["rotate", "s3://keys/web.json", "--secret", SECRET])
            .args(["--accounts", "alice"])
            .args([
                "--from",
                "s3://reports/web/",
                "--grace",
                "1s",
                "--timeout",
                "60s",
            ])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // It waits for the node: first with the pending pair, then with the current one.
        for (stage, serial) in [("AWSPENDING", 2), ("AWSCURRENT", 3)] {
            eventually("the key set is published", || {
                published(&moto)["serial"] == json!(serial)
            });
            let marks = marks(&pair(&moto, stage).unwrap());
            eventually("no copy in the memory", || {
                marks.iter().all(|mark| copies(pid, mark) == 0)
            });
            assert!(copies(pid, b"this is found") > 0, "nothing was looked at");
            for mark in &marks {
                assert_eq!(places(mark), Vec::<String>::new(), "{stage}");
            }
            assert_eq!(limits_of_cores(child.id())[0], "0");
            // The kernel gives a process that leaves no core dump to root.
            let environment = format!("/proc/{pid}/environ");
            assert_eq!(fs::metadata(environment).unwrap().uid(), 0);
            report(&moto);
        }
        assert!(child.wait().unwrap().success());
        for mark in marks(&pair(&moto, "AWSCURRENT").unwrap()) {
            assert_eq!(places(&mark), Vec::<String>::new());
        }
    });
}

//! `authkeysctl rotate` against a secret, a key set and agents that follow it: whole rotations, one
//! that is killed, one that lacks a node, one that is aborted.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use authkeys_testing::imds::Imds;
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Run, Service, Setup, clean_ctl, me, outcome_of, stand_in};
use serde_json::{Value, json};

use crate::instances::{REGION, run_instances};

const TARGET: &str = "s3://keys/web.json";
const SECRET: &str = "prod/web";

/// The fleet: what stands in for AWS, and the agents with their metadata services.
struct Fleet {
    moto: Moto,
    instances: Vec<String>,
    agents: Vec<(Setup, Service, Imds)>,
}

fn agent(moto: &Moto, instance: &str) -> (Setup, Service, Imds) {
    let imds = Imds::start(instance);
    let mut setup = Setup::new();
    setup.source = TARGET.to_owned();
    setup.top = "schedule = \"1s\"".to_owned();
    setup.use_s3_at(&moto.endpoint());
    setup.environment.extend(imds.environment());
    let file = setup.path("authorized_keys");
    let setup = setup
        .account(&me(), &format!("file = \"{}\"", file.display()))
        .tables("[report]\nec2_tags = true\nreport_spread = \"1s\"\n");
    let service = Service::start(&setup, |_| {});
    (setup, service, imds)
}

/// So many instances, the first of them with an agent; a key set with the admin's key; a secret
/// with that value.
fn fleet(admin: &Key, value: &str, instances: usize, agents: usize) -> Option<Fleet> {
    if !Moto::prepare() {
        return None;
    }
    let moto = Moto::start();
    moto.make_bucket("keys");
    let document = format!(
        "{{\n  \"version\": 1,\n  \"name\": \"web\",\n  \"serial\": 1,\n  \"keys\": [\n    {{\"public_key\": \"{}\"}}\n  ]\n}}\n",
        admin.line
    );
    moto.put_object("keys", "web.json", document.as_bytes());
    let instances = run_instances(&moto, instances, &[("RotateSSHKeys", "True")]);
    let fleet = Fleet {
        agents: instances
            .iter()
            .take(agents)
            .map(|instance| agent(&moto, instance))
            .collect(),
        instances,
        moto,
    };
    fleet.secret(
        "CreateSecret",
        &json!({"Name": SECRET, "SecretString": value}),
    );
    Some(fleet)
}

impl Fleet {
    fn secret(&self, call: &str, body: &Value) -> Value {
        let target = format!("secretsmanager.{call}");
        let answer = self
            .moto
            .json("secretsmanager", REGION, &target, &body.to_string());
        serde_json::from_str(&answer).unwrap()
    }

    fn stage(&self, stage: &str) -> Value {
        let body = json!({"SecretId": SECRET, "VersionStage": stage});
        let found = self.secret("GetSecretValue", &body);
        serde_json::from_str(found["SecretString"].as_str().unwrap()).unwrap()
    }

    /// Which labels there are, in order.
    fn labels(&self) -> Vec<String> {
        let found = self.secret("DescribeSecret", &json!({"SecretId": SECRET}));
        let mut labels: Vec<String> = Vec::new();
        for stages in found["VersionIdsToStages"].as_object().unwrap().values() {
            for label in stages.as_array().unwrap() {
                labels.push(label.as_str().unwrap().to_owned());
            }
        }
        labels.sort();
        labels
    }

    fn document(&self) -> Value {
        serde_json::from_str(&self.moto.object("keys", "web.json")).unwrap()
    }

    /// The public keys in the key set, each without its comment.
    fn keys(&self) -> Vec<String> {
        let document = self.document();
        let keys = document["keys"].as_array().unwrap().iter();
        keys.map(|key| bare(key["public_key"].as_str().unwrap()))
            .collect()
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = clean_ctl();
        command
            .envs(stand_in(&self.moto.endpoint()))
            .env("AWS_REGION", REGION)
            .args(["rotate", TARGET, "--secret", SECRET])
            .args(["--filter", "tag:RotateSSHKeys=True", "--grace", "2s"])
            .args(more);
        command
    }

    fn rotate(&self, more: &[&str]) -> Run {
        outcome_of(&mut self.command(more))
    }
}

fn bare(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn public(value: &Value) -> String {
    bare(value["PublicKey"].as_str().unwrap())
}

fn holds(setup: &Setup, key: &str) -> bool {
    let file: &Path = &setup.path("authorized_keys");
    std::fs::read_to_string(file).is_ok_and(|text| text.contains(key))
}

#[test]
fn two_rotations_from_an_empty_secret_on_leave_one_key_and_the_others_revoked() {
    let admin = Key::new("admin");
    let value = "{\"User\": \"ubuntu\"}";
    let Some(fleet) = fleet(&admin, value, 2, 2) else {
        return;
    };
    let account = me();
    let first = [
        "--accounts",
        &account,
        "--option",
        "restrict",
        "--timeout",
        "60s",
    ];
    let run = fleet.rotate(&first);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
    let phases: Vec<&str> = run
        .stdout
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let all = [
        "create", "set", "deploy", "test", "finish", "retire", "verify",
    ];
    assert_eq!(phases, all, "{run:?}");
    let current = fleet.stage("AWSCURRENT");
    assert_eq!(current["User"], "ubuntu", "other fields are kept");
    let private = current["PrivateKey"].as_str().unwrap();
    assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert!(!format!("{run:?}").contains(&private[40..80]));
    let one = public(&current);
    assert_eq!(fleet.keys(), [admin.bare(), one.clone()]);
    assert_eq!(fleet.document()["keys"][1]["options"], json!(["restrict"]));
    assert!(fleet.agents.iter().all(|(setup, ..)| holds(setup, &one)));
    assert_eq!(fleet.labels(), ["AWSCURRENT", "AWSPREVIOUS"]);

    let run = fleet.rotate(&["--timeout", "60s", "--json"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&report["schema"], &report["status"]),
        (&json!(1), &json!("complete"))
    );
    let two = public(&fleet.stage("AWSCURRENT"));
    assert_ne!(one, two);
    assert_eq!(public(&fleet.stage("AWSPREVIOUS")), one);
    assert_eq!(fleet.keys(), [admin.bare(), two.clone()]);
    let document = fleet.document();
    assert_eq!(document["keys"][1]["options"], json!(["restrict"]));
    assert_eq!(document["keys"][1]["accounts"], json!([account]));
    assert_eq!(document["revoked"].as_array().unwrap().len(), 1);
    let begun = Instant::now();
    while fleet
        .agents
        .iter()
        .any(|(setup, ..)| holds(setup, &one) || !holds(setup, &two))
    {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the old key goes from every node"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_dry_run_changes_nothing_and_a_missing_node_stops_it_before_anything_is_promoted() {
    let admin = Key::new("admin");
    let Some(fleet) = fleet(&admin, "{}", 2, 1) else {
        return;
    };
    let before = fleet.document();
    let run = fleet.rotate(&["--dry-run"]);
    run.succeeds();
    assert!(
        run.stdout
            .contains("create  (to do) make a new ed25519 key"),
        "{run:?}"
    );
    assert!(
        run.stdout.contains("deploy  (to do) wait for 2 nodes"),
        "{run:?}"
    );
    assert_eq!(
        (fleet.document(), fleet.labels()),
        (before, vec!["AWSCURRENT".to_owned()])
    );

    let run = fleet.rotate(&["--timeout", "8s"]);
    let missing = format!(
        "1 of 2 nodes have web/2; missing: {} (unreported)",
        fleet.instances[1]
    );
    run.fails(1, &[&[&missing]]);
    assert_eq!(
        fleet.labels(),
        ["AWSCURRENT", "AWSPENDING"],
        "nothing was promoted"
    );
    let pending = public(&fleet.stage("AWSPENDING"));
    assert_eq!(fleet.keys(), [admin.bare(), pending.clone()]);

    // The same key goes on when the node is there, or need not be.
    let run = fleet.rotate(&["--timeout", "8s", "--allow-missing", "1"]);
    run.succeeds();
    assert!(
        run.stdout.starts_with("create  (before) AWSPENDING has "),
        "{run:?}"
    );
    assert!(
        run.stdout
            .contains("missing, which --allow-missing accepts: "),
        "{run:?}"
    );
    assert_eq!(public(&fleet.stage("AWSCURRENT")), pending);
}

#[test]
fn an_aborted_key_is_taken_out_everywhere_and_the_next_rotation_makes_another() {
    let admin = Key::new("admin");
    let Some(fleet) = fleet(&admin, "{}", 1, 0) else {
        return;
    };
    fleet
        .rotate(&["--timeout", "1s"])
        .fails(1, &[&["0 of 1 nodes"]]);
    let pending = public(&fleet.stage("AWSPENDING"));
    assert!(fleet.keys().contains(&pending));
    let run = fleet.rotate(&["--abort"]);
    run.succeeds();
    assert_eq!(fleet.labels(), ["AWSCURRENT"]);
    assert_eq!(fleet.keys(), [admin.bare()]);
    assert_eq!(fleet.document()["revoked"].as_array().unwrap().len(), 1);
    fleet
        .rotate(&["--abort"])
        .fails(1, &[&["there is nothing to abort"]]);
    fleet
        .rotate(&["--timeout", "1s"])
        .fails(1, &[&["0 of 1 nodes"]]);
    assert_ne!(public(&fleet.stage("AWSPENDING")), pending);
}

#[test]
fn f58_a_rotation_that_is_killed_again_and_again_comes_to_its_end() {
    let admin = Key::new("admin");
    let Some(fleet) = fleet(&admin, "{}", 1, 1) else {
        return;
    };
    fleet.rotate(&["--timeout", "60s"]).succeeds();
    let one = public(&fleet.stage("AWSCURRENT"));
    for milliseconds in [60, 120, 250, 500, 1_000, 2_000, 3_500] {
        let mut child: Child = fleet
            .command(&["--timeout", "60s"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        // Whatever is the current key is in the key set.
        let current = public(&fleet.stage("AWSCURRENT"));
        assert!(fleet.keys().contains(&current), "after {milliseconds} ms");
    }
    fleet.rotate(&["--timeout", "60s"]).succeeds();
    let current = public(&fleet.stage("AWSCURRENT"));
    assert_ne!(one, current);
    assert_eq!(fleet.keys(), [admin.bare(), current]);
    assert_eq!(fleet.labels(), ["AWSCURRENT", "AWSPREVIOUS"]);
}

#[test]
fn what_cannot_be_rotated_is_said_before_anything_is_changed() {
    let admin = Key::new("admin");
    let Some(fleet) = fleet(&admin, "hunter2", 1, 0) else {
        return;
    };
    let run = fleet.rotate(&[]);
    run.fails(
        1,
        &[&["secret prod/web, AWSCURRENT: its value is not a JSON object"]],
    );
    assert!(!format!("{run:?}").contains("hunter2"));
    for (bad, word) in [
        (["--allow-missing", "100%"], "below 100"),
        (["--sample", "0"], "from 1 on"),
        (["--key-type", "dsa"], "invalid value 'dsa'"),
        (["--timeout", "soon"], "not a time such as"),
    ] {
        fleet.rotate(&bad).fails(64, &[&[word]]);
    }
    let mut command = fleet.command(&[]);
    let run = outcome_of(command.args(["--filter", "tag:Role=nobody"]));
    run.fails(1, &[&["no running instance in eu-west-1 matches"]]);
}

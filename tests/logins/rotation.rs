//! A rotation on a machine with a real sshd: the key that is current lets in at every moment, the
//! old one until its end and no longer, and the test logins see what sshd does.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use authkeys_testing::moto::Moto;
use authkeys_testing::{
    Key, Run, Service, Setup, clean_ctl, lab, login, outcome_of, run, sshd_log, stand_in,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const SECRET: &str = "prod/web";

struct World {
    moto: Moto,
    _setup: Setup,
    _agent: Service,
    clients: TempDir,
}

fn world(admin: &Key) -> World {
    // Its report says where it is to be found.
    std::fs::write("/proc/sys/kernel/hostname", "localhost").unwrap();
    let moto = Moto::start();
    moto.make_bucket("keys");
    moto.make_bucket("reports");
    let document =
        json!({"version": 1, "name": "web", "serial": 1, "keys": [{"public_key": admin.line}]});
    moto.put_object("keys", "web.json", format!("{document}\n").as_bytes());
    let mut setup = Setup::for_user("alice");
    setup.source = "s3://keys/web.json".to_owned();
    setup.top = "schedule = \"1s\"".to_owned();
    setup.use_s3_at(&moto.endpoint());
    let setup = setup.tables("[report]\nreport_spread = \"1s\"\ns3 = \"s3://reports/web/\"\n");
    let agent = Service::start(&setup, |_| {});
    let begun = Instant::now();
    while moto.list("reports").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", agent.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    World {
        moto,
        _setup: setup,
        _agent: agent,
        clients: tempfile::tempdir().unwrap(),
    }
}

impl World {
    fn secret(&self, call: &str, body: &Value) -> Value {
        let target = format!("secretsmanager.{call}");
        let answer = self
            .moto
            .json("secretsmanager", "us-east-1", &target, &body.to_string());
        serde_json::from_str(&answer).unwrap()
    }

    /// The current private key, as a client fetches it, in a file.
    fn fetch(&self, name: &str) -> Option<PathBuf> {
        let body = json!({"SecretId": SECRET, "VersionStage": "AWSCURRENT"});
        let found = self.secret("GetSecretValue", &body);
        let value: Value = serde_json::from_str(found["SecretString"].as_str().unwrap()).unwrap();
        let path = self.clients.path().join(name);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, value["PrivateKey"].as_str()?).unwrap();
        run("chmod", &["0600", path.to_str().unwrap()]);
        Some(path)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = clean_ctl();
        command
            .envs(stand_in(&self.moto.endpoint()))
            .args(["rotate", "s3://keys/web.json", "--secret", SECRET])
            .args(["--from", "s3://reports/web/", "--timeout", "60s"])
            .args(["--login", "alice"])
            .args(more);
        if !more.contains(&"--port") {
            command.args(["--port", "2222"]);
        }
        command
    }

    fn rotate(&self, more: &[&str]) -> Run {
        outcome_of(&mut self.command(more))
    }
}

/// Whether sshd lets alice in with a private key in a file.
fn lets_in(private: &PathBuf) -> bool {
    let ssh = std::env::var("LAB_SSH").unwrap();
    let mut words = ssh.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .arg("-i")
        .arg(private)
        .args(["alice@127.0.0.1", "true"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || stderr.contains("Permission denied"),
        "{stderr}"
    );
    output.status.success()
}

#[test]
fn f58_the_current_key_logs_in_at_every_moment_of_a_rotation_and_the_old_one_until_its_end() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let admin = Key::new("admin");
        let world = world(&admin);
        let body = json!({"Name": SECRET, "SecretString": "{}"});
        world.secret("CreateSecret", &body);
        let first = world.rotate(&["--accounts", "alice", "--grace", "1s"]);
        assert_eq!((first.status, first.stderr.as_str()), (0, ""), "{first:?}");
        assert!(
            first
                .stdout
                .contains("test    the new key was accepted by 1 of 1 nodes"),
            "{first:?}"
        );
        let old = world.fetch("old").unwrap();
        assert!(lets_in(&old) && login("alice", &admin));

        // The type of the next key is chosen, and the next but one keeps it.
        for (more, kind) in [
            (&["--key-type", "ecdsa-p256"][..], "ecdsa-sha2-nistp256"),
            (&["--key-type", "rsa-3072"], "ssh-rsa"),
            (&[], "ssh-rsa"),
        ] {
            let before = world.fetch("before").unwrap();
            let mut child = world
                .command(&[more, &["--grace", "4s"]].concat())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let (begun, mut logins) = (Instant::now(), 0);
            while child.try_wait().unwrap().is_none() {
                let seconds_ago = world.fetch("current").unwrap();
                // A login that took longer than the old key lasts tells nothing.
                if lets_in(&seconds_ago) {
                    logins += 1;
                } else {
                    let key = std::fs::read(&seconds_ago).unwrap();
                    let now = std::fs::read(world.fetch("again").unwrap()).unwrap();
                    assert_ne!(key, now, "{}", sshd_log());
                }
                assert!(begun.elapsed() < Duration::from_secs(150));
            }
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success() && logins > 2, "{output:?}");
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(
                said.contains("the old key is refused by the one node"),
                "{said}"
            );
            let now = world.fetch("now").unwrap();
            assert!(lets_in(&now) && !lets_in(&before) && login("alice", &admin));
            let published = world.moto.object("keys", "web.json");
            assert!(published.contains(kind), "{published}");
            assert_eq!(published.matches("public_key").count(), 2, "{published}");
        }
        assert!(!lets_in(&old));
    });
}

#[test]
fn a_key_that_sshd_refuses_is_not_promoted() {
    if !Moto::prepare() {
        return;
    }
    lab(|| {
        let admin = Key::new("admin");
        let world = world(&admin);
        let body = json!({"Name": SECRET, "SecretString": "{}"});
        world.secret("CreateSecret", &body);
        // The entry is for somebody else: alice's sshd never accepts it.
        let run = world.rotate(&["--accounts", "bob", "--json"]);
        assert_eq!(run.status, 1, "{run:?}");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(report["status"], "incomplete");
        assert_eq!(report["logins"][0]["answer"], "refused");
        assert_eq!(
            report["phases"].as_array().unwrap().last().unwrap()["phase"],
            "test"
        );
        assert!(run.stderr.contains("Nothing was promoted"), "{run:?}");
        assert!(world.fetch("current").is_none());

        // Nobody at that port, and somebody who is no sshd.
        world.rotate(&["--abort"]).succeeds();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let deaf = std::thread::spawn(move || {
            for client in listener.incoming().take(3) {
                drop(client.unwrap());
            }
        });
        let port = port.to_string();
        for (port, answer) in [("1", "unreachable"), (port.as_str(), "closed")] {
            let run = world.rotate(&["--accounts", "alice", "--port", port, "--json"]);
            let report: Value = serde_json::from_str(&run.stdout).unwrap();
            assert_eq!(report["logins"][0]["answer"], answer, "{run:?}");
            assert_eq!(run.status, 1, "{run:?}");
        }
        deaf.join().unwrap();
        let run = world.rotate(&["--accounts", "alice", "--grace", "1s"]);
        assert_eq!(run.status, 0, "{run:?}");
        let log = sshd_log();
        assert!(log.contains("Accepted publickey for alice"), "{log}");
        assert!(
            !log.contains("Starting session"),
            "no command, no shell: {log}"
        );
        assert!(lets_in(&world.fetch("current").unwrap()));
        assert!(
            sshd_log().contains("Starting session"),
            "it is said when there is one"
        );
    });
}

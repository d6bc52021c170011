//! Secrets and parameters in a service that keeps state: a whole rotation under logins, and what
//! each kind of value brings.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Run, Service, Setup, eventually, inside, lab, login, me};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const REGION: &str = "eu-central-1";

fn secrets(moto: &Moto, operation: &str, body: &Value) -> Value {
    let answer = moto.json(
        "secretsmanager",
        REGION,
        &format!("secretsmanager.{operation}"),
        &body.to_string(),
    );
    serde_json::from_str(&answer).unwrap()
}

fn parameters(moto: &Moto, operation: &str, body: &Value) -> Value {
    serde_json::from_str(&moto.json(
        "ssm",
        REGION,
        &format!("AmazonSSM.{operation}"),
        &body.to_string(),
    ))
    .unwrap()
}

/// A node that follows `source` in that service.
fn node(moto: &Moto, source: &str) -> Setup {
    let mut setup = Setup::new();
    setup.source = source.to_owned();
    setup.use_s3_at(&moto.endpoint());
    setup
        .environment
        .push(("AWS_REGION".to_owned(), REGION.to_owned()));
    setup
}

/// What the usual rotation function writes.
fn rotation_secret(key: &Key) -> String {
    json!({ "PublicKey": key.line, "PrivateKey": std::fs::read_to_string(key.private()).unwrap() })
        .to_string()
}

/// How long after a change the schedule of one second may take to enforce it on a machine that is
/// busy.
const DELAY: Duration = Duration::from_secs(4);

/// What the logins of the test found wrong, and which key is current.
struct Watch {
    current: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    logins: AtomicUsize,
    ends: AtomicUsize,
}

#[test]
fn f10_logins_through_two_rotations_are_refused_to_no_current_key_and_open_to_no_old_one() {
    if !inside() && !Moto::prepare() {
        return;
    }
    lab(|| {
        let moto = Moto::start();
        let keys: Arc<Vec<Key>> = Arc::new(
            (0..3)
                .map(|at| Key::new(&format!("rotation-{at}")))
                .collect(),
        );
        let secret = "prod/ssh/workers";
        let first = secrets(
            &moto,
            "CreateSecret",
            &json!({ "Name": secret, "SecretString": rotation_secret(&keys[0]) }),
        );
        let mut current = first["VersionId"].as_str().unwrap().to_owned();
        let mut setup = node(&moto, &format!("secretsmanager:{secret}"));
        setup.top = "schedule = \"1s\"\nallow_private_key = true".to_owned();
        let setup = setup.account("alice", "");
        let service = Service::start(&setup, |_| ());
        eventually("the first key is installed", || login("alice", &keys[0]));

        // Somebody logs in all the time with the key that is current.
        let watch = Arc::new(Watch {
            current: AtomicUsize::new(0),
            wrong: Mutex::default(),
            logins: AtomicUsize::new(0),
            ends: AtomicUsize::new(0),
        });
        let (eye, all) = (Arc::clone(&watch), Arc::clone(&keys));
        let watching = std::thread::spawn(move || {
            while eye.ends.load(Ordering::SeqCst) == 0 {
                let before = eye.current.load(Ordering::SeqCst);
                let accepted = login("alice", &all[before]);
                eye.logins.fetch_add(1, Ordering::SeqCst);
                // A login during the promotion itself may be one of either.
                if !accepted && eye.current.load(Ordering::SeqCst) == before {
                    eye.wrong
                        .lock()
                        .unwrap()
                        .push(format!("key {before} is current and was refused"));
                }
            }
        });

        for (at, key) in keys.iter().enumerate().skip(1) {
            assert!(!login("alice", key), "key {at} is nowhere yet");
            // createSecret
            let token = format!("00000000-0000-4000-8000-00000000000{at}");
            let pending = json!({
                "SecretId": secret,
                "ClientRequestToken": token,
                "SecretString": rotation_secret(key),
                "VersionStages": ["AWSPENDING"],
            });
            secrets(&moto, "PutSecretValue", &pending);
            // setSecret: nothing to do but to wait until the nodes have it; testSecret: it logs in,
            // and so does the old one.
            eventually("the pending key is installed", || login("alice", key));
            assert!(login("alice", &keys[at - 1]));
            // finishSecret
            let promotion = json!({
                "SecretId": secret,
                "VersionStage": "AWSCURRENT",
                "MoveToVersionId": token,
                "RemoveFromVersionId": current,
            });
            // Until the promotion both are in force.
            watch.current.store(at, Ordering::SeqCst);
            secrets(&moto, "UpdateSecretVersionStage", &promotion);
            current = token;
            let promoted = Instant::now();
            while login("alice", &keys[at - 1]) {
                assert!(
                    promoted.elapsed() < DELAY,
                    "the old key {} still logs in",
                    at - 1
                );
            }
            println!(
                "the old key was refused {:?} after finishSecret",
                promoted.elapsed()
            );
            for old in &keys[..at] {
                assert!(!login("alice", old));
            }
        }
        // And it stays so.
        std::thread::sleep(Duration::from_millis(1_500));
        eventually("logins with the current key", || {
            watch.logins.load(Ordering::SeqCst) > 20
        });
        assert!(!login("alice", &keys[0]) && !login("alice", &keys[1]) && login("alice", &keys[2]));
        watch.ends.store(1, Ordering::SeqCst);
        watching.join().unwrap();
        let logins = watch.logins.load(Ordering::SeqCst);
        println!("{logins} logins with the current key");
        assert_eq!(*watch.wrong.lock().unwrap(), Vec::<String>::new());

        let status = setup.run(["status", "--json"]);
        let log = service.log();
        assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        assert_eq!(
            (
                status["status"].as_str(),
                status["sources"][0]["version"].as_str()
            ),
            (Some("ok"), Some(current.as_str()))
        );
        assert!(
            log.contains("warning") && log.contains("allow_private_key"),
            "{log}"
        );
        no_private_half(&setup, &keys, &log);
    });
}

/// Neither the state nor the status nor what was printed holds a line of any private key.
fn no_private_half(setup: &Setup, keys: &[Key], log: &str) {
    let mut texts = vec![log.to_owned()];
    for directory in [setup.state_dir(), setup.runtime_dir()] {
        for (_, content) in authkeys_testing::contents(&directory) {
            texts.push(String::from_utf8_lossy(&content).into_owned());
        }
    }
    assert!(
        texts.iter().any(|text| text.contains("PublicKey")),
        "the public half is kept"
    );
    for key in keys {
        let private = std::fs::read_to_string(key.private()).unwrap();
        for line in private.lines().filter(|line| !line.starts_with("-----")) {
            // The first lines of all private keys are alike, but for that no text holds one either.
            assert!(
                !texts.iter().any(|text| text.contains(line)),
                "a private key was written"
            );
        }
        assert!(!texts.iter().any(|text| text.contains("PRIVATE KEY")));
    }
}

/// One `sync` of a node of our own, and what its file holds then.
fn synced(setup: &Setup) -> (Run, String) {
    let run = setup.run(["sync"]);
    (
        run,
        std::fs::read_to_string(setup.path("authorized_keys")).unwrap_or_default(),
    )
}

fn own_node(moto: &Moto, source: &str) -> Setup {
    let setup = node(moto, source);
    let file = setup.path("authorized_keys");
    setup.account(&me(), &format!("file = \"{}\"", file.display()))
}

fn holds(text: &str, keys: &[(&Key, bool)]) {
    for (at, (key, wanted)) in keys.iter().enumerate() {
        assert_eq!(text.contains(key.base64()), *wanted, "key {at} in {text}");
    }
}

#[test]
fn secrets_of_every_kind_are_read_and_a_deleted_one_leaves_the_keys() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    let [one, two, three] = [(); 3].map(|()| Key::new("k"));
    let document = |serial: u8, key: &Key| {
        json!({ "version": 1, "name": "set", "serial": serial, "keys": [{ "public_key": key.line }] }).to_string()
    };
    let made = secrets(
        &moto,
        "CreateSecret",
        &json!({ "Name": "a/b", "SecretString": document(1, &one) }),
    );
    let arn = made["ARN"].as_str().unwrap();
    let first = made["VersionId"].as_str().unwrap();
    let setup = own_node(&moto, &format!("secretsmanager:{arn}"));
    let (run, text) = synced(&setup);
    run.succeeds();
    assert!(
        run.stdout.contains(&format!(": set/1, version {first}\n")),
        "{run:?}"
    );
    holds(&text, &[(&one, true), (&two, false)]);

    let pending = json!({
        "SecretId": "a/b", "ClientRequestToken": "00000000-0000-4000-8000-000000000002",
        "SecretString": document(2, &two), "VersionStages": ["AWSPENDING"],
    });
    secrets(&moto, "PutSecretValue", &pending);
    let (run, text) = synced(&setup);
    run.succeeds();
    assert!(
        run.stdout
            .contains("  and AWSPENDING: set/2, version 00000000-"),
        "{run:?}"
    );
    holds(&text, &[(&one, true), (&two, true)]);

    // A binary secret, and authorized_keys text in it.
    let blob = base64(format!("{}\n", three.line).as_bytes());
    secrets(
        &moto,
        "CreateSecret",
        &json!({ "Name": "binary", "SecretBinary": blob }),
    );
    let (run, text) = synced(&own_node(&moto, "secretsmanager:binary"));
    run.succeeds();
    holds(&text, &[(&three, true)]);

    secrets(&moto, "DeleteSecret", &json!({ "SecretId": "a/b" }));
    let (run, text) = synced(&setup);
    run.fails(
        1,
        &[&[
            "GetSecretValue AWSPENDING answered 400 InvalidRequestException",
            "restore-secret",
        ]],
    );
    holds(&text, &[(&one, true), (&two, true)]);
    own_node(&moto, "secretsmanager:none")
        .run(["sync"])
        .fails(1, &[&["ResourceNotFoundException", "create it in"]]);
}

#[test]
fn parameters_are_read_by_version_and_label_and_decrypted() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    let [one, two] = [(); 2].map(|()| Key::new("k"));
    for (key, kind) in [(&one, "String"), (&two, "SecureString")] {
        let body =
            json!({ "Name": "/prod/keys", "Value": key.line, "Type": kind, "Overwrite": true });
        parameters(&moto, "PutParameter", &body);
    }
    parameters(
        &moto,
        "LabelParameterVersion",
        &json!({ "Name": "/prod/keys", "ParameterVersion": 1, "Labels": ["live"] }),
    );
    for (source, version, second) in [
        ("ssm:/prod/keys", 2, true),
        ("ssm:/prod/keys:1", 1, false),
        ("ssm:/prod/keys:live", 1, false),
    ] {
        let setup = own_node(&moto, source);
        let (run, text) = synced(&setup);
        run.succeeds();
        assert!(
            run.stdout
                .contains(&format!("source {source}, version {version}\n")),
            "{run:?}"
        );
        holds(&text, &[(&one, !second), (&two, second)]);
        unwritten(&setup.state_dir().join("state.json"), || {
            synced(&setup).0.succeeds()
        });
    }
    own_node(&moto, "ssm:/none")
        .run(["sync"])
        .fails(1, &[&["ParameterNotFound", "create it in"]]);
}

/// `action` does not write the file again.
fn unwritten(path: &Path, action: impl FnOnce()) {
    let stamp = || std::fs::metadata(path).unwrap().modified().unwrap();
    let before = stamp();
    action();
    assert_eq!(stamp(), before, "{}", path.display());
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

#[test]
fn a_field_of_a_key_value_secret_lets_its_key_log_in_and_a_missing_one_names_those_that_are_there()
{
    if !inside() && !Moto::prepare() {
        return;
    }
    lab(|| {
        let moto = Moto::start();
        let key = Key::new("team");
        let private = std::fs::read_to_string(key.private()).unwrap();
        let value =
            json!({ "pub_key": key.line, "owner": "team-a", "priv_key": private }).to_string();
        secrets(
            &moto,
            "CreateSecret",
            &json!({ "Name": "prod/ssh/team-a", "SecretString": value }),
        );
        let mut setup =
            node(&moto, "secretsmanager:prod/ssh/team-a?field=pub_key").account("alice", "");
        let run = setup.run(["sync"]);
        run.succeeds();
        assert!(login("alice", &key), "{run:?}");
        setup.source = "secretsmanager:prod/ssh/team-a?field=public".to_owned();
        let run = setup.run(["sync"]);
        assert!(
            run.stderr.contains("no field \"public\", only \"") && run.stderr.contains("\"owner\""),
            "{run:?}"
        );
        assert!(
            !run.stderr.contains("team-a\"") && !run.stderr.contains("PRIVATE KEY"),
            "{run:?}"
        );
        assert!(login("alice", &key), "nothing is taken away");
    });
}

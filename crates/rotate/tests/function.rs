//! The function as Lambda runs it: the built program, a runtime API that hands it events, and moto
//! for AWS. The four steps are called as Secrets Manager calls them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use authkeys_testing::moto::Moto;
use authkeys_testing::throttle::Throttle;
use authkeys_testing::{Key, program, stand_in};
use serde_json::{Value, json};

const REGION: &str = "us-east-1";
const SECRET: &str = "prod/web";

/// The runtime API, and the program that asks it for events.
struct Lambda {
    listener: TcpListener,
    child: Child,
}

impl Drop for Lambda {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Lambda {
    fn start(moto: &Moto, settings: &[(&str, &str)]) -> Self {
        Self::start_at(&moto.endpoint(), settings)
    }

    fn start_at(endpoint: &str, settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let child = Command::new(program("authkeys-rotate"))
            .env_clear()
            .envs(stand_in(endpoint))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env(
                "AWS_LAMBDA_RUNTIME_API",
                listener.local_addr().unwrap().to_string(),
            )
            .env("AWS_LAMBDA_FUNCTION_NAME", "rotate")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "g")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "s")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { listener, child }
    }

    /// One invocation with so much time: its answer, or its error.
    fn invoke(&self, event: &Value, time: Duration) -> Result<Value, String> {
        let deadline = (SystemTime::now() + time)
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis();
        let body = event.to_string();
        let mut handed_out = false;
        loop {
            let (mut stream, _) = self.listener.accept().unwrap();
            while let Some((path, said)) = request(&mut stream) {
                if path.ends_with("/invocation/next") {
                    if handed_out {
                        break;
                    }
                    handed_out = true;
                    write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                         Lambda-Runtime-Aws-Request-Id: r-1\r\nLambda-Runtime-Deadline-Ms: {deadline}\r\n\
                         Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:rotate\r\n\
                         \r\n{body}",
                        body.len()
                    )
                    .unwrap();
                    continue;
                }
                write!(
                    stream,
                    "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                .unwrap();
                let value: Value = serde_json::from_str(&said).unwrap();
                return if path.ends_with("/response") {
                    Ok(value)
                } else {
                    Err(value["errorMessage"].as_str().unwrap().to_owned())
                };
            }
        }
    }
}

/// The next request's path and body; `None` at the end.
fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        chunked |= line == "transfer-encoding: chunked";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    while chunked {
        let mut size = String::new();
        reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).unwrap();
        body.extend(&chunk[..size]);
        chunked = size > 0;
    }
    Some((path, String::from_utf8(body).unwrap()))
}

struct World {
    moto: Moto,
}

impl World {
    fn new(admin: &Key) -> Self {
        let moto = Moto::start();
        moto.make_bucket("keys");
        moto.make_bucket("reports");
        let document =
            json!({"version": 1, "name": "web", "serial": 1, "keys": [{"public_key": admin.line}]});
        moto.put_object("keys", "web.json", document.to_string().as_bytes());
        let world = Self { moto };
        world.secret(
            "CreateSecret",
            &json!({"Name": SECRET, "SecretString": "{}"}),
        );
        world
    }

    fn secret(&self, call: &str, body: &Value) -> Value {
        let target = format!("secretsmanager.{call}");
        let answer = self
            .moto
            .json("secretsmanager", REGION, &target, &body.to_string());
        serde_json::from_str(&answer).unwrap()
    }

    /// Rotation is switched on.
    fn switch_on(&self) {
        let current = self.secret(
            "GetSecretValue",
            &json!({"SecretId": SECRET, "VersionStage": "AWSCURRENT"}),
        );
        let rules = json!({"SecretId": SECRET, "RotationRules": {"AutomaticallyAfterDays": 30}, "RotateImmediately": false});
        self.secret("RotateSecret", &rules);
        // moto makes an empty current version by that.
        let now = self.secret("DescribeSecret", &json!({"SecretId": SECRET}));
        for (version, labels) in now["VersionIdsToStages"].as_object().unwrap() {
            let is_current = labels.as_array().unwrap().contains(&json!("AWSCURRENT"));
            if is_current && *version != current["VersionId"] {
                self.secret(
                    "UpdateSecretVersionStage",
                    &json!({"SecretId": SECRET, "VersionStage": "AWSCURRENT", "RemoveFromVersionId": version,
                            "MoveToVersionId": current["VersionId"]}),
                );
            }
        }
    }

    /// What Secrets Manager does before the first step: the token is pending.
    fn begin(&self, token: &str) {
        let put = json!({"SecretId": SECRET, "SecretString": "{}", "ClientRequestToken": token,
                         "VersionStages": ["AWSPENDING"]});
        self.secret("PutSecretValue", &put);
    }

    fn stage(&self, stage: &str) -> Value {
        let body = json!({"SecretId": SECRET, "VersionStage": stage});
        let found = self.secret("GetSecretValue", &body);
        serde_json::from_str(found["SecretString"].as_str().unwrap()).unwrap()
    }

    fn document(&self) -> Value {
        serde_json::from_str(&self.moto.object("keys", "web.json")).unwrap()
    }

    /// A node says that it has what is published now.
    fn node_reports(&self, id: &str) {
        let serial = &self.document()["serial"];
        let synced = Command::new("date")
            .args(["-u", "+%FT%TZ"])
            .output()
            .unwrap();
        let synced = String::from_utf8(synced.stdout).unwrap();
        let report = json!({"schema": 1, "node": id, "status": "ok", "detail": "", "keyset": format!("web/{serial}"),
                            "digest": "", "synced": synced.trim(), "host": id, "sources": []});
        let key = format!("web/{id}.json");
        self.moto
            .put_object("reports", &key, report.to_string().as_bytes());
    }
}

fn event(step: &str, token: &str) -> Value {
    json!({"SecretId": SECRET, "ClientRequestToken": token, "Step": step})
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_four_steps_rotate_and_each_may_be_called_again() {
    if !Moto::prepare() {
        return;
    }
    let admin = Key::new("admin");
    let world = World::new(&admin);
    let settings = [
        ("TARGET", "s3://keys/web.json"),
        ("FROM", "s3://reports/web/"),
        ("GRACE", "1s"),
        ("ACCOUNTS", "ubuntu"),
    ];
    let begun = Instant::now();
    let lambda = Lambda::start(&world.moto, &settings);
    world.switch_on();
    for (round, token) in [
        "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa",
        "22222222-aaaa-4aaa-8aaa-aaaaaaaaaaaa",
    ]
    .into_iter()
    .enumerate()
    {
        world.begin(token);
        for step in ["createSecret", "createSecret", "setSecret", "setSecret"] {
            let ended = lambda.invoke(&event(step, token), MINUTE);
            assert_eq!(ended, Ok(Value::Null), "{step}");
        }
        if round == 0 {
            println!(
                "started and twice two steps done after {:?}",
                begun.elapsed()
            );
            // Nobody has reported yet.
            world.node_reports("host-1");
            let stale = json!({"schema": 1, "status": "ok", "keyset": "web/1", "digest": "", "detail": "",
                               "synced": "2026-01-01T00:00:00Z", "sources": []});
            world
                .moto
                .put_object("reports", "web/host-2.json", stale.to_string().as_bytes());
            let why = lambda
                .invoke(&event("testSecret", token), Duration::from_secs(23))
                .unwrap_err();
            assert!(why.contains("1 of 2 nodes have web/2"), "{why}");
        }
        world.node_reports("host-1");
        world.node_reports("host-2");
        for step in ["testSecret", "finishSecret", "finishSecret", "testSecret"] {
            let ended = lambda.invoke(&event(step, token), MINUTE);
            assert_eq!(ended, Ok(Value::Null), "{step}");
        }
        let current = world.stage("AWSCURRENT");
        assert!(
            current["PrivateKey"]
                .as_str()
                .unwrap()
                .contains("OPENSSH PRIVATE KEY")
        );
        std::thread::sleep(Duration::from_secs(2));
    }
    let document = world.document();
    let keys = document["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3, "{document}");
    let lines: Vec<&str> = keys
        .iter()
        .map(|key| key["public_key"].as_str().unwrap())
        .collect();
    assert_eq!(lines[1], world.stage("AWSPREVIOUS")["PublicKey"]);
    assert_eq!(lines[2], world.stage("AWSCURRENT")["PublicKey"]);
    assert!(keys[1]["not_after"].is_string() && keys[2]["not_after"].is_null());
    assert_eq!(keys[2]["accounts"], json!(["ubuntu"]));
}

#[test]
fn a_request_that_is_not_part_of_a_rotation_is_refused() {
    if !Moto::prepare() {
        return;
    }
    let admin = Key::new("admin");
    let world = World::new(&admin);
    let lambda = Lambda::start(&world.moto, &[("TARGET", "s3://keys/web.json")]);
    let token = "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
    let refused = |step: &str, token: &str| lambda.invoke(&event(step, token), MINUTE).unwrap_err();
    assert!(refused("createSecret", token).contains("rotation is not enabled"));
    world.switch_on();
    world.begin(token);
    assert!(refused("deleteSecret", token).contains("unknown step"));
    let other = "22222222-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
    assert!(refused("createSecret", other).contains("has no stage"));
    assert_eq!(world.document()["serial"], 1, "nothing was published");
}

#[test]
fn a_throttled_api_is_waited_for_or_named_and_the_same_step_goes_on_later() {
    if !Moto::prepare() {
        return;
    }
    let admin = Key::new("admin");
    let world = World::new(&admin);
    let throttle = Throttle::before(&world.moto.endpoint());
    let settings = [("TARGET", "s3://keys/web.json"), ("ACCOUNTS", "ubuntu")];
    let lambda = Lambda::start_at(&throttle.endpoint(), &settings);
    let token = "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
    world.switch_on();
    world.begin(token);
    throttle.shut_for(Duration::from_millis(400));
    let ended = lambda.invoke(&event("createSecret", token), MINUTE);
    assert_eq!(ended, Ok(Value::Null));
    assert!(throttle.refused() > 0, "it was never in the way");

    throttle.shut_for(MINUTE * 60);
    let why = lambda
        .invoke(&event("setSecret", token), MINUTE)
        .unwrap_err();
    assert!(why.contains("ThrottlingException"), "{why}");
    assert_eq!(world.document()["serial"], 1);
    throttle.open();
    let ended = lambda.invoke(&event("setSecret", token), MINUTE);
    assert_eq!(ended, Ok(Value::Null));
    assert_eq!(world.document()["serial"], 2);
}

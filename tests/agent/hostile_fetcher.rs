//! authkeysd with a hostile program in the place of authkeysd-fetch: it ends in time, says what is
//! wrong, and changes nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use authkeys_testing::{Key, Run, Setup, me, outcome_of};

/// Speaks the protocol as its first argument says: a good document, or one of many bad answers.
const FETCHER: &str = r#"#!/usr/bin/python3
import json, os, struct, sys, time
mode = os.environ["FETCHER"]
out, documents = sys.stdout.buffer, {"s3://keys/workers": os.environ.get("DOCUMENT", "").encode()}

def frame(message, identity, parts=(), lengths=None):
    lengths = [len(part) for part in parts] if lengths is None else lengths
    header = json.dumps({"id": identity, "parts": lengths, "message": message}).encode()
    return struct.pack(">I", len(header)) + header + b"".join(parts)

def send(data):
    out.write(data)
    out.flush()

def head(stage="AWSCURRENT"):
    return {"stage": stage, "version": {"label": "v1", "token": "v1"}, "created": None}

def bring(*stages):
    return {"answer": "documents", "documents": [head(stage) for stage in stages]}

if mode == "ends at once":
    sys.exit(0)
if mode == "dies with noise":
    sys.stderr.write("\x1b]0;owned\x07 noise " * 99999)
    sys.exit(3)
while True:
    start = sys.stdin.buffer.read(4)
    if len(start) < 4:
        sys.exit(0)
    request = json.loads(sys.stdin.buffer.read(struct.unpack(">I", start)[0]))
    identity, ask = request["id"], request["message"]["ask"]
    if ask == "instance":
        send(frame({"answer": "no_instance", "reason": "disabled"}, identity))
        continue
    document = documents[request["message"]["url"]]
    good = frame(bring("AWSCURRENT"), identity, [document])
    if mode == "good":
        send(good)
    elif mode == "endless":
        while True:
            send(b"\0" * 65536)
    elif mode == "endless noise":
        while True:
            send(good[:20] + os.urandom(65536))
    elif mode == "huge header":
        send(b"\xff\xff\xff\xff" + b"x" * 100000)
    elif mode == "huge part":
        send(frame(bring("AWSCURRENT"), identity, [document], [2**31]))
    elif mode == "many parts":
        send(frame(bring("AWSCURRENT"), identity, [document] * 4))
    elif mode == "a part too many":
        send(frame(bring("AWSCURRENT"), identity, [document] * 2))
    elif mode == "cut in the length":
        send(good[:2]); sys.exit(0)
    elif mode == "cut in the header":
        send(good[:20]); sys.exit(0)
    elif mode == "cut in the part":
        send(good[:-1]); sys.exit(0)
    elif mode == "another id":
        send(frame(bring("AWSCURRENT"), identity + 1, [document]))
    elif mode == "answers to nothing":
        send(frame({"answer": "done"}, 2**63))
    elif mode == "no JSON":
        send(struct.pack(">I", 9) + b"not json!")
    elif mode == "another answer":
        send(frame({"answer": "done"}, identity))
    elif mode == "unknown answer":
        send(frame({"answer": "root please"}, identity))
    elif mode == "another stage":
        send(frame(bring("AWSCURRENT", "AWSPENDING"), identity, [document] * 2))
    elif mode == "no current one":
        send(frame(bring("AWSPENDING"), identity, [document]))
    elif mode == "two current ones":
        send(frame(bring("AWSCURRENT", "AWSCURRENT"), identity, [document] * 2))
    elif mode == "no documents":
        send(frame(bring(), identity))
    elif mode == "an endless version":
        answer = bring("AWSCURRENT")
        answer["documents"][0]["version"]["label"] = "v" * 9999
        send(frame(answer, identity, [document]))
    elif mode == "escapes":
        text = "\x1b[2J\x1b]0;owned\x07\r\n\u202e" + "x" * 30000
        send(frame({"answer": "failed", "class": "transient", "message": text, "remedy": text}, identity))
    elif mode == "silent":
        time.sleep(600)
    elif mode == "slow":
        for byte in good * 1000:
            send(bytes([byte])); time.sleep(0.5)
"#;

/// A copy of the program with the hostile helper beside it, and an account with one key in force.
struct Node {
    setup: Setup,
    program: std::path::PathBuf,
}

impl Node {
    fn new() -> Self {
        let mut setup = Setup::new();
        setup.source = "s3://keys/workers".to_owned();
        let file = setup.path("authorized_keys");
        let setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
        let program = setup.path("authkeysd");
        std::fs::copy(authkeys_testing::program("authkeysd"), &program).unwrap();
        let helper = setup.path("authkeysd-fetch");
        std::fs::write(&helper, FETCHER).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { setup, program }
    }

    fn command(&self, mode: &str, document: &str) -> Command {
        let mut command = self.setup.command_of(&self.program);
        command
            .arg("sync")
            .env("FETCHER", mode)
            .env("DOCUMENT", document);
        command
    }

    fn sync(&self, mode: &str, document: &str) -> Run {
        outcome_of(&mut self.command(mode, document))
    }

    fn keys(&self) -> String {
        std::fs::read_to_string(self.setup.path("authorized_keys")).unwrap()
    }
}

fn published(serial: u64, key: &Key) -> String {
    format!(
        r#"{{"version":1,"name":"workers","serial":{serial},"keys":[{{"public_key":"{}"}}]}}"#,
        key.line
    )
}

const MODES: &[&str] = &[
    "ends at once",
    "dies with noise",
    "endless",
    "endless noise",
    "huge header",
    "huge part",
    "many parts",
    "a part too many",
    "cut in the length",
    "cut in the header",
    "cut in the part",
    "another id",
    "answers to nothing",
    "no JSON",
    "another answer",
    "unknown answer",
    "another stage",
    "no current one",
    "two current ones",
    "no documents",
    "an endless version",
    "escapes",
];

#[test]
fn whatever_a_hostile_fetcher_sends_the_installer_says_so_and_keeps_what_it_has() {
    let node = Node::new();
    let [first, other] = ["first", "other"].map(Key::new);
    node.sync("good", &published(1, &first)).succeeds();
    let kept = node.keys();
    assert!(kept.contains(&first.line), "{kept}");
    for mode in MODES {
        let begun = Instant::now();
        let mut command = Command::new("prlimit");
        let inner = node.command(mode, &published(2, &other));
        // It cannot grow: what it needs otherwise fits into this.
        command
            .args(["--as=400000000", "--"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env_clear();
        command.envs(
            inner
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let run = outcome_of(&mut command);
        assert_eq!(run.status, 75, "{mode}: {run:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{mode}: {:?}",
            begun.elapsed()
        );
        assert_eq!(node.keys(), kept, "{mode}");
        let lines: Vec<&str> = run.stderr.lines().collect();
        let shown = |line: &str| line.starts_with("authkeysd: ") && line.len() < 16_000;
        assert!(
            !lines.is_empty() && lines.iter().all(|line| shown(line)),
            "{mode}: {run:?}"
        );
        assert!(
            *mode == "escapes" || run.stderr.contains("s3://keys/workers: authkeysd-fetch "),
            "{mode}: {run:?}"
        );
        let deceives = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!(run.stderr + &run.stdout).contains(deceives), "{mode}");
    }
    node.sync("good", &published(2, &other)).succeeds();
    assert!(
        node.keys().contains(&other.line),
        "the next one that behaves is believed"
    );
}

#[test]
fn a_fetcher_that_is_silent_or_slow_is_given_up_at_the_deadline() {
    std::thread::scope(|scope| {
        for mode in ["silent", "slow"] {
            scope.spawn(move || {
                let node = Node::new();
                let begun = Instant::now();
                let run = node.sync(mode, &published(1, &Key::new("key")));
                assert_eq!(run.status, 75, "{mode}: {run:?}");
                assert!(
                    run.stderr
                        .contains("authkeysd-fetch did not answer within 40s"),
                    "{mode}: {run:?}"
                );
                assert!(
                    begun.elapsed() < Duration::from_secs(60),
                    "{mode}: {:?}",
                    begun.elapsed()
                );
                assert!(!node.setup.path("authorized_keys").exists(), "{mode}");
            });
        }
    });
}

#[test]
fn an_old_document_is_refused_whoever_brings_it() {
    let node = Node::new();
    let [first, second] = ["first", "second"].map(Key::new);
    node.sync("good", &published(2, &second)).succeeds();
    let kept = node.keys();
    let run = node.sync("good", &published(1, &first));
    assert_eq!(run.status, 1, "{run:?}");
    assert_eq!(node.keys(), kept);
}

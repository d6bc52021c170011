//! The built program and an S3: what it writes, and that no answer that is not a key set ever writes
//! anything.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use authkeys_testing::moto::Moto;
use authkeys_testing::s3_stub::{Stub, StubAnswer, Then};
use authkeys_testing::{Key, Setup, contents, me, somebody_else, tree};
use jiff::{SignedDuration, Timestamp};

const SOURCE: &str = "s3://keys/prod/workers.json";
const TAGGED: &[&str] = &["ETag: \"new\""];

/// Two accounts whose files lie below the temporary directory: no root and no home is needed. The
/// first has a key of its own in its file, the second has no file yet.
struct Node {
    setup: Setup,
    own: Key,
}

impl Node {
    fn new(endpoint: &str) -> Self {
        let mut setup = Setup::new();
        let file = format!("file = \"{}/%u\"", setup.path("keys").display());
        setup = setup.account(&me(), &file).account(somebody_else(), &file);
        setup.source = SOURCE.to_owned();
        setup.use_s3_at(endpoint);
        let node = Self {
            setup,
            own: Key::new("own"),
        };
        std::fs::create_dir(node.setup.path("keys")).unwrap();
        std::fs::write(node.files()[0].clone(), format!("{}\n", node.own.line)).unwrap();
        node
    }

    fn with_stub(answers: impl IntoIterator<Item = StubAnswer>) -> (Self, Stub) {
        let stub = Stub::start(answers);
        (Self::new(&stub.endpoint()), stub)
    }

    fn files(&self) -> [PathBuf; 2] {
        [0, 1].map(|at| self.setup.path("keys").join(&self.setup.accounts[at].user))
    }

    /// Both files hold these keys and what was there before, and nothing else.
    #[track_caller]
    fn holds(&self, keys: &[&Key]) {
        let lines: Vec<_> = keys.iter().map(|key| format!("{}\n", key.line)).collect();
        let head = format!(
            "# managed by authkeysd from {}: changes between these lines are overwritten\n",
            self.setup.source
        );
        let block = format!(
            "# BEGIN authkeysd\n{head}{}# END authkeysd\n",
            lines.concat()
        );
        let found = self
            .files()
            .map(|file| std::fs::read_to_string(file).unwrap());
        assert_eq!(found, [format!("{}\n{block}", self.own.line), block]);
    }
}

fn document(keys: &[&Key]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| format!("{{\"public_key\": \"{}\"}}", key.line))
        .collect();
    format!(
        "{{\"version\": 1,\n \"keys\": [\n{}\n]}}\n",
        keys.join(",\n")
    )
}

fn good(key: &Key) -> StubAnswer {
    StubAnswer::whole("200 OK", &["ETag: \"good\""], &document(&[key]))
}

#[test]
fn the_first_sync_writes_an_unchanged_one_touches_nothing_and_a_changed_object_arrives() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    let (one, two) = (Key::new("one"), Key::new("two"));
    moto.make_bucket("keys");
    moto.switch_versions_on("keys");
    let first = moto
        .put_object("keys", "prod/workers.json", document(&[&one]).as_bytes())
        .unwrap();
    let mut node = Node::new(&moto.endpoint());

    let run = node.setup.run(["sync"]);
    run.succeeds();
    assert!(
        run.stdout.contains(&first) && run.stdout.contains(&format!("+ {}", one.fingerprint())),
        "{}",
        run.stdout
    );
    node.holds(&[&one]);

    let [state, keys] = ["state", "keys"].map(|name| node.setup.path(name));
    let before = [tree(&state), tree(&keys)];
    node.setup.run(["sync"]).succeeds();
    assert_eq!(
        [tree(&state), tree(&keys)],
        before,
        "an unchanged poll writes nothing at all"
    );

    moto.put_object("keys", "prod/workers.json", document(&[&two]).as_bytes())
        .unwrap();
    let run = node.setup.run(["sync"]);
    run.succeeds();
    for word in [
        format!("- {}", one.fingerprint()),
        format!("+ {}", two.fingerprint()),
    ] {
        assert_eq!(run.stdout.matches(&word).count(), 2, "{}", run.stdout);
    }
    node.holds(&[&two]);

    node.setup.source = format!("{SOURCE}?version_id={first}");
    node.setup.run(["sync"]).succeeds();
    node.holds(&[&one]);
    node.setup.run(["sync"]).succeeds();
    node.holds(&[&one]);

    let before = tree(&keys);
    node.setup.source = format!("{SOURCE}?version_id=no-such-version");
    node.setup
        .run(["sync"])
        .fails(1, &[&["?version_id=no-such-version", "`version_id`"]]);
    moto.delete_object("keys", "prod/workers.json");
    node.setup.source = SOURCE.to_owned();
    node.setup.run(["sync"]).fails(1, &[&[SOURCE, "publish"]]);
    assert_eq!(tree(&keys), before);
}

#[test]
fn f36_a_missing_object_and_a_missing_bucket_are_named_and_change_nothing() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    moto.make_bucket("keys");
    let mut node = Node::new(&moto.endpoint());
    let before = tree(&node.setup.path("keys"));
    node.setup
        .run(["sync"])
        .fails(1, &[&[SOURCE, "NoSuchKey", "publish it"]]);
    node.setup.source = "s3://no-such-bucket/k".to_owned();
    node.setup.run(["sync"]).fails(
        1,
        &[&["s3://no-such-bucket/k", "NoSuchBucket", "create the bucket"]],
    );
    assert_eq!(tree(&node.setup.path("keys")), before);
}

/// An answer that is not a key set must leave every file as it is: where nothing is known yet, and
/// where a good set is in force, which then goes on being enforced.
#[track_caller]
fn changes_nothing(answer: StubAnswer, status: i32, words: &[&str]) {
    let words = [words, &[SOURCE]].concat();
    let (node, _stub) = Node::with_stub([answer.clone()]);
    let keys = node.setup.path("keys");
    let before = tree(&keys);
    let run = node.setup.run(["sync"]);
    run.fails(status, &[&words]);
    assert!(
        run.stdout.contains("failed: no valid key set is known"),
        "{}",
        run.stdout
    );
    assert_eq!(tree(&keys), before, "on a fresh node");

    let key = Key::new("in-force");
    let (node, _stub) = Node::with_stub([good(&key), answer]);
    let keys = node.setup.path("keys");
    node.setup.run(["sync"]).succeeds();
    let before = [tree(&keys), tree(&node.setup.state_dir())];
    let run = node.setup.run(["sync"]);
    run.fails(status, &[&words]);
    assert!(
        run.stdout
            .contains("(stale: the last good key set stays in force)"),
        "{}",
        run.stdout
    );
    assert_eq!(
        [tree(&keys), tree(&node.setup.state_dir())],
        before,
        "with a good set in force"
    );

    // Repairs go on: somebody took the key out of one file and the other file away.
    std::fs::write(&node.files()[0], format!("{}\n", node.own.line)).unwrap();
    std::fs::remove_file(&node.files()[1]).unwrap();
    node.setup.run(["sync"]).fails(status, &[&words]);
    node.holds(&[&key]);
}

#[test]
fn f07_denied_throttled_and_failing_answers_change_nothing() {
    let error = |status, code| StubAnswer::error(status, code, "no", &[]);
    changes_nothing(
        error("403 Forbidden", "AccessDenied"),
        77,
        &["AccessDenied", "allow s3:GetObject on arn:aws:s3"],
    );
    changes_nothing(
        error("404 Not Found", "NoSuchKey"),
        1,
        &["NoSuchKey", "publish it"],
    );
    changes_nothing(
        error("404 Not Found", "NoSuchBucket"),
        1,
        &["NoSuchBucket", "create the bucket"],
    );
    changes_nothing(
        error("503 Slow Down", "SlowDown"),
        75,
        &["SlowDown", "it is tried again"],
    );
    changes_nothing(
        error("400 Bad Request", "ExpiredToken"),
        77,
        &["ExpiredToken", "renew them"],
    );
}

#[test]
fn f34_f35_an_empty_body_or_a_page_changes_nothing() {
    let page = "<html><body>Please sign in</body></html>\n";
    changes_nothing(
        StubAnswer::whole("200 OK", TAGGED, ""),
        1,
        &["it is empty", "put the keys there"],
    );
    changes_nothing(
        StubAnswer::whole("200 OK", TAGGED, " \r\n\n"),
        1,
        &["it is empty", "put the keys there"],
    );
    changes_nothing(
        StubAnswer::whole("200 OK", TAGGED, page),
        1,
        &["no valid key", "publish"],
    );
    changes_nothing(
        StubAnswer::whole("200 OK", TAGGED, "# only\n# comments\n"),
        1,
        &["it is empty", "put the keys there"],
    );
}

#[test]
fn f35_a_document_that_was_cut_off_changes_nothing() {
    let whole = document(&[&Key::new("new")]);
    let (half, _) = whole.split_at(whole.len() / 2);
    let length = format!("Content-Length: {}", whole.len());
    let lie = StubAnswer::raw("200 OK", &[TAGGED, &[&length]].concat(), half, Then::Close);
    changes_nothing(lie, 75, &["was cut off", "unless it lasts"]);
    changes_nothing(
        StubAnswer::whole("200 OK", TAGGED, half),
        1,
        &["JSON", "publish"],
    );
    changes_nothing(
        StubAnswer::whole("200 OK", TAGGED, whole.trim_end().trim_end_matches('}')),
        1,
        &["JSON", "publish"],
    );
    let (one, two) = (Key::new("one"), Key::new("two"));
    let text = format!("{}\n{}", one.line, two.line.split_at(40).0);
    changes_nothing(
        StubAnswer::whole("200 OK", TAGGED, &text),
        1,
        &["cut off: line 2", "put it there again, whole"],
    );
}

#[test]
fn a_document_that_is_too_large_or_never_ends_changes_nothing() {
    let large = format!("{}{}\n", document(&[&Key::new("new")]), " ".repeat(1 << 20));
    changes_nothing(StubAnswer::whole("200 OK", TAGGED, &large), 1, &["1 MiB"]);
    changes_nothing(
        StubAnswer::raw("200 OK", TAGGED, "", Then::Endless),
        1,
        &["1 MiB"],
    );
}

#[test]
fn a_document_without_one_good_key_changes_nothing() {
    let key = Key::new("new");
    let bad = format!("ssh-dss {}\n{}x\n", key.base64(), key.bare());
    changes_nothing(
        StubAnswer::whole("200 OK", TAGGED, &bad),
        1,
        &["no valid key", "line 1", "put at least one there"],
    );
    let json = "{\"version\": 1, \"keys\": []}";
    let (node, _stub) = Node::with_stub([good(&key), StubAnswer::whole("200 OK", TAGGED, json)]);
    node.setup.run(["sync"]).succeeds();
    // An empty list is said on purpose, and still refused by policy, for each account.
    let run = node.setup.run(["sync"]);
    assert_eq!(run.status, 1, "{run:?}");
    assert_eq!(run.stderr.matches("min_keys").count(), 2, "{}", run.stderr);
    node.holds(&[&key]);
}

#[test]
fn f07_a_source_that_cannot_be_reached_changes_nothing() {
    let key = Key::new("k");
    let (mut node, _stub) = Node::with_stub([good(&key)]);
    node.setup.run(["sync"]).succeeds();
    // A port that nobody listens on: bound, and given back.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let before = [
        tree(&node.setup.path("keys")),
        tree(&node.setup.state_dir()),
    ];
    node.setup.environment[0].1 = format!("http://{address}");
    node.setup.run(["sync"]).fails(
        75,
        &[&[
            SOURCE,
            "refused",
            "nothing listens there: check the endpoint",
        ]],
    );
    node.setup.environment[0].1 = "http://authkeysd.invalid".to_owned();
    let run = node.setup.run(["sync"]);
    assert!(
        [1, 75].contains(&run.status) && run.stderr.lines().count() == 1,
        "{run:?}"
    );
    assert_eq!(
        [
            tree(&node.setup.path("keys")),
            tree(&node.setup.state_dir())
        ],
        before
    );
}

#[test]
fn f07_an_answer_that_never_comes_ends_and_changes_nothing() {
    let key = Key::new("k");
    let (node, _stub) = Node::with_stub([good(&key), StubAnswer::silence()]);
    node.setup.run(["sync"]).succeeds();
    let before = tree(&node.setup.path("keys"));
    let begun = Instant::now();
    node.setup
        .run(["sync"])
        .fails(75, &[&[SOURCE, "within", "if it lasts"]]);
    assert!(
        begun.elapsed() < Duration::from_secs(45),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(tree(&node.setup.path("keys")), before);
}

#[test]
fn windows_open_and_close_while_the_source_is_away() {
    let (leaving, coming) = (Key::new("leaving"), Key::new("coming"));
    let change = whole_second(8);
    let document = format!(
        "{{\"version\": 1, \"keys\": [{{\"public_key\": \"{}\", \"not_after\": \"{change}\"}},\
         {{\"public_key\": \"{}\", \"not_before\": \"{change}\"}}]}}",
        leaving.line, coming.line
    );
    let answers = [
        StubAnswer::whole("200 OK", TAGGED, &document),
        StubAnswer::error("403 Forbidden", "AccessDenied", "no", &[]),
    ];
    let (node, _stub) = Node::with_stub(answers);
    node.setup.run(["sync"]).succeeds();
    let before = contents(&node.setup.path("keys"));
    let has = |key: &Key| {
        contents(&node.setup.path("keys"))
            .values()
            .filter(|text| holds(text, key))
            .count()
    };
    assert_eq!((has(&leaving), has(&coming)), (2, 0), "{before:?}");
    while now() < change {
        std::thread::sleep(Duration::from_millis(50));
    }
    node.setup.run(["sync"]).fails(77, &[&["AccessDenied"]]);
    assert_eq!(
        (has(&leaving), has(&coming)),
        (0, 2),
        "the window is kept although the source is away"
    );
}

fn holds(text: &[u8], key: &Key) -> bool {
    String::from_utf8_lossy(text).contains(key.base64())
}

fn now() -> Timestamp {
    Timestamp::now()
}

/// A whole second, `seconds` from now.
fn whole_second(seconds: i64) -> Timestamp {
    Timestamp::from_second((now() + SignedDuration::from_secs(seconds)).as_second()).unwrap()
}

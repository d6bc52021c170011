//! `authkeysctl publish` to S3: what it shows and refuses, the serial it takes, and two publishers
//! at once.

use authkeys_testing::moto::Moto;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, Setup, me};

use crate::desk::{Desk, bucket, document, serial};

const TARGET: &str = "s3://keys/prod/workers.json";

struct Bucket {
    moto: Moto,
    desk: Desk,
}

impl Bucket {
    fn new() -> Option<Self> {
        let (moto, desk) = bucket()?;
        Some(Self { moto, desk })
    }

    fn published(&self) -> String {
        self.moto.object("keys", "prod/workers.json")
    }
}

#[test]
fn a_publication_takes_the_next_serial_and_changes_no_other_byte() {
    let Some(bucket) = Bucket::new() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    bucket.desk.file("a", document(None, &[&one]));
    let run = bucket.desk.publish("a", TARGET, &[]);
    assert_eq!(run.status, 0, "{run:?}");
    let first = format!(
        "{TARGET}: nothing is published there yet; this makes workers/1\n  + {} ssh-ed25519 one\n",
        one.fingerprint()
    );
    assert!(run.stdout.starts_with(&first), "{run:?}");
    assert!(
        run.stdout
            .contains(&format!("published workers/1 at {TARGET}, version ")),
        "{run:?}"
    );
    assert!(
        run.stdout
            .ends_with(": authkeysctl fleet --wait --document workers/1\n"),
        "{run:?}"
    );
    assert_eq!(
        bucket.published(),
        document(None, &[&one]).replacen("\"version\": 1,", "\"version\": 1,\n  \"serial\": 1,", 1)
    );

    bucket.desk.file("a", document(Some(1), &[&one, &two]));
    let run = bucket.desk.publish("a", TARGET, &[]);
    run.succeeds();
    let change = format!(
        "{TARGET}: workers/1 -> workers/2\n  + {} ssh-ed25519 two\n",
        two.fingerprint()
    );
    assert!(run.stdout.starts_with(&change), "{run:?}");
    assert_eq!(bucket.published(), document(Some(2), &[&one, &two]));
    assert!(run.stdout.contains("sha256:"), "{run:?}");

    // The file keeps its serial: the next one is counted from what is published.
    bucket.desk.file("a", document(Some(1), &[&two]));
    let run = bucket.desk.publish("a", TARGET, &[]);
    run.succeeds();
    assert!(
        run.stdout
            .contains(&format!("\n  - {} ssh-ed25519 one\n", one.fingerprint())),
        "{run:?}"
    );
    assert_eq!(bucket.published(), document(Some(3), &[&two]));
    // One's own number, where that is higher.
    bucket.desk.file("a", document(Some(40), &[&two]));
    let run = bucket.desk.publish("a", TARGET, &[]);
    run.succeeds();
    assert!(
        run.stdout
            .contains("workers/3 -> workers/40\n  no key changes\n"),
        "{run:?}"
    );
    assert_eq!(serial(&bucket.published()), 40);
}

#[test]
fn what_is_published_already_is_not_published_again_with_another_serial() {
    let Some(bucket) = Bucket::new() else { return };
    let key = Key::new("k");
    let already = |run: &authkeys_testing::Run, serial: u32| {
        run.succeeds();
        let words = format!("{TARGET}: this is what is published already, with serial {serial}\n");
        assert_eq!(run.stdout, words);
    };
    for file in [document(None, &[&key]), document(Some(1), &[&key])] {
        bucket.desk.file("a", &file);
        bucket.desk.publish("a", TARGET, &[]);
        let before = bucket.published();
        let serial = u32::try_from(serial(&before)).unwrap();
        for _ in 0..2 {
            already(&bucket.desk.publish("a", TARGET, &[]), serial);
        }
        assert_eq!(bucket.published(), before);
    }
    // Signed by that key: the signature need not be renewed; by another one it is.
    let (mine, other) = (Key::new("mine"), Key::new("other"));
    let sign = |key: &Key| {
        bucket
            .desk
            .publish("a", TARGET, &["--sign", key.private().to_str().unwrap()])
    };
    sign(&mine).succeeds();
    let before = bucket.published();
    assert!(before.contains("SIGNATURE"), "{before}");
    already(&sign(&mine), u32::try_from(serial(&before)).unwrap());
    assert_eq!(bucket.published(), before);
    sign(&other).succeeds();
    assert_ne!(bucket.published(), before);
}

#[test]
fn a_dry_run_shows_and_writes_nothing() {
    let Some(bucket) = Bucket::new() else { return };
    let key = Key::new("k");
    bucket.moto.put_object(
        "keys",
        "prod/workers.json",
        document(Some(5), &[&key]).as_bytes(),
    );
    let changed = document(Some(5), &[&key]).replace(
        "}\n  ]",
        ", \"options\": [\"restrict\"], \"accounts\": [\"jo\"]}\n  ]",
    );
    bucket.desk.file("a", &changed);
    let run = bucket.desk.publish("a", TARGET, &["--dry-run"]);
    run.fails(
        0,
        &[&[
            "warning: ",
            "accounts that no key names: all of its keys go",
        ]],
    );
    for line in [
        &format!("  ~ {} ssh-ed25519 k\n", key.fingerprint()),
        "      - k: every account\n",
        "      + k: jo; options restrict\n",
        "nothing was written: --dry-run\n",
    ] {
        assert!(run.stdout.contains(line), "{line}: {run:?}");
    }
    assert_eq!(bucket.published(), document(Some(5), &[&key]));
}

#[test]
fn what_nodes_would_refuse_is_not_published() {
    let Some(bucket) = Bucket::new() else { return };
    let key = Key::new("k");
    bucket.moto.put_object(
        "keys",
        "prod/workers.json",
        document(Some(5), &[&key]).as_bytes(),
    );
    let private = std::fs::read_to_string(key.private()).unwrap();
    let rotation = serde_json::json!({"PublicKey": key.line, "PrivateKey": private}).to_string();
    for (text, word) in [
        (String::new(), "it is empty"),
        (private, "private key"),
        (rotation, "private key"),
        (document(Some(6), &[]), "0 keys in force"),
        (document(Some(6), &[&key]).replace("keys", "kyes"), "kyes"),
        (
            format!("{}\n", key.line),
            "after that nodes take no document without one",
        ),
        (document(Some((1 << 53) + 1), &[&key]), "over 2^53"),
    ] {
        bucket.desk.file("a", &text);
        for more in [&[][..], &["--yes"]] {
            let run = bucket.desk.publish("a", TARGET, more);
            assert!(
                run.status == 1 && run.stderr.contains(word),
                "{word}: {run:?}"
            );
            assert!(run.stderr.contains("is not published: "), "{run:?}");
        }
    }
    assert_eq!(bucket.published(), document(Some(5), &[&key]));
}

#[test]
fn f10_who_would_replace_every_key_at_once_is_warned_and_asked() {
    let Some(bucket) = Bucket::new() else { return };
    let (old, new) = (Key::new("old"), Key::new("new"));
    bucket.desk.file("old", document(None, &[&old]));
    bucket.desk.file("both", document(None, &[&old, &new]));
    bucket.desk.file("new", document(None, &[&new]));
    let publish = |name: &str, more: &[&str]| bucket.desk.publish(name, TARGET, more);
    publish("old", &[]).succeeds();
    publish("new", &[]).fails(
        1,
        &[
            &[
                "warning: ",
                "all of its keys are replaced at once",
                "publish both for a while",
            ],
            &["nothing was written", "--yes"],
        ],
    );
    assert_eq!(serial(&bucket.published()), 1);
    // As a rotation should go.
    publish("both", &[]).succeeds();
    publish("new", &[]).succeeds();
    // On purpose.
    publish("old", &["--yes"]).fails(0, &[&["warning: ", "replaced at once"]]);
    assert_eq!(serial(&bucket.published()), 4);
}

#[test]
fn after_the_object_was_deleted_serials_do_not_begin_again_unasked() {
    let Some(bucket) = Bucket::new() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    bucket.moto.switch_versions_on("keys");
    bucket
        .moto
        .put_object("keys", "prod/workers.json.old", b"another object");
    for keys in [&[&one][..], &[&one, &two], &[&two]] {
        bucket.desk.file("a", document(None, keys));
        bucket.desk.publish("a", TARGET, &[]).succeeds();
    }
    let node = Setup::new();
    let file = format!("file = \"{}/%u\"", node.path("keys").display());
    let mut node = node.account(&me(), &file);
    node.source = TARGET.to_owned();
    node.use_s3_at(&bucket.moto.endpoint());
    node.run(["sync"]).succeeds();

    bucket.moto.delete_object("keys", "prod/workers.json");
    bucket.desk.file("a", document(None, &[&one, &two]));
    let words = [
        "warning: it was deleted there",
        "had the serial 3",
        "this one has 4",
        "give the document a `serial`",
    ];
    let dry = bucket.desk.publish("a", TARGET, &["--dry-run"]);
    dry.fails(0, &[&words]);
    assert!(
        dry.stdout
            .contains("what was published there was deleted; this makes workers/4"),
        "{dry:?}"
    );
    let run = bucket.desk.publish("a", TARGET, &[]);
    run.fails(1, &[&words, &["nothing was written", "--yes"]]);
    bucket
        .desk
        .publish("a", TARGET, &["--yes"])
        .fails(0, &[&words]);
    assert_eq!(serial(&bucket.published()), 4);
    node.run(["sync"]).succeeds();

    // A number of one's own above theirs is the way, and is not asked about.
    bucket.moto.delete_object("keys", "prod/workers.json");
    bucket.desk.file("a", document(Some(50), &[&one, &two]));
    bucket.desk.publish("a", TARGET, &[]).succeeds();
    assert_eq!(serial(&bucket.published()), 50);
    node.run(["sync"]).succeeds();
}

#[test]
fn where_nothing_tells_what_was_deleted_the_first_publication_says_what_nodes_may_refuse() {
    let Some(bucket) = Bucket::new() else { return };
    bucket.desk.file("a", document(None, &[&Key::new("one")]));
    let run = bucket.desk.publish("a", TARGET, &[]);
    run.succeeds();
    assert!(
        run.stdout
            .contains("nodes refuse every serial up to its own"),
        "{run:?}"
    );
    bucket
        .desk
        .file("b", document(Some(9), &[&Key::new("one")]));
    let run = bucket.desk.publish("b", "s3://keys/another.json", &[]);
    run.succeeds();
    assert!(!run.stdout.contains("nodes refuse"), "{run:?}");
}

#[test]
fn a_fingerprint_that_leaves_revoked_is_asked_about_and_louder_when_its_key_comes_back() {
    let Some(bucket) = Bucket::new() else { return };
    let (good, stolen, other) = (Key::new("good"), Key::new("stolen"), Key::new("other"));
    let publish = |keys: &[&Key], revoked: &[&Key], more: &[&str]| {
        let revoked: Vec<String> = revoked
            .iter()
            .map(|key| format!("\"{}\"", key.fingerprint()))
            .collect();
        let text = document(None, keys).replacen(
            "  ]\n",
            &format!("  ],\n  \"revoked\": [{}]\n", revoked.join(",")),
            1,
        );
        bucket.desk.file("a", text);
        bucket.desk.publish("a", TARGET, more)
    };
    publish(&[&good], &[&stolen, &other], &[]).succeeds();
    let gone = stolen.fingerprint().to_string();
    let left = publish(&[&good], &[&other], &[]);
    left.fails(
        1,
        &[
            &["warning: ", &gone, "left `revoked`"],
            &["nothing was written", "--yes"],
        ],
    );
    let back = publish(&[&good, &stolen], &[], &[]);
    back.fails(
        1,
        &[
            &[
                "warning: REVOKED KEY COMES BACK: ",
                &gone,
                "can log in again",
            ],
            &[
                "warning: ",
                &other.fingerprint().to_string(),
                "left `revoked`",
            ],
            &["nothing was written", "--yes"],
        ],
    );
    assert_eq!(serial(&bucket.published()), 1);
    // To add one, or to leave them as they are, is nothing to ask about.
    publish(&[&good], &[&stolen, &other, &Key::new("third")], &[]).succeeds();
    publish(&[&good], &[&other], &["--yes"]).fails(0, &[&["left `revoked`"]]);
    assert_eq!(serial(&bucket.published()), 3);
}

#[test]
fn it_signs_and_does_not_replace_a_signed_document_by_an_unsigned_one_unasked() {
    let Some(bucket) = Bucket::new() else { return };
    let (ops, other, key) = (Key::new("ops"), Key::new("other"), Key::new("k"));
    let allowed = bucket
        .desk
        .file("allowed", format!("ops@acme {}\n", ops.bare()));
    let (allowed, ops_key, other_key) = (
        allowed.display().to_string(),
        ops.private(),
        other.private(),
    );
    let (ops_key, other_key) = (ops_key.to_str().unwrap(), other_key.to_str().unwrap());
    bucket.desk.file("a", document(None, &[&key]));
    assert_eq!(
        bucket
            .desk
            .publish(
                "a",
                TARGET,
                &["--sign", ops_key, "--allowed-signers", &allowed]
            )
            .status,
        0
    );
    let published = bucket.published();
    assert!(
        serial(&published) == 1 && published.ends_with("-----END SSH SIGNATURE-----\n"),
        "{published}"
    );

    // A node that asks for signatures takes it.
    let node = Setup::new();
    let file = format!("file = \"{}/%u\"", node.path("keys").display());
    let mut node = node
        .account(&me(), &file)
        .tables(&format!("[trust]\nallowed_signers = \"{allowed}\"\n"));
    node.source = TARGET.to_owned();
    node.use_s3_at(&bucket.moto.endpoint());
    node.run(["sync"]).succeeds();

    let refused = bucket.desk.publish(
        "a",
        TARGET,
        &["--sign", other_key, "--allowed-signers", &allowed, "--yes"],
    );
    assert!(
        refused.status == 1 && refused.stderr.contains("is not published: "),
        "{refused:?}"
    );
    for more in [&["--yes"][..], &["--dry-run"]] {
        let unsigned = bucket.desk.publish(
            "a",
            TARGET,
            &[&["--allowed-signers", &allowed], more].concat(),
        );
        assert!(
            unsigned.status == 1 && unsigned.stderr.contains("it is not signed, and "),
            "{unsigned:?}"
        );
        assert_eq!(
            unsigned.stdout, "",
            "nothing is shown or asked that cannot be"
        );
    }
    let unsigned = bucket.desk.publish("a", TARGET, &[]);
    unsigned.fails(
        1,
        &[&["what is published is signed, this is not"], &["--yes"]],
    );
    assert_eq!(bucket.published(), published);
    // What was signed elsewhere goes out as it is, and only with a serial that nodes will take.
    bucket.desk.file("a", &published);
    let again = bucket.desk.publish("a", TARGET, &[]);
    assert!(
        again.status == 0 && again.stdout.contains("this is what is published already"),
        "{again:?}"
    );
    bucket.moto.put_object(
        "keys",
        "prod/workers.json",
        document(Some(7), &[&key]).as_bytes(),
    );
    let late = bucket.desk.publish("a", TARGET, &[]);
    assert!(
        late.status == 1 && late.stderr.contains("must be 8 or higher"),
        "{late:?}"
    );
    node.run(["sync"]).fails(1, &[&["it is not signed"]]);
}

#[test]
fn of_two_publishers_at_once_none_is_lost() {
    let Some(bucket) = Bucket::new() else { return };
    bucket.moto.switch_versions_on("keys");
    let (successes, losses) = bucket.desk.race(TARGET, 12);
    for told in &losses {
        assert!(
            told.contains("somebody else published meanwhile (now serial "),
            "{told}"
        );
        assert!(told.contains("nothing was overwritten"), "{told}");
    }
    // Each success is one step of the serial: none went over another.
    assert_eq!(serial(&bucket.published()), successes);
    assert!(
        successes >= 12 && !losses.is_empty(),
        "{successes} and {losses:?}: they never met"
    );
}

#[test]
fn a_write_without_an_answer_that_somebody_else_wrote_over_does_not_say_that_nothing_happened() {
    let key = Key::new("k");
    let found = StubAnswer::whole("200 OK", &["ETag: \"e1\""], &document(Some(5), &[&key]));
    let none = StubAnswer::error("500 Internal Server Error", "InternalError", "no", &[]);
    let lost = StubAnswer::error("412 Precondition Failed", "PreconditionFailed", "no", &[]);
    let newer = StubAnswer::whole("200 OK", &["ETag: \"e3\""], &document(Some(7), &[&key]));
    let stub = Stub::start([found, none, lost, newer]);
    let desk = Desk::new(&stub.endpoint());
    desk.file("a", document(None, &[&key]));
    let run = desk.publish("a", TARGET, &[]);
    run.fails(
        1,
        &[&["an attempt to write got no answer, and serial 7, version e3 is there now"]],
    );
    assert!(!run.stderr.contains("nothing was overwritten"), "{run:?}");
}

#[test]
fn the_write_says_what_it_replaces_and_a_lost_race_is_told() {
    let key = Key::new("k");
    let found = StubAnswer::whole("200 OK", &["ETag: \"e1\""], &document(Some(5), &[&key]));
    let lost = StubAnswer::error("412 Precondition Failed", "PreconditionFailed", "no", &[]);
    let newer = StubAnswer::whole("200 OK", &["ETag: \"e2\""], &document(Some(6), &[&key]));
    let stub = Stub::start([found, lost, newer]);
    let desk = Desk::new(&stub.endpoint());
    desk.file("a", document(None, &[&key]));
    desk.publish("a", TARGET, &[]).fails(
        1,
        &[&["somebody else published meanwhile (now serial 6, version e2)"]],
    );
    let requests = stub.requests();
    assert_eq!(
        (requests[1].method.as_str(), requests[1].header("if-match")),
        ("PUT", Some("\"e1\""))
    );
    // f55: a bucket whose objects Object Lock retains takes none without a checksum.
    assert_eq!(
        requests[1].header("x-amz-checksum-sha256").map(str::len),
        Some(44)
    );

    let missing = StubAnswer::error("404 Not Found", "NoSuchKey", "no", &[]);
    let lost = StubAnswer::error("412 Precondition Failed", "PreconditionFailed", "no", &[]);
    let newer = StubAnswer::whole(
        "200 OK",
        &["ETag: \"e2\""],
        &document(Some(1), &[&Key::new("another")]),
    );
    // Whether something was deleted there may not be asked by this publisher.
    let denied = StubAnswer::error("403 Forbidden", "AccessDenied", "no", &[]);
    let stub = Stub::start([missing, denied, lost, newer]);
    let desk = Desk::new(&stub.endpoint());
    desk.file("a", document(None, &[&key]));
    let run = desk.publish("a", TARGET, &[]);
    assert!(
        run.status == 1
            && run
                .stdout
                .contains("nodes refuse every serial up to its own"),
        "{run:?}"
    );
    let requests = stub.requests();
    assert!(
        requests[1].target.contains("versions"),
        "{}",
        requests[1].target
    );
    assert_eq!(requests[2].header("if-none-match"), Some("*"));
}

#[test]
fn an_answer_that_was_lost_on_the_way_is_no_lost_race() {
    let key = Key::new("k");
    let ours = StubAnswer::whole("200 OK", &["ETag: \"e2\""], &document(Some(6), &[&key]));
    let found = StubAnswer::whole(
        "200 OK",
        &["ETag: \"e1\""],
        &document(Some(5), &[&key, &Key::new("old")]),
    );
    let error = StubAnswer::error("500 Internal Server Error", "InternalError", "no", &[]);
    let lost = StubAnswer::error("412 Precondition Failed", "PreconditionFailed", "no", &[]);
    let stub = Stub::start([found, error, lost, ours]);
    let desk = Desk::new(&stub.endpoint());
    desk.file("a", document(Some(5), &[&key]));
    let run = desk.publish("a", TARGET, &[]);
    run.succeeds();
    assert!(run.stdout.contains("published workers/6"), "{run:?}");
}

#[test]
fn a_first_publication_goes_on_where_s3_calls_a_missing_object_denied() {
    let key = Key::new("k");
    let denied = || StubAnswer::error("403 Forbidden", "AccessDenied", "Access Denied", &[]);
    let published =
        document(None, &[&key]).replacen("\"version\": 1,", "\"version\": 1,\n  \"serial\": 1,", 1);
    let ours = || StubAnswer::whole("200 OK", &["ETag: \"e1\""], &published);
    let theirs = || {
        StubAnswer::whole(
            "200 OK",
            &["ETag: \"e9\""],
            &document(Some(7), &[&Key::new("another")]),
        )
    };
    let written = || StubAnswer::whole("200 OK", &["ETag: \"e1\""], "");
    let taken = || StubAnswer::error("412 Precondition Failed", "PreconditionFailed", "no", &[]);
    let fault = || StubAnswer::error("500 Internal Server Error", "InternalError", "no", &[]);
    let marker = "<ListVersionsResult><DeleteMarker><Key>prod/workers.json</Key><VersionId>d</VersionId>\
                  <IsLatest>true</IsLatest></DeleteMarker></ListVersionsResult>";
    let deleted = || StubAnswer::whole("200 OK", &["Content-Type: application/xml"], marker);
    let current = marker.replace("DeleteMarker", "Version");
    let there = || StubAnswer::whole("200 OK", &["Content-Type: application/xml"], &current);
    let untold = "S3 denied the read, as it does for an object that does not exist when \
                  s3:ListBucket is not granted";
    let first = &[
        "S3 GetObject",
        "allow s3:GetObject on arn:aws:s3:::keys/prod/workers.json",
    ][..];
    // The read, the list of versions, the write, and the read after it.
    for (answers, more, status, words) in [
        (
            vec![denied(), denied(), written(), ours()],
            &[][..],
            0,
            vec![],
        ),
        // The answer to the write was lost on the way.
        (
            vec![denied(), denied(), fault(), taken(), ours()],
            &[],
            0,
            vec![],
        ),
        // Something is there after all: the first refusal was what it seemed to be.
        (
            vec![denied(), denied(), taken(), denied()],
            &[],
            77,
            vec![first, &["an object is there"]],
        ),
        (
            vec![denied(), there(), taken(), denied()],
            &["--yes"],
            77,
            vec![first],
        ),
        (vec![denied()], &[], 77, vec![first]),
        // Somebody published in between, which made it readable.
        (
            vec![denied(), denied(), taken(), theirs()],
            &[],
            1,
            vec![&["now serial 7"]],
        ),
        (
            vec![denied(), denied(), fault()],
            &[],
            75,
            vec![&["S3 PutObject", "InternalError"]],
        ),
        // A dry run cannot show a difference.
        (vec![denied()], &["--dry-run"], 77, vec![first]),
        // What was deleted is asked about as ever.
        (
            vec![denied(), deleted()],
            &[],
            1,
            vec![&["it was deleted there"], &["nothing was written"]],
        ),
    ] {
        let stub = Stub::start(answers);
        let desk = Desk::new(&stub.endpoint());
        desk.file("a", document(None, &[&key]));
        let run = desk.publish("a", TARGET, more);
        assert_eq!(run.status, status, "{run:?}");
        for words in words {
            assert!(
                words.iter().all(|word: &&str| run.stderr.contains(word)),
                "{words:?}: {run:?}"
            );
        }
        assert!(
            run.stdout.contains(untold) && !run.stdout.contains("nothing is published there yet"),
            "{run:?}"
        );
        let requests = stub.requests();
        let mut puts = requests.iter().filter(|request| request.method == "PUT");
        assert!(puts.all(
            |put| put.header("if-none-match") == Some("*") && put.header("if-match").is_none()
        ));
        assert!(
            !run.stderr.contains("S3 PutObject") || status == 75,
            "{run:?}"
        );
    }
}

#[test]
fn failures_name_the_call_the_resource_and_what_to_do() {
    let key = Key::new("k");
    let found = || {
        StubAnswer::whole(
            "200 OK",
            &["ETag: \"e1\""],
            &document(Some(5), &[&key, &Key::new("old")]),
        )
    };
    let denied = || StubAnswer::error("403 Forbidden", "AccessDenied", "Access Denied", &[]);
    for (answers, status, words) in [
        (
            vec![denied()],
            77,
            &[
                "S3 GetObject",
                "allow s3:GetObject on arn:aws:s3:::keys/prod/workers.json",
            ][..],
        ),
        (
            vec![found(), denied(), found()],
            77,
            &[
                "S3 PutObject",
                "AccessDenied",
                "allow s3:PutObject on arn:aws:s3:::keys/prod/workers.json",
            ],
        ),
        (
            vec![StubAnswer::error("503 Slow Down", "SlowDown", "no", &[])],
            75,
            &["SlowDown", "(3 attempts)"],
        ),
        (
            vec![StubAnswer::error(
                "404 Not Found",
                "NoSuchBucket",
                "no",
                &[],
            )],
            1,
            &[
                "S3 PutObject",
                "NoSuchBucket",
                "create the bucket, or correct its name in the target",
            ],
        ),
    ] {
        let stub = Stub::start(answers);
        let desk = Desk::new(&stub.endpoint());
        desk.file("a", document(Some(5), &[&key]));
        desk.publish("a", TARGET, &[]).fails(status, &[words]);
    }
    let stub = Stub::start([StubAnswer::silence()]);
    let desk = Desk::new(&stub.endpoint());
    desk.file("a", document(Some(5), &[&key]));
    for (target, word) in [
        ("prod/workers.json", "is not a source"),
        ("file:/etc/keys", "is not a target"),
        ("s3://keys/a?version_id=1", "leave `version_id=` out"),
    ] {
        desk.publish("a", target, &[])
            .fails(64, &[&[word, "authkeysctl publish --help"]]);
    }
    assert_eq!(stub.connections(), 0);
}

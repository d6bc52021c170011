//! `authkeysctl publish` to S3 when something comes between: another publisher, a lost answer, a
//! refusal.

use authkeys_testing::Key;
use authkeys_testing::s3_stub::{Stub, StubAnswer};

use crate::bucket::{Bucket, TARGET};
use crate::desk::{Desk, document, serial};

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

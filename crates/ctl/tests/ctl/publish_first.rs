//! `authkeysctl publish` to S3 where nothing is: never was, was deleted, or cannot be seen.

use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, Setup, me};

use crate::bucket::{Bucket, TARGET};
use crate::desk::{Desk, document, serial};

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

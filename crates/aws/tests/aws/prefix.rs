//! The objects below an S3 prefix as one document: with moto, and with scripted answers where a
//! store that works never gives them.

use std::path::Path;

use authkeys_core::document::join;
use authkeys_core::origin::{Class, Fetched, MAX_DOCUMENT, Version};
use authkeys_testing::s3_stub::{Stub, StubAnswer};

use crate::fetching::{fails_at, fetch_from};
use crate::isolated::isolated;
use crate::s3_moto::{Lab, with_lab};

const URL: &str = "s3://acme-keys/people/";

const PEOPLE: &str = "s3://keys/people/";

/// The document, and its version.
#[track_caller]
fn text_of(lab: &Lab, known: Option<&Version>) -> (String, Version) {
    let (bytes, version) = lab.document(PEOPLE, known);
    (String::from_utf8(bytes).unwrap(), version)
}

fn joined(objects: &[(&str, &str)]) -> String {
    let objects = objects.iter().map(|(name, text)| (*name, text.as_bytes()));
    String::from_utf8(join(objects)).unwrap()
}

#[test]
fn every_object_below_the_prefix_is_there_in_the_order_of_names() {
    with_lab(|lab| {
        lab.moto.put_object("keys", "people/", b"");
        lab.moto.put_object("keys", "people/bob/", b"");
        lab.moto
            .put_object("keys", "people/bob/laptop.pub", b"two\n");
        lab.moto
            .put_object("keys", "people/alice%20b%2B%C3%BC%26.pub", b"one");
        lab.moto.put_object("keys", "people.json", b"another\n");
        let (text, version) = text_of(lab, None);
        let mut expected = vec![("alice b+ü&.pub", "one"), ("bob/laptop.pub", "two\n")];
        assert_eq!(text, joined(&expected));
        assert_eq!(version.label.len(), 16);
        assert_eq!(lab.fetch(PEOPLE, Some(&version)), Ok(Fetched::Unchanged));

        // A further one, another content, and one that is gone.
        lab.moto.put_object("keys", "people/carol.pub", b"three");
        expected.push(("carol.pub", "three"));
        let (text, second) = text_of(lab, Some(&version));
        assert_eq!(text, joined(&expected));
        lab.moto.put_object("keys", "people/carol.pub", b"3");
        lab.moto.delete_object("keys", "people/bob/laptop.pub");
        let (text, third) = text_of(lab, Some(&second));
        assert_eq!(text, joined(&[expected[0], ("carol.pub", "3")]));
        assert!(version != second && second != third);
        // What was there once is the same version again.
        lab.moto.put_object("keys", "people/carol.pub", b"three");
        lab.moto
            .put_object("keys", "people/bob/laptop.pub", b"two\n");
        assert_eq!(lab.fetch(PEOPLE, Some(&second)), Ok(Fetched::Unchanged));
    });
}

#[test]
fn f61_an_empty_listing_is_no_key_set() {
    with_lab(|lab| {
        lab.fails(
            PEOPLE,
            Class::Missing,
            "s3://keys/people/: S3 ListObjectsV2 found no object",
        );
        lab.moto.put_object("keys", "people/", b"");
        lab.fails(PEOPLE, Class::Missing, "found no object");
        lab.moto.put_object("keys", "people/alice.pub", b"one\n");
        text_of(lab, None);
    });
}

#[test]
fn f61_pages_are_followed_and_more_than_the_limit_is_refused() {
    with_lab(|lab| {
        for number in 0..1_003 {
            lab.moto
                .put_object("keys", &format!("people/{number:04}/"), b"");
        }
        lab.moto.put_object("keys", "people/0000/a.pub", b"one\n");
        lab.moto.put_object("keys", "people/1002/z.pub", b"two\n");
        let expected = joined(&[("0000/a.pub", "one\n"), ("1002/z.pub", "two\n")]);
        assert_eq!(text_of(lab, None).0, expected);
        for number in 0..999 {
            lab.moto
                .put_object("keys", &format!("people/{number:04}/"), b"x");
        }
        lab.fails(PEOPLE, Class::Invalid, "more than the 1000 objects");
    });
}

#[test]
fn f61_too_much_is_refused_before_it_is_read() {
    with_lab(|lab| {
        let half = vec![b'#'; MAX_DOCUMENT / 2];
        lab.moto.put_object("keys", "people/a", &half);
        lab.moto
            .put_object("keys", "people/b", &half[..half.len() - 100]);
        text_of(lab, None);
        lab.moto.put_object("keys", "people/c.pub", &half[..101]);
        lab.fails(
            PEOPLE,
            Class::Invalid,
            "more than 1 MiB in all, up to c.pub",
        );
    });
}

/// A listing of objects with these keys, each of 3 bytes.
fn listing(keys: &[&str], more: &str) -> StubAnswer {
    let object = |key: &&str| {
        format!("<Contents><Key>{key}</Key><ETag>\"tag\"</ETag><Size>3</Size></Contents>")
    };
    let objects: String = keys.iter().map(object).collect();
    let body = format!(
        "<?xml version=\"1.0\"?><ListBucketResult><EncodingType>url</EncodingType>{objects}{more}</ListBucketResult>"
    );
    StubAnswer::whole("200 OK", &["Content-Type: application/xml"], &body)
}

/// Fetches once with these answers; the failure names all parts.
#[track_caller]
fn fails(home: &Path, answers: &[StubAnswer], requests: usize, class: Class, parts: &[&str]) {
    fails_at(home, URL, answers, requests, class, parts);
}

#[test]
fn a_poll_that_finds_nothing_new_is_one_list_and_one_that_does_reads_what_is_new() {
    isolated(&[], |home| {
        let good = StubAnswer::whole("200 OK", &["ETag: \"tag\""], "one");
        let stub = Stub::start([listing(&["people/a.pub"], ""), good]);
        let Ok(Fetched::Documents { current, .. }) = fetch_from(&stub, home, URL, None) else {
            panic!("nothing came")
        };
        let requests = stub.requests();
        assert_eq!(requests.len(), 2);
        assert!(
            requests[0].target.contains("list-type=2"),
            "{}",
            requests[0].target
        );
        assert!(
            requests[0].target.contains("prefix=people%2F"),
            "{}",
            requests[0].target
        );
        assert_eq!(requests[1].header("if-match"), Some("\"tag\""));

        let stub = Stub::start([listing(&["people/a.pub"], "")]);
        let again = fetch_from(&stub, home, URL, Some(&current.version));
        assert_eq!((again, stub.requests().len()), (Ok(Fetched::Unchanged), 1));
    });
}

#[test]
fn f61_an_object_that_cannot_be_read_is_named_and_nothing_comes() {
    let listed = listing(&["people/dir/a.pub"], "");
    let gone = StubAnswer::error("404 Not Found", "NoSuchKey", "gone", &[]);
    let changed = StubAnswer::error(
        "412 Precondition Failed",
        "PreconditionFailed",
        "other",
        &[],
    );
    let archived = StubAnswer::error("403 Forbidden", "InvalidObjectState", "glacier", &[]);
    let denied = StubAnswer::error("403 Forbidden", "AccessDenied", "no", &[]);
    isolated(&[], |home| {
        let thrice = |answer: &StubAnswer| {
            let one = [listed.clone(), answer.clone()];
            [one.clone(), one.clone(), one].concat()
        };
        for answer in [&gone, &changed] {
            let parts = [
                "s3://acme-keys/people/: dir/a.pub: S3 GetObject",
                "changed or deleted after it was listed",
            ];
            fails(home, &thrice(answer), 6, Class::Transient, &parts);
        }
        let parts = [
            "people/: dir/a.pub: ",
            "InvalidObjectState",
            "the object is archived",
        ];
        fails(home, &[listed.clone(), archived], 2, Class::Invalid, &parts);
        let parts = [
            "people/: dir/a.pub: ",
            "s3:GetObject",
            "arn:aws:s3:::acme-keys/people/*",
        ];
        fails(
            home,
            &[listed.clone(), denied.clone()],
            2,
            Class::Denied,
            &parts,
        );
        let parts = [
            "S3 ListObjectsV2",
            "s3:ListBucket",
            "arn:aws:s3:::acme-keys",
            "s3:prefix",
        ];
        fails(home, &[denied], 1, Class::Denied, &parts);
    });
}

#[test]
fn f61_a_list_without_an_end_or_without_etags_is_refused() {
    isolated(&[], |home| {
        let more =
            "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>";
        let endless = [listing(&["people/a.pub"], more)];
        fails(home, &endless, 2, Class::Invalid, &["has no last page"]);
        let body = "<?xml version=\"1.0\"?><ListBucketResult><Contents><Key>people/a.pub</Key><Size>3</Size></Contents></ListBucketResult>";
        let bare = StubAnswer::whole("200 OK", &["Content-Type: application/xml"], body);
        fails(home, &[bare], 1, Class::Invalid, &["a.pub without an ETag"]);
    });
}

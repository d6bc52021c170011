//! S3's errors and silence, against a scripted server: each is one error that says what to do.

use std::time::{Duration, Instant};

use authkeys_core::origin::{Class, Fetched};
use authkeys_testing::s3_stub::{Stub, StubAnswer, Then};

use crate::fetching::{fails_at, fetch_from};
use crate::isolated::isolated;
use crate::s3_object::{ETAG, URL, fails};

#[test]
fn f36_a_denied_call_names_action_resource_and_request() {
    isolated(&[], |home| {
        let denied = StubAnswer::error(
            "403 Forbidden",
            "AccessDenied",
            "User: arn:x is\n not \u{1b}[31mallowed",
            &[],
        );
        let parts = [
            "answered 403 AccessDenied, request id REQ42: User: arn:x is not",
            "allow s3:GetObject on arn:aws:s3:::acme-keys/prod/workers.json",
            "s3:ListBucket",
        ];
        fails(
            home,
            std::slice::from_ref(&denied),
            1,
            Class::Denied,
            &parts,
        );
        let pinned = format!("{URL}?version_id=V1&region=cn-north-1");
        let parts = ["allow s3:GetObjectVersion on arn:aws-cn:s3:::acme-keys/prod/workers.json"];
        fails_at(home, &pinned, &[denied], 1, Class::Denied, &parts);
        let bare = StubAnswer::whole("403 Forbidden", &["x-amz-request-id: REQ42"], "");
        fails(
            home,
            &[bare],
            1,
            Class::Denied,
            &["answered 403, request id REQ42", "allow s3:GetObject on"],
        );
    });
}

#[test]
fn f36_what_is_missing_is_named() {
    isolated(&[], |home| {
        let not_found =
            |code: &str, headers: &[&str]| StubAnswer::error("404 Not Found", code, "No.", headers);
        fails(
            home,
            &[not_found("NoSuchBucket", &[])],
            1,
            Class::Missing,
            &["NoSuchBucket", "create the bucket"],
        );
        fails(
            home,
            &[not_found("NoSuchKey", &[])],
            1,
            Class::Missing,
            &["404 NoSuchKey", "publish it"],
        );
        let marker = ["x-amz-delete-marker: true"];
        fails(
            home,
            &[not_found("NoSuchKey", &marker)],
            1,
            Class::Missing,
            &["delete marker", "publish again"],
        );
        let pinned =
            StubAnswer::error("405 Method Not Allowed", "MethodNotAllowed", "No.", &marker);
        fails(home, &[pinned], 1, Class::Missing, &["delete marker"]);
        fails(
            home,
            &[StubAnswer::whole("404 Not Found", &[], "")],
            1,
            Class::Missing,
            &["answered 404"],
        );
    });
}

#[test]
fn f36_another_region_is_named() {
    isolated(&[], |home| {
        let moved = |headers: &[&str]| {
            StubAnswer::error("301 Moved Permanently", "PermanentRedirect", "No.", headers)
        };
        let parts = [
            "301 PermanentRedirect",
            "the bucket is in us-west-2: add `?region=us-west-2`",
        ];
        fails(
            home,
            &[moved(&["x-amz-bucket-region: us-west-2"])],
            1,
            Class::Invalid,
            &parts,
        );
        fails(
            home,
            &[moved(&[])],
            1,
            Class::Invalid,
            &["in another region: add `?region=REGION`"],
        );
        let hostile = moved(&["x-amz-bucket-region: $(reboot)"]);
        fails(home, &[hostile], 1, Class::Invalid, &["correct the region"]);
        let body = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-north-1</Region></Error>";
        let malformed = StubAnswer::whole("400 Bad Request", &[], body);
        fails(
            home,
            &[malformed],
            1,
            Class::Invalid,
            &["the bucket is in eu-north-1"],
        );
    });
}

#[test]
fn f36_bad_credentials_and_a_disabled_kms_key_are_told_apart() {
    isolated(&[], |home| {
        for (status, code, message, class, part) in [
            (
                "403 Forbidden",
                "InvalidAccessKeyId",
                "m",
                Class::Denied,
                "credentials are wrong",
            ),
            (
                "403 Forbidden",
                "SignatureDoesNotMatch",
                "m",
                Class::Denied,
                "credentials are wrong",
            ),
            (
                "400 Bad Request",
                "InvalidToken",
                "m",
                Class::Denied,
                "credentials are wrong",
            ),
            (
                "400 Bad Request",
                "ExpiredToken",
                "m",
                Class::Denied,
                "have expired",
            ),
            (
                "403 Forbidden",
                "AccessDenied",
                "not allowed kms:Decrypt",
                Class::Denied,
                "allow kms:Decrypt on the object's KMS key (`aws s3api head-object",
            ),
            (
                "400 Bad Request",
                "KMS.DisabledException",
                "m",
                Class::Denied,
                "enable the object's KMS key",
            ),
            (
                "403 Forbidden",
                "InvalidObjectState",
                "m",
                Class::Invalid,
                "archived",
            ),
            (
                "400 Bad Request",
                "InvalidRequest",
                "m",
                Class::Invalid,
                "check `source`",
            ),
        ] {
            fails(
                home,
                &[StubAnswer::error(status, code, message, &[])],
                1,
                class,
                &[code, part],
            );
        }
    });
}

#[test]
fn f36_a_wrong_clock_is_named_with_its_offset() {
    isolated(&[], |home| {
        let body = "<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message><RequestTime>20261121T101000Z</RequestTime>\
                    <ServerTime>2026-11-21T10:00:00Z</ServerTime></Error>";
        let skewed = StubAnswer::whole(
            "403 Forbidden",
            &["Date: Sat, 21 Nov 2026 10:00:00 GMT"],
            body,
        );
        let parts = ["RequestTimeTooSkewed", "clock is wrong (600 s ahead)"];
        fails(home, &[skewed], 3, Class::Transient, &parts);
    });
}

#[test]
fn f07_throttling_and_outages_are_tried_again_and_never_an_answer() {
    isolated(&[], |home| {
        let slow_down = StubAnswer::error("503 Slow Down", "SlowDown", "Reduce.", &[]);
        let good = StubAnswer::whole("200 OK", &[ETAG], "keys");
        let stub = Stub::start([slow_down.clone(), good]);
        assert!(matches!(
            fetch_from(&stub, home, URL, None),
            Ok(Fetched::Documents { .. })
        ));
        assert_eq!(stub.requests().len(), 2);

        fails(
            home,
            &[slow_down],
            3,
            Class::Transient,
            &["503 SlowDown, request id REQ42", "(3 attempts)"],
        );
        let page = StubAnswer::whole(
            "502 Bad Gateway",
            &["Content-Type: text/html"],
            "<html><hr>no</html>",
        );
        fails(home, &[page], 3, Class::Transient, &["answered 502"]);
        let throttled = StubAnswer::error("400 Bad Request", "ThrottlingException", "m", &[]);
        fails(
            home,
            &[throttled],
            3,
            Class::Transient,
            &["ThrottlingException"],
        );
    });
}

#[test]
fn f36_an_answer_that_does_not_come_or_not_end_is_given_up() {
    isolated(&[], |home| {
        let start = Instant::now();
        fails(
            home,
            &[StubAnswer::silence()],
            3,
            Class::Transient,
            &["127.0.0.1", "check routes, security groups"],
        );
        let stalled = StubAnswer::raw("200 OK", &[ETAG, "Content-Length: 9"], "keys", Then::Hang);
        fails(
            home,
            &[stalled],
            3,
            Class::Transient,
            &["no complete answer from http://127.0.0.1", "within 1.5s"],
        );
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{:?}",
            start.elapsed()
        );
    });
}

//! S3's answers, good and broken, against a scripted server: one complete document, or one error
//! that says what to do.

use std::path::Path;
use std::time::{Duration, Instant};

use authkeys_aws::source::AwsSources;
use authkeys_core::origin::{Class, Fetch, Fetched, MAX_DOCUMENT, Part, SourceUrl, Version};
use authkeys_testing::s3_stub::{Stub, StubAnswer, Then};

use crate::fetching::{block_on, fails_at, fetch, fetch_from};
use crate::isolated::{isolated, set_profile};

const URL: &str = "s3://acme-keys/prod/workers.json";
const ETAG: &str = "ETag: \"abc123\"";

fn known() -> Version {
    Version {
        label: "V1".to_owned(),
        token: "\"abc123\"".to_owned(),
    }
}

/// Fetches once from a server with these answers; its failure must be one clean line with all these
/// parts.
#[track_caller]
fn fails(home: &Path, answers: &[StubAnswer], requests: usize, class: Class, parts: &[&str]) {
    fails_at(home, URL, answers, requests, class, parts);
}

#[test]
fn a_document_is_brought_with_its_version_by_one_plain_request() {
    isolated(&[], |home| {
        let stub = Stub::start([StubAnswer::whole(
            "200 OK",
            &[ETAG, "x-amz-version-id: V2"],
            "keys",
        )]);
        let outcome = fetch_from(&stub, home, URL, None);
        let version = Version {
            label: "V2".to_owned(),
            token: "\"abc123\"".to_owned(),
        };
        assert_eq!(outcome, Ok(Fetched::document(b"keys".to_vec(), version)));
        let [request] = &stub.requests()[..] else {
            panic!("{:?}", stub.requests())
        };
        assert_eq!(request.method, "GET");
        assert_eq!(
            request.target,
            "/acme-keys/prod/workers.json?x-id=GetObject"
        );
        let expected = [
            "accept",
            "accept-encoding",
            "amz-sdk-invocation-id",
            "amz-sdk-request",
            "authorization",
            "host",
            "user-agent",
            "x-amz-content-sha256",
            "x-amz-date",
            "x-amz-user-agent",
        ];
        for (name, value) in &request.headers {
            assert!(expected.contains(&name.as_str()), "{name}: {value}");
        }
        assert!(
            request
                .header("authorization")
                .unwrap()
                .contains("/eu-central-1/s3/aws4_request")
        );
    });
}

#[test]
fn without_a_version_id_the_etag_is_the_label() {
    isolated(&[], |home| {
        for header in ["x-amz-version-id: null", "X-Other: 1"] {
            let stub = Stub::start([StubAnswer::whole("200 OK", &[ETAG, header], "keys")]);
            let Ok(Fetched::Documents { current, .. }) = fetch_from(&stub, home, URL, None) else {
                panic!("{header}")
            };
            assert_eq!(
                current.version,
                Version {
                    label: "abc123".to_owned(),
                    token: "\"abc123\"".to_owned()
                }
            );
        }
    });
}

#[test]
fn a_known_version_a_pinned_one_and_a_region_go_into_the_request() {
    isolated(&[], |home| {
        let stub = Stub::start([StubAnswer::whole("200 OK", &[ETAG], "keys")]);
        let url = "s3://b/a%20b%2B%C3%BC%25%3F?version_id=V%2F1&region=us-gov-west-1";
        fetch_from(&stub, home, url, Some(&known())).unwrap();
        let request = &stub.requests()[0];
        assert_eq!(
            request.target,
            "/b/a%20b%2B%C3%BC%25%3F?x-id=GetObject&versionId=V%2F1"
        );
        assert_eq!(request.header("if-none-match"), Some("\"abc123\""));
        assert!(
            request
                .header("authorization")
                .unwrap()
                .contains("/us-gov-west-1/s3/")
        );
    });
}

#[test]
fn f30_a_304_is_unchanged_with_one_request_even_with_a_checksum() {
    isolated(&[], |home| {
        for headers in [
            &[ETAG][..],
            &[
                ETAG,
                "x-amz-checksum-crc32: AAAAAA==",
                "x-amz-checksum-type: FULL_OBJECT",
            ],
        ] {
            let stub = Stub::start([StubAnswer::raw("304 Not Modified", headers, "", Then::Wait)]);
            let start = Instant::now();
            assert_eq!(
                fetch_from(&stub, home, URL, Some(&known())),
                Ok(Fetched::Unchanged)
            );
            assert_eq!(stub.requests().len(), 1);
            assert!(
                start.elapsed() < Duration::from_millis(400),
                "{:?}",
                start.elapsed()
            );
        }
    });
}

#[test]
fn f30_a_304_that_nobody_asked_for_is_no_success() {
    isolated(&[], |home| {
        let answer = StubAnswer::raw("304 Not Modified", &[ETAG], "", Then::Wait);
        fails(home, &[answer], 1, Class::Invalid, &["answered 304"]);
    });
}

#[test]
fn polls_reuse_one_connection() {
    isolated(&[], |home| {
        let stub = Stub::start([StubAnswer::raw("304 Not Modified", &[ETAG], "", Then::Wait)]);
        set_profile(home, &format!("endpoint_url = {}", stub.endpoint()));
        let (sources, url) = (AwsSources::new(), SourceUrl::parse(URL).unwrap());
        let start = Instant::now();
        block_on(async {
            sources.fetch(&url, Some(&known().into())).await.unwrap();
            println!("first poll, SDK set up: {:?}", start.elapsed());
            let start = Instant::now();
            for _ in 0..100 {
                assert_eq!(
                    sources.fetch(&url, Some(&known().into())).await,
                    Ok(Fetched::Unchanged)
                );
            }
            println!("unchanged poll: {:?}", start.elapsed() / 100);
        });
        assert_eq!((stub.requests().len(), stub.connections()), (101, 1));
    });
}

#[test]
fn f35_a_document_that_is_cut_off_is_no_document() {
    isolated(&[], |home| {
        let announced = StubAnswer::raw(
            "200 OK",
            &[ETAG, "Content-Length: 100"],
            "{\"keys\":",
            Then::Close,
        );
        fails(
            home,
            &[announced],
            3,
            Class::Transient,
            &["was cut off", "(3 attempts)"],
        );
        let chunks = StubAnswer::raw(
            "200 OK",
            &[ETAG, "Transfer-Encoding: chunked"],
            "8\r\n{\"keys\":\r\n",
            Then::Close,
        );
        fails(home, &[chunks], 3, Class::Transient, &["was cut off"]);
        let part = ["Content-Range: bytes 0-3/9", ETAG];
        fails(
            home,
            &[StubAnswer::whole("206 Partial Content", &part, "{\"ke")],
            3,
            Class::Transient,
            &["only a part"],
        );
    });
}

#[test]
fn a_document_that_is_too_large_is_not_transferred() {
    isolated(&[], |home| {
        let length = format!("Content-Length: {}", MAX_DOCUMENT + 1);
        let announced = StubAnswer::raw("200 OK", &[&length], "", Then::Hang);
        fails(home, &[announced], 1, Class::Invalid, &["more than 1 MiB"]);

        let stub = Stub::start([StubAnswer::raw(
            "200 OK",
            &[ETAG, "Connection: close"],
            "",
            Then::Endless,
        )]);
        let error = fetch_from(&stub, home, URL, None).unwrap_err();
        assert_eq!((error.class, stub.requests().len()), (Class::Invalid, 1));
        std::thread::sleep(Duration::from_millis(200));
        println!("sent {} bytes", stub.sent());
        // What lies in the sockets' buffers was sent, but not read: on loopback some megabytes.
        assert!(
            (MAX_DOCUMENT..MAX_DOCUMENT + (12 << 20)).contains(&stub.sent()),
            "{}",
            stub.sent()
        );
        let before = stub.sent();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(stub.sent(), before);
    });
}

#[test]
fn one_mebibyte_is_not_too_large() {
    isolated(&[], |home| {
        let stub = Stub::start([StubAnswer::whole(
            "200 OK",
            &[ETAG],
            &"#".repeat(MAX_DOCUMENT),
        )]);
        let Ok(Fetched::Documents { current, .. }) = fetch_from(&stub, home, URL, None) else {
            panic!()
        };
        assert_eq!(current.bytes.len(), MAX_DOCUMENT);
    });
}

#[test]
fn f34_a_captive_portals_page_is_brought_as_it_is() {
    isolated(&[], |home| {
        let page = "<html>Please log in</html>";
        let stub = Stub::start([StubAnswer::whole(
            "200 OK",
            &["Content-Type: text/html"],
            page,
        )]);
        let Ok(Fetched::Documents {
            current: Part { bytes, version, .. },
            ..
        }) = fetch_from(&stub, home, URL, None)
        else {
            panic!()
        };
        assert_eq!(*bytes, page.as_bytes());
        assert_eq!(version.token, "");
        // A version without an ETag asks for nothing conditional.
        fetch_from(&stub, home, URL, Some(&version)).unwrap();
        assert_eq!(stub.requests()[1].header("if-none-match"), None);
    });
}

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
            &["no complete answer from http://127.0.0.1", "within 300ms"],
        );
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "{:?}",
            start.elapsed()
        );
    });
}

#[test]
fn f36_an_unreachable_endpoint_is_named() {
    isolated(&[], |home| {
        let unused = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        for (endpoint, part) in [
            (format!("http://{unused}"), "Connection refused"),
            ("https://s3.nowhere.invalid".to_owned(), "dns error"),
        ] {
            set_profile(home, &format!("endpoint_url = {endpoint}"));
            let error = fetch(URL, None).unwrap_err();
            println!("{error}");
            assert_eq!(error.class, Class::Transient, "{error}");
            assert!(
                error.message.contains(&endpoint) && error.message.contains(part),
                "{error}"
            );
        }
        let stub = Stub::start([StubAnswer::whole("200 OK", &[], "")]);
        set_profile(
            home,
            &format!(
                "endpoint_url = {}",
                stub.endpoint().replace("http:", "https:")
            ),
        );
        let error = fetch(URL, None).unwrap_err();
        println!("{error}");
        assert_eq!(error.class, Class::Transient, "{error}");
    });
}

#[test]
fn plain_http_to_another_machine_is_refused() {
    isolated(&[], |home| {
        set_profile(home, "endpoint_url = http://minio.example:9000");
        let error = fetch(URL, None).unwrap_err();
        assert_eq!(error.class, Class::Invalid, "{error}");
        assert!(
            error
                .to_string()
                .contains("would go to minio.example in the clear; give the endpoint an https:"),
            "{error}"
        );
    });
}

#[test]
fn f36_a_missing_region_is_named_unless_the_url_has_one() {
    isolated(&[("AWS_REGION", "")], |home| {
        let stub = Stub::start([StubAnswer::whole("200 OK", &[ETAG], "keys")]);
        let error = fetch_from(&stub, home, URL, None).unwrap_err();
        assert_eq!(
            (error.class, stub.requests().len()),
            (Class::Invalid, 0),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains("no region is known; add `?region=REGION`"),
            "{error}"
        );
        fetch_from(&stub, home, &format!("{URL}?region=eu-west-1"), None).unwrap();
    });
}

#[test]
fn f36_a_region_that_comes_late_is_found_by_the_same_sources() {
    isolated(&[("AWS_REGION", "")], |home| {
        let stub = Stub::start([StubAnswer::whole("200 OK", &[ETAG], "keys")]);
        let (sources, url) = (AwsSources::new(), SourceUrl::parse(URL).unwrap());
        block_on(async {
            sources.fetch(&url, None).await.unwrap_err();
            set_profile(
                home,
                &format!("region = eu-west-1\nendpoint_url = {}", stub.endpoint()),
            );
            sources.fetch(&url, None).await.unwrap();
        });
    });
}

#[test]
fn f36_missing_credentials_are_named() {
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    isolated(&none, |home| {
        let stub = Stub::start([StubAnswer::whole("200 OK", &[ETAG], "keys")]);
        let error = fetch_from(&stub, home, URL, None).unwrap_err();
        assert_eq!(
            (error.class, stub.requests().len()),
            (Class::Denied, 0),
            "{error}"
        );
        for part in [
            "there are no credentials",
            "instance profile",
            "AWS_PROFILE",
            "hop limit",
        ] {
            assert!(error.to_string().contains(part), "{error}");
        }
    });
}

#[test]
fn the_endpoint_of_one_service_goes_before_that_of_all() {
    let both = [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:10"),
    ];
    isolated(&both, |_home| {
        let error = fetch(URL, None).unwrap_err();
        assert!(
            error
                .message
                .contains("did not reach http://127.0.0.1:10: "),
            "{error}"
        );
    });
}

#[test]
fn a_profiles_endpoint_for_s3_is_taken_with_paths_instead_of_host_names() {
    isolated(&[], |home| {
        let stub = Stub::start([StubAnswer::whole("200 OK", &[ETAG], "keys")]);
        set_profile(
            home,
            &format!(
                "services = own\n[services own]\ns3 =\n  endpoint_url = {}",
                stub.endpoint()
            ),
        );
        fetch(URL, None).unwrap();
        assert!(
            stub.requests()[0].target.starts_with("/acme-keys/prod/"),
            "{:?}",
            stub.requests()
        );
    });
}

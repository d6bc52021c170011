//! A document from S3, against a scripted server: the request, its version, and what is not one
//! complete document.

use std::time::{Duration, Instant};

use authkeys_aws::source::AwsSources;
use authkeys_core::origin::{Class, Fetch, Fetched, MAX_DOCUMENT, Part, SourceUrl, Version};
use authkeys_testing::s3_stub::{Stub, StubAnswer, Then};

use crate::fetching::{block_on, fetch_from};
use crate::isolated::{isolated, set_profile};
use crate::s3_object::{ETAG, URL, fails};

fn known() -> Version {
    Version {
        label: "V1".to_owned(),
        token: "\"abc123\"".to_owned(),
    }
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
            assert_eq!(
                fetch_from(&stub, home, URL, Some(&known())),
                Ok(Fetched::Unchanged)
            );
            // Waiting for a body would have ended in a second one.
            assert_eq!(stub.requests().len(), 1);
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

//! Faults that Secrets Manager and Parameter Store have in common: throttling, outages, a wrong
//! clock, expired credentials, pages and cut off or endless answers, endpoints.

use std::path::Path;

use authkeys_aws::source::AwsSources;
use authkeys_core::origin::{Class, Fetch, MAX_DOCUMENT, SourceUrl};
use authkeys_testing::s3_stub::{Stub, StubAnswer, Then};

use crate::fetching::{block_on, fails_at, fetch, fetch_from};
use crate::isolated::{isolated, set_profile};
use crate::json_services::{CURRENT_ONLY, PARAMETER, SECRET, parameter, versions};

#[test]
fn f07_throttling_and_outages_of_the_json_services_are_tried_again() {
    isolated(&[], |home| {
        for (status, code) in [
            ("400 Bad Request", "ThrottlingException"),
            ("400 Bad Request", "RequestLimitExceeded"),
            ("400 Bad Request", "TooManyRequestsException"),
            ("500 Internal Server Error", "InternalServerError"),
            ("503 Service Unavailable", "ServiceUnavailableException"),
        ] {
            let answer = StubAnswer::json_error(status, code, "m");
            fails_at(
                home,
                PARAMETER,
                &[answer],
                3,
                Class::Transient,
                &[code, "(3 attempts)", "it is tried again"],
            );
        }
        let slow =
            StubAnswer::json_error("400 Bad Request", "ThrottlingException", "Rate exceeded");
        let stub = Stub::start([slow, parameter("String", 7, "keys")]);
        assert_eq!(
            versions(&fetch_from(&stub, home, PARAMETER, None).unwrap()),
            ["AWSCURRENT 7"]
        );
    });
}

#[test]
fn f29_a_wrong_clock_is_named_with_its_offset_by_the_json_services_too() {
    isolated(&[], |home| {
        for (message, part) in [
            (
                "Signature expired: 20261121T100000Z is now earlier than 20261121T101000Z \
                 (20261121T101500Z - 5 min.)",
                "clock is wrong (900 s behind)",
            ),
            (
                "Signature not yet current: 20261121T102500Z is still later than 20261121T102000Z \
                 (20261121T101500Z + 5 min.)",
                "clock is wrong (600 s ahead)",
            ),
        ] {
            let answer =
                StubAnswer::json_error("400 Bad Request", "InvalidSignatureException", message);
            fails_at(home, PARAMETER, &[answer], 3, Class::Transient, &[part]);
        }
    });
}

#[test]
fn f28_after_a_denied_call_the_next_one_begins_with_the_credentials_of_then() {
    let none = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    isolated(&none, |home| {
        let expired = StubAnswer::json_error(
            "400 Bad Request",
            "ExpiredTokenException",
            "The security token is expired",
        );
        let stub = Stub::start([expired, parameter("String", 1, "keys")]);
        let keys = |id: &str| {
            let endpoint = stub.endpoint();
            set_profile(
                home,
                &format!(
                    "endpoint_url = {endpoint}\naws_access_key_id = {id}\naws_secret_access_key = s"
                ),
            );
        };
        let (sources, url) = (AwsSources::new(), SourceUrl::parse(PARAMETER).unwrap());
        block_on(async {
            keys("OLD");
            assert_eq!(
                sources.fetch(&url, None).await.unwrap_err().class,
                Class::Denied
            );
            keys("NEW");
            sources.fetch(&url, None).await.unwrap();
        });
        let used: Vec<bool> = ["Credential=OLD/", "Credential=NEW/"]
            .iter()
            .zip(stub.requests())
            .map(|(part, request)| request.header("authorization").unwrap().contains(part))
            .collect();
        assert_eq!(used, [true, true]);
    });
}

#[test]
fn f34_f35_pages_and_cut_off_or_endless_answers_are_no_documents() {
    isolated(&[], |home| {
        let page = StubAnswer::whole(
            "200 OK",
            &["Content-Type: text/html"],
            "<html>Please log in</html>",
        );
        let parts = [
            "answered 200",
            "not an answer of the service: find the proxy or login page",
        ];
        fails_at(
            home,
            PARAMETER,
            std::slice::from_ref(&page),
            1,
            Class::Invalid,
            &parts,
        );
        fails_at(home, CURRENT_ONLY, &[page], 1, Class::Invalid, &parts);
        let cut = StubAnswer::raw(
            "200 OK",
            &["Content-Length: 500"],
            "{\"SecretString\":\"ke",
            Then::Close,
        );
        fails_at(
            home,
            CURRENT_ONLY,
            &[cut],
            3,
            Class::Transient,
            &["was cut off", "it is tried again"],
        );
        let endless = StubAnswer::raw(
            "200 OK",
            &["Content-Length: 99999999"],
            "{\"SecretString\":\"",
            Then::Endless,
        );
        let stub = Stub::start([endless]);
        let error = fetch_from(&stub, home, CURRENT_ONLY, None).unwrap_err();
        assert_eq!(error.class, Class::Invalid, "{error}");
        assert!(
            error.message.contains("more than 1 MiB") && stub.sent() < 64 << 20,
            "{error}, {}",
            stub.sent()
        );
        let large = |size| {
            StubAnswer::json(&format!(
                "{{\"VersionId\":\"v\",\"SecretString\":\"{}\"}}",
                "#".repeat(size)
            ))
        };
        fails_at(
            home,
            CURRENT_ONLY,
            &[large(MAX_DOCUMENT + 1)],
            1,
            Class::Invalid,
            &["more than 1 MiB"],
        );
        let stub = Stub::start([large(MAX_DOCUMENT)]);
        fetch_from(&stub, home, CURRENT_ONLY, None).unwrap();
        silent(home);
    });
}

fn silent(home: &Path) {
    let parts = [
        "http://127.0.0.1",
        "no answer: check routes, security groups",
    ];
    fails_at(
        home,
        CURRENT_ONLY,
        &[StubAnswer::silence()],
        3,
        Class::Transient,
        &parts,
    );
}

#[test]
fn the_services_endpoints_go_before_that_of_all() {
    let own = [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:10"),
        ("AWS_ENDPOINT_URL_SSM", "http://127.0.0.1:11"),
    ];
    isolated(&own, |_home| {
        for (url, port) in [(SECRET, 10), (PARAMETER, 11)] {
            let error = fetch(url, None).unwrap_err();
            let part = format!("did not reach http://127.0.0.1:{port}: ");
            assert!(
                error.message.contains(&part) && error.remedy.contains("nothing listens there"),
                "{error}"
            );
        }
    });
}

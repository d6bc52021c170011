//! Endpoint, region and credentials for S3: where they come from, and the error when they are
//! missing or lead nowhere.

use authkeys_aws::source::AwsSources;
use authkeys_core::origin::{Class, Fetch, SourceUrl};
use authkeys_testing::s3_stub::{Stub, StubAnswer};

use crate::fetching::{block_on, fetch, fetch_from};
use crate::isolated::{isolated, set_profile};
use crate::s3_object::{ETAG, URL};

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
        assert!(error.remedy.contains("is TLS spoken there"), "{error}");
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
fn f36_a_file_of_credentials_that_cannot_be_read_is_named() {
    let unreadable = [
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials"),
    ];
    isolated(&unreadable, |home| {
        let stub = Stub::start([StubAnswer::whole("200 OK", &[ETAG], "keys")]);
        let error = fetch_from(&stub, home, URL, None).unwrap_err();
        assert_eq!(error.class, Class::Denied, "{error}");
        for part in [
            "there are no credentials, because the file that AWS_SHARED_CREDENTIALS_FILE names",
            "cannot be read: No such file",
            "let authkeysd-fetch read it",
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

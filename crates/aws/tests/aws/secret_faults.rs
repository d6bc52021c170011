//! Secrets Manager's and Parameter Store's answers, good and broken, against a scripted server:
//! whole documents, or one error that says what to do.

use std::path::Path;

use authkeys_aws::source::AwsSources;
use authkeys_core::origin::{Class, Fetch, Fetched, MAX_DOCUMENT, SourceUrl, Stage, Versions};
use authkeys_testing::s3_stub::{Stub, StubAnswer, Then};

use crate::fetching::{block_on, fails_at, fetch, fetch_from};
use crate::isolated::{isolated, set_profile};

const SECRET: &str = "secretsmanager:prod/ssh";
const CURRENT_ONLY: &str = "secretsmanager:prod/ssh?stages=AWSCURRENT";
const PARAMETER: &str = "ssm:/prod/keys";

/// What KMS says where the key is known.
const NO_KMS: &str = "User: \
                      arn:aws:sts::123456789012:assumed-role/a-role-with-a-name-that-is-rather-long/i-0123456789abcdef0 \
                      is not authorized to perform: kms:Decrypt on resource: \
                      arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-0123456789ab \
                      because no identity-based policy allows the kms:Decrypt action";
const KEY: &str = "arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-0123456789ab";
const NAMED: &str = "allow kms:Decrypt on the KMS key \
                     arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-0123456789ab, \
                     in the key's own policy and in the role's";

/// A version as GetSecretValue brings it; `labels` are the stages that it bears.
fn value(version: &str, labels: &[&str], text: &str) -> StubAnswer {
    let labels: Vec<String> = labels.iter().map(|label| format!("\"{label}\"")).collect();
    StubAnswer::json(&format!(
        "{{\"ARN\":\"arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/ssh-AbC123\",\"Name\":\"prod/ssh\",\
         \"VersionId\":\"{version}\",\"SecretString\":\"{text}\",\"VersionStages\":[{}],\"CreatedDate\":1795255200.123}}",
        labels.join(",")
    ))
}

fn no_such_stage() -> StubAnswer {
    let message =
        "Secrets Manager can't find the specified secret value for staging label: AWSPENDING";
    StubAnswer::json_error("400 Bad Request", "ResourceNotFoundException", message)
}

fn parameter(kind: &str, version: u32, text: &str) -> StubAnswer {
    StubAnswer::json(&format!(
        "{{\"Parameter\":{{\"Name\":\"/prod/keys\",\"Type\":\"{kind}\",\"Value\":\"{text}\",\"Version\":{version},\
         \"LastModifiedDate\":1795255200.5}}}}"
    ))
}

/// The labels of what came, AWSCURRENT first.
fn versions(fetched: &Fetched) -> Vec<String> {
    let Fetched::Documents { current, further } = fetched else {
        panic!("{fetched:?}")
    };
    let further = further
        .iter()
        .map(|(stage, part)| format!("{stage} {}", part.version.label));
    std::iter::once(format!("AWSCURRENT {}", current.version.label))
        .chain(further)
        .collect()
}

#[test]
fn the_stages_are_read_in_the_order_that_hides_no_promotion() {
    isolated(&[], |home| {
        let answers = [
            value("v2", &["AWSPENDING"], "two"),
            value("v1", &["AWSCURRENT"], "one"),
        ];
        let stub = Stub::start(
            answers
                .into_iter()
                .chain([value("v0", &["AWSPREVIOUS"], "zero")]),
        );
        let url = "secretsmanager:prod/ssh?stages=AWSPREVIOUS,AWSCURRENT,AWSPENDING";
        let fetched = fetch_from(&stub, home, url, None).unwrap();
        assert_eq!(
            versions(&fetched),
            ["AWSCURRENT v1", "AWSPENDING v2", "AWSPREVIOUS v0"]
        );
        let Fetched::Documents { current, further } = fetched else {
            panic!()
        };
        assert_eq!(
            (
                current.bytes.as_slice(),
                further[&Stage::Pending].bytes.as_slice()
            ),
            (&b"one"[..], &b"two"[..])
        );
        assert_eq!(
            further[&Stage::Pending].created.unwrap().to_string(),
            "2026-11-21T10:00:00.123Z"
        );
        let asked: Vec<String> = stub
            .requests()
            .iter()
            .map(|request| request.body.clone())
            .collect();
        let asks = |stage| format!("{{\"SecretId\":\"prod/ssh\",\"VersionStage\":\"{stage}\"}}");
        assert_eq!(asked, ["AWSPENDING", "AWSCURRENT", "AWSPREVIOUS"].map(asks));
        let [request, ..] = &stub.requests()[..] else {
            panic!()
        };
        assert_eq!(
            request.header("x-amz-target"),
            Some("secretsmanager.GetSecretValue")
        );
        assert!(
            request
                .header("authorization")
                .unwrap()
                .contains("/eu-central-1/secretsmanager/aws4_request")
        );
    });
}

#[test]
fn an_unchanged_secret_is_one_call_for_each_stage_and_brings_nothing() {
    isolated(&[], |home| {
        let pending = value("v2", &["AWSPENDING"], "two");
        let current = value("v1", &["AWSCURRENT"], "one");
        let answers = [
            &pending,
            &current,
            &pending,
            &current,
            &no_such_stage(),
            &current,
        ]
        .map(Clone::clone);
        let stub = Stub::start(answers);
        set_profile(home, &format!("endpoint_url = {}", stub.endpoint()));
        let (sources, url) = (AwsSources::new(), SourceUrl::parse(SECRET).unwrap());
        block_on(async {
            let Ok(Fetched::Documents { current, further }) = sources.fetch(&url, None).await
            else {
                panic!()
            };
            let further = further
                .into_iter()
                .map(|(stage, part)| (stage, part.version))
                .collect();
            let known = Versions {
                current: current.version,
                further,
            };
            assert_eq!(
                sources.fetch(&url, Some(&known)).await,
                Ok(Fetched::Unchanged)
            );
            assert_eq!((stub.requests().len(), stub.connections()), (4, 1));
            // The stage goes: that is a change although the current document is the same.
            assert_eq!(
                versions(&sources.fetch(&url, Some(&known)).await.unwrap()),
                ["AWSCURRENT v1"]
            );
        });
    });
}

#[test]
fn a_stage_that_nothing_bears_or_without_a_value_is_passed_over() {
    isolated(&[], |home| {
        let current = value("v1", &["AWSCURRENT"], "one");
        let empty = StubAnswer::json("{\"VersionId\":\"v2\",\"VersionStages\":[\"AWSPENDING\"]}");
        let missing = StubAnswer::json_error(
            "400 Bad Request",
            "ResourceNotFoundException",
            "can't find it.",
        );
        for pending in [
            no_such_stage(),
            missing,
            empty,
            value("v2", &["AWSPENDING"], ""),
        ] {
            let stub = Stub::start([pending, current.clone()]);
            assert_eq!(
                versions(&fetch_from(&stub, home, SECRET, None).unwrap()),
                ["AWSCURRENT v1"]
            );
        }
        // Both stages on one version, and a stage that a finished rotation left behind.
        for labels in [["AWSPENDING", "AWSCURRENT"], ["AWSPENDING", "AWSPREVIOUS"]] {
            let version = if labels[1] == "AWSCURRENT" {
                "v1"
            } else {
                "v0"
            };
            let stub = Stub::start([value(version, &labels, "one"), current.clone()]);
            assert_eq!(
                versions(&fetch_from(&stub, home, SECRET, None).unwrap()),
                ["AWSCURRENT v1"]
            );
        }
    });
}

#[test]
fn a_version_id_is_fit_for_a_terminal_and_the_service_manager_whoever_chose_it() {
    isolated(&[], |home| {
        let answer = value(
            "v1\\u001b[2J\\nWATCHDOG=trigger\\u202e",
            &["AWSCURRENT"],
            "one",
        );
        let stub = Stub::start([answer.clone(), answer]);
        let Ok(Fetched::Documents { current, .. }) = fetch_from(&stub, home, CURRENT_ONLY, None)
        else {
            panic!()
        };
        assert_eq!(current.version.label, "v1 [2J WATCHDOG=trigger?");
        assert_eq!(
            fetch(CURRENT_ONLY, Some(&current.version)),
            Ok(Fetched::Unchanged)
        );
    });
}

#[test]
fn any_other_error_of_any_stage_is_the_secrets() {
    isolated(&[], |home| {
        let current = value("v1", &["AWSCURRENT"], "one");
        let broken = StubAnswer::json_error(
            "500 Internal Server Error",
            "InternalServiceError",
            "An error occurred.",
        );
        let parts = [
            "GetSecretValue AWSPENDING answered 500 InternalServiceError",
            "request id REQ42",
            "(3 attempts)",
        ];
        fails_at(home, SECRET, &[broken], 3, Class::Transient, &parts);
        let denied = StubAnswer::json_error("400 Bad Request", "AccessDeniedException", "no");
        fails_at(
            home,
            SECRET,
            &[no_such_stage(), denied],
            2,
            Class::Denied,
            &["AWSCURRENT answered 400"],
        );
        let url = "secretsmanager:prod/ssh?stages=AWSCURRENT,AWSPREVIOUS";
        let gone = StubAnswer::json_error("400 Bad Request", "DecryptionFailure", "no");
        fails_at(
            home,
            url,
            &[current, gone],
            2,
            Class::Denied,
            &["AWSPREVIOUS answered 400 DecryptionFailure"],
        );
    });
}

#[test]
fn a_binary_secret_is_brought_as_it_is_and_an_answer_without_a_version_is_none() {
    isolated(&[], |home| {
        let stub = Stub::start([StubAnswer::json(
            "{\"VersionId\":\"v1\",\"SecretBinary\":\"AP9rZXlz\"}",
        )]);
        let Ok(Fetched::Documents { current, .. }) = fetch_from(&stub, home, CURRENT_ONLY, None)
        else {
            panic!()
        };
        assert_eq!(*current.bytes, b"\0\xffkeys");
        let nameless = StubAnswer::json("{\"SecretString\":\"keys\"}");
        fails_at(
            home,
            CURRENT_ONLY,
            &[nameless],
            1,
            Class::Invalid,
            &["without a VersionId"],
        );
    });
}

#[test]
fn f36_what_is_wrong_with_a_secret_is_told_each_with_its_remedy() {
    isolated(&[], |home| {
        let resource = "allow secretsmanager:GetSecretValue on \
                        arn:aws:secretsmanager:eu-central-1:*:secret:prod/ssh-??????";
        for (code, message, class, part) in [
            (
                "ResourceNotFoundException",
                "can't find the specified secret.",
                Class::Missing,
                "create it in http://",
            ),
            (
                "ResourceNotFoundException",
                "the specified secret value for",
                Class::Missing,
                "has no value yet: put one",
            ),
            (
                "InvalidRequestException",
                "it was marked for deletion.",
                Class::Missing,
                "scheduled for deletion: restore it",
            ),
            (
                "InvalidRequestException",
                "something else",
                Class::Invalid,
                "check `source`",
            ),
            (
                "InvalidParameterException",
                "m",
                Class::Invalid,
                "check `source`",
            ),
            (
                "AccessDeniedException",
                "User: u is not authorized to perform: x",
                Class::Denied,
                resource,
            ),
            (
                "AccessDeniedException",
                "Access to KMS is not allowed",
                Class::Denied,
                "allow kms:Decrypt on the secret's KMS key (`aws secretsmanager describe-secret \
                 --query KmsKeyId --secret-id ",
            ),
            ("AccessDeniedException", NO_KMS, Class::Denied, NAMED),
            (
                "DecryptionFailure",
                "can't decrypt with the KMS key",
                Class::Denied,
                "must be there, enabled and not pending",
            ),
            (
                "InvalidRequestException",
                "KMS key k is disabled.",
                Class::Denied,
                "enable the secret's KMS key",
            ),
            (
                "KMSInvalidStateException",
                "k is pending deletion.",
                Class::Denied,
                "cancel that (aws kms cancel-key-deletion --key-id ",
            ),
            (
                "UnrecognizedClientException",
                "The security token is invalid.",
                Class::Denied,
                "credentials are wrong",
            ),
            (
                "InvalidSignatureException",
                "does not match",
                Class::Denied,
                "credentials are wrong",
            ),
            (
                "ExpiredTokenException",
                "The security token is expired",
                Class::Denied,
                "credentials have expired",
            ),
            (
                "OptInRequired",
                "m",
                Class::Denied,
                "switched this region or service on",
            ),
        ] {
            let answer = StubAnswer::json_error("400 Bad Request", code, message);
            fails_at(
                home,
                CURRENT_ONLY,
                &[answer],
                1,
                class,
                &["answered 400", code, "request id REQ42", part],
            );
        }
        let arn = "secretsmanager:arn:aws:secretsmanager:us-west-2:210987654321:secret:x-AbC123?stages=AWSCURRENT";
        let denied = StubAnswer::json_error("400 Bad Request", "AccessDeniedException", "no");
        let part = "on arn:aws:secretsmanager:us-west-2:210987654321:secret:x-AbC123, and for \
                    another account's";
        fails_at(home, arn, &[denied], 1, Class::Denied, &[part]);
        let bare = StubAnswer::whole("403 Forbidden", &[], "");
        fails_at(
            home,
            CURRENT_ONLY,
            &[bare],
            1,
            Class::Denied,
            &["answered 403; allow secretsmanager:GetSecretValue"],
        );
    });
}

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
fn a_parameter_is_brought_decrypted_with_its_version_and_unchanged_brings_nothing() {
    isolated(&[], |home| {
        let again = parameter("SecureString", 3, "keys");
        let remade = StubAnswer::json(
            "{\"Parameter\":{\"Value\":\"other\",\"Version\":3,\"LastModifiedDate\":1795255300}}",
        );
        let stub = Stub::start([again.clone(), again, remade]);
        let fetched = fetch_from(&stub, home, PARAMETER, None).unwrap();
        let Fetched::Documents { current, .. } = &fetched else {
            panic!()
        };
        assert_eq!(
            (current.bytes.as_slice(), versions(&fetched)),
            (&b"keys"[..], vec!["AWSCURRENT 3".to_owned()])
        );
        assert_eq!(
            fetch(PARAMETER, Some(&current.version)),
            Ok(Fetched::Unchanged)
        );
        // Deleted and made again it counts its versions anew.
        assert_ne!(
            fetch(PARAMETER, Some(&current.version)),
            Ok(Fetched::Unchanged)
        );
        let [request, ..] = &stub.requests()[..] else {
            panic!()
        };
        assert_eq!(
            request.header("x-amz-target"),
            Some("AmazonSSM.GetParameter")
        );
        assert_eq!(
            request.body,
            "{\"Name\":\"/prod/keys\",\"WithDecryption\":true}"
        );
    });
}

#[test]
fn versions_labels_and_arns_of_parameters_are_sent_as_they_are_to_the_arns_region() {
    isolated(&[], |home| {
        let arn = "arn:aws:ssm:us-west-2:210987654321:parameter/prod/keys";
        for (id, region) in [
            ("keys:live", "eu-central-1"),
            ("/prod/keys:3", "eu-central-1"),
            (arn, "us-west-2"),
        ] {
            let stub = Stub::start([parameter("String", 3, "keys")]);
            fetch_from(&stub, home, &format!("ssm:{id}"), None).unwrap();
            let [request] = &stub.requests()[..] else {
                panic!()
            };
            assert_eq!(
                request.body,
                format!("{{\"Name\":\"{id}\",\"WithDecryption\":true}}")
            );
            assert!(
                request
                    .header("authorization")
                    .unwrap()
                    .contains(&format!("/{region}/ssm/")),
                "{request:?}"
            );
        }
    });
}

#[test]
fn f36_what_is_wrong_with_a_parameter_is_told_each_with_its_remedy() {
    isolated(&[], |home| {
        let denied = "allow ssm:GetParameter on arn:aws:ssm:eu-central-1:*:parameter/prod/keys";
        let disabled = "k is disabled. (Service: AWSKMS; Error Code: DisabledException)";
        let pending =
            "k is pending deletion. (Service: AWSKMS; Error Code: KMSInvalidStateException)";
        let no_kms = "The ciphertext refers to a key you may not use. (Service: AWSKMS; Error \
                      Code: AccessDeniedException)";
        for (code, message, class, part) in [
            (
                "ParameterNotFound",
                "",
                Class::Missing,
                "create it in http://",
            ),
            (
                "ParameterVersionNotFound",
                "m",
                Class::Missing,
                "correct the version or label",
            ),
            (
                "AccessDeniedException",
                "not authorized to perform: ssm:GetParameter",
                Class::Denied,
                denied,
            ),
            (
                "AccessDeniedException",
                no_kms,
                Class::Denied,
                "allow kms:Decrypt on the parameter's KMS key (`aws ssm",
            ),
            ("AccessDeniedException", NO_KMS, Class::Denied, NAMED),
            (
                "InvalidKeyId",
                &format!("{KEY} is disabled."),
                Class::Denied,
                &format!("enable the KMS key {KEY}, or"),
            ),
            (
                "InvalidKeyId",
                disabled,
                Class::Denied,
                "enable the parameter's KMS key",
            ),
            (
                "InvalidKeyId",
                pending,
                Class::Denied,
                "cancel that (aws kms cancel-key-deletion --key-id ",
            ),
            ("ValidationException", "m", Class::Invalid, "check `source`"),
        ] {
            let answer = StubAnswer::json_error("400 Bad Request", code, message);
            fails_at(
                home,
                PARAMETER,
                &[answer],
                1,
                class,
                &["Systems Manager GetParameter answered 400", code, part],
            );
        }
        let list = parameter("StringList", 1, "a,b");
        fails_at(
            home,
            PARAMETER,
            &[list],
            1,
            Class::Invalid,
            &["returned a StringList", "a String or a SecureString"],
        );
        fails_at(
            home,
            PARAMETER,
            &[StubAnswer::json("{}")],
            1,
            Class::Invalid,
            &["without a parameter"],
        );
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

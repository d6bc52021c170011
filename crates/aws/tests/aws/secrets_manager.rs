//! Secrets Manager's answers, good and broken, against a scripted server: the stages of a secret,
//! its versions, and what is wrong with it.

use authkeys_aws::source::AwsSources;
use authkeys_core::origin::{Class, Fetch, Fetched, SourceUrl, Stage, Versions};
use authkeys_testing::s3_stub::{Stub, StubAnswer};

use crate::fetching::{block_on, fails_at, fetch, fetch_from};
use crate::isolated::{isolated, set_profile};
use crate::json_services::{CURRENT_ONLY, NAMED, NO_KMS, SECRET, no_such_stage, value, versions};

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

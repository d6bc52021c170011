//! Profiles and credentials of the AWS CLI's files, good, bad and hostile.

use authkeys_testing::Run;
use authkeys_testing::s3_stub::{Answer, Stub};

use super::source_environment::survives;
use super::source_network::{node, parameter};

/// One `sync` with this profile and no keys in the environment.
fn with_profile(lines: &str, endpoint: &str) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    std::fs::write(&config, lines).unwrap();
    let mut setup = node("ssm:/keys", &[("AWS_ENDPOINT_URL", endpoint), ("AWS_PROFILE", "p")]);
    setup.environment.push(("AWS_CONFIG_FILE".to_owned(), config.to_str().unwrap().to_owned()));
    setup.environment.retain(|(name, _)| !name.contains("KEY"));
    setup.run(["sync"])
}

#[test]
fn a_role_that_may_not_be_assumed_is_denied_and_an_sts_that_fails_is_not() {
    let profile = "[profile p]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = q\nregion = eu-west-1\n\
                   [profile q]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = s\nregion = eu-west-1\n";
    let says = |status: &str, code: &str| {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
             <Message>no</Message></Error><RequestId>REQ42</RequestId></ErrorResponse>"
        );
        let stub = Stub::start([Answer::whole(status, &["Content-Type: text/xml"], &body)]);
        with_profile(profile, &stub.endpoint())
    };
    for (code, remedy) in [
        ("AccessDenied", "allow sts:AssumeRole on the role"),
        ("InvalidClientTokenId", "credentials"),
        ("SignatureDoesNotMatch", "credentials"),
        ("ExpiredToken", "expired"),
    ] {
        let run = says("403 Forbidden", code);
        assert_eq!(run.status, 77, "{code}: {run:?}");
        assert!(run.stderr.contains(code) && run.stderr.contains(remedy), "{code}: {run:?}");
    }
    for (status, code) in [("503 Service Unavailable", "ServiceUnavailable"), ("400 Bad Request", "Throttling")] {
        assert_eq!(says(status, code).status, 75, "{code}");
    }
}

#[test]
fn each_kind_of_credentials_that_fails_says_what_to_do() {
    let stub = Stub::start([Answer::json(parameter().split("\r\n\r\n").nth(1).unwrap())]);
    let sso = "[profile p]\nregion = eu-west-1\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = ops\n\
               [sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://acme.awsapps.com/start\n\
               sso_registration_scopes = sso:account:access\n";
    for (profile, status, words) in [
        (sso, 77, &["credentials", "aws sso login"][..]),
        (
            "[profile p]\nlogin_session = arn:aws:iam::123456789012:user/ops\nregion = eu-west-1\n",
            77,
            &["credentials", "sign in again: aws login"],
        ),
        ("[profile p]\ncredential_process = false\n", 75, &["credentials cannot be had"]),
        ("[profile p]\nregion = eu-west-1\n", 77, &["there are no credentials", "AWS_PROFILE"]),
    ] {
        let run = with_profile(profile, &stub.endpoint());
        assert_eq!(run.status, status, "{profile}: {run:?}");
        assert!(words.iter().all(|word| run.stderr.contains(word)), "{profile}: {run:?}");
        // Nobody is told of the features of a library.
        assert!(!run.stderr.contains("cargo"), "{profile}: {run:?}");
    }
    let good = "[profile p]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"AKIDEXAMPLE\",\
                \"SecretAccessKey\":\"s\"}'\n";
    with_profile(good, &stub.endpoint()).succeeds();
}

#[test]
fn f42_no_value_of_a_profile_ends_the_process() {
    let stub = Stub::start([Answer::json(parameter().split("\r\n\r\n").nth(1).unwrap())]);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    let keys = "aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = s\n";
    let mut faults = Vec::new();
    for key in [
        "region",
        "endpoint_url",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "role_arn",
        "role_session_name",
        "external_id",
        "source_profile",
        "credential_source",
        "web_identity_token_file",
        "sso_session",
        "sso_start_url",
        "sso_region",
        "credential_process",
        "login_session",
        "max_attempts",
        "retry_mode",
        "use_fips_endpoint",
        "use_dualstack_endpoint",
        "ca_bundle",
        "services",
        "sdk_ua_app_id",
        "ec2_metadata_service_endpoint",
        "duration_seconds",
        "mfa_serial",
    ] {
        for value in ["a\u{1}b", "\u{e9}\u{202e}", "a\n b = c\n", ""] {
            // Of the profile itself, and of the one from whose keys a role is assumed.
            for (profile, other) in [("p", "q"), ("q", "p")] {
                let role = "role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = q\n";
                let more = if profile == "q" { role } else { "" };
                let lines = format!(
                    "[profile {profile}]\n{keys}{key} = {value}\n[profile {other}]\n{more}{keys}region = eu-west-1\n"
                );
                std::fs::write(&config, lines).unwrap();
                let mut setup = node("ssm:/keys", &[("AWS_ENDPOINT_URL", &stub.endpoint()), ("AWS_PROFILE", "p")]);
                setup.environment.push(("AWS_CONFIG_FILE".to_owned(), config.to_str().unwrap().to_owned()));
                setup.environment.retain(|(name, _)| !name.contains("KEY"));
                let run = setup.run(["sync"]);
                if !survives(&run) {
                    faults.push(format!("{profile}: {key} = {value:?}: {run:#?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

//! Profiles and credentials of the AWS CLI's files, good, bad and hostile.

use authkeys_testing::Run;
use authkeys_testing::s3_stub::{Stub, StubAnswer};

use super::source_environment::survives;
use super::source_network::{node, parameter};

/// One `sync` with this profile and no keys in the environment.
fn with_profile(lines: &str, endpoint: &str) -> Run {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    std::fs::write(&config, lines).unwrap();
    let mut setup = node(
        "ssm:/keys",
        &[("AWS_ENDPOINT_URL", endpoint), ("AWS_PROFILE", "p")],
    );
    setup.environment.push((
        "AWS_CONFIG_FILE".to_owned(),
        config.to_str().unwrap().to_owned(),
    ));
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
        let stub = Stub::start([StubAnswer::whole(
            status,
            &["Content-Type: text/xml"],
            &body,
        )]);
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
        assert!(
            run.stderr.contains(code) && run.stderr.contains(remedy),
            "{code}: {run:?}"
        );
    }
    for (status, code) in [
        ("503 Service Unavailable", "ServiceUnavailable"),
        ("400 Bad Request", "Throttling"),
    ] {
        assert_eq!(says(status, code).status, 75, "{code}");
    }
}

#[test]
fn each_kind_of_credentials_that_fails_says_what_to_do() {
    let stub = Stub::start([StubAnswer::json(
        parameter().split("\r\n\r\n").nth(1).unwrap(),
    )]);
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
        (
            "[profile p]\ncredential_process = false\n",
            75,
            &[
                "credential_process of the profile `p` (false) ended with exit status: 1 and said \
                 nothing",
                "run that command",
            ],
        ),
        (
            "[profile p]\nregion = eu-west-1\n",
            77,
            &["there are no credentials", "AWS_PROFILE"],
        ),
    ] {
        let run = with_profile(profile, &stub.endpoint());
        assert_eq!(run.status, status, "{profile}: {run:?}");
        assert!(
            words.iter().all(|word| run.stderr.contains(word)),
            "{profile}: {run:?}"
        );
        // Nobody is told of the features of a library.
        assert!(!run.stderr.contains("cargo"), "{profile}: {run:?}");
    }
    let good = "[profile p]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"AKIDEXAMPLE\",\
                \"SecretAccessKey\":\"s\"}'\n";
    with_profile(good, &stub.endpoint()).succeeds();
}

#[test]
fn a_program_for_credentials_that_fails_is_named_with_its_profile_and_its_words_and_not_with_its_arguments()
 {
    let stub = Stub::start([StubAnswer::json(
        parameter().split("\r\n\r\n").nth(1).unwrap(),
    )]);
    let role = "[profile p]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = q\nregion = eu-west-1\n";
    for (command, words) in [
        (
            "/nonexistent/helper --token hush",
            &["(/nonexistent/helper) ended with exit status: 127 and said: sh: "][..],
        ),
        (
            "sh -c 'echo no ticket: run kinit >&2; exit 9' hush",
            &["(sh) ended with exit status: 9 and said: no ticket: run kinit"],
        ),
        (
            "printf 'x\\033[2J%0999d' 7 >&2; false hush",
            &[
                "(printf) ended with exit status: 1 and said: x [2J000",
                "...",
            ],
        ),
        (
            "echo hello hush",
            &["(echo) gave no credentials: could not parse response"],
        ),
        (
            "echo '{\"Version\": 2}' hush",
            &["gave no credentials: could not parse response"],
        ),
        ("sleep 30 # hush", &["(sleep) did not end within 4 s"]),
    ] {
        for (profile, more) in [("p", ""), ("q", role)] {
            if !more.is_empty() && command.starts_with("sleep") {
                continue;
            }
            let lines = format!(
                "{more}[profile {profile}]\nregion = eu-west-1\ncredential_process = {command}\n"
            );
            let run = with_profile(&lines, &stub.endpoint());
            assert_eq!(run.status, 75, "{command}: {run:?}");
            let named = format!("credential_process of the profile `{profile}` ");
            assert!(
                run.stderr.contains(&named) && words.iter().all(|word| run.stderr.contains(word)),
                "{command}: {run:?}"
            );
            assert!(
                run.stderr.contains("run that command as the same user"),
                "{command}: {run:?}"
            );
            assert!(
                !run.stderr.contains("hush") && run.stderr.len() < 1_000,
                "{command}: {run:?}"
            );
            assert!(
                !run.stderr.trim_end().contains(char::is_control),
                "{command}: {run:?}"
            );
        }
    }
}

/// One `sync` whose credentials a container's endpoint is to give.
fn in_a_container(variables: &[(&str, &str)]) -> Run {
    let mut setup = node(
        "ssm:/keys",
        &[variables, &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]].concat(),
    );
    setup.environment.retain(|(name, _)| {
        !["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].contains(&name.as_str())
    });
    setup.run(["sync"])
}

#[test]
fn a_containers_endpoint_that_gives_no_credentials_is_named_with_what_eks_and_ecs_need() {
    const URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let pod = &["Pod Identity agent", "task role"][..];
    let refused = r#"{"Code":"AssociationNotFound","Message":"none"}"#;
    for (answer, status, words) in [
        (
            StubAnswer::whole("403 Forbidden", &[], "no"),
            77,
            &["answered 403"][..],
        ),
        (
            StubAnswer::whole("404 Not Found", &[], "no"),
            77,
            &["answered 404"],
        ),
        (
            StubAnswer::whole("503 Service Unavailable", &[], "no"),
            75,
            &["answered 503"],
        ),
        (
            StubAnswer::json(refused),
            75,
            &["gave no credentials", "AssociationNotFound"],
        ),
        (
            StubAnswer::whole("200 OK", &[], "<html>"),
            75,
            &["gave no credentials"],
        ),
        (StubAnswer::silence(), 75, &["did not end within 4 s"]),
    ] {
        let stub = Stub::start([answer]);
        let run = in_a_container(&[(URI, &format!("{}/v1/secret-path", stub.endpoint()))]);
        assert_eq!(run.status, status, "{words:?}: {run:?}");
        assert!(
            run.stderr
                .contains(&format!("the endpoint of {URI} (127.0.0.1)")),
            "{run:?}"
        );
        assert!(
            words
                .iter()
                .chain(pod)
                .all(|word| run.stderr.contains(word)),
            "{words:?}: {run:?}"
        );
        assert!(
            !run.stderr.contains("secret-path") && !run.stderr.contains("instance profile"),
            "{run:?}"
        );
    }
    // Nobody listens there; the token's file is missing.
    let nobody = in_a_container(&[(URI, "http://127.0.0.1:1/x")]);
    assert!(
        nobody.status == 75 && pod.iter().all(|word| nobody.stderr.contains(word)),
        "{nobody:?}"
    );
    let file = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
    let missing = in_a_container(&[(URI, "http://127.0.0.1:1/x"), (file, "/nonexistent/token")]);
    assert!(
        missing.status == 75 && missing.stderr.contains("the token's file readable"),
        "{missing:?}"
    );
    // Not an address of this machine or of a container's endpoint.
    let elsewhere = in_a_container(&[(URI, "http://192.0.2.1/x")]);
    assert_eq!(elsewhere.status, 1, "{elsewhere:?}");
    assert!(
        elsewhere
            .stderr
            .contains("correct the variables AWS_CONTAINER_CREDENTIALS_*"),
        "{elsewhere:?}"
    );
}

#[test]
fn f42_no_value_of_a_profile_ends_the_process() {
    let stub = Stub::start([StubAnswer::json(
        parameter().split("\r\n\r\n").nth(1).unwrap(),
    )]);
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
                let mut setup = node(
                    "ssm:/keys",
                    &[("AWS_ENDPOINT_URL", &stub.endpoint()), ("AWS_PROFILE", "p")],
                );
                setup.environment.push((
                    "AWS_CONFIG_FILE".to_owned(),
                    config.to_str().unwrap().to_owned(),
                ));
                setup.environment.retain(|(name, _)| !name.contains("KEY"));
                let run = setup.run(["sync"]);
                if !survives(&run) {
                    faults.push(format!("{profile}: {key} = {value:?}: {run:#?}"));
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

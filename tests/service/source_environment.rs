//! Variables of the environment, good, bad and hostile, on the way to AWS.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Run, outcome_of};

use super::source_network::{node, parameter};

/// All variables that the way to AWS depends on.
const VARIABLES: [&str; 51] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "AWS_MAX_ATTEMPTS",
    "AWS_RETRY_MODE",
    "AWS_NEW_RETRIES_2026",
    "AWS_ACCOUNT_ID",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE",
    "AWS_AUTH_SCHEME_PREFERENCE",
    "AWS_SIGV4A_SIGNING_REGION_SET",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES",
    "AWS_DISABLE_REQUEST_COMPRESSION",
    "AWS_DISABLE_CLOCK_SKEW_CORRECTION",
    "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH",
    "AWS_LOGIN_CACHE_DIRECTORY",
    "AWS_SDK_UA_APP_ID",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "_X_AMZN_TRACE_ID",
    "HTTPS_PROXY",
    "NO_PROXY",
    "AUTHKEYSD_PLAIN_HTTP",
    "HOME",
];
const HOSTILE: [&[u8]; 6] = [
    b"eu-central-1\n",
    b"a\x01\x7f",
    "\u{e9}\u{202e}".as_bytes(),
    b"\xff\xfe",
    b"http://[::1",
    b"",
];

/// The parts of a node's run that hostile values must not touch: it ends by itself, with at most
/// one line.
pub(super) fn survives(run: &Run) -> bool {
    let clean = run
        .stderr
        .lines()
        .all(|line| !line.contains(char::is_control) && line.len() < 1_000);
    clean && [0, 1, 75, 77].contains(&run.status) && run.stderr.lines().count() <= 1
}

#[test]
fn f42_no_variable_of_the_environment_ends_the_process() {
    let stub = Stub::start([StubAnswer::json(
        parameter().split("\r\n\r\n").nth(1).unwrap(),
    )]);
    let (endpoint, mut faults) = (stub.endpoint(), Vec::new());
    for source in ["ssm:/keys", "s3://b/k"] {
        let names = if source == "ssm:/keys" {
            &VARIABLES[..]
        } else {
            &["AWS_ENDPOINT_URL", "AWS_REGION"]
        };
        for &name in names {
            for value in HOSTILE {
                let value = OsStr::from_bytes(value);
                let mut setup = node(source, &[]);
                // The proxy and the certificates count for https alone.
                let plain =
                    !["HTTPS_PROXY", "NO_PROXY", "AWS_CA_BUNDLE", "SSL_CERT_FILE"].contains(&name);
                let endpoint = if plain {
                    endpoint.as_str()
                } else {
                    "https://127.0.0.1:9"
                };
                setup
                    .environment
                    .push(("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned()));
                // What comes later in the chain of credentials is only asked without what comes
                // first.
                if ["ROLE", "WEB", "CONTAINER", "METADATA", "LOGIN"]
                    .iter()
                    .any(|part| name.contains(part))
                {
                    setup.environment.retain(|(name, _)| !name.contains("KEY"));
                }
                if name == "AWS_DEFAULT_REGION" {
                    setup.environment.retain(|(name, _)| name != "AWS_REGION");
                }
                let mut command = setup.command();
                if name == "AWS_CONTAINER_AUTHORIZATION_TOKEN" {
                    command.env(
                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                        format!("{endpoint}/x"),
                    );
                }
                if name.starts_with("AWS_EC2_METADATA_SERVICE") {
                    command.env("AWS_EC2_METADATA_DISABLED", "false");
                    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9");
                }
                let run = outcome_of(command.env(name, value).arg("sync"));
                if !survives(&run) {
                    faults.push(format!("{source} {name}={value:?}: {run:#?}"));
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

#[test]
fn f42_a_bad_value_is_named_by_its_place() {
    for (name, value, parts) in [
        (
            "AWS_REGION",
            "eu-central-1\n",
            ["AWS_REGION ends in a line feed", "correct AWS_REGION"],
        ),
        (
            "AWS_REGION",
            "Frankfurt",
            [
                "AWS_REGION is not the name of a region",
                "correct AWS_REGION",
            ],
        ),
        (
            "AWS_ACCESS_KEY_ID",
            "AKID\u{e9}",
            [
                "AWS_ACCESS_KEY_ID holds a character that",
                "correct AWS_ACCESS_KEY_ID",
            ],
        ),
        (
            "AWS_SESSION_TOKEN",
            "a\tb",
            [
                "AWS_SESSION_TOKEN holds a control character",
                "correct AWS_SESSION_TOKEN",
            ],
        ),
        (
            "AWS_SECRET_ACCESS_KEY",
            "a b",
            [
                "AWS_SECRET_ACCESS_KEY holds a space",
                "correct AWS_SECRET_ACCESS_KEY",
            ],
        ),
        (
            "AWS_ENDPOINT_URL",
            "http://127.0.0.1:9\n",
            [
                "AWS_ENDPOINT_URL ends in a line feed",
                "correct AWS_ENDPOINT_URL",
            ],
        ),
        (
            "AWS_ENDPOINT_URL_SSM",
            "nonsense",
            [
                "AWS_ENDPOINT_URL_SSM is not a URL",
                "correct AWS_ENDPOINT_URL_SSM",
            ],
        ),
    ] {
        let run = node("ssm:/keys", &[(name, value)]).run(["sync"]);
        run.fails(
            1,
            &[&[&["ssm:/keys: ", "was not made: "][..], &parts[..]].concat()],
        );
    }
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config");
    let file = config.to_str().unwrap();
    for (key, value) in [
        ("region", "eu-central-1\u{1}"),
        ("endpoint_url", "http://127.0.0.1:9\u{e9}"),
        ("aws_session_token", "a\u{7f}b"),
        ("role_arn", "a\u{1}"),
    ] {
        std::fs::write(&config, format!("[profile p]\n{key} = {value}\n")).unwrap();
        let mut setup = node(
            "ssm:/keys",
            &[("AWS_CONFIG_FILE", file), ("AWS_PROFILE", "p")],
        );
        setup.environment.retain(|(name, _)| name != "AWS_REGION");
        let run = setup.run(["sync"]);
        run.fails(
            1,
            &[&[
                &format!("`{key}` of the profile `p` holds a"),
                &format!("correct `{key}`"),
            ]],
        );
    }
}

#[test]
fn f42_no_file_of_the_sdks_holds_up_or_ends_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let [fifo, huge, inner] =
        ["fifo", "huge", "profile"].map(|name| directory.path().join(name).display().to_string());
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::File::create(&huge)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    std::fs::write(
        &inner,
        format!("[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nweb_identity_token_file = {fifo}\n"),
    )
    .unwrap();
    let home = directory.path().join("home");
    std::fs::create_dir_all(home.join(".aws")).unwrap();
    nix::unistd::mkfifo(
        &home.join(".aws/credentials"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    let begun = std::time::Instant::now();
    for name in [
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ] {
        for (path, fault) in [
            (fifo.as_str(), "is a FIFO"),
            (&huge, "more than 1 MiB"),
            ("/dev/zero", "a device"),
        ] {
            let run = node("ssm:/keys", &[(name, path)]).run(["sync"]);
            run.fails(
                1,
                &[&[
                    "ssm:/keys: ",
                    "was not made: ",
                    &format!("{name} is a"),
                    fault,
                    &format!("correct {name}"),
                ]],
            );
        }
    }
    node("ssm:/keys", &[("AWS_CONFIG_FILE", inner.as_str())])
        .run(["sync"])
        .fails(
            1,
            &[&["`web_identity_token_file` of the profile `default` is a FIFO"]],
        );
    let mut setup = node("ssm:/keys", &[("HOME", home.to_str().unwrap())]);
    setup
        .environment
        .retain(|(name, _)| name != "AWS_SHARED_CREDENTIALS_FILE");
    let run = outcome_of(
        setup
            .command()
            .env_remove("AWS_SHARED_CREDENTIALS_FILE")
            .arg("sync"),
    );
    run.fails(
        1,
        &[&["~/.aws/credentials is a FIFO", "correct ~/.aws/credentials"]],
    );
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn f42_an_empty_endpoint_of_a_service_is_none_for_that_service_and_for_others() {
    let stub = Stub::start([StubAnswer::json(
        parameter().split("\r\n\r\n").nth(1).unwrap(),
    )]);
    for name in [
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL_SSM",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        "AWS_ENDPOINT_URL_STS",
    ] {
        node(
            "ssm:/keys",
            &[("AWS_ENDPOINT_URL", stub.endpoint().as_str()), (name, "")],
        )
        .run(["sync"])
        .succeeds();
    }
}

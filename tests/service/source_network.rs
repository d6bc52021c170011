//! The way to AWS as the AWS CLI takes it: a private CA, proxies, FIPS and dual-stack endpoints, and what goes wrong on it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use authkeys_testing::s3_stub::{Answer, Stub};
use authkeys_testing::{Key, Run, Setup, me, outcome_of};

use crate::tls_server::{Authority, Proxy};

/// One account of ours that follows `source`; nothing of the environment but these variables.
fn node(source: &str, environment: &[(&str, &str)]) -> Setup {
    let mut setup = Setup::new();
    setup.source = source.to_owned();
    let usual = [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let variables = usual.iter().chain(environment);
    setup.environment = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let file = setup.path("authorized_keys");
    setup.account(&me(), &format!("file = \"{}\"", file.display()))
}

fn sync(source: &str, environment: &[(&str, &str)]) -> Run {
    node(source, environment).run(["sync"])
}

/// A whole answer of Systems Manager with one key.
fn parameter() -> String {
    let body = format!("{{\"Parameter\":{{\"Type\":\"String\",\"Version\":1,\"Value\":\"{}\"}}}}", Key::new("k").line);
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn f36_a_private_ca_is_trusted_where_it_is_named_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, theirs, config] = ["ca.pem", "other.pem", "config"].map(|name| directory.path().join(name));
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.write(&ours);
    stranger.write(&theirs);
    let address = authority.serve("localhost", &parameter());
    let endpoint = format!("https://localhost:{}", address.port());
    let [ours, theirs] = [&ours, &theirs].map(|path| path.to_str().unwrap());
    std::fs::write(&config, format!("[default]\nca_bundle = {ours}\n")).unwrap();
    let with = |environment: &[(&str, &str)]| {
        sync("ssm:/keys", &[&[("AWS_ENDPOINT_URL", endpoint.as_str())], environment].concat())
    };

    with(&[("AWS_CA_BUNDLE", ours)]).succeeds();
    with(&[("SSL_CERT_FILE", ours)]).succeeds();
    with(&[("AWS_CONFIG_FILE", config.to_str().unwrap())]).succeeds();
    with(&[("AWS_CA_BUNDLE", ours), ("SSL_CERT_FILE", theirs)]).succeeds();
    let distrusted = ["its certificate is not trusted here", "AWS_CA_BUNDLE", "(3 attempts)"];
    for wrong in [
        &[("SSL_CERT_FILE", theirs)][..],
        &[("AWS_CA_BUNDLE", theirs), ("SSL_CERT_FILE", ours)],
        &[("AWS_CA_BUNDLE", theirs), ("AWS_CONFIG_FILE", config.to_str().unwrap())],
    ] {
        with(wrong).fails(75, &[&distrusted]);
    }
    let absent = "/nonexistent/ca.pem";
    with(&[("AWS_CA_BUNDLE", absent), ("SSL_CERT_FILE", ours)])
        .fails(1, &[&["was not made: the CA bundle /nonexistent/ca.pem cannot be read", "correct AWS_CA_BUNDLE"]]);
    with(&[("AWS_CA_BUNDLE", "/dev/null"), ("SSL_CERT_FILE", ours)]).fails(1, &[&["holds no certificate in PEM form"]]);
}

#[test]
fn f36_another_servers_certificate_and_no_tls_at_all_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let ours = directory.path().join("ca.pem");
    let authority = Authority::new();
    authority.write(&ours);
    let ours = ours.to_str().unwrap();
    let address = authority.serve("somewhere.example", &parameter());
    let endpoint = format!("https://localhost:{}", address.port());
    sync("ssm:/keys", &[("AWS_ENDPOINT_URL", &endpoint), ("AWS_CA_BUNDLE", ours)])
        .fails(75, &[&["its certificate is another server's"]]);
    let plain = Stub::start([Answer::whole("400 Bad Request", &[], "")]).endpoint().replace("http:", "https:");
    sync("ssm:/keys", &[("AWS_ENDPOINT_URL", &plain), ("AWS_CA_BUNDLE", ours)])
        .fails(75, &[&["did not reach https://", "is TLS spoken there at all?"]]);
}

#[test]
fn a_proxy_is_used_for_https_and_never_for_the_hosts_of_no_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let ours = directory.path().join("ca.pem");
    let authority = Authority::new();
    authority.write(&ours);
    let server = authority.serve("ssm.nowhere.invalid", &parameter());
    let proxy = Proxy::start(Some(server), "");
    let url = proxy.url();
    let environment = [
        ("AWS_ENDPOINT_URL", "https://ssm.nowhere.invalid"),
        ("AWS_CA_BUNDLE", ours.to_str().unwrap()),
        ("HTTPS_PROXY", url.as_str()),
    ];
    sync("ssm:/keys", &environment).succeeds();
    assert_eq!(proxy.asked(), ["CONNECT ssm.nowhere.invalid:443"]);
    let run = sync("ssm:/keys", &[&environment[..], &[("NO_PROXY", "other.example,.nowhere.invalid")]].concat());
    run.fails(75, &[&["did not reach https://ssm.nowhere.invalid: ", "its name has no address here"]]);
    assert_eq!(proxy.asked().len(), 1);

    // What goes by plain http stays on this machine: no proxy shall see it.
    let stub = Stub::start([Answer::json(parameter().split("\r\n\r\n").nth(1).unwrap())]);
    let endpoint = stub.endpoint();
    sync("ssm:/keys", &[("AWS_ENDPOINT_URL", &endpoint), ("HTTPS_PROXY", &url), ("HTTP_PROXY", &url)]).succeeds();
    assert_eq!(proxy.asked().len(), 1);
}

#[test]
fn f36_a_proxy_that_refuses_or_is_away_is_named() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (proxy, part) in [
        (Proxy::start(None, "403 Forbidden").url(), "the proxy of HTTPS_PROXY does not let it through"),
        (Proxy::start(None, "407 Proxy Authentication Required").url(), "the proxy of HTTPS_PROXY"),
        (
            format!("http://{unused}"),
            "nothing listens there: check the endpoint and its port, or the proxy of HTTPS_PROXY",
        ),
    ] {
        let run = sync("ssm:/keys", &[("HTTPS_PROXY", &proxy)]);
        run.fails(75, &[&["did not reach Systems Manager in eu-central-1: ", part]]);
    }
}

#[test]
fn fips_dual_stack_partitions_and_arns_lead_to_the_hosts_that_the_aws_cli_asks() {
    let proxy = Proxy::start(None, "403 Forbidden");
    let url = proxy.url();
    let fips = ("AWS_USE_FIPS_ENDPOINT", "true");
    let dual = ("AWS_USE_DUALSTACK_ENDPOINT", "true");
    let arn = "secretsmanager:arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:k-AbC123";
    let cases = [
        ("secretsmanager:k", vec![], "secretsmanager.eu-central-1.amazonaws.com"),
        ("secretsmanager:k?region=us-gov-west-1", vec![fips], "secretsmanager-fips.us-gov-west-1.amazonaws.com"),
        // Its ordinary endpoints are dual-stack, and AWS gives them no other name.
        ("secretsmanager:k", vec![dual], "secretsmanager.eu-central-1.amazonaws.com"),
        (arn, vec![], "secretsmanager.cn-north-1.amazonaws.com.cn"),
        ("ssm:/k?region=us-east-1", vec![fips], "ssm-fips.us-east-1.amazonaws.com"),
        ("ssm:/k", vec![dual], "ssm.eu-central-1.api.aws"),
        ("ssm:arn:aws:ssm:us-west-2:123456789012:parameter/k", vec![], "ssm.us-west-2.amazonaws.com"),
        ("s3://keys/k?region=us-east-2", vec![fips], "keys.s3-fips.us-east-2.amazonaws.com"),
        ("s3://keys/k", vec![dual], "keys.s3.dualstack.eu-central-1.amazonaws.com"),
        ("s3://keys/k?region=us-east-2", vec![fips, dual], "keys.s3-fips.dualstack.us-east-2.amazonaws.com"),
    ];
    for (source, mut environment, host) in cases {
        environment.push(("HTTPS_PROXY", &url));
        let run = sync(source, &environment);
        assert_eq!(run.status, 75, "{run:?}");
        assert_eq!(proxy.asked().last(), Some(&format!("CONNECT {host}:443")), "{source} {environment:?}");
    }
}

#[test]
fn plain_http_to_another_machine_is_refused_unless_the_host_is_named() {
    let endpoint = ("AWS_ENDPOINT_URL", "http://minio.nowhere.invalid:9000");
    for named in ["", "other.example", "nowhere.invalid", "minio.nowhere.invalid:9000"] {
        let run = sync("s3://b/k", &[endpoint, ("AUTHKEYSD_PLAIN_HTTP", named)]);
        run.fails(1, &[&["it would go to minio.nowhere.invalid in the clear", "AUTHKEYSD_PLAIN_HTTP"]]);
    }
    let run = sync("s3://b/k", &[endpoint, ("AUTHKEYSD_PLAIN_HTTP", "other.example, MINIO.nowhere.invalid")]);
    run.fails(75, &[&["did not reach http://minio.nowhere.invalid:9000: ", "its name has no address here"]]);
}

#[test]
fn f36_what_is_wrong_with_the_metadata_service_is_told_where_credentials_or_region_are_missing() {
    let silent = Stub::start([Answer::silence()]).endpoint();
    let off = Stub::start([Answer::whole("403 Forbidden", &[], "")]).endpoint();
    let hop_limit = "answer does not come as far as here, as with a hop limit of 1 in a container: raise it \
         (`aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2`)";
    for (endpoint, remedy) in [
        (silent.as_str(), hop_limit),
        (
            off.as_str(),
            "is switched off for this instance: `aws ec2 modify-instance-metadata-options --instance-id ID --http-endpoint enabled`",
        ),
        // Nothing listens there.
        ("http://127.0.0.1:9", "let no firewall or network policy stand before it"),
    ] {
        for (missing, what) in [("KEY", "credentials"), ("REGION", "no region is known")] {
            let mut setup = node("ssm:/keys", &[("AWS_EC2_METADATA_DISABLED", "false")]);
            setup.environment.retain(|(name, _)| !name.contains(missing));
            setup.environment.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), endpoint.to_owned()));
            let run = setup.run(["sync"]);
            assert!(run.stderr.contains(what) && run.stderr.contains(remedy), "{run:?}");
            assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        }
    }
    // Nobody says that there is one.
    let mut setup = node("ssm:/keys", &[]);
    setup.environment.retain(|(name, _)| !name.contains("KEY"));
    setup.run(["sync"]).fails(77, &[&["there are no credentials; attach an instance profile or set AWS_PROFILE"]]);
}

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
const HOSTILE: [&[u8]; 6] =
    [b"eu-central-1\n", b"a\x01\x7f", "\u{e9}\u{202e}".as_bytes(), b"\xff\xfe", b"http://[::1", b""];

/// The parts of a node's run that hostile values must not touch: it ends by itself, with at most one line.
fn survives(run: &Run) -> bool {
    let clean = run.stderr.lines().all(|line| !line.contains(char::is_control) && line.len() < 1_000);
    clean && [0, 1, 75, 77].contains(&run.status) && run.stderr.lines().count() <= 1
}

#[test]
fn f42_no_variable_of_the_environment_ends_the_process() {
    let stub = Stub::start([Answer::json(parameter().split("\r\n\r\n").nth(1).unwrap())]);
    let (endpoint, mut faults) = (stub.endpoint(), Vec::new());
    for source in ["ssm:/keys", "s3://b/k"] {
        let names = if source == "ssm:/keys" { &VARIABLES[..] } else { &["AWS_ENDPOINT_URL", "AWS_REGION"] };
        for &name in names {
            for value in HOSTILE {
                let value = OsStr::from_bytes(value);
                let mut setup = node(source, &[]);
                // The proxy and the certificates count for https alone.
                let plain = !["HTTPS_PROXY", "NO_PROXY", "AWS_CA_BUNDLE", "SSL_CERT_FILE"].contains(&name);
                let endpoint = if plain { endpoint.as_str() } else { "https://127.0.0.1:9" };
                setup.environment.push(("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned()));
                // What comes later in the chain of credentials is only asked without what comes first.
                if ["ROLE", "WEB", "CONTAINER", "METADATA", "LOGIN"].iter().any(|part| name.contains(part)) {
                    setup.environment.retain(|(name, _)| !name.contains("KEY"));
                }
                if name == "AWS_DEFAULT_REGION" {
                    setup.environment.retain(|(name, _)| name != "AWS_REGION");
                }
                let mut command = setup.command();
                if name == "AWS_CONTAINER_AUTHORIZATION_TOKEN" {
                    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{endpoint}/x"));
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
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn f42_a_bad_value_is_named_by_its_place() {
    for (name, value, parts) in [
        ("AWS_REGION", "eu-central-1\n", ["AWS_REGION ends in a line feed", "correct AWS_REGION"]),
        ("AWS_REGION", "Frankfurt", ["AWS_REGION is not the name of a region", "correct AWS_REGION"]),
        ("AWS_ACCESS_KEY_ID", "AKID\u{e9}", ["AWS_ACCESS_KEY_ID holds a character that", "correct AWS_ACCESS_KEY_ID"]),
        ("AWS_SESSION_TOKEN", "a\tb", ["AWS_SESSION_TOKEN holds a control character", "correct AWS_SESSION_TOKEN"]),
        ("AWS_SECRET_ACCESS_KEY", "a b", ["AWS_SECRET_ACCESS_KEY holds a space", "correct AWS_SECRET_ACCESS_KEY"]),
        (
            "AWS_ENDPOINT_URL",
            "http://127.0.0.1:9\n",
            ["AWS_ENDPOINT_URL ends in a line feed", "correct AWS_ENDPOINT_URL"],
        ),
        ("AWS_ENDPOINT_URL_SSM", "nonsense", ["AWS_ENDPOINT_URL_SSM is not a URL", "correct AWS_ENDPOINT_URL_SSM"]),
    ] {
        let run = node("ssm:/keys", &[(name, value)]).run(["sync"]);
        run.fails(1, &[&[&["ssm:/keys: ", "was not made: "][..], &parts[..]].concat()]);
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
        let mut setup = node("ssm:/keys", &[("AWS_CONFIG_FILE", file), ("AWS_PROFILE", "p")]);
        setup.environment.retain(|(name, _)| name != "AWS_REGION");
        let run = setup.run(["sync"]);
        run.fails(1, &[&[&format!("`{key}` of the profile `p` holds a"), &format!("correct `{key}`")]]);
    }
}

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
fn f42_no_file_of_the_sdks_holds_up_or_ends_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let [fifo, huge, inner] = ["fifo", "huge", "profile"].map(|name| directory.path().join(name).display().to_string());
    nix::unistd::mkfifo(fifo.as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    std::fs::write(
        &inner,
        format!("[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nweb_identity_token_file = {fifo}\n"),
    )
    .unwrap();
    let home = directory.path().join("home");
    std::fs::create_dir_all(home.join(".aws")).unwrap();
    nix::unistd::mkfifo(&home.join(".aws/credentials"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let begun = std::time::Instant::now();
    for name in [
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ] {
        for (path, fault) in [(fifo.as_str(), "is a FIFO"), (&huge, "more than 1 MiB"), ("/dev/zero", "a device")] {
            let run = node("ssm:/keys", &[(name, path)]).run(["sync"]);
            run.fails(
                1,
                &[&["ssm:/keys: ", "was not made: ", &format!("{name} is a"), fault, &format!("correct {name}")]],
            );
        }
    }
    node("ssm:/keys", &[("AWS_CONFIG_FILE", inner.as_str())])
        .run(["sync"])
        .fails(1, &[&["`web_identity_token_file` of the profile `default` is a FIFO"]]);
    let mut setup = node("ssm:/keys", &[("HOME", home.to_str().unwrap())]);
    setup.environment.retain(|(name, _)| name != "AWS_SHARED_CREDENTIALS_FILE");
    let run = outcome_of(setup.command().env_remove("AWS_SHARED_CREDENTIALS_FILE").arg("sync"));
    run.fails(1, &[&["~/.aws/credentials is a FIFO", "correct ~/.aws/credentials"]]);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn f42_an_empty_endpoint_of_a_service_is_none_for_that_service_and_for_others() {
    let stub = Stub::start([Answer::json(parameter().split("\r\n\r\n").nth(1).unwrap())]);
    for name in
        ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL_STS"]
    {
        node("ssm:/keys", &[("AWS_ENDPOINT_URL", stub.endpoint().as_str()), (name, "")]).run(["sync"]).succeeds();
    }
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

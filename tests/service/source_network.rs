//! The way to AWS as the AWS CLI takes it: a private CA, proxies, FIPS and dual-stack endpoints,
//! and what goes wrong on it.

use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, Run, Setup, me};

use crate::tls_server::{Authority, Proxy};

/// One account of ours that follows `source`; nothing of the environment but these variables.
pub(super) fn node(source: &str, environment: &[(&str, &str)]) -> Setup {
    let mut setup = Setup::new();
    setup.source = source.to_owned();
    let usual = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
    ];
    let variables = usual.iter().chain(environment);
    setup.environment = variables
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let file = setup.path("authorized_keys");
    setup.account(&me(), &format!("file = \"{}\"", file.display()))
}

pub(super) fn sync(source: &str, environment: &[(&str, &str)]) -> Run {
    node(source, environment).run(["sync"])
}

/// A whole answer of Systems Manager with one key.
pub(super) fn parameter() -> String {
    let body = format!(
        "{{\"Parameter\":{{\"Type\":\"String\",\"Version\":1,\"Value\":\"{}\"}}}}",
        Key::new("k").line
    );
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn f36_a_private_ca_is_trusted_where_it_is_named_and_nowhere_else() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, theirs, config] =
        ["ca.pem", "other.pem", "config"].map(|name| directory.path().join(name));
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.write(&ours);
    stranger.write(&theirs);
    let address = authority.serve("localhost", &parameter());
    let endpoint = format!("https://localhost:{}", address.port());
    let [ours, theirs] = [&ours, &theirs].map(|path| path.to_str().unwrap());
    std::fs::write(&config, format!("[default]\nca_bundle = {ours}\n")).unwrap();
    let with = |environment: &[(&str, &str)]| {
        sync(
            "ssm:/keys",
            &[&[("AWS_ENDPOINT_URL", endpoint.as_str())], environment].concat(),
        )
    };

    with(&[("AWS_CA_BUNDLE", ours)]).succeeds();
    with(&[("SSL_CERT_FILE", ours)]).succeeds();
    with(&[("AWS_CONFIG_FILE", config.to_str().unwrap())]).succeeds();
    with(&[("AWS_CA_BUNDLE", ours), ("SSL_CERT_FILE", theirs)]).succeeds();
    let distrusted = [
        "its certificate is not trusted here",
        "AWS_CA_BUNDLE",
        "(3 attempts)",
    ];
    for wrong in [
        &[("SSL_CERT_FILE", theirs)][..],
        &[("AWS_CA_BUNDLE", theirs), ("SSL_CERT_FILE", ours)],
        &[
            ("AWS_CA_BUNDLE", theirs),
            ("AWS_CONFIG_FILE", config.to_str().unwrap()),
        ],
    ] {
        with(wrong).fails(75, &[&distrusted]);
    }
    let absent = "/nonexistent/ca.pem";
    with(&[("AWS_CA_BUNDLE", absent), ("SSL_CERT_FILE", ours)]).fails(
        1,
        &[&[
            "was not made: the CA bundle /nonexistent/ca.pem cannot be read",
            "correct AWS_CA_BUNDLE",
        ]],
    );
    with(&[("AWS_CA_BUNDLE", "/dev/null"), ("SSL_CERT_FILE", ours)])
        .fails(1, &[&["holds no certificate in PEM form"]]);
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
    sync(
        "ssm:/keys",
        &[("AWS_ENDPOINT_URL", &endpoint), ("AWS_CA_BUNDLE", ours)],
    )
    .fails(75, &[&["its certificate is another server's"]]);
    let plain = Stub::start([StubAnswer::whole("400 Bad Request", &[], "")])
        .endpoint()
        .replace("http:", "https:");
    sync(
        "ssm:/keys",
        &[("AWS_ENDPOINT_URL", &plain), ("AWS_CA_BUNDLE", ours)],
    )
    .fails(
        75,
        &[&["did not reach https://", "is TLS spoken there at all?"]],
    );
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
    let run = sync(
        "ssm:/keys",
        &[
            &environment[..],
            &[("NO_PROXY", "other.example,.nowhere.invalid")],
        ]
        .concat(),
    );
    run.fails(
        75,
        &[&[
            "did not reach https://ssm.nowhere.invalid: ",
            "its name has no address here",
        ]],
    );
    assert_eq!(proxy.asked().len(), 1);

    // What goes by plain http stays on this machine: no proxy shall see it.
    let stub = Stub::start([StubAnswer::json(
        parameter().split("\r\n\r\n").nth(1).unwrap(),
    )]);
    let endpoint = stub.endpoint();
    sync(
        "ssm:/keys",
        &[
            ("AWS_ENDPOINT_URL", &endpoint),
            ("HTTPS_PROXY", &url),
            ("HTTP_PROXY", &url),
        ],
    )
    .succeeds();
    assert_eq!(proxy.asked().len(), 1);
}

#[test]
fn f36_a_proxy_that_refuses_or_is_away_is_named() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (proxy, part) in [
        (
            Proxy::start(None, "403 Forbidden").url(),
            "the proxy of HTTPS_PROXY does not let it through",
        ),
        (
            Proxy::start(None, "407 Proxy Authentication Required").url(),
            "the proxy of HTTPS_PROXY",
        ),
        (
            format!("http://{unused}"),
            "nothing listens there: check the endpoint and its port, or the proxy of HTTPS_PROXY",
        ),
    ] {
        let run = sync("ssm:/keys", &[("HTTPS_PROXY", &proxy)]);
        run.fails(
            75,
            &[&["did not reach Systems Manager in eu-central-1: ", part]],
        );
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
        (
            "secretsmanager:k",
            vec![],
            "secretsmanager.eu-central-1.amazonaws.com",
        ),
        (
            "secretsmanager:k?region=us-gov-west-1",
            vec![fips],
            "secretsmanager-fips.us-gov-west-1.amazonaws.com",
        ),
        // Its ordinary endpoints are dual-stack, and AWS gives them no other name.
        (
            "secretsmanager:k",
            vec![dual],
            "secretsmanager.eu-central-1.amazonaws.com",
        ),
        (arn, vec![], "secretsmanager.cn-north-1.amazonaws.com.cn"),
        (
            "ssm:/k?region=us-east-1",
            vec![fips],
            "ssm-fips.us-east-1.amazonaws.com",
        ),
        ("ssm:/k", vec![dual], "ssm.eu-central-1.api.aws"),
        (
            "ssm:arn:aws:ssm:us-west-2:123456789012:parameter/k",
            vec![],
            "ssm.us-west-2.amazonaws.com",
        ),
        (
            "s3://keys/k?region=us-east-2",
            vec![fips],
            "keys.s3-fips.us-east-2.amazonaws.com",
        ),
        (
            "s3://keys/k",
            vec![dual],
            "keys.s3.dualstack.eu-central-1.amazonaws.com",
        ),
        (
            "s3://keys/k?region=us-east-2",
            vec![fips, dual],
            "keys.s3-fips.dualstack.us-east-2.amazonaws.com",
        ),
    ];
    for (source, mut environment, host) in cases {
        environment.push(("HTTPS_PROXY", &url));
        let run = sync(source, &environment);
        assert_eq!(run.status, 75, "{run:?}");
        assert_eq!(
            proxy.asked().last(),
            Some(&format!("CONNECT {host}:443")),
            "{source} {environment:?}"
        );
    }
}

#[test]
fn plain_http_to_another_machine_is_refused_unless_the_host_is_named() {
    let endpoint = ("AWS_ENDPOINT_URL", "http://minio.nowhere.invalid:9000");
    for named in [
        "",
        "other.example",
        "nowhere.invalid",
        "minio.nowhere.invalid:9000",
    ] {
        let run = sync("s3://b/k", &[endpoint, ("AUTHKEYSD_PLAIN_HTTP", named)]);
        run.fails(
            1,
            &[&[
                "it would go to minio.nowhere.invalid in the clear",
                "AUTHKEYSD_PLAIN_HTTP",
            ]],
        );
    }
    let run = sync(
        "s3://b/k",
        &[
            endpoint,
            (
                "AUTHKEYSD_PLAIN_HTTP",
                "other.example, MINIO.nowhere.invalid",
            ),
        ],
    );
    run.fails(
        75,
        &[&[
            "did not reach http://minio.nowhere.invalid:9000: ",
            "its name has no address here",
        ]],
    );
}

#[test]
fn f36_what_is_wrong_with_the_metadata_service_is_told_where_credentials_or_region_are_missing() {
    let silent = Stub::start([StubAnswer::silence()]).endpoint();
    let off = Stub::start([StubAnswer::whole("403 Forbidden", &[], "")]).endpoint();
    let hop_limit = "answer does not come as far as here, as with a hop limit of 1 in a container: \
                     raise it (`aws ec2 modify-instance-metadata-options --instance-id ID \
                     --http-put-response-hop-limit 2`)";
    for (endpoint, remedy) in [
        (silent.as_str(), hop_limit),
        (
            off.as_str(),
            "is switched off for this instance: `aws ec2 modify-instance-metadata-options \
             --instance-id ID --http-endpoint enabled`",
        ),
        // Nothing listens there.
        (
            "http://127.0.0.1:9",
            "put no firewall, network policy or proxy in front of it",
        ),
    ] {
        for (missing, what) in [("KEY", "credentials"), ("REGION", "no region is known")] {
            let mut setup = node("ssm:/keys", &[("AWS_EC2_METADATA_DISABLED", "false")]);
            setup
                .environment
                .retain(|(name, _)| !name.contains(missing));
            setup.environment.push((
                "AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(),
                endpoint.to_owned(),
            ));
            let run = setup.run(["sync"]);
            assert!(
                run.stderr.contains(what) && run.stderr.contains(remedy),
                "{run:?}"
            );
            assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        }
    }
    // Nobody says that there is one.
    let mut setup = node("ssm:/keys", &[]);
    setup.environment.retain(|(name, _)| !name.contains("KEY"));
    setup.run(["sync"]).fails(
        77,
        &[&["there are no credentials; attach an instance profile or set AWS_PROFILE"]],
    );
}

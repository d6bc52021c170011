//! Instances and their tags in a moto server, over EC2's query protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use authkeys_testing::moto::Moto;
use authkeys_testing::{clean_ctl, stand_in};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Where they run: the region that the metadata service's stand-in tells.
pub(crate) const REGION: &str = "eu-west-1";

/// `authkeysctl fleet` at this server.
pub(crate) fn fleet_at(moto: &Moto, arguments: &[&str]) -> Command {
    let mut command = clean_ctl();
    command
        .envs(stand_in(&moto.endpoint()))
        .env("AWS_REGION", REGION)
        .arg("fleet")
        .args(arguments);
    command
}

/// Runs so many instances with these tags; gives their ids.
pub(crate) fn run_instances(moto: &Moto, count: usize, tags: &[(&str, &str)]) -> Vec<String> {
    let count = count.to_string();
    let mut form = vec![
        ("MinCount", count.as_str()),
        ("MaxCount", &count),
        ("ImageId", "ami-12345678"),
    ];
    form.push(("TagSpecification.1.ResourceType", "instance"));
    let body = call(moto, "RunInstances", &form, tags, "TagSpecification.1.Tag");
    body.split("<instanceId>")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap().to_owned())
        .collect()
}

pub(crate) fn tag(moto: &Moto, instance: &str, tags: &[(&str, &str)]) {
    call(
        moto,
        "CreateTags",
        &[("ResourceId.1", instance)],
        tags,
        "Tag",
    );
}

pub(crate) fn terminate(moto: &Moto, instance: &str) {
    call(
        moto,
        "TerminateInstances",
        &[("InstanceId.1", instance)],
        &[],
        "",
    );
}

fn call(
    moto: &Moto,
    action: &str,
    form: &[(&str, &str)],
    tags: &[(&str, &str)],
    prefix: &str,
) -> String {
    let mut body = format!("Action={action}&Version=2016-11-15");
    let mut add = |name: &str, value: &str| {
        body.push_str(&format!(
            "&{name}={}",
            utf8_percent_encode(value, NON_ALPHANUMERIC)
        ));
    };
    form.iter().for_each(|(name, value)| add(name, value));
    for (number, (key, value)) in (1..).zip(tags) {
        add(&format!("{prefix}.{number}.Key"), key);
        add(&format!("{prefix}.{number}.Value"), value);
    }
    let address = moto.endpoint().replace("http://", "");
    let mut stream = TcpStream::connect(&address).unwrap();
    // moto tells the service from the credential's scope; it does not check the signature.
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=moto/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, \
         Signature=0"
    );
    let length = body.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: {scope}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{action}: {answer}");
    answer
}

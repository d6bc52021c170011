//! A publisher's desk: documents in a temporary directory, and `authkeysctl` with an endpoint in
//! place of AWS.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Run, clean_ctl, outcome_of, stand_in};
use tempfile::TempDir;

pub(crate) struct Desk {
    directory: TempDir,
    endpoint: String,
}

impl Desk {
    pub(crate) fn new(endpoint: &str) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            endpoint: endpoint.to_owned(),
        }
    }

    /// Writes a file; gives its path.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `authkeysctl publish` with the document and the target as the last arguments.
    pub(crate) fn command(&self, document: &str, target: &str, more: &[&str]) -> Command {
        let mut command = clean_ctl();
        command
            .envs(stand_in(&self.endpoint))
            .arg("publish")
            .args(more)
            .arg(self.directory.path().join(document))
            .arg(target)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn publish(&self, document: &str, target: &str, more: &[&str]) -> Run {
        outcome_of(&mut self.command(document, target, more))
    }

    /// Rounds of two publishers that start together: how many came through, and what those said
    /// that did not.
    pub(crate) fn race(&self, target: &str, rounds: u64) -> (u64, Vec<String>) {
        let keys = [Key::new("both"), Key::new("a"), Key::new("b")];
        let (mut successes, mut losses) = (0, Vec::new());
        for round in 0..rounds {
            // What is published already would not be written again.
            for (name, key) in [("a", &keys[1]), ("b", &keys[2])] {
                self.file(
                    name,
                    document(None, &[&keys[0], key])
                        .replace("workers", &format!("workers-{round}")),
                );
            }
            let runs = ["a", "b"].map(|name| {
                let mut command = self.command(name, target, &[]);
                command
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            });
            for run in runs {
                let output = run.wait_with_output().unwrap();
                let stderr = String::from_utf8(output.stderr).unwrap();
                match output.status.code() {
                    Some(0) => successes += 1,
                    Some(1) => losses.push(stderr),
                    other => panic!("{other:?}: {stderr}"),
                }
            }
        }
        (successes, losses)
    }
}

/// An S3 with the bucket `keys`, and a desk that takes it for AWS; `None` where moto cannot be had.
pub(crate) fn bucket() -> Option<(Moto, Desk)> {
    if !Moto::prepare() {
        return None;
    }
    let moto = Moto::start();
    moto.make_bucket("keys");
    let desk = Desk::new(&moto.endpoint());
    Some((moto, desk))
}

/// One call in AWS' JSON protocol, unsigned: the stand-ins tell the service from the credential's
/// scope.
pub(crate) fn aws_json(
    endpoint: &str,
    service: &str,
    call: &str,
    body: &serde_json::Value,
) -> serde_json::Value {
    let host = endpoint.trim_start_matches("http://");
    let (mut stream, body) = (TcpStream::connect(host).unwrap(), body.to_string());
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {host}\r\nX-Amz-Target: {call}\r\nContent-Type: application/x-amz-json-1.1\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
         Signature=0\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{call}: {answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A document with these keys, and a serial if there is one.
pub(crate) fn document(serial: Option<u64>, keys: &[&Key]) -> String {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| format!("    {{\"public_key\": \"{}\"}}", key.line))
        .collect();
    let serial = serial.map_or(String::new(), |serial| format!("  \"serial\": {serial},\n"));
    format!(
        "{{\n  \"version\": 1,\n  \"name\": \"workers\",\n{serial}  \"keys\": [\n{}\n  ]\n}}\n",
        keys.join(",\n")
    )
}

/// The serial in a document's text.
pub(crate) fn serial(text: &str) -> u64 {
    let rest = text
        .split_once("\"serial\": ")
        .unwrap_or_else(|| panic!("{text}"))
        .1;
    rest.chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap()
}

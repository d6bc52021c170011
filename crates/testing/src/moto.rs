//! A real moto server in a virtual environment that the tests create once, below `target/`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::python;

const PACKAGE: &str = "moto[server,s3]==5.2.5";

/// Serves on a port of its own, prints the port, and ends when its standard input ends, even if the
/// test was killed.
const SERVER: &str = "
import json, os, sys, threading
from moto.secretsmanager.models import SecretsManagerBackend
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
def end():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=end, daemon=True).start()
moto, one = DomainDispatcherApplication(create_backend_app), threading.Lock()
def app(environ, start):
    # One request at a time: moto looks at a condition and then writes, and lets others in between.
    with one:
        return list(moto(environ, start))
listed = SecretsManagerBackend.list_secret_version_ids
def versions(self, secret_id):
    # It says that each version came in just now, although it knows better.
    answer = json.loads(listed(self, secret_id))
    for version in answer['Versions']:
        version['CreatedDate'] = self.secrets[secret_id].versions[version['VersionId']]['createdate']
    return json.dumps(answer)
SecretsManagerBackend.list_secret_version_ids = versions
server = make_server('127.0.0.1', 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
";

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Moto {
    /// Creates the environment if it does not exist; `false`, after a clear message, if Python is
    /// missing. In CI that is a failure. Must be called before a test leaves the user's
    /// environment, which may configure where packages come from.
    pub fn prepare() -> bool {
        environment().is_some()
    }

    /// Starts a server on a free port, without any state.
    pub fn start() -> Self {
        let mut child = Command::new(environment().unwrap())
            .args(["-c", SERVER])
            .envs([
                ("AWS_ACCESS_KEY_ID", "moto"),
                ("AWS_SECRET_ACCESS_KEY", "moto"),
                ("AWS_EC2_METADATA_DISABLED", "true"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        let port = port.trim().parse().expect("moto did not start");
        Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    /// The URL to reach it at.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a bucket.
    pub fn make_bucket(&self, bucket: &str) {
        self.good("PUT", &format!("/{bucket}"), b"");
    }

    /// Lets a bucket keep the versions of its objects.
    pub fn switch_versions_on(&self, bucket: &str) {
        let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.good("PUT", &format!("/{bucket}?versioning"), on);
    }

    /// Puts an object; `key` is percent-encoded. Returns the version's id, if there is one.
    pub fn put_object(&self, bucket: &str, key: &str, body: &[u8]) -> Option<String> {
        let head = self.good("PUT", &format!("/{bucket}/{key}"), body);
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("x-amz-version-id")
                .then(|| value.trim().to_owned())
        })
    }

    /// Deletes an object; `key` is percent-encoded.
    pub fn delete_object(&self, bucket: &str, key: &str) {
        self.good("DELETE", &format!("/{bucket}/{key}"), b"");
    }

    /// An object's content.
    pub fn object(&self, bucket: &str, key: &str) -> String {
        self.get(&format!("/{bucket}/{key}"))
    }

    /// The header of an object.
    pub fn head(&self, bucket: &str, key: &str) -> String {
        self.good("HEAD", &format!("/{bucket}/{key}"), b"")
    }

    /// The keys of a bucket.
    pub fn list(&self, bucket: &str) -> Vec<String> {
        let answer = self.get(&format!("/{bucket}?list-type=2"));
        answer
            .split("<Key>")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once('<')?.0.to_owned()))
            .collect()
    }

    /// The ids of an object's versions, in no particular order; `key` is percent-encoded.
    pub fn versions(&self, bucket: &str, key: &str) -> Vec<String> {
        let answer = self.get(&format!("/{bucket}?versions&prefix={key}"));
        answer
            .split("<VersionId>")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once('<')?.0.to_owned()))
            .collect()
    }

    fn get(&self, target: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let scope = "AWS4-HMAC-SHA256 Credential=moto/20260101/us-east-1/s3/aws4_request, \
                     SignedHeaders=host, Signature=0";
        let host = self.address;
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {scope}\r\n\
                        Connection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 2"), "{target}: {answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Starts instances of the default image and returns their ids.
    pub fn run_instances(&self, count: usize) -> Vec<String> {
        let form = format!(
            "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&MinCount={count}&MaxCount={count}"
        );
        let answer = self.query("ec2", "eu-central-1", &form);
        answer
            .split("<instanceId>")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once('<')?.0.to_owned()))
            .collect()
    }

    /// Makes one call in the query protocol and returns the answer's body.
    pub fn query(&self, service: &str, region: &str, form: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let host = self.address;
        let length = form.len();
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: {host}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=moto/20260101/{region}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{form}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 2"), "{form}: {answer}");
        answer
    }

    /// Makes one call in the JSON protocol, such as `secretsmanager.PutSecretValue`, and returns
    /// the answer's body.
    pub fn json(&self, service: &str, region: &str, target: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let host = self.address;
        let length = body.len();
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: {host}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=moto/20260101/{region}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\nX-Amz-Target: {target}\r\n\
             Content-Type: application/x-amz-json-1.1\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 2"),
            "{target} {body}: {answer}"
        );
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Makes one request without a valid signature, which moto does not check, and returns the
    /// answer's head.
    fn good(&self, method: &str, target: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // moto finds the service in the credential's scope; it does not check the signature.
        let scope = "AWS4-HMAC-SHA256 Credential=moto/20260101/us-east-1/s3/aws4_request, \
                     SignedHeaders=host, Signature=0";
        let length = body.len();
        write!(
            stream,
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {scope}\r\n\
             x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n",
            self.address
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 2"),
            "{method} {target}: {answer}"
        );
        answer
            .split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

/// The Python of the environment with moto and boto3; `None` if it cannot be created.
pub fn environment() -> Option<PathBuf> {
    python::environment("moto", PACKAGE)
}

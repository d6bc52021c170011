//! A real ministack server, which deploys CloudFormation templates and runs packed Lambda
//! functions, in a virtual environment that the tests create; and a console that makes any call of
//! AWS's API.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::python;

const PACKAGE: &str = "ministack==1.5.33";

/// Reads one call per line, and writes its answer.
const CONSOLE: &str = "
import botocore.session, json, sys
session, clients = botocore.session.get_session(), {}
region, endpoint = sys.argv[1:]
for line in sys.stdin:
    service, call, arguments = json.loads(line)
    if service not in clients:
        clients[service] = session.create_client(service, region_name=region, endpoint_url=endpoint,
                                                 aws_access_key_id='test', aws_secret_access_key='test')
    body = arguments.get('Body')
    if isinstance(body, dict):
        with open(body['file'], 'rb') as file:
            arguments['Body'] = file.read()
    try:
        answer = getattr(clients[service], call)(**arguments)
        for name in ('Payload', 'Body'):
            if name in answer:
                answer[name] = answer[name].read().decode()
    except Exception as fault:
        answer = {'fault': str(fault)}
    print(json.dumps(answer, default=str), flush=True)
";

/// Packs a program in the format of Lambda.
const PACK: &str = "
import sys, zipfile
entry = zipfile.ZipInfo('bootstrap')
entry.external_attr, entry.compress_type = 0o100755 << 16, zipfile.ZIP_DEFLATED
with zipfile.ZipFile(sys.argv[2], 'w') as archive, open(sys.argv[1], 'rb') as program:
    archive.writestr(entry, program.read(), compresslevel=1)
";

/// The server and its console; they end when this is dropped.
#[derive(Debug)]
pub struct Ministack {
    server: Child,
    console: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    endpoint: String,
}

impl Drop for Ministack {
    fn drop(&mut self) {
        for child in [&mut self.console, &mut self.server] {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Ministack {
    /// Creates the environment if it does not exist; `false`, after a clear message, if Python is
    /// missing. In CI that is a failure.
    pub fn prepare() -> bool {
        environment().is_some()
    }

    /// Starts a server on a free port, without any state, and a console for that region. `home` is
    /// the directory for its files.
    pub fn start(region: &str, home: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let endpoint = format!("http://127.0.0.1:{port}");
        let log = File::create(home.join("ministack.log")).unwrap();
        let server = Command::new(environment().unwrap())
            .args(["-m", "ministack"])
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("MINISTACK_REGION", region)
            .env("STATE_DIR", home.join("state"))
            .env("TMPDIR", home)
            // The endpoint of AWS for the functions.
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut console = Command::new(environment().unwrap())
            .args(["-c", CONSOLE, region, &endpoint])
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(home.join("ministack.log")).unwrap();
            assert!(started.elapsed() < Duration::from_secs(60), "{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self {
            server,
            asks: console.stdin.take().unwrap(),
            answers: BufReader::new(console.stdout.take().unwrap()),
            console,
            endpoint,
        }
    }

    /// The URL to reach it at.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a call, such as `s3`, `put_object`, with its arguments as a JSON object; returns the
    /// answer as JSON, or an object with `fault`. A `Body` of the form `{"file": PATH}` is replaced
    /// with the content of that file.
    pub fn ask(&mut self, service: &str, call: &str, arguments: &str) -> String {
        let line = format!("[\"{service}\", \"{call}\", {arguments}]\n").replace('\n', " ");
        self.asks.write_all(line.as_bytes()).unwrap();
        self.asks.write_all(b"\n").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer
    }

    /// Packs a program as the `bootstrap` of a function.
    pub fn pack(program: &Path, archive: &Path) {
        let status = Command::new(environment().unwrap())
            .args(["-c", PACK])
            .args([program, archive])
            .status();
        assert!(status.unwrap().success());
    }
}

fn environment() -> Option<PathBuf> {
    python::environment("ministack", PACKAGE)
}

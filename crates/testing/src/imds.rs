//! A simulated metadata service of EC2, version 2 only: the token and its lifetime, the identity
//! document, a role's credentials, the instance's tags; and its failures: answers that never arrive
//! (a hop limit of 1), arrive late, or are errors.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::s3_stub::line;

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// The keys of all tags; the value of each tag is below it.
const TAGS: &str = "/latest/meta-data/tags/instance";

/// How the service behaves; changes apply from the next request on.
#[derive(Debug, Clone)]
pub struct ImdsManner {
    /// The id of the instance.
    pub instance: String,
    /// Answers every request with this status instead.
    pub fails: Option<u16>,
    /// Waits before it answers.
    pub delay: Duration,
    /// The answer to a request for a token never arrives, as in a container with a hop limit of 1.
    pub hop_limit: bool,
    /// The longest lifetime of a token.
    pub token_life: Duration,
    /// Answers that replace its own: by `token`, `ttl`, or the requested path.
    pub says: BTreeMap<String, String>,
    /// The instance's tags; `None` where it does not show them.
    pub tags: Option<BTreeMap<String, String>>,
}

/// The server; it ends with the test's process.
#[derive(Debug, Clone)]
pub struct Imds {
    address: SocketAddr,
    state: Arc<ImdsState>,
}

#[derive(Debug)]
struct ImdsState {
    manner: Mutex<ImdsManner>,
    tokens: Mutex<BTreeMap<String, Instant>>,
    requests: Mutex<Vec<String>>,
}

impl Imds {
    /// Starts one on a free port.
    pub fn start(instance: &str) -> Self {
        Self::start_at("127.0.0.1:0", instance)
    }

    /// Starts it at an address that may exist only in a network namespace of the test.
    pub fn start_at(address: &str, instance: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let manner = ImdsManner {
            instance: instance.to_owned(),
            fails: None,
            delay: Duration::ZERO,
            hop_limit: false,
            token_life: Duration::from_secs(21_600),
            says: BTreeMap::new(),
            tags: None,
        };
        let state = ImdsState {
            manner: Mutex::new(manner),
            tokens: Mutex::default(),
            requests: Mutex::default(),
        };
        let imds = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(state),
        };
        let state = Arc::clone(&imds.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve(&state, &stream));
            }
        });
        imds
    }

    /// The environment variables with which the program finds it, and nothing else.
    pub fn environment(&self) -> [(String, String); 2] {
        [
            ("AWS_EC2_METADATA_DISABLED".to_owned(), "false".to_owned()),
            (
                "AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(),
                format!("http://{}", self.address),
            ),
        ]
    }

    /// Changes how it behaves.
    pub fn change(&self, change: impl FnOnce(&mut ImdsManner)) {
        change(&mut self.state.manner.lock().unwrap());
    }

    /// Shows the tags, and sets one of them.
    pub fn tag(&self, key: &str, value: &str) {
        self.change(|manner| {
            let tags = manner.tags.get_or_insert_default();
            tags.insert(key.to_owned(), value.to_owned());
        });
    }

    /// The methods and paths of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

fn serve(state: &ImdsState, stream: &TcpStream) {
    let mut lines = BufReader::new(stream);
    while let Some((first, headers)) = read(&mut lines) {
        state.requests.lock().unwrap().push(first.clone());
        let manner = state.manner.lock().unwrap().clone();
        std::thread::sleep(manner.delay);
        if manner.hop_limit {
            std::thread::sleep(Duration::from_secs(3_600));
        }
        let (status, extra, body) = match manner.fails {
            Some(status) => failed(status),
            None => answer(state, &manner, &first, &headers),
        };
        let length = body.len();
        let mut stream = stream;
        let sent = write!(
            stream,
            "HTTP/1.1 {status} X\r\n{extra}Content-Length: {length}\r\n\r\n{body}"
        );
        if sent.is_err() {
            return;
        }
    }
}

fn answer(
    state: &ImdsState,
    manner: &ImdsManner,
    first: &str,
    headers: &BTreeMap<String, String>,
) -> (u16, String, String) {
    if first == "PUT /latest/api/token" {
        return new_token(state, manner, headers);
    }
    if !has_token(state, headers) {
        return failed(401);
    }
    let role = "/latest/meta-data/iam/security-credentials/";
    match first.strip_prefix("GET ").unwrap_or_default() {
        path if manner.says.contains_key(path) => plain(manner.says[path].clone()),
        "/latest/dynamic/instance-identity/document" => plain(format!(
            r#"{{"accountId":"123456789012","architecture":"x86_64","region":"eu-west-1","instanceId":"{}","kernelId":null}}"#,
            manner.instance
        )),
        "/latest/meta-data/placement/region" => plain("eu-west-1".to_owned()),
        path if path == role => plain("agent".to_owned()),
        path if path == format!("{role}agent") => plain(
            r#"{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"not-a-secret",
               "Token":"token","LastUpdated":"2026-01-01T00:00:00Z","Expiration":"2099-01-01T00:00:00Z"}"#
                .to_owned(),
        ),
        path if path.starts_with(TAGS) => {
            match shown_tags(manner, path) {
                Some(text) => plain(text),
                None => failed(404),
            }
        }
        _ => failed(404),
    }
}

fn plain(body: String) -> (u16, String, String) {
    (200, String::new(), body)
}

fn failed(status: u16) -> (u16, String, String) {
    (status, String::new(), String::new())
}

/// A token with its lifetime; not for a request that was forwarded.
fn new_token(
    state: &ImdsState,
    manner: &ImdsManner,
    headers: &BTreeMap<String, String>,
) -> (u16, String, String) {
    if headers.contains_key("x-forwarded-for") {
        return failed(403);
    }
    let Some(wanted) = headers.get(TTL) else {
        return failed(400);
    };
    let Ok(seconds @ 1..=21_600) = wanted.parse() else {
        return failed(400);
    };
    let life = Duration::from_secs(seconds).min(manner.token_life);
    let mut tokens = state.tokens.lock().unwrap();
    let token = match manner.says.get("token") {
        Some(token) => token.clone(),
        None => format!("token-{}", tokens.len()),
    };
    tokens.insert(token.clone(), Instant::now() + life);
    let ttl = match manner.says.get("ttl") {
        Some(ttl) => ttl.clone(),
        None => life.as_secs().to_string(),
    };
    (200, format!("{TTL}: {ttl}\r\n"), token)
}

/// Whether a request has a token that is still valid.
fn has_token(state: &ImdsState, headers: &BTreeMap<String, String>) -> bool {
    let Some(token) = headers.get("x-aws-ec2-metadata-token") else {
        return false;
    };
    match state.tokens.lock().unwrap().get(token) {
        Some(end) => *end >= Instant::now(),
        None => false,
    }
}

/// The keys of all tags, or the value of one.
fn shown_tags(manner: &ImdsManner, path: &str) -> Option<String> {
    let tags = manner.tags.as_ref()?;
    match path.strip_prefix(TAGS)? {
        "" => {
            let keys: Vec<&str> = tags.keys().map(String::as_str).collect();
            Some(keys.join("\n"))
        }
        key => tags.get(key.strip_prefix('/')?).cloned(),
    }
}

/// The method and path, and the headers with lower-case names.
fn read(lines: &mut impl BufRead) -> Option<(String, BTreeMap<String, String>)> {
    let first = line(lines)?.strip_suffix(" HTTP/1.1")?.to_owned();
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line(lines)?.split_once(':') {
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some((first, headers))
}

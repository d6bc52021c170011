//! A server that gives scripted answers, valid and broken, and records all requests.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request, with its header names in lower case.
#[derive(Debug, Clone)]
pub struct StubRequest {
    /// GET, PUT, POST or another.
    pub method: String,
    /// The path with its query.
    pub target: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// What came after the headers.
    pub body: String,
}

impl StubRequest {
    /// The value of a header; `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What follows the scripted bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next request on the same connection.
    Wait,
    /// The end of the connection.
    Close,
    /// Bytes until the client disconnects.
    Endless,
    /// Silence.
    Hang,
}

/// The bytes of one answer and what follows them.
#[derive(Debug, Clone)]
pub struct StubAnswer {
    bytes: Vec<u8>,
    then: Then,
}

impl StubAnswer {
    /// A whole answer; `headers` are lines without their ends.
    pub fn whole(status: &str, headers: &[&str], body: &str) -> Self {
        Self::raw(
            status,
            &[headers, &[&format!("Content-Length: {}", body.len())]].concat(),
            body,
            Then::Wait,
        )
    }

    /// A head and a body that may not agree.
    pub fn raw(status: &str, headers: &[&str], body: &str, then: Then) -> Self {
        let head: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        Self {
            bytes: format!("HTTP/1.1 {status}\r\n{head}\r\n{body}").into_bytes(),
            then,
        }
    }

    /// An error as worded by S3.
    pub fn error(status: &str, code: &str, message: &str, headers: &[&str]) -> Self {
        let body = format!(
            "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        Self::whole(
            status,
            &[
                headers,
                &["x-amz-request-id: REQ42", "Content-Type: application/xml"],
            ]
            .concat(),
            &body,
        )
    }

    /// An answer in the format of Secrets Manager and Systems Manager.
    pub fn json(body: &str) -> Self {
        Self::whole(
            "200 OK",
            &[
                "x-amzn-requestid: REQ42",
                "Content-Type: application/x-amz-json-1.1",
            ],
            body,
        )
    }

    /// An error in their format.
    pub fn json_error(status: &str, code: &str, message: &str) -> Self {
        let body = format!("{{\"__type\":\"com.amazonaws#{code}\",\"Message\":\"{message}\"}}");
        Self::whole(
            status,
            &[
                "x-amzn-requestid: REQ42",
                "Content-Type: application/x-amz-json-1.1",
            ],
            &body,
        )
    }

    /// No answer at all, on a connection that stays open.
    pub fn silence() -> Self {
        Self {
            bytes: Vec::new(),
            then: Then::Hang,
        }
    }
}

/// The server; it ends with the test's process.
#[derive(Debug, Clone)]
pub struct Stub {
    address: SocketAddr,
    state: Arc<S3State>,
}

#[derive(Debug)]
struct S3State {
    answers: Mutex<VecDeque<StubAnswer>>,
    requests: Mutex<Vec<StubRequest>>,
    connections: AtomicUsize,
    sent: AtomicUsize,
}

impl Stub {
    /// Gives the answers in turn, and then repeats the last one.
    pub fn start(answers: impl IntoIterator<Item = StubAnswer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = S3State {
            answers: Mutex::new(answers.into_iter().collect()),
            requests: Mutex::default(),
            connections: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
        };
        let stub = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(state),
        };
        let state = Arc::clone(&stub.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                state.connections.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || serve(&state, &stream));
            }
        });
        stub
    }

    /// The URL to reach it at.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<StubRequest> {
        self.state.requests.lock().unwrap().clone()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many bytes the clients, or the system's buffers for them, accepted.
    pub fn sent(&self) -> usize {
        self.state.sent.load(Ordering::SeqCst)
    }
}

fn serve(state: &S3State, stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut lines = BufReader::new(stream);
    while let Some(request) = read(&mut lines) {
        state.requests.lock().unwrap().push(request);
        let answer = {
            let mut answers = state.answers.lock().unwrap();
            if answers.len() > 1 {
                answers.pop_front().unwrap()
            } else {
                answers[0].clone()
            }
        };
        if !send(state, stream, &answer.bytes) {
            return;
        }
        match answer.then {
            Then::Wait => {}
            Then::Close => return,
            Then::Endless => {
                while send(state, stream, &[b'#'; 4_096]) {}
                return;
            }
            Then::Hang => loop {
                std::thread::sleep(Duration::from_secs(3_600));
            },
        }
    }
}

fn send(state: &S3State, mut stream: &TcpStream, bytes: &[u8]) -> bool {
    let sent = stream.write_all(bytes).is_ok();
    state
        .sent
        .fetch_add(if sent { bytes.len() } else { 0 }, Ordering::SeqCst);
    sent
}

/// Reads one line, without its end; `None` if the connection ends.
pub(crate) fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(0) => None,
        Ok(_) => Some(line.trim_end().to_owned()),
        // The client disconnected, or it speaks TLS.
        Err(_) => None,
    }
}

/// Reads one request; `None` if the connection ends.
pub fn read(reader: &mut impl BufRead) -> Option<StubRequest> {
    let first = line(reader)?;
    let mut words = first.split(' ').map(str::to_owned);
    let method = words.next()?;
    let target = words.next()?;
    let mut headers = Vec::new();
    while let Some((name, value)) = line(reader)?.split_once(':') {
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut request = StubRequest {
        method,
        target,
        headers,
        body: String::new(),
    };
    if let Some(length) = request
        .header("content-length")
        .and_then(|length| length.parse().ok())
    {
        reader.take(length).read_to_string(&mut request.body).ok()?;
    }
    Some(request)
}

//! A small EC2: instance tags, throttling and refusals on demand, and a record of all calls.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use percent_encoding::percent_decode_str;

use crate::s3_stub::line;

/// One call: its parameters, its signature's header, and when it came.
#[derive(Debug, Clone)]
pub struct Ec2Call {
    /// Its parameters by name.
    pub form: BTreeMap<String, String>,
    /// The header with its signature.
    pub authorization: String,
    /// The host that it was sent to.
    pub host: String,
    /// When it came.
    pub at: Instant,
}

impl Ec2Call {
    /// Whether it is a call of this action.
    pub fn is(&self, action: &str) -> bool {
        self.form["Action"] == action
    }

    /// The instances that a CreateTags call names.
    pub fn resources(&self) -> Vec<String> {
        let mut named = Vec::new();
        while let Some(id) = self.form.get(&format!("ResourceId.{}", named.len() + 1)) {
            named.push(id.clone());
        }
        named
    }

    /// The tags that a CreateTags call sets.
    pub fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        for number in 1.. {
            let key = self.form.get(&format!("Tag.{number}.Key"));
            let value = self.form.get(&format!("Tag.{number}.Value"));
            let (Some(key), Some(value)) = (key, value) else {
                break;
            };
            tags.insert(key.clone(), value.clone());
        }
        tags
    }
}

/// The server; it ends with the test's process.
#[derive(Debug, Clone)]
pub struct Ec2Stub {
    address: SocketAddr,
    state: Arc<Ec2State>,
}

#[derive(Debug, Default)]
struct Ec2State {
    /// The answer to every call, instead of a successful one.
    answer: Mutex<Option<(u16, String)>>,
    tags: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    calls: Mutex<Vec<Ec2Call>>,
    /// The pages of DescribeInstances.
    pages: Mutex<Vec<String>>,
}

/// An error as worded by EC2.
pub fn error(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
         <Message>Something about i-0e2e0000000000001 of arn:aws:iam::123456789012:role/x</Message>\
         </Error></Errors>\
         <RequestID>59dbff89-35bd-4eac-99ed-be587EXAMPLE</RequestID></Response>"
    )
}

impl Ec2Stub {
    /// Starts a server without instances, on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stub = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let state = Arc::clone(&stub.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve(&state, &stream));
            }
        });
        stub
    }

    /// The URL to reach it at.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers everything with this error from now on.
    pub fn refuse(&self, status: u16, code: &str) {
        *self.state.answer.lock().unwrap() = Some((status, error(code)));
    }

    /// Answers everything with this from now on.
    pub fn answer(&self, status: u16, body: &str) {
        *self.state.answer.lock().unwrap() = Some((status, body.to_owned()));
    }

    /// Answers as EC2 does from now on.
    pub fn be_good(&self) {
        *self.state.answer.lock().unwrap() = None;
    }

    /// Sets the answers of DescribeInstances, page by page.
    pub fn show(&self, pages: &[&str]) {
        *self.state.pages.lock().unwrap() = pages.iter().map(|page| (*page).to_owned()).collect();
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Ec2Call> {
        self.state.calls.lock().unwrap().clone()
    }

    /// The current tags of an instance.
    pub fn tags(&self, instance: &str) -> BTreeMap<String, String> {
        let tags = self.state.tags.lock().unwrap();
        tags.get(instance).cloned().unwrap_or_default()
    }
}

fn serve(state: &Ec2State, stream: &TcpStream) {
    let mut lines = BufReader::new(stream);
    while let Some(call) = read(&mut lines) {
        state.calls.lock().unwrap().push(call.clone());
        let refused = state.answer.lock().unwrap().clone();
        let (status, body) = refused.unwrap_or_else(|| good(state, &call));
        let length = body.len();
        let mut stream = stream;
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n"
        );
        if stream.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn good(state: &Ec2State, call: &Ec2Call) -> (u16, String) {
    if call.is("DescribeInstances") {
        let page: usize = match call.form.get("NextToken") {
            Some(token) => token.parse().unwrap(),
            None => 0,
        };
        return (200, state.pages.lock().unwrap()[page].clone());
    }
    if call.form.contains_key("DryRun") {
        return (412, error("DryRunOperation"));
    }
    let mut tags = state.tags.lock().unwrap();
    for instance in call.resources() {
        tags.entry(instance).or_default().extend(call.tags());
    }
    let body = "<CreateTagsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><return>\
                true</return></CreateTagsResponse>";
    (200, body.to_owned())
}

fn read(lines: &mut impl BufRead) -> Option<Ec2Call> {
    assert_eq!(line(lines)?, "POST / HTTP/1.1");
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line(lines)?.split_once(": ") {
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    lines.read_exact(&mut body).ok()?;
    let mut form = BTreeMap::new();
    for pair in String::from_utf8(body).unwrap().split('&') {
        let (name, value) = pair.split_once('=').unwrap();
        form.insert(decoded(name), decoded(value));
    }
    Some(Ec2Call {
        form,
        authorization: headers.remove("authorization").unwrap_or_default(),
        host: headers.remove("host").unwrap_or_default(),
        at: Instant::now(),
    })
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8().unwrap().into_owned()
}

//! A proxy in front of a simulated AWS that can throttle for a while: it then refuses each call as
//! AWS refuses too many calls.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The proxy; it ends with the test's process.
#[derive(Debug, Clone)]
pub struct Throttle {
    address: SocketAddr,
    state: Arc<ThrottleState>,
}

#[derive(Debug)]
struct ThrottleState {
    behind: String,
    shut: Mutex<Shut>,
    refused: AtomicUsize,
}

/// Whether calls are refused, and how long.
#[derive(Debug, Default)]
enum Shut {
    #[default]
    Open,
    /// From the next call on, for so long.
    AtNextCall(Duration),
    Until(Instant),
}

impl Shut {
    fn refuses(&mut self) -> bool {
        if let Self::AtNextCall(time) = *self {
            *self = Self::Until(Instant::now() + time);
        }
        matches!(self, Self::Until(end) if Instant::now() < *end)
    }
}

impl Throttle {
    /// A proxy for the endpoint `http://HOST:PORT`, which closes each connection after its answer.
    pub fn before(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::new(ThrottleState {
            behind: endpoint.trim_start_matches("http://").to_owned(),
            shut: Mutex::default(),
            refused: AtomicUsize::new(0),
        });
        let throttle = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::clone(&state),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve(&state, client));
            }
        });
        throttle
    }

    /// The URL to reach it at.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses the next call, whenever it comes, and all that follow within this time after it.
    pub fn shut_for(&self, time: Duration) {
        *self.state.shut.lock().unwrap() = Shut::AtNextCall(time);
    }

    /// Refuses no call from now on.
    pub fn open(&self) {
        *self.state.shut.lock().unwrap() = Shut::Open;
    }

    /// How many calls have been refused so far.
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::Relaxed)
    }
}

/// Handles one request and its answer; a client that disconnects is ignored.
fn serve(state: &ThrottleState, mut client: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = String::new();
    loop {
        let before = head.len();
        reader.read_line(&mut head)?;
        if head[before..].trim().is_empty() {
            break;
        }
    }
    let lower = head.to_ascii_lowercase();
    let mut body = Vec::new();
    for line in lower.lines() {
        if let Some(length) = line.strip_prefix("content-length:") {
            body = vec![0; length.trim().parse().unwrap_or_default()];
        }
    }
    reader.read_exact(&mut body)?;
    if state.shut.lock().unwrap().refuses() {
        state.refused.fetch_add(1, Ordering::Relaxed);
        return client.write_all(refusal(&lower).as_bytes());
    }
    let mut behind = TcpStream::connect(&state.behind)?;
    behind.write_all(head.as_bytes())?;
    behind.write_all(&body)?;
    io::copy(&mut behind, &mut client)?;
    Ok(())
}

/// The refusal in the format of the requested service: in JSON, in EC2's query protocol, or as S3.
fn refusal(head: &str) -> String {
    let (status, body) = if head.contains("\r\nx-amz-target:") {
        (
            "400 Bad Request",
            "{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}",
        )
    } else if head.starts_with("post / ") {
        (
            "503 Service Unavailable",
            "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit \
             exceeded.</Message>\
             </Error></Errors><RequestID>r</RequestID></Response>",
        )
    } else {
        (
            "503 Slow Down",
            "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your \
             request rate.</Message></Error>",
        )
    };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

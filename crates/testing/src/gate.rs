//! A proxy in front of a server that can hold its answers back: for a test in which something
//! happens while a request is under way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// The proxy; it ends with the test's process.
#[derive(Debug, Clone)]
pub struct Gate {
    address: SocketAddr,
    state: Arc<GateState>,
}

#[derive(Debug, Default)]
struct GateState {
    passage: Mutex<Passage>,
    opened: Condvar,
}

#[derive(Debug, Default)]
struct Passage {
    is_shut: bool,
    held: usize,
}

impl Gate {
    /// A proxy for the server at `endpoint`, which lets everything through at first.
    pub fn before(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gate = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        let server = endpoint.strip_prefix("http://").unwrap().to_owned();
        let state = Arc::clone(&gate.state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&server).unwrap();
                let [asks, asked] = [&client, &server].map(|side| side.try_clone().unwrap());
                std::thread::spawn(move || pass_on(&asks, &asked, None));
                let state = Arc::clone(&state);
                std::thread::spawn(move || pass_on(&server, &client, Some(&state)));
            }
        });
        gate
    }

    /// The URL to reach it at.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Holds back each answer from now on.
    pub fn shut(&self) {
        self.state.passage.lock().unwrap().is_shut = true;
    }

    /// Lets all answers through, those held back first.
    pub fn open(&self) {
        self.state.passage.lock().unwrap().is_shut = false;
        self.state.opened.notify_all();
    }

    /// How many answers it has held back so far, those to clients that have left included.
    pub fn held(&self) -> usize {
        self.state.passage.lock().unwrap().held
    }
}

impl GateState {
    fn wait(&self) {
        let mut passage = self.passage.lock().unwrap();
        passage.held += usize::from(passage.is_shut);
        while passage.is_shut {
            passage = self.opened.wait(passage).unwrap();
        }
    }
}

/// Passes on what one side sends, until it ends or the other side has left.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream, gate: Option<&GateState>) {
    let mut bytes = [0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if let Some(gate) = gate {
            gate.wait();
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

//! Simulates outages of AWS regions: a proxy that passes no request for an unavailable region to
//! the server behind it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The server; it ends with the test's process.
#[derive(Debug, Clone)]
pub struct Regions {
    address: SocketAddr,
    away: Arc<Mutex<BTreeSet<String>>>,
}

impl Regions {
    /// A proxy for the server at `endpoint`, which serves all regions.
    pub fn before(endpoint: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let regions = Self {
            address: listener.local_addr().unwrap(),
            away: Arc::default(),
        };
        let server = endpoint.strip_prefix("http://").unwrap().to_owned();
        let away = Arc::clone(&regions.away);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                let away = Arc::clone(&away);
                std::thread::spawn(move || pass_on(&client, &server, &away));
            }
        });
        regions
    }

    /// The URL to reach it at.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes a region unavailable.
    pub fn take_away(&self, region: &str) {
        self.away.lock().unwrap().insert(region.to_owned());
    }

    /// Makes a region available again.
    pub fn bring_back(&self, region: &str) {
        self.away.lock().unwrap().remove(region);
    }
}

/// Passes one request on, and its answer back.
fn pass_on(mut client: &TcpStream, server: &str, away: &Mutex<BTreeSet<String>>) -> Option<()> {
    let mut lines = BufReader::new(client);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let begin = head.len();
        if lines.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head[begin..].to_ascii_lowercase();
        if line.starts_with("connection:") {
            head.truncate(begin);
        } else if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().ok()?;
        } else if line == "\r\n" {
            head.truncate(begin);
            head.push_str("Connection: close\r\n\r\n");
            break;
        }
    }
    // The scope of a request's signature: KEY/DATE/REGION/SERVICE/aws4_request.
    let scope = head.split("Credential=").nth(1)?;
    let region = scope.split('/').nth(2)?;
    if away.lock().unwrap().contains(region) {
        return None;
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    let mut server = TcpStream::connect(server).ok()?;
    server.write_all(head.as_bytes()).ok()?;
    server.write_all(&body).ok()?;
    std::io::copy(&mut server, &mut client).ok()?;
    Some(())
}

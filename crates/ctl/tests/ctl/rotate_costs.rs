//! What a rotation of a thousand nodes costs: each call of AWS is counted. The nodes are simulated:
//! their report objects say that they have what was published last.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, clean_ctl, outcome_of, stand_in};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::using::pair;

const NODES: usize = 1_000;
const MOST_CALLS: usize = 5_000;

/// Stands before moto, and answers for the bucket of reports.
struct Reports {
    behind: String,
    /// Of the document that was published last.
    serial: AtomicU64,
    calls: AtomicUsize,
    kinds: Mutex<Vec<String>>,
}

impl Reports {
    fn before(moto: &Moto) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let reports = Arc::new(Self {
            behind: moto.endpoint().replace("http://", ""),
            serial: AtomicU64::new(1),
            calls: AtomicUsize::new(0),
            kinds: Mutex::default(),
        });
        let shared = Arc::clone(&reports);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let reports = Arc::clone(&shared);
                std::thread::spawn(move || reports.serve(client));
            }
        });
        (reports, endpoint)
    }

    fn serve(&self, mut client: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(client.try_clone().ok()?);
        let mut head = String::new();
        loop {
            let before = head.len();
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
            if head[before..].trim().is_empty() {
                break;
            }
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let path = head.split(' ').nth(1)?.to_owned();
        if let Some(rest) = path.strip_prefix("/reports") {
            self.kinds.lock().unwrap().push(rest.to_owned());
            let (kind, body) = self.answer(rest);
            let length = body.len();
            let tag = self.serial.load(Ordering::SeqCst);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nETag: \"{tag}\"\r\nContent-Length: {length}\r\nConnection: close\r\n\
                 Last-Modified: Fri, 27 Nov 2026 00:00:00 GMT\r\n\r\n{body}"
            );
            return client.write_all(answer.as_bytes()).ok();
        }
        let lower = head.to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let mut behind = TcpStream::connect(&self.behind).ok()?;
        behind.write_all(head.as_bytes()).ok()?;
        behind.write_all(&body).ok()?;
        let mut answer = Vec::new();
        behind.read_to_end(&mut answer).ok()?;
        if head.starts_with("PUT /keys/web.json") && answer.starts_with(b"HTTP/1.1 200") {
            let document: Value = serde_json::from_slice(&body).unwrap();
            self.serial
                .store(document["serial"].as_u64().unwrap(), Ordering::SeqCst);
        }
        client.write_all(&answer).ok()
    }

    /// The list of all reports, or one of them.
    fn answer(&self, rest: &str) -> (&'static str, String) {
        let serial = self.serial.load(Ordering::SeqCst);
        let now = Timestamp::now();
        if rest.contains("list-type=2") {
            let contents: String = (0..NODES)
                .map(|node| {
                    format!(
                        "<Contents><Key>web/n-{node:04}.json</Key><LastModified>{now}</LastModified><ETag>&quot;{serial}&quot;</ETag>\
                         <Size>300</Size><StorageClass>STANDARD</StorageClass></Contents>"
                    )
                })
                .collect();
            let list = format!(
                "<?xml version=\"1.0\"?><ListBucketResult><Name>reports</Name><Prefix>web/</Prefix><KeyCount>{NODES}</KeyCount>\
                 <MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
            );
            return ("application/xml", list);
        }
        let node = rest.trim_start_matches("/web/").split(".json").next();
        let synced = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let report = json!({"schema": 1, "node": node, "status": "ok", "detail": "", "keyset": format!("web/{serial}"),
                            "digest": "", "synced": synced, "host": node, "sources": []});
        ("application/json", report.to_string())
    }
}

#[test]
fn a_rotation_of_a_thousand_nodes_costs_less_than_five_thousand_calls() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    moto.make_bucket("keys");
    let admin = Key::new("admin");
    let document =
        json!({"version": 1, "name": "web", "serial": 1, "keys": [{"public_key": admin.line}]});
    moto.put_object("keys", "web.json", document.to_string().as_bytes());
    let body = json!({"Name": "prod/web", "SecretString": pair(&Key::new("old"))}).to_string();
    let call = "secretsmanager.CreateSecret";
    moto.json("secretsmanager", "us-east-1", call, &body);
    let (reports, endpoint) = Reports::before(&moto);
    let mut command = clean_ctl();
    command
        .envs(stand_in(&endpoint))
        .args(["rotate", "s3://keys/web.json", "--secret", "prod/web"])
        .args(["--from", "s3://reports/web/", "--accounts", "alice"])
        .args(["--grace", "1s", "--timeout", "60s"]);
    let run = outcome_of(&mut command);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
    assert!(
        run.stdout.contains("all 1000 nodes report web/2"),
        "{run:?}"
    );
    let calls = reports.calls.load(Ordering::Relaxed);
    let of_reports = reports.kinds.lock().unwrap().len();
    println!("{calls} calls, {of_reports} of them for reports");
    // Each node's report is read at least once for each key set that is waited for.
    assert!(of_reports > 2 * NODES, "{of_reports}");
    assert!(calls < MOST_CALLS, "{calls}");
}

//! Report objects: how many calls a look takes, and how many of them run at the same time.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use authkeys_aws::client::{Aws, Limits};
use authkeys_aws::objects::Objects;
use authkeys_core::config::ReportPrefix;

use crate::isolated::{isolated, set_profile};

/// The most reads at the same time.
const AT_ONCE: usize = 128;

/// An S3 with one bucket of report objects, which counts its calls.
#[derive(Clone)]
struct Bucket {
    address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, u32>,
    calls: Calls,
    reading: usize,
    /// A read is answered when so many have come, or after a while.
    together: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Calls {
    lists: usize,
    reads: usize,
    most_at_once: usize,
}

impl Bucket {
    fn start(objects: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let bucket = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
        };
        for number in 0..objects {
            bucket.report(number, 1);
        }
        bucket.state.0.lock().unwrap().together = objects.min(AT_ONCE);
        let served = bucket.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let served = served.clone();
                std::thread::spawn(move || served.serve(&stream));
            }
        });
        bucket
    }

    fn report(&self, number: usize, serial: u32) {
        let mut state = self.state.0.lock().unwrap();
        state
            .objects
            .insert(format!("prod/{}.json", id(number)), serial);
        state.together = 1;
    }

    fn remove(&self, number: usize) {
        let mut state = self.state.0.lock().unwrap();
        state.objects.remove(&format!("prod/{}.json", id(number)));
    }

    /// The calls since they were asked for last.
    fn calls(&self) -> Calls {
        std::mem::take(&mut self.state.0.lock().unwrap().calls)
    }

    fn serve(&self, mut stream: &TcpStream) {
        let mut lines = BufReader::new(stream);
        loop {
            let (mut first, mut known) = (String::new(), None);
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                let line = line.trim_end().to_owned();
                match line.to_lowercase().strip_prefix("if-none-match: ") {
                    Some(tag) => known = Some(tag.to_owned()),
                    None if first.is_empty() => first = line,
                    None if line.is_empty() => break,
                    None => {}
                }
            }
            let target = first.split(' ').nth(1).unwrap();
            let answer = match target.split_once("list-type=2") {
                Some((_, query)) => self.list(query),
                None => self.read(target, known.as_deref()),
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn list(&self, query: &str) -> String {
        let mut state = self.state.0.lock().unwrap();
        state.calls.lists += 1;
        let after = query
            .split("continuation-token=")
            .nth(1)
            .map_or(0, |rest| rest.split('&').next().unwrap().parse().unwrap());
        let mut body = String::from("<ListBucketResult>");
        for (key, serial) in state.objects.iter().skip(after).take(1_000) {
            body += &format!(
                "<Contents><Key>{key}</Key><ETag>&quot;{serial}&quot;</ETag><Size>9</Size></Contents>"
            );
        }
        let cut = state.objects.len() > after + 1_000;
        body += &format!("<IsTruncated>{cut}</IsTruncated>");
        if cut {
            body += &format!(
                "<NextContinuationToken>{}</NextContinuationToken>",
                after + 1_000
            );
        }
        whole("200 OK", "", &(body + "</ListBucketResult>"))
    }

    fn read(&self, target: &str, known: Option<&str>) -> String {
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap();
        state.calls.reads += 1;
        state.reading += 1;
        state.calls.most_at_once = state.calls.most_at_once.max(state.reading);
        changed.notify_all();
        let (mut state, _) = changed
            .wait_timeout_while(state, Duration::from_secs(5), |state| {
                state.calls.most_at_once < state.together
            })
            .unwrap();
        state.reading -= 1;
        let key = target
            .split('?')
            .next()
            .unwrap()
            .split_once("prod/")
            .unwrap()
            .1;
        let Some(serial) = state.objects.get(&format!("prod/{key}")) else {
            return whole("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>");
        };
        let tag = format!("\"{serial}\"");
        if known == Some(tag.as_str()) {
            return format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n");
        }
        let body = format!(
            r#"{{"schema":1,"version":"0.1.0","status":"ok","keyset":"web/{serial}","synced":"2026-11-24T11:59:00Z"}}"#
        );
        whole("200 OK", &format!("ETag: {tag}\r\n"), &body)
    }
}

fn whole(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

fn id(number: usize) -> String {
    format!("i-{number:017x}")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// With a bucket of so many objects, and what reads them.
fn with_bucket(
    objects: usize,
    test: impl AsyncFnOnce(&Bucket, &mut Objects),
    home: &std::path::Path,
) {
    let bucket = Bucket::start(objects);
    set_profile(home, &format!("endpoint_url = http://{}", bucket.address));
    let place = ReportPrefix::parse("s3://reports/prod/").unwrap();
    let mut reader = Objects::new(Arc::new(Aws::new(Limits::default())), place);
    block_on(test(&bucket, &mut reader));
}

#[test]
fn each_object_is_read_once_and_128_of_them_at_the_same_time() {
    isolated(&[], |home| {
        for objects in [10, 100, 1_000, 2_000] {
            let test = async |bucket: &Bucket, reader: &mut Objects| {
                let nodes = reader.nodes().await.unwrap();
                assert_eq!(nodes.len(), objects);
                let report = nodes[0].report().unwrap();
                assert_eq!(report.version.as_deref(), Some("0.1.0"));
                let expected = Calls {
                    lists: objects.div_ceil(1_000),
                    reads: objects,
                    most_at_once: objects.min(AT_ONCE),
                };
                assert_eq!(bucket.calls(), expected, "{objects} objects");

                // What has not changed is not read again.
                bucket.report(0, 2);
                let nodes = reader.nodes().await.unwrap();
                assert_eq!(
                    nodes[0].report().unwrap().key_sets().as_deref(),
                    Some("web/2")
                );
                let expected = Calls {
                    lists: objects.div_ceil(1_000),
                    reads: 1,
                    most_at_once: 1,
                };
                assert_eq!(bucket.calls(), expected, "{objects} objects");
            };
            with_bucket(objects, test, home);
        }
    });
}

#[test]
fn only_objects_of_the_nodes_that_are_asked_again_are_read() {
    isolated(&[], |home| {
        let test = async |bucket: &Bucket, reader: &mut Objects| {
            reader.nodes().await.unwrap();
            bucket.calls();
            for number in 0..1_500 {
                bucket.report(number, 2);
            }
            bucket.remove(3);
            // Few nodes: no list, one read each.
            let few: Vec<String> = (0..4).chain([1_700]).map(id).collect();
            let nodes = reader.nodes_again(&few).await.unwrap();
            let ids: Vec<_> = nodes.iter().map(|node| node.id.clone()).collect();
            assert_eq!(ids, [id(0), id(1), id(2), id(1_700)], "one is gone");
            let sets: Vec<_> = nodes
                .iter()
                .map(|node| node.report().unwrap().key_sets())
                .collect();
            assert_eq!(
                sets,
                ["web/2", "web/2", "web/2", "web/1"].map(|set| Some(set.to_owned()))
            );
            let calls = bucket.calls();
            assert_eq!((calls.lists, calls.reads), (0, 5));

            // Many nodes: the lists say which of them have changed.
            let many: Vec<String> = (1_000..2_000).map(id).collect();
            let nodes = reader.nodes_again(&many).await.unwrap();
            assert_eq!(nodes.len(), 1_000);
            let calls = bucket.calls();
            assert_eq!((calls.lists, calls.reads), (2, 500));
        };
        with_bucket(2_000, test, home);
    });
}

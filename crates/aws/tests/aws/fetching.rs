//! One fetch by the real sources, with short limits, from a scripted server.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use authkeys_aws::client::Limits;
use authkeys_aws::client::retry::{Jitter, Policy};
use authkeys_aws::source::AwsSources;
use authkeys_core::origin::{Class, Fetch, FetchError, Fetched, SourceUrl, Version, Versions};
use authkeys_testing::s3_stub::{Stub, StubAnswer};

use crate::isolated::set_profile;

/// Waits as long as a hundredth of what is allowed, and counts.
#[derive(Debug, Default)]
pub(crate) struct Short(RefCell<Vec<Duration>>);

impl Jitter for Short {
    fn pick(&self, most: Duration) -> Duration {
        self.0.borrow_mut().push(most);
        most / 100
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

pub(crate) fn short_limits() -> Limits {
    Limits {
        connect: Duration::from_millis(1_500),
        read: Duration::from_millis(1_500),
        attempt: Duration::from_secs(2),
        retry: Policy {
            limit: Duration::from_secs(20),
            ..Policy::default()
        },
    }
}

pub(crate) fn fetch_from(
    stub: &Stub,
    home: &Path,
    url: &str,
    known: Option<&Version>,
) -> Result<Fetched, FetchError> {
    set_profile(home, &format!("endpoint_url = {}", stub.endpoint()));
    fetch(url, known)
}

pub(crate) fn fetch(url: &str, known: Option<&Version>) -> Result<Fetched, FetchError> {
    let sources = AwsSources::with(short_limits(), Short::default());
    let known = known.cloned().map(Versions::from);
    block_on(sources.fetch(&SourceUrl::parse(url).unwrap(), known.as_ref()))
}

/// Fetches once from a server with these answers; its failure must be one clean line with all these
/// parts.
#[track_caller]
pub(crate) fn fails_at(
    home: &Path,
    url: &str,
    answers: &[StubAnswer],
    requests: usize,
    class: Class,
    parts: &[&str],
) {
    let stub = Stub::start(answers.iter().cloned());
    let error = fetch_from(&stub, home, url, None).unwrap_err();
    let text = error.to_string();
    println!("{text}");
    assert_eq!(error.class, class, "{text}");
    assert_eq!(stub.requests().len(), requests, "{text}");
    assert!(
        !text.contains(char::is_control) && text.len() < 900,
        "{text:?}"
    );
    assert!(text.starts_with(url), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

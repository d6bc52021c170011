//! The nodes' report objects in S3: each look lists them, and reads only those that have changed
//! since the last look.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_types::SdkConfig;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::client::fault::{Call, chain, no_region};
use crate::client::region::s3_arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::{Aws, s3_client};
use crate::source::listing::{ListRequest, page};
use authkeys_core::config::ReportPrefix;
use authkeys_core::fleet::{Node, object};
use authkeys_core::origin::{Class, FetchError};

/// The suffix of a report object's name.
const SUFFIX: &str = ".json";
/// How many are read at the same time.
const AT_ONCE: usize = 128;
/// The most mebibytes of objects in memory at the same time: a hostile node can write a large one.
const IN_MEMORY: usize = 64;
/// How many objects one answer to a list contains.
const PAGE: usize = 1_000;
/// S3 charges as much for a list as for this many reads.
const READS_FOR_A_LIST: usize = 12;
/// The size limit of an object, in bytes. A report has a few thousand; with the 1,000 accounts and
/// sources that it lists at most, each with the longest name and fault, about 4 million.
const MAX_OBJECT: usize = 8 << 20;
/// More pages than the largest fleet has, so that a server that never ends is not followed forever.
const MAX_PAGES: usize = 1_000;

/// The objects of one place, with what is known about them.
#[derive(Debug)]
pub struct Objects {
    aws: Arc<Aws>,
    place: ReportPrefix,
    client: Option<Client>,
    known: BTreeMap<String, ReadObject>,
    /// One permit for each mebibyte in memory.
    memory: Arc<Semaphore>,
}

/// An object that was read.
#[derive(Debug)]
struct ReadObject {
    /// Its ETag without quotes, which not every server writes everywhere.
    tag: String,
    /// The node whose report it is.
    node: Node,
}

/// The result of reading one object.
#[derive(Debug)]
enum ObjectReading {
    Changed(Box<ReadObject>),
    Unchanged,
    Gone,
}

/// The calls, and how they are described when they fail.
struct Calls {
    client: Client,
    list: Call,
    get: Arc<Call>,
}

impl Objects {
    /// The objects below `place`; nothing is requested yet.
    pub fn new(aws: Arc<Aws>, place: ReportPrefix) -> Self {
        Self {
            aws,
            place,
            client: None,
            known: BTreeMap::new(),
            memory: Arc::new(Semaphore::new(IN_MEMORY)),
        }
    }

    /// The nodes that have an object now. All objects are listed, and those that have changed since
    /// the last call are read.
    pub async fn nodes(&mut self) -> Result<Vec<Node>, FetchError> {
        let calls = self.calls().await?;
        let mut listed = self.listed(&calls).await?;
        self.known.retain(|key, _| listed.contains_key(key));
        listed.retain(|key, tag| self.is_changed(key, tag));
        self.read(&calls, listed.into_keys().collect()).await?;
        let nodes = self.known.values().map(|known| known.node.clone());
        Ok(nodes.collect())
    }

    /// The nodes of this list that have an object now. No other node's object is read.
    pub async fn nodes_again(&mut self, ids: &[String]) -> Result<Vec<Node>, FetchError> {
        let calls = self.calls().await?;
        let mut keys: BTreeSet<String> = ids.iter().map(|id| self.key(id)).collect();
        let pages = self.known.len().div_ceil(PAGE).max(1);
        if keys.len() > READS_FOR_A_LIST * pages {
            let listed = self.listed(&calls).await?;
            self.known.retain(|key, _| listed.contains_key(key));
            keys.retain(|key| match listed.get(key) {
                Some(tag) => self.is_changed(key, tag),
                None => false,
            });
        }
        self.read(&calls, keys).await?;
        let mut nodes = Vec::new();
        for id in ids {
            if let Some(known) = self.known.get(&self.key(id)) {
                nodes.push(known.node.clone());
            }
        }
        Ok(nodes)
    }

    fn key(&self, id: &str) -> String {
        format!("{}{id}{SUFFIX}", self.place.prefix)
    }

    fn is_changed(&self, key: &str, tag: &str) -> bool {
        match self.known.get(key) {
            Some(known) => known.tag != tag,
            None => true,
        }
    }

    async fn calls(&mut self) -> Result<Calls, FetchError> {
        let config = match self.aws.config(self.place.region.as_deref()).await {
            Ok(config) => config,
            Err(bad) => return Err(list_call(&self.place, None).unfit(&bad)),
        };
        let list = list_call(&self.place, Some(&config));
        if config.region().is_none() {
            return Err(no_region(&list));
        }
        let all = s3_arn(
            Some(&config),
            &format!("{}/{}*", self.place.bucket, self.place.prefix),
        );
        let get = call(&self.place, "S3 GetObject", "s3:GetObject", all);
        let client = self.client.get_or_insert_with(|| s3_client(&config));
        Ok(Calls {
            client: client.clone(),
            list,
            get: Arc::new(get),
        })
    }

    /// Reads these objects, [`AT_ONCE`] of them at the same time.
    async fn read(&mut self, calls: &Calls, keys: BTreeSet<String>) -> Result<(), FetchError> {
        // All readers run concurrently on this one thread.
        LocalSet::new().run_until(self.read_all(calls, keys)).await
    }

    async fn read_all(
        &mut self,
        calls: &Calls,
        mut keys: BTreeSet<String>,
    ) -> Result<(), FetchError> {
        let mut reading = JoinSet::new();
        loop {
            while reading.len() < AT_ONCE
                && let Some(key) = keys.pop_first()
            {
                reading.spawn_local(self.reader(calls, key));
            }
            match reading.join_next().await {
                None => return Ok(()),
                // A task ends early only when this whole call does.
                Some(Err(_cancelled)) => {}
                Some(Ok(read)) => match read? {
                    (key, ObjectReading::Changed(known)) => {
                        self.known.insert(key, *known);
                    }
                    (key, ObjectReading::Gone) => {
                        self.known.remove(&key);
                    }
                    (_, ObjectReading::Unchanged) => {}
                },
            }
        }
    }

    /// The key and ETag of every object, from all pages.
    async fn listed(&self, calls: &Calls) -> Result<BTreeMap<String, String>, FetchError> {
        let Calls {
            client, list: call, ..
        } = calls;
        let wanted = ListRequest {
            bucket: &self.place.bucket,
            prefix: &self.place.prefix,
            is_deep: false,
        };
        let mut listed = BTreeMap::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let limits = self.aws.limits;
            let page = retry(&limits.retry, &RandomJitter, call, async || {
                let asked = page(limits, client, call, wanted, next.as_deref());
                call.within(limits.attempt, asked).await
            });
            let page = page.await.map_err(about_reports)?;
            for object in page.objects {
                if object.key.ends_with(SUFFIX) {
                    listed.insert(object.key, unquoted(&object.tag));
                }
            }
            match page.next {
                None => return Ok(listed),
                token => next = token,
            }
        }
        Err(call.failed(Class::Invalid, "has no last page", "check the endpoint"))
    }

    /// Reads one object, unless it is unchanged.
    fn reader(
        &self,
        calls: &Calls,
        key: String,
    ) -> impl Future<Output = Result<(String, ObjectReading), FetchError>> + 'static {
        let client = calls.client.clone();
        let call = Arc::clone(&calls.get);
        let limits = self.aws.limits;
        let memory = Arc::clone(&self.memory);
        let bucket = self.place.bucket.clone();
        let prefix = self.place.prefix.len();
        let known = self.known.get(&key);
        let known = known.map(|known| format!("\"{}\"", known.tag));
        async move {
            let read = retry(&limits.retry, &RandomJitter, &call, async || {
                let get = client.get_object().bucket(&bucket).key(&key);
                let sent = get.set_if_none_match(known.clone()).send();
                let answer = match timeout(limits.attempt, sent).await {
                    Err(_elapsed) => return Err(call.timed_out(limits.attempt)),
                    Ok(Err(error)) => return without_object(&call, &error),
                    Ok(Ok(answer)) => answer,
                };
                let _room = memory.acquire_many(mebibytes(&answer)).await;
                let tag = unquoted(answer.e_tag().unwrap_or_default());
                let bytes = bytes(&call, answer, limits.read).await?;
                let id = key.get(prefix..).unwrap_or_default();
                let node = object::node(id.trim_end_matches(SUFFIX), &bytes);
                Ok(ObjectReading::Changed(Box::new(ReadObject { tag, node })))
            });
            let reading = read.await?;
            Ok((key, reading))
        }
    }
}

/// What an answer without an object means.
fn without_object<E: ProvideErrorMetadata + Error + 'static>(
    call: &Call,
    error: &SdkError<E, HttpResponse>,
) -> Result<ObjectReading, FetchError> {
    match error.raw_response().map(|raw| raw.status().as_u16()) {
        Some(304) => Ok(ObjectReading::Unchanged),
        // It was deleted after it was listed.
        Some(404) => Ok(ObjectReading::Gone),
        _ => Err(failed(call, error)),
    }
}

fn unquoted(tag: &str) -> String {
    tag.trim_matches('"').to_owned()
}

/// The most memory that the object can take.
fn mebibytes(answer: &GetObjectOutput) -> u32 {
    let bytes = match answer.content_length().map(usize::try_from) {
        Some(Ok(bytes)) => bytes.min(MAX_OBJECT),
        _ => MAX_OBJECT,
    };
    u32::try_from((bytes >> 20) + 1).unwrap_or(u32::MAX)
}

/// The call that lists; without a configuration if none has been loaded yet.
fn list_call(place: &ReportPrefix, config: Option<&SdkConfig>) -> Call {
    let bucket = s3_arn(config, &place.bucket);
    call(place, "S3 ListObjectsV2", "s3:ListBucket", bucket)
}

fn call(
    place: &ReportPrefix,
    operation: &'static str,
    action: &'static str,
    resource: String,
) -> Call {
    Call {
        source: place.url(),
        operation,
        action,
        resource,
        or_else: "",
        endpoint: "S3".to_owned(),
    }
}

fn failed<E: ProvideErrorMetadata + Error + 'static>(
    call: &Call,
    error: &SdkError<E, HttpResponse>,
) -> FetchError {
    about_reports(call.classed(error))
}

fn about_reports(failed: FetchError) -> FetchError {
    match failed.class {
        // The shared remedy is about key sets.
        Class::Missing => FetchError {
            remedy: "check the bucket's name and region".to_owned(),
            ..failed
        },
        _ => failed,
    }
}

/// The body up to the limit: a larger one is truncated, and is then not a valid report.
async fn bytes(
    call: &Call,
    mut answer: GetObjectOutput,
    limit: Duration,
) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    while bytes.len() <= MAX_OBJECT {
        match timeout(limit, answer.body.next()).await {
            Err(_elapsed) => return Err(call.timed_out(limit)),
            Ok(None) => break,
            Ok(Some(Ok(piece))) => bytes.extend_from_slice(&piece),
            Ok(Some(Err(error))) => {
                let how = format!("was cut off: {}", chain(&error));
                return Err(call.failed(
                    Class::Transient,
                    &how,
                    "nothing to do unless it lasts; it is tried again",
                ));
            }
        }
    }
    bytes.truncate(MAX_OBJECT);
    Ok(bytes)
}

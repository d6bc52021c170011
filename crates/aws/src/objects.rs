//! The nodes' report objects in S3: listed at each look, and read only when they have changed since
//! the last one.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::timeout;

use crate::client::fault::{Call, chain, no_region};
use crate::client::region::s3_arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::{Aws, s3_client};
use crate::source::listing::{Wanted, page};
use authkeys_core::config::ReportPrefix;
use authkeys_core::fleet::{Node, object};
use authkeys_core::origin::{Class, FetchError};

/// What a report object's name ends in.
const SUFFIX: &str = ".json";
/// So many are read at the same time.
const AT_ONCE: usize = 32;
/// The most bytes of an object. A report has a few thousand; with the 1,000 accounts and sources
/// that it lists at most, and each with the longest name and fault, some 4 million.
const MAX_OBJECT: usize = 8 << 20;
/// More pages than the largest fleet has: a server that never ends is not followed for ever.
const MAX_PAGES: usize = 1_000;

/// The objects of one place, with what is known of them.
#[derive(Debug)]
pub struct Objects {
    aws: Arc<Aws>,
    place: ReportPrefix,
    client: Option<Client>,
    /// By key: the ETag, and the node that the object told of.
    known: BTreeMap<String, (String, Node)>,
}

impl Objects {
    /// The objects below `place`; nothing is asked yet.
    pub fn new(aws: Arc<Aws>, place: ReportPrefix) -> Self {
        Self {
            aws,
            place,
            client: None,
            known: BTreeMap::new(),
        }
    }

    /// The nodes that have an object now.
    pub async fn nodes(&mut self) -> Result<Vec<Node>, FetchError> {
        // Readers run beside each other on this one thread.
        LocalSet::new().run_until(self.read()).await?;
        Ok(self.known.values().map(|(_, node)| node.clone()).collect())
    }

    async fn read(&mut self) -> Result<(), FetchError> {
        let list = |config| {
            call(
                &self.place,
                "S3 ListObjectsV2",
                "s3:ListBucket",
                s3_arn(config, &self.place.bucket),
            )
        };
        let config = self
            .aws
            .config(self.place.region.as_deref())
            .await
            .map_err(|bad| list(None).unfit(&bad))?;
        let list = list(Some(&config));
        if config.region().is_none() {
            return Err(no_region(&list));
        }
        let client = self
            .client
            .get_or_insert_with(|| s3_client(&config))
            .clone();
        let listed = self.listed(&client, &list).await?;
        self.known.retain(|key, _| listed.contains_key(key));
        let all = s3_arn(
            Some(&config),
            &format!("{}/{}*", self.place.bucket, self.place.prefix),
        );
        let get = Arc::new(call(&self.place, "S3 GetObject", "s3:GetObject", all));
        let mut changed = listed;
        changed.retain(|key, tag| self.known.get(key).is_none_or(|(known, _)| known != tag));
        let mut reading = JoinSet::new();
        loop {
            while reading.len() < AT_ONCE
                && let Some((key, tag)) = changed.pop_first()
            {
                reading.spawn_local(self.reader(&client, &get, key, tag));
            }
            match reading.join_next().await {
                None => break,
                // A task ends early only when all of this does.
                Some(Err(_cancelled)) => {}
                Some(Ok(read)) => match read? {
                    (key, tag, Some(node)) => drop(self.known.insert(key, (tag, node))),
                    // Deleted since it was listed.
                    (key, _, None) => drop(self.known.remove(&key)),
                },
            }
        }
        Ok(())
    }

    /// Every object's key and ETag, of all pages.
    async fn listed(
        &self,
        client: &Client,
        call: &Call,
    ) -> Result<BTreeMap<String, String>, FetchError> {
        let wanted = Wanted {
            bucket: &self.place.bucket,
            prefix: &self.place.prefix,
            is_deep: false,
        };
        let mut listed = BTreeMap::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let limits = self.aws.limits;
            let over = |limit| call.timed_out(limit);
            let page = retry(&limits.retry, &RandomJitter, over, async || {
                let asked = page(limits, client, call, wanted, next.as_deref());
                timeout(limits.attempt, asked)
                    .await
                    .unwrap_or_else(|_elapsed| Err(call.timed_out(limits.attempt)))
            });
            let page = page.await.map_err(about_reports)?;
            for object in page.objects {
                if object.key.ends_with(SUFFIX) {
                    listed.insert(object.key, object.tag);
                }
            }
            match page.next {
                None => return Ok(listed),
                token => next = token,
            }
        }
        Err(call.failed(Class::Invalid, "has no last page", "check the endpoint"))
    }

    /// Reads one object: the key, its ETag, and the node, unless the object is gone.
    fn reader(
        &self,
        client: &Client,
        call: &Arc<Call>,
        key: String,
        tag: String,
    ) -> impl Future<Output = Result<(String, String, Option<Node>), FetchError>> + 'static {
        let (client, call, limits) = (client.clone(), Arc::clone(call), self.aws.limits);
        let (bucket, prefix) = (self.place.bucket.clone(), self.place.prefix.len());
        async move {
            let id = key
                .get(prefix..)
                .unwrap_or_default()
                .trim_end_matches(SUFFIX)
                .to_owned();
            let over = |limit| call.timed_out(limit);
            let read = retry(&limits.retry, &RandomJitter, over, async || {
                let sent = client.get_object().bucket(&bucket).key(&key).send();
                match timeout(limits.attempt, sent).await {
                    Err(_elapsed) => Err(call.timed_out(limits.attempt)),
                    Ok(Ok(answer)) => bytes(&call, answer, limits.read).await.map(Some),
                    Ok(Err(error))
                        if error
                            .raw_response()
                            .is_some_and(|raw| raw.status().as_u16() == 404) =>
                    {
                        Ok(None)
                    }
                    Ok(Err(error)) => Err(failed(&call, &error)),
                }
            });
            let node = read.await?.map(|bytes| object::node(&id, &bytes));
            Ok((key, tag, node))
        }
    }
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
        // What is said there is about key sets.
        Class::Missing => FetchError {
            remedy: "check the bucket's name and region".to_owned(),
            ..failed
        },
        _ => failed,
    }
}

/// The body up to its limit: one that is larger is cut, and then it is no report any more.
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

//! EC2, as far as authkeysd needs it: CreateTags and DescribeInstances over the query protocol,
//! with the SDK's credentials, region and connections. Compiling the SDK's own EC2 client takes 8
//! GB of memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::client::fault::Call;
use crate::client::retry::{RandomJitter, retry};
use crate::client::{Aws, Limits};
use crate::request::{self, AwsService, Body, Failure};
use authkeys_core::origin::failure::{Class, FetchError};

mod answer;
mod fault;
mod query;

pub use answer::Ec2Instance;
pub use query::Ec2Filter;

const EC2: AwsService = AwsService {
    id: "EC2",
    name: "ec2",
    gov_hosts_are_fips: true,
};
/// The action that a policy must allow for listing instances.
const DESCRIBE: &str = "ec2:DescribeInstances";
/// The most instances that one call tags.
const MOST_TAGGED: usize = 1_000;
/// The most values of one filter.
const MOST_VALUES: usize = 200;
/// The most instances in one answer.
const PAGE: usize = 1_000;
/// More pages than the largest fleet has, so that a server that never ends is not followed forever.
const MAX_PAGES: usize = 10_000;

/// The client. Nothing is set up before the first call. It must run in a tokio runtime with I/O and
/// time enabled.
#[derive(Debug)]
pub struct Ec2 {
    aws: Arc<Aws>,
    /// `None`: the region of the environment, the profile or the metadata service.
    region: Option<String>,
}

/// Whether a call would be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permitted {
    /// It would be allowed.
    Yes,
    /// It would not be allowed.
    No,
}

impl Ec2 {
    /// For `region`; by default that of the environment, the profile or the metadata service.
    pub fn new(limits: Limits, region: Option<&str>) -> Self {
        Self::over(Arc::new(Aws::new(limits)), region)
    }

    /// The same, using existing connections.
    pub fn over(aws: Arc<Aws>, region: Option<&str>) -> Self {
        Self {
            aws,
            region: region.map(str::to_owned),
        }
    }

    /// Sets tags of one instance and keeps its other tags. This is a single attempt: the caller
    /// decides when to try again.
    pub async fn create_tags(
        &self,
        instance: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), FetchError> {
        let call = tagging(instance);
        let limit = self.aws.limits.attempt;
        let attempt = self.call(&call, query::create_tags(&[instance], tags, false));
        call.within(limit, attempt).await.map(drop)
    }

    /// Sets tags of many instances, 1,000 per call, and keeps their other tags. It stops at the
    /// first permanent failure; the error then says on how many instances the tags were set.
    pub async fn tag_all(
        &self,
        instances: &[&str],
        tags: &BTreeMap<String, String>,
    ) -> Result<(), (usize, FetchError)> {
        let keys: Vec<&str> = tags.keys().map(String::as_str).collect();
        let call = Call {
            source: "nudge".to_owned(),
            operation: "EC2 CreateTags",
            action: "ec2:CreateTags",
            resource: format!("the instances, for the tag key {}", keys.join(", ")),
            or_else: " (examples/iam/publisher-nudge.json)",
            endpoint: "EC2".to_owned(),
        };
        let mut done = 0;
        for some in instances.chunks(MOST_TAGGED) {
            let form = query::create_tags(some, tags, false);
            let tagged = retry(&self.aws.limits.retry, &RandomJitter, &call, async || {
                self.call(&call, form.clone()).await
            });
            tagged.await.map_err(|fault| (done, fault))?;
            done += some.len();
        }
        Ok(())
    }

    /// Whether these tags may be set on that instance. No tag is set.
    pub async fn may_create_tags(
        &self,
        instance: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<Permitted, FetchError> {
        let call = tagging(instance);
        let form = query::create_tags(&[instance], tags, true);
        let answer = retry(&self.aws.limits.retry, &RandomJitter, &call, async || {
            match self.send(&call, form.clone()).await? {
                // A compatible server without dry runs has set them.
                Ok(_) => Ok(Permitted::Yes),
                Err(error) => match fault::dry_run(&error) {
                    Some(permitted) => Ok(permitted),
                    None => Err(fault::classed(&self.placed(&call).await, &error)),
                },
            }
        });
        answer.await
    }

    /// Every instance that matches all filters, from all pages.
    pub async fn instances(&self, filters: &[Ec2Filter]) -> Result<Vec<Ec2Instance>, FetchError> {
        let call = Call {
            source: "fleet".to_owned(),
            operation: "EC2 DescribeInstances",
            action: DESCRIBE,
            resource: "*".to_owned(),
            or_else: "",
            endpoint: "EC2".to_owned(),
        };
        let mut instances = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let form = query::describe_instances(filters, next.as_deref());
            let page = retry(&self.aws.limits.retry, &RandomJitter, &call, async || {
                let body = self.call(&call, form.clone()).await?;
                answer::page(&body).map_err(|error| {
                    call.failed(
                        Class::Transient,
                        &format!("sent something that is not an answer of EC2: {error}"),
                        "if it lasts, check the endpoint and the proxy",
                    )
                })
            });
            let page = page.await?;
            instances.extend(page.instances);
            // An empty page is not necessarily the last one; a repeated token would never end.
            match page.next {
                None => return Ok(instances),
                Some(token) if next.as_ref() == Some(&token) => break,
                token => next = token,
            }
        }
        Err(call.failed(Class::Invalid, "has no last page", "narrow the filters"))
    }

    /// Those of these instances that match all filters, with as few calls as possible: EC2 accepts
    /// 200 ids per call, or lists 1,000 of all `known` instances.
    pub async fn instances_again(
        &self,
        ids: &[String],
        filters: &[Ec2Filter],
        known: usize,
    ) -> Result<Vec<Ec2Instance>, FetchError> {
        let mut found = Vec::new();
        if ids.len().div_ceil(MOST_VALUES) > known.div_ceil(PAGE) {
            found = self.instances(filters).await?;
            let wanted: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
            found.retain(|instance| wanted.contains(instance.id.as_str()));
            return Ok(found);
        }
        for some in ids.chunks(MOST_VALUES) {
            let mut narrowed = filters.to_vec();
            narrowed.push(Ec2Filter {
                name: "instance-id".to_owned(),
                values: some.to_vec(),
            });
            found.extend(self.instances(&narrowed).await?);
        }
        Ok(found)
    }

    /// The region in use, if one is configured or the metadata service reports one.
    pub async fn region(&self) -> Option<String> {
        let config = self.aws.config(self.region.as_deref()).await.ok()?;
        config.region().map(ToString::to_string)
    }

    /// A single attempt; the error is classed.
    async fn call(&self, call: &Call, form: String) -> Result<String, FetchError> {
        match self.send(call, form).await? {
            Ok(body) => Ok(body),
            Err(error) => Err(fault::classed(&self.placed(call).await, &error)),
        }
    }

    /// The call, with the endpoint that it goes to.
    async fn placed(&self, call: &Call) -> Call {
        request::placed(&self.aws, self.region.as_deref(), &EC2, call).await
    }

    /// Signs and sends. The outer error is from before the request, the inner one from the request.
    async fn send(&self, call: &Call, form: String) -> Result<Result<String, Failure>, FetchError> {
        let body = Body {
            content_type: "application/x-www-form-urlencoded; charset=utf-8",
            target: None,
            text: form,
        };
        request::send(&self.aws, self.region.as_deref(), &EC2, call, body).await
    }
}

fn tagging(instance: &str) -> Call {
    Call {
        source: "tags".to_owned(),
        operation: "EC2 CreateTags",
        action: "ec2:CreateTags",
        resource: format!("this instance ({instance})"),
        or_else: " and for these tag keys (docs/operate.md has the policy)",
        endpoint: "EC2".to_owned(),
    }
}

//! Fetches a document from the objects below an S3 prefix: one ListObjectsV2, and a GetObject for
//! each new object.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_s3::Client;
use aws_types::SdkConfig;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::listing::{self, ListRequest, Listing};
use super::s3::body;
use crate::client::clients::Clients;
use crate::client::fault::{Call, LATER, no_region, words};
use crate::client::region::s3_arn;
use crate::client::{Aws, Limits, s3_client, service_endpoint};
use authkeys_core::document;
use authkeys_core::origin::{Class, FetchError, Fetched, MAX_DOCUMENT, SourceUrl, Version};

/// The most objects in a document.
const MAX_OBJECTS: usize = 1_000;
/// The most pages that are requested: placeholders may fill some.
const MAX_PAGES: usize = 10;
/// How many objects are read at the same time.
const AT_ONCE: usize = 16;
/// How many digits of the digest are shown to people.
const SHOWN: usize = 16;

/// The objects below a prefix, as named in a source URL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefix<'a> {
    pub(super) url: &'a SourceUrl,
    pub(super) bucket: &'a str,
    pub(super) prefix: &'a str,
}

/// The client for all prefixes.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    pub(super) clients: Clients<Client>,
    /// What the objects contained when they were last read, by source URL.
    kept: Mutex<BTreeMap<String, Bodies>>,
}

/// By key: the ETag and the content.
type Bodies = BTreeMap<String, (String, Zeroizing<Vec<u8>>)>;
/// By key: the ETag and the size.
type Listed = BTreeMap<String, (String, usize)>;

impl Prefixes {
    /// One attempt; its time limit covers credentials and bodies. Objects that were read are kept
    /// for the next attempt.
    pub(super) async fn attempt(
        &self,
        aws: &Aws,
        prefix: &Prefix<'_>,
        known: Option<&Version>,
    ) -> Result<Fetched, FetchError> {
        let call = prefix.list_call(None);
        let attempt = self.unlimited(aws, prefix, known);
        call.within(aws.limits.attempt, attempt).await
    }

    async fn unlimited(
        &self,
        aws: &Aws,
        prefix: &Prefix<'_>,
        known: Option<&Version>,
    ) -> Result<Fetched, FetchError> {
        let config = aws
            .config(prefix.url.region())
            .await
            .map_err(|bad| prefix.list_call(None).unfit(&bad))?;
        let call = prefix.list_call(Some(&config));
        if config.region().is_none() {
            return Err(no_region(&call));
        }
        let client = self.clients.of(prefix.url.region(), || s3_client(&config));
        let listed = prefix.listed(aws.limits, &client, &call).await?;
        let version = version(&listed);
        if known.is_some_and(|known| known.token == version.token) {
            return Ok(Fetched::Unchanged);
        }
        self.read(aws.limits, &client, &config, prefix, &listed)
            .await?;
        let Some(bytes) = self.joined(prefix, &listed) else {
            // Another fetch of the same prefix found other objects in the meantime. A document
            // without one of them would remove its keys.
            return Err(call.failed(Class::Transient, "changed while it was read", LATER));
        };
        if bytes.len() > MAX_DOCUMENT {
            return Err(call.too_large());
        }
        Ok(Fetched::document(bytes, version))
    }

    /// Reads the objects that are not kept yet, and drops those that are gone.
    async fn read(
        &self,
        limits: Limits,
        client: &Client,
        config: &SdkConfig,
        prefix: &Prefix<'_>,
        listed: &Listed,
    ) -> Result<(), FetchError> {
        let mut wanted: Vec<(&String, &String)> = Vec::new();
        {
            let mut kept = self.kept();
            let bodies = kept.entry(prefix.url.to_string()).or_default();
            bodies.retain(|key, (tag, _)| listed.get(key).is_some_and(|(now, _)| now == tag));
            for (key, (tag, _)) in listed {
                if !bodies.contains_key(key) {
                    wanted.push((key, tag));
                }
            }
        }
        let mut reading = JoinSet::new();
        let mut wanted = wanted.into_iter();
        loop {
            while reading.len() < AT_ONCE
                && let Some((key, tag)) = wanted.next()
            {
                let call = prefix.get_call(config, key);
                let client = client.clone();
                let bucket = prefix.bucket.to_owned();
                reading.spawn(object(
                    limits,
                    client,
                    call,
                    bucket,
                    key.clone(),
                    tag.clone(),
                ));
            }
            match reading.join_next().await {
                None => return Ok(()),
                // The join of the objects notices that one is missing.
                Some(Err(_ended_early)) => {}
                Some(Ok(read)) => {
                    let (key, tag, bytes) = read?;
                    let mut kept = self.kept();
                    let bodies = kept.entry(prefix.url.to_string()).or_default();
                    bodies.insert(key, (tag, bytes));
                }
            }
        }
    }

    /// Joins all objects into one document, in the order of their names; `None` if one of them is
    /// not kept as it was listed.
    fn joined(&self, prefix: &Prefix<'_>, listed: &Listed) -> Option<Vec<u8>> {
        let kept = self.kept();
        let bodies = kept.get(&prefix.url.to_string())?;
        let mut objects = Vec::with_capacity(listed.len());
        for (key, (tag, _)) in listed {
            let (kept_tag, bytes) = bodies.get(key)?;
            if kept_tag != tag {
                return None;
            }
            objects.push((prefix.name(key), bytes.as_slice()));
        }
        Some(document::join(objects))
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, Bodies>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Prefix<'_> {
    /// Every object that counts, from all pages. An empty list is not a key set.
    async fn listed(
        &self,
        limits: Limits,
        client: &Client,
        call: &Call,
    ) -> Result<Listed, FetchError> {
        let wanted = ListRequest {
            bucket: self.bucket,
            prefix: self.prefix,
            is_deep: true,
        };
        let mut listed = Listed::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = listing::page(limits, client, call, wanted, next.as_deref()).await?;
            self.take(&page, &mut listed, call)?;
            let token = page.next;
            if token.is_some() && token != next {
                next = token;
                continue;
            }
            if token.is_some() {
                break;
            }
            if listed.is_empty() {
                return Err(call.failed(
                    Class::Missing,
                    "found no objects, which does not mean \"no keys\"",
                    "put at least one object with public keys there, such as alice.pub",
                ));
            }
            return Ok(listed);
        }
        Err(call.failed(Class::Invalid, "has no last page", "check the endpoint"))
    }

    fn take(&self, page: &Listing, listed: &mut Listed, call: &Call) -> Result<(), FetchError> {
        let mut total: usize = listed.values().map(|(_, size)| size).sum();
        for object in &page.objects {
            let key = object.key.clone();
            let size = object.size;
            // The console creates such objects as folders; the prefix itself may be one.
            let is_folder = key.ends_with('/') && size == 0;
            if is_folder || !key.starts_with(self.prefix) {
                continue;
            }
            total = total.saturating_add(size);
            if total > MAX_DOCUMENT {
                let what = format!("found more than 1 MiB in all, up to {}", self.shown(&key));
                let remedy = "each object is one person's public keys: remove what is not";
                return Err(call.failed(Class::Invalid, &what, remedy));
            }
            if object.tag.is_empty() {
                let what = format!("listed {} without an ETag", self.shown(&key));
                return Err(call.failed(Class::Invalid, &what, "check the endpoint"));
            }
            listed.insert(key, (object.tag.clone(), size));
            if listed.len() > MAX_OBJECTS {
                let what = format!("found more than the {MAX_OBJECTS} objects that are read");
                let remedy = "publish one document, or take several prefixes as a list";
                return Err(call.failed(Class::Invalid, &what, remedy));
            }
        }
        Ok(())
    }

    /// An object's name below the prefix.
    fn name<'k>(&self, key: &'k str) -> &'k str {
        key.strip_prefix(self.prefix).unwrap_or(key)
    }

    fn shown(&self, key: &str) -> String {
        words(self.name(key))
    }

    /// The call; without a configuration if none has been loaded yet.
    pub(super) fn list_call(&self, config: Option<&SdkConfig>) -> Call {
        Call {
            source: self.url.to_string(),
            operation: "S3 ListObjectsV2",
            action: "s3:ListBucket",
            resource: s3_arn(config, self.bucket),
            or_else: " with a condition on s3:prefix that covers it",
            endpoint: service_endpoint(config, "S3", "S3"),
        }
    }

    fn get_call(&self, config: &SdkConfig, key: &str) -> Call {
        Call {
            source: format!("{}: {}", self.url, self.shown(key)),
            operation: "S3 GetObject",
            action: "s3:GetObject",
            resource: s3_arn(Some(config), &format!("{}/{}*", self.bucket, self.prefix)),
            or_else: "",
            endpoint: service_endpoint(Some(config), "S3", "S3"),
        }
    }
}

/// Reads one object, if it is still the one that was listed.
async fn object(
    limits: Limits,
    client: Client,
    call: Call,
    bucket: String,
    key: String,
    tag: String,
) -> Result<(String, String, Zeroizing<Vec<u8>>), FetchError> {
    let answer = client
        .get_object()
        .bucket(bucket)
        .key(&key)
        .if_match(&tag)
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let bytes = body(limits.read, &call, answer, MAX_DOCUMENT).await?;
            Ok((key, tag, Zeroizing::new(bytes)))
        }
        Err(error) => {
            let status = error.raw_response().map(|raw| raw.status().as_u16());
            Err(match status {
                Some(404 | 412) => {
                    let what = "found that it was changed or deleted after it was listed";
                    call.failed(Class::Transient, what, LATER)
                }
                _ => call.classed(&error),
            })
        }
    }
}

/// The version of a list: a digest of names and ETags.
fn version(listed: &Listed) -> Version {
    let mut hash = Sha256::new();
    for (key, (tag, _)) in listed {
        for text in [key, tag] {
            hash.update(text.as_bytes());
            hash.update([0]);
        }
    }
    let digest: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Version {
        label: digest.chars().take(SHOWN).collect(),
        token: digest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(tag: &str) -> Listed {
        [("p/a", "1"), ("p/b", tag)]
            .map(|(key, tag)| (key.to_owned(), (tag.to_owned(), 1)))
            .into()
    }

    #[test]
    fn a_list_of_which_an_object_is_not_there_as_it_was_listed_is_no_document() {
        let url = SourceUrl::parse("s3://b/p/").unwrap();
        let prefix = Prefix {
            url: &url,
            bucket: "b",
            prefix: "p/",
        };
        let prefixes = Prefixes::default();
        assert_eq!(prefixes.joined(&prefix, &listed("2")), None);
        let body = |tag: &str| (tag.to_owned(), Zeroizing::new(b"x".to_vec()));
        let mut bodies = Bodies::from([("p/a".to_owned(), body("1"))]);
        prefixes.kept().insert(url.to_string(), bodies.clone());
        assert_eq!(prefixes.joined(&prefix, &listed("2")), None, "b is missing");
        bodies.insert("p/b".to_owned(), body("2"));
        prefixes.kept().insert(url.to_string(), bodies);
        assert!(prefixes.joined(&prefix, &listed("2")).is_some());
        assert_eq!(prefixes.joined(&prefix, &listed("3")), None, "b is another");
    }
}

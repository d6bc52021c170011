//! Fetches a document from an S3 object: one conditional GetObject.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_types::SdkConfig;
use tokio::time::timeout;

use crate::client::clients::Clients;
use crate::client::fault::{Call, chain, no_region, words};
use crate::client::region::s3_arn;
use crate::client::{Aws, s3_client, service_endpoint};
use authkeys_core::origin::FetchError;
use authkeys_core::origin::{Fetched, MAX_DOCUMENT, SourceUrl, Version};

/// One object, as named in a source URL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) url: &'a SourceUrl,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) version_id: Option<&'a str>,
}

/// The client for all objects.
#[derive(Debug, Default)]
pub(super) struct S3 {
    pub(super) clients: Clients<Client>,
}

impl S3 {
    /// One attempt; its time limit covers credentials and body.
    pub(super) async fn attempt(
        &self,
        aws: &Aws,
        object: &Object<'_>,
        known: Option<&Version>,
    ) -> Result<Fetched, FetchError> {
        let call = object.call(None);
        let attempt = self.unlimited(aws, object, known);
        call.within(aws.limits.attempt, attempt).await
    }

    async fn unlimited(
        &self,
        aws: &Aws,
        object: &Object<'_>,
        known: Option<&Version>,
    ) -> Result<Fetched, FetchError> {
        let config = match aws.config(object.url.region()).await {
            Ok(config) => config,
            Err(bad) => return Err(object.call(None).unfit(&bad)),
        };
        let call = object.call(Some(&config));
        if config.region().is_none() {
            return Err(no_region(&call));
        }
        let condition = known.and_then(condition);
        let conditional = condition.is_some();
        let answer = self
            .clients
            .of(object.url.region(), || s3_client(&config))
            .get_object()
            .bucket(object.bucket)
            .key(object.key)
            .set_version_id(object.version_id.map(str::to_owned))
            .set_if_none_match(condition)
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let version = version(&answer);
                let bytes = body(aws.limits.read, &call, answer, MAX_DOCUMENT).await?;
                Ok(Fetched::document(bytes, version))
            }
            // The SDK treats every status except 2xx as an error.
            Err(error) => match error.raw_response() {
                Some(raw) if conditional && raw.status().as_u16() == 304 => Ok(Fetched::Unchanged),
                _ => Err(call.classed(&error)),
            },
        }
    }
}

/// The ETag of the version that is known. A token that is not valid in a header did not come from
/// S3; the object is then fetched unconditionally.
fn condition(known: &Version) -> Option<String> {
    let token = &known.token;
    let is_valid = token.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if is_valid && !token.is_empty() {
        Some(token.clone())
    } else {
        None
    }
}

impl Object<'_> {
    /// The call; without a configuration if none has been loaded yet.
    pub(super) fn call(&self, config: Option<&SdkConfig>) -> Call {
        Call {
            source: self.url.to_string(),
            operation: "S3 GetObject",
            action: if self.version_id.is_some() {
                "s3:GetObjectVersion"
            } else {
                "s3:GetObject"
            },
            resource: s3_arn(config, &format!("{}/{}", self.bucket, self.key)),
            or_else: ", or publish it: without s3:ListBucket a missing object looks the same",
            endpoint: service_endpoint(config, "S3", "S3"),
        }
    }
}

/// Reads the body to its end, but no more than `most` bytes.
pub(super) async fn body(
    limit: Duration,
    call: &Call,
    mut answer: GetObjectOutput,
    most: usize,
) -> Result<Vec<u8>, FetchError> {
    let announced = match answer.content_length.map(usize::try_from) {
        Some(Ok(length)) => Some(length),
        _ => None,
    };
    if let Some(length) = announced
        && length > most
    {
        return Err(call.too_large());
    }
    if answer.content_range.is_some() {
        return Err(call.cut_off("only a part of the object was sent"));
    }
    let mut bytes = Vec::new();
    loop {
        let piece = match timeout(limit, answer.body.next()).await {
            Err(_elapsed) => return Err(call.timed_out(limit)),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(call.cut_off(&chain(&error))),
            Ok(Some(Ok(piece))) => piece,
        };
        if bytes.len() + piece.len() > most {
            // The answer is dropped with its connection, so the rest is not even transferred.
            return Err(call.too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    if let Some(length) = announced
        && length != bytes.len()
    {
        return Err(call.cut_off(&format!("{} bytes of {length}", bytes.len())));
    }
    Ok(bytes)
}

fn version(answer: &GetObjectOutput) -> Version {
    let token = answer.e_tag.clone().unwrap_or_default();
    // In a bucket whose versioning was suspended, new objects have the version id "null".
    let label = match answer.version_id.as_deref() {
        None | Some("" | "null") => token.trim_start_matches("W/").trim_matches('"'),
        Some(id) => id,
    };
    Version {
        label: words(label),
        token,
    }
}

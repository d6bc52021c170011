//! Publishes to an S3 object: one PutObject on the condition that the object has the ETag that was
//! read, or does not exist. If it does not exist, the versions that a bucket with versioning keeps
//! show whether it did before.

use std::cell::Cell;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_types::SdkConfig;
use tokio::time::timeout;

use super::{NotWritten, PublishTarget, Published, WrittenVersion};
use crate::client::fault::Call;
use crate::client::region::s3_arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::{checksum, s3_client, service_endpoint};
use crate::encryption::encrypted;
use authkeys_core::origin::FetchError;

/// Writes the object. If the answer is lost, the write is tried again: then the condition fails,
/// and the caller sees from the published object that the first attempt succeeded.
pub(super) async fn write(
    target: &PublishTarget,
    bucket: &str,
    key: &str,
    region: Option<&str>,
    text: &str,
    over: Option<&Published>,
) -> Result<WrittenVersion, NotWritten> {
    let call = |config: Option<&SdkConfig>| Call {
        source: target.to_string(),
        operation: "S3 PutObject",
        action: "s3:PutObject",
        resource: s3_arn(config, &format!("{bucket}/{key}")),
        or_else: "",
        endpoint: service_endpoint(config, "S3", "S3"),
    };
    let config = target.config(region, call).await?;
    let call = call(Some(&config));
    let client = s3_client(&config);
    let limits = target.aws().limits;
    let attempts = Cell::new(0_u32);
    let put = async || {
        attempts.set(attempts.get().saturating_add(1));
        let request = client
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(ByteStream::from(text.as_bytes().to_vec()));
        // A bucket with Object Lock retention accepts no object without a checksum.
        let request = request.checksum_sha256(checksum(text.as_bytes()));
        let json = text.trim_start().starts_with('{');
        let request = request.content_type(if json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        });
        let request = encrypted(request, target.encryption.as_ref());
        let request = match over {
            Some(published) => request.if_match(&published.version.token),
            None => request.if_none_match("*"),
        };
        let answer = timeout(limits.attempt, request.send())
            .await
            .map_err(|_elapsed| call.timed_out(limits.attempt))?;
        match answer {
            Ok(answer) => {
                let id = answer
                    .version_id
                    .filter(|id| !id.is_empty() && id != "null");
                let tag = answer.e_tag.unwrap_or_default();
                let version = id.unwrap_or_else(|| tag.trim_matches('"').to_owned());
                Ok(Some(WrittenVersion {
                    version,
                    overwrote: None,
                    warnings: Vec::new(),
                }))
            }
            Err(error) => {
                let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
                let code = error.code().unwrap_or_default();
                // 409: another write was in progress; 404: the object that was read is gone.
                let lost = matches!(status, 409 | 412) || status == 404 && code == "NoSuchKey";
                if lost {
                    Ok(None)
                } else {
                    Err(call.classed(&error))
                }
            }
        }
    };
    let done: Result<Option<WrittenVersion>, FetchError> =
        retry(&limits.retry, &RandomJitter, &call, put).await;
    match done? {
        Some(written) => Ok(written),
        None if attempts.get() > 1 => Err(NotWritten::Unclear),
        None => Err(NotWritten::Lost),
    }
}

/// What was there before the object was deleted: the id of its last version, or that there was one
/// whose bytes are gone. `None` if nothing is known: the bucket has no versioning, or listing its
/// versions is not allowed.
pub(super) async fn deleted(
    target: &PublishTarget,
    bucket: &str,
    key: &str,
    region: Option<&str>,
) -> Option<Option<String>> {
    let config = target.aws().config(region).await.ok()?;
    let request = s3_client(&config)
        .list_object_versions()
        .bucket(bucket)
        .prefix(key)
        .send();
    // A failure means "not known"; the publication does not depend on the answer.
    let answer = timeout(target.aws().limits.attempt, request)
        .await
        .ok()?
        .ok()?;
    // Of all keys with this prefix, the key itself comes first, with its newest version first.
    let last = answer
        .versions()
        .iter()
        .find(|version| version.key() == Some(key));
    // The object was not deleted: it exists, but these credentials may not read it.
    if last.is_some_and(|version| version.is_latest() == Some(true)) {
        return None;
    }
    let last = last
        .and_then(|version| version.version_id())
        .map(str::to_owned);
    let marked = answer
        .delete_markers()
        .iter()
        .any(|marker| marker.key() == Some(key));
    (marked || last.is_some()).then_some(last)
}

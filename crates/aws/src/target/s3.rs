//! Publishes to an S3 object: one PutObject on the condition that the object has the ETag that was
//! read, or does not exist. If it does not exist, the versions that a bucket with versioning keeps
//! show whether it did before.

use std::cell::Cell;

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_types::SdkConfig;
use tokio::time::timeout;

use super::{NotWritten, PublishTarget, Published, WrittenVersion};
use crate::client::fault::Call;
use crate::client::region::s3_arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::{checksum, s3_client, service_endpoint};
use crate::encryption::encrypted;

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
    let done = retry(&limits.retry, &RandomJitter, &call, async || {
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
        match timeout(limits.attempt, request.send()).await {
            Err(_elapsed) => Err(call.timed_out(limits.attempt)),
            Ok(Ok(answer)) => Ok(Some(WrittenVersion {
                version: written_version(&answer),
                overwrote: None,
                warnings: Vec::new(),
            })),
            Ok(Err(error)) => {
                let status = error.raw_response().map(|raw| raw.status().as_u16());
                match (status, error.code()) {
                    // 409: another write was in progress; 404: the object that was read is gone.
                    (Some(409 | 412), _) | (Some(404), Some("NoSuchKey")) => Ok(None),
                    _ => Err(call.classed(&error)),
                }
            }
        }
    });
    match done.await? {
        Some(written) => Ok(written),
        None if attempts.get() > 1 => Err(NotWritten::Unclear),
        None => Err(NotWritten::Lost),
    }
}

/// The version's id or, in a bucket without versioning, the ETag.
fn written_version(answer: &PutObjectOutput) -> String {
    match answer.version_id() {
        None | Some("" | "null") => {
            let tag = answer.e_tag().unwrap_or_default();
            tag.trim_matches('"').to_owned()
        }
        Some(id) => id.to_owned(),
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
    let Ok(Ok(answer)) = timeout(target.aws().limits.attempt, request).await else {
        return None;
    };
    // Of all keys with this prefix, the key itself comes first, with its newest version first.
    let mut versions = answer.versions().iter();
    let mut last = None;
    if let Some(version) = versions.find(|version| version.key() == Some(key)) {
        // The object was not deleted: it exists, but these credentials may not read it.
        if version.is_latest() == Some(true) {
            return None;
        }
        last = version.version_id().map(str::to_owned);
    }
    let mut markers = answer.delete_markers().iter();
    if last.is_some() || markers.any(|marker| marker.key() == Some(key)) {
        Some(last)
    } else {
        None
    }
}

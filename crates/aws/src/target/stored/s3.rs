//! The versions and delete markers of an S3 object, page by page.

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;
use tokio::time::timeout;

use super::{Archive, End, MAX_PAGES, Reach, Versions, time};
use crate::client::fault::Call;
use crate::client::region::s3_arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::{s3_client, service_endpoint};
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::publishing::versions::{Kind, StoredVersion};

/// What S3 calls the version of an object that was written while its bucket kept none.
pub(super) const UNVERSIONED: &str = "null";

/// Lists them as far as they are wanted. Of all keys that begin like this one it comes first, so that whatever else lies
/// beside it is not listed.
pub(super) async fn versions(archive: &Archive, bucket: &str, key: &str, reach: Reach) -> Result<Versions, FetchError> {
    let call = |config: Option<&_>| Call {
        source: archive.place.to_string(),
        operation: "S3 ListObjectVersions",
        action: "s3:ListBucketVersions",
        resource: s3_arn(config, bucket),
        or_else: "",
        endpoint: service_endpoint(config, "S3", "S3"),
    };
    let config = archive.config(call).await?;
    let (call, client, limits) = (call(Some(&config)), s3_client(&config), archive.sources.aws().limits);
    let mut list = Vec::new();
    let mut next: (Option<String>, Option<String>) = (None, None);
    for _ in 0..MAX_PAGES {
        let request = client.list_object_versions().bucket(bucket).prefix(key);
        let request = request.set_key_marker(next.0.clone()).set_version_id_marker(next.1.clone());
        let over = |limit| call.timed_out(limit);
        let page = retry(&limits.retry, &RandomJitter, over, async || {
            match timeout(limits.attempt, request.clone().send()).await {
                Err(_elapsed) => Err(call.timed_out(limits.attempt)),
                Ok(answer) => answer.map_err(|error| call.classed(&error)),
            }
        });
        let page = page.await?;
        list.extend(of_page(&page, key));
        let others = page.versions().iter().any(|version| version.key() != Some(key))
            || page.delete_markers().iter().any(|marker| marker.key() != Some(key));
        let is_last =
            others || page.is_truncated() != Some(true) || page.next_key_marker().is_none_or(|marker| marker != key);
        if is_last {
            let unversioned = matches!(list.as_slice(), [one] if one.id == UNVERSIONED);
            return Ok(Versions { list, end: if unversioned { End::Unversioned } else { End::Oldest } });
        }
        let is_enough = match reach {
            Reach::Newest(most) => list.len() >= most,
            Reach::At(at) => list.iter().any(|version| version.published.is_some_and(|published| published <= at)),
            Reach::All => false,
        };
        if is_enough {
            return Ok(Versions { list, end: End::More });
        }
        next = (page.next_key_marker, page.next_version_id_marker);
    }
    Err(call.failed(Class::Invalid, "has no last page", "check the endpoint"))
}

/// A page's versions and delete markers, which come as two lists, in one, the newest first.
fn of_page(page: &ListObjectVersionsOutput, key: &str) -> Vec<StoredVersion> {
    let mut list = Vec::new();
    for version in page.versions() {
        if version.key() == Some(key) {
            list.push(StoredVersion {
                id: version.version_id().unwrap_or(UNVERSIONED).to_owned(),
                stages: Vec::new(),
                published: time(version.last_modified()),
                kind: Kind::Document,
                is_current: version.is_latest() == Some(true),
            });
        }
    }
    for marker in page.delete_markers() {
        if marker.key() == Some(key) {
            list.push(StoredVersion {
                id: marker.version_id().unwrap_or(UNVERSIONED).to_owned(),
                stages: Vec::new(),
                published: time(marker.last_modified()),
                kind: Kind::Deleted,
                is_current: marker.is_latest() == Some(true),
            });
        }
    }
    list.sort_by_key(|version| (!version.is_current, std::cmp::Reverse(version.published)));
    list
}

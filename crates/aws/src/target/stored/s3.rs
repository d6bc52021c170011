//! The versions and delete markers of an S3 object, page by page.

use aws_sdk_s3::operation::list_object_versions::ListObjectVersionsOutput;

use super::{Archive, End, Reach, Versions, time};
use crate::client::fault::Call;
use crate::client::region::s3_arn;
use crate::client::{s3_client, service_endpoint};
use authkeys_core::origin::FetchError;
use authkeys_core::publishing::versions::{StoredVersion, VersionKind};

/// S3's version id of an object that was written while its bucket kept no versions.
pub(super) const UNVERSIONED: &str = "null";

/// Lists them as far as requested. Of all keys with this prefix the key itself comes first, so that
/// no other keys need to be listed.
pub(super) async fn versions(
    archive: &Archive,
    bucket: &str,
    key: &str,
    reach: Reach,
) -> Result<Versions, FetchError> {
    let call = |config: Option<&_>| Call {
        source: archive.place.to_string(),
        operation: "S3 ListObjectVersions",
        action: "s3:ListBucketVersions",
        resource: s3_arn(config, bucket),
        or_else: "",
        endpoint: service_endpoint(config, "S3", "S3"),
    };
    let config = archive.config(call).await?;
    let call = call(Some(&config));
    let client = s3_client(&config);
    let mut list = Vec::new();
    let mut end = End::More;
    let request = client.list_object_versions().bucket(bucket).prefix(key);
    let send = async |marker: Option<(String, Option<String>)>| {
        let (key, version) = marker.unzip();
        request
            .clone()
            .set_key_marker(key)
            .set_version_id_marker(version.flatten())
            .send()
            .await
    };
    archive
        .follow(&call, send, |page: ListObjectVersionsOutput| {
            list.extend(of_page(&page, key));
            let next = next_key(&page, key);
            if next.is_none() {
                let unversioned = matches!(list.as_slice(), [one] if one.id == UNVERSIONED);
                end = if unversioned {
                    End::Unversioned
                } else {
                    End::Oldest
                };
            }
            match next {
                Some(key) if !is_enough(&list, reach) => Some((key, page.next_version_id_marker)),
                _ => None,
            }
        })
        .await?;
    Ok(Versions { list, end })
}

/// The key at which the next page begins, if there may be more of this key.
fn next_key(page: &ListObjectVersionsOutput, key: &str) -> Option<String> {
    let mut versions = page.versions().iter();
    let mut markers = page.delete_markers().iter();
    let has_others = versions.any(|version| version.key() != Some(key))
        || markers.any(|marker| marker.key() != Some(key));
    if has_others || page.is_truncated() != Some(true) || page.next_key_marker() != Some(key) {
        return None;
    }
    page.next_key_marker.clone()
}

fn is_enough(list: &[StoredVersion], reach: Reach) -> bool {
    match reach {
        Reach::Newest(most) => list.len() >= most,
        Reach::At(at) => list.iter().any(|version| match version.published {
            Some(published) => published <= at,
            None => false,
        }),
        Reach::All => false,
    }
}

/// A page's versions and delete markers, which come as two lists, merged, newest first.
fn of_page(page: &ListObjectVersionsOutput, key: &str) -> Vec<StoredVersion> {
    let mut list = Vec::new();
    for version in page.versions() {
        if version.key() == Some(key) {
            list.push(StoredVersion {
                id: version.version_id().unwrap_or(UNVERSIONED).to_owned(),
                stages: Vec::new(),
                published: time(version.last_modified()),
                kind: VersionKind::Document,
                is_current: version.is_latest() == Some(true),
                token: version.e_tag().map(str::to_owned),
            });
        }
    }
    for marker in page.delete_markers() {
        if marker.key() == Some(key) {
            list.push(StoredVersion {
                id: marker.version_id().unwrap_or(UNVERSIONED).to_owned(),
                stages: Vec::new(),
                published: time(marker.last_modified()),
                kind: VersionKind::Deleted,
                is_current: marker.is_latest() == Some(true),
                token: None,
            });
        }
    }
    list.sort_by_key(|version| (!version.is_current, std::cmp::Reverse(version.published)));
    list
}

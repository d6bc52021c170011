//! The versions of a secret, with and without stages.

use std::cmp::Reverse;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::types::SecretVersionsListEntry;
use aws_types::SdkConfig;
use zeroize::Zeroizing;

use super::{Archive, End, Versions, next_token, time};
use crate::client::fault::{Call, words};
use crate::client::region::secret_arn;
use crate::client::{secret_value, service_endpoint};
use crate::target::Published;
use authkeys_core::origin::{FetchError, MAX_DOCUMENT, Version};
use authkeys_core::publishing::place::Pin;
use authkeys_core::publishing::versions::{StoredVersion, VersionKind};

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
/// The prefix of the labels of running publishers.
const OURS: &str = "authkeysctl-";

/// Lists all versions that are kept, about 100 at most.
pub(super) async fn versions(archive: &Archive, id: &str) -> Result<Versions, FetchError> {
    let call = |config: Option<&SdkConfig>| {
        call(
            archive,
            id,
            config,
            "Secrets Manager ListSecretVersionIds",
            "secretsmanager:ListSecretVersionIds",
        )
    };
    let config = archive.config(call).await?;
    let call = call(Some(&config));
    let client = Client::new(&config);
    let mut entries = Vec::new();
    let request = client
        .list_secret_version_ids()
        .secret_id(id)
        .include_deprecated(true)
        .max_results(100);
    let send = async |token| request.clone().set_next_token(token).send().await;
    archive
        .follow(&call, send, |page| {
            entries.extend(page.versions.unwrap_or_default());
            next_token(page.next_token)
        })
        .await?;
    Ok(Versions {
        list: in_order(&entries),
        end: End::Oldest,
    })
}

/// Newest first. A version that is newer than the current one, or that waits to become current, is
/// beside it: as far as the stages show, it was never published.
fn in_order(entries: &[SecretVersionsListEntry]) -> Vec<StoredVersion> {
    let is_current = |entry: &SecretVersionsListEntry| {
        entry.version_stages().iter().any(|stage| stage == CURRENT)
    };
    let since = entries
        .iter()
        .find(|entry| is_current(entry))
        .and_then(|entry| time(entry.created_date()));
    let mut list = Vec::new();
    for entry in entries {
        let Some(id) = entry.version_id() else {
            continue;
        };
        let published = time(entry.created_date());
        let stages = entry.version_stages();
        let is_waiting = stages
            .iter()
            .any(|stage| stage == PENDING || stage.starts_with(OURS));
        let is_later = published.is_some() && published > since;
        let kind = if !is_current(entry) && (is_waiting || is_later) {
            VersionKind::Beside
        } else {
            VersionKind::Document
        };
        list.push(StoredVersion {
            id: words(id),
            stages: stages.iter().map(|stage| words(stage)).collect(),
            published,
            kind,
            is_current: is_current(entry),
            token: None,
        });
    }
    // Within the same second the current one is the newest, followed by those with a stage.
    list.sort_by_key(|version| {
        (
            Reverse(version.published),
            !version.is_current,
            version.stages.is_empty(),
            version.id.clone(),
        )
    });
    list
}

/// Reads one version, by its id or its stage.
pub(super) async fn read(archive: &Archive, id: &str, pin: &Pin) -> Result<Published, FetchError> {
    let call = |config: Option<&SdkConfig>| {
        call(
            archive,
            id,
            config,
            "Secrets Manager GetSecretValue",
            "secretsmanager:GetSecretValue",
        )
    };
    let config = archive.config(call).await?;
    let call = call(Some(&config));
    let client = Client::new(&config);
    let request = client.get_secret_value().secret_id(id);
    let request = match pin {
        Pin::Version(version) => request.version_id(version),
        Pin::Stage(stage) => request.version_stage(stage),
    };
    let answer = archive
        .ask(&call, async || request.clone().send().await)
        .await?;
    let value = secret_value(answer.secret_string, answer.secret_binary);
    let bytes = Zeroizing::new(value.unwrap_or_default());
    if bytes.len() > MAX_DOCUMENT {
        return Err(call.too_large());
    }
    let label = words(&answer.version_id.unwrap_or_default());
    Ok(Published {
        bytes,
        version: Version {
            token: label.clone(),
            label,
        },
    })
}

fn call(
    archive: &Archive,
    id: &str,
    config: Option<&SdkConfig>,
    operation: &'static str,
    action: &'static str,
) -> Call {
    Call {
        source: archive.place.to_string(),
        operation,
        action,
        resource: secret_arn(config, id),
        or_else: "",
        endpoint: service_endpoint(config, "Secrets Manager", "Secrets Manager"),
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::DateTime;

    use super::*;

    #[test]
    fn what_was_never_current_lies_beside_the_published_versions() {
        let entry = |id: &str, at: i64, stages: &[&str]| {
            let stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
            SecretVersionsListEntry::builder()
                .version_id(id)
                .created_date(DateTime::from_secs(at))
                .set_version_stages(Some(stages))
                .build()
        };
        let list = in_order(&[
            entry("old", 1, &[]),
            entry("previous", 2, &["AWSPREVIOUS"]),
            entry("killed", 2, &["authkeysctl-1"]),
            entry("now", 3, &["AWSCURRENT"]),
            entry("lost", 4, &[]),
            entry("next", 5, &["AWSPENDING"]),
        ]);
        let kinds: Vec<(&str, VersionKind)> = list
            .iter()
            .map(|version| (version.id.as_str(), version.kind))
            .collect();
        let document = VersionKind::Document;
        let beside = VersionKind::Beside;
        assert_eq!(
            kinds,
            [
                ("next", beside),
                ("lost", beside),
                ("now", document),
                ("killed", beside),
                ("previous", document),
                ("old", document)
            ]
        );
    }
}

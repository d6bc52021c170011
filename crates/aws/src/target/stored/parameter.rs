//! The versions of a parameter, with their labels.

use std::cmp::Reverse;

use aws_sdk_ssm::Client;
use aws_types::SdkConfig;

use super::{Archive, End, Versions, next_token, time};
use crate::client::fault::{Call, words};
use crate::client::region::parameter_arn;
use crate::client::service_endpoint;
use authkeys_core::origin::FetchError;
use authkeys_core::publishing::versions::{StoredVersion, VersionKind};

/// Lists all versions that are kept, at most 100. The service returns the oldest first.
pub(super) async fn versions(archive: &Archive, id: &str) -> Result<Versions, FetchError> {
    let call = |config: Option<&SdkConfig>| Call {
        source: archive.place.to_string(),
        operation: "Systems Manager GetParameterHistory",
        action: "ssm:GetParameterHistory",
        resource: parameter_arn(config, id),
        or_else: "",
        endpoint: service_endpoint(config, "SSM", "Systems Manager"),
    };
    let config = archive.config(call).await?;
    let call = call(Some(&config));
    let client = Client::new(&config);
    let mut list = Vec::new();
    // Values are read one at a time, as nodes read them.
    let request = client
        .get_parameter_history()
        .name(id)
        .with_decryption(false)
        .max_results(50);
    let send = async |token| request.clone().set_next_token(token).send().await;
    archive
        .follow(&call, send, |page| {
            for found in page.parameters() {
                list.push(StoredVersion {
                    id: found.version().to_string(),
                    stages: found.labels().iter().map(|label| words(label)).collect(),
                    published: time(found.last_modified_date()),
                    kind: VersionKind::Document,
                    is_current: false,
                    token: None,
                });
            }
            next_token(page.next_token)
        })
        .await?;
    list.sort_by_key(|version| Reverse(version.id.parse::<u64>().unwrap_or(0)));
    if let Some(newest) = list.first_mut() {
        newest.is_current = true;
    }
    Ok(Versions {
        list,
        end: End::Oldest,
    })
}

//! The versions of a parameter, with their labels.

use aws_sdk_ssm::Client;
use aws_types::SdkConfig;
use tokio::time::timeout;

use super::{Archive, End, MAX_PAGES, Versions, time};
use crate::client::fault::{Call, words};
use crate::client::region::parameter_arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::service_endpoint;
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::publishing::versions::{Kind, StoredVersion};

/// Lists all versions that are kept, at most 100. They come the oldest first.
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
    let (call, client, limits) = (call(Some(&config)), Client::new(&config), archive.sources.aws().limits);
    let mut list = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..MAX_PAGES {
        // Values are read one by one, as nodes read them.
        let request = client.get_parameter_history().name(id).with_decryption(false).max_results(50);
        let request = request.set_next_token(next.clone());
        let over = |limit| call.timed_out(limit);
        let page = retry(&limits.retry, &RandomJitter, over, async || {
            match timeout(limits.attempt, request.clone().send()).await {
                Err(_elapsed) => Err(call.timed_out(limits.attempt)),
                Ok(answer) => answer.map_err(|error| call.classed(&error)),
            }
        });
        let page = page.await?;
        for found in page.parameters() {
            list.push(StoredVersion {
                id: found.version().to_string(),
                stages: found.labels().iter().map(|label| words(label)).collect(),
                published: time(found.last_modified_date()),
                kind: Kind::Document,
                is_current: false,
            });
        }
        match page.next_token.filter(|token| !token.is_empty() && next.as_ref() != Some(token)) {
            None => {
                list.sort_by_key(|version| std::cmp::Reverse(version.id.parse::<u64>().unwrap_or(0)));
                if let Some(newest) = list.first_mut() {
                    newest.is_current = true;
                }
                return Ok(Versions { list, end: End::Oldest });
            }
            token => next = token,
        }
    }
    Err(call.failed(Class::Invalid, "has no last page", "check the endpoint"))
}

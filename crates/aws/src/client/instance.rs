//! Identifies the EC2 instance by the metadata service (IMDSv2 only), over the shared connections.

use std::fs::File;
use std::io::Read as _;
use std::sync::OnceLock;
use std::time::Duration;

use aws_config::imds::client::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use serde::Deserialize;
use tokio::time::timeout;

use super::fault::chain;
use super::values::BadValue;
use super::words::find;
use authkeys_core::origin::instance::{Instance, NoInstance};

const DOCUMENT: &str = "/latest/dynamic/instance-identity/document";
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// The service is on the instance's own host and answers within a millisecond.
const STEP: Duration = Duration::from_secs(1);
/// The limit for token and document together.
pub(super) const LIMIT: Duration = Duration::from_secs(3);
/// The same limit if nothing indicates that there is a metadata service.
const MOMENT: Duration = Duration::from_millis(150);
/// Where the firmware and the hypervisor name themselves, and the names on EC2.
const HINTS: [(&str, &str); 3] = [
    ("/sys/devices/virtual/dmi/id/sys_vendor", "Amazon EC2"),
    ("/sys/devices/virtual/dmi/id/bios_vendor", "Amazon EC2"),
    ("/sys/hypervisor/uuid", "ec2"),
];

/// The metadata service. The identity of the instance is kept once it is known.
#[derive(Debug)]
pub struct Metadata {
    http: SharedHttpClient,
    client: OnceLock<Client>,
    found: OnceLock<Instance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityDocument {
    instance_id: String,
    region: String,
    account_id: String,
}

impl Metadata {
    pub(super) fn new(http: SharedHttpClient) -> Self {
        Self {
            http,
            client: OnceLock::new(),
            found: OnceLock::new(),
        }
    }

    /// Asks for the instance, for 3 s at most.
    pub async fn instance(&self) -> Result<Instance, NoInstance> {
        self.instance_within(LIMIT).await
    }

    /// Asks for the instance only briefly, unless the machine or the environment indicates that
    /// there must be a metadata service: a command on another machine should not wait in vain.
    pub async fn instance_briefly(&self) -> Result<Instance, NoInstance> {
        self.instance_within(if somewhere() { LIMIT } else { MOMENT })
            .await
    }

    async fn instance_within(&self, limit: Duration) -> Result<Instance, NoInstance> {
        if let Some(found) = self.found.get() {
            return Ok(found.clone());
        }
        let document = self.get(DOCUMENT, limit).await?;
        let instance = read(&document)?;
        Ok(self.found.get_or_init(|| instance).clone())
    }

    /// The text at a path.
    pub(super) async fn get(&self, path: &str, limit: Duration) -> Result<String, NoInstance> {
        let found = self.find(path, limit).await?;
        found.ok_or_else(|| answered_otherwise("answered 404", false, somewhere()))
    }

    /// The text at a path; `None` if the service answers that there is nothing.
    pub(super) async fn find(
        &self,
        path: &str,
        limit: Duration,
    ) -> Result<Option<String>, NoInstance> {
        if std::env::var(DISABLED).is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(NoInstance::Disabled);
        }
        let client = self.client.get_or_init(|| {
            Client::builder()
                .configure(&ProviderConfig::without_region().with_http_client(self.http.clone()))
                .connect_timeout(STEP)
                .read_timeout(STEP)
                .max_attempts(1)
                .build()
        });
        match timeout(limit, client.get(path)).await {
            Ok(Ok(text)) => Ok(Some(text.as_ref().to_owned())),
            Ok(Err(ImdsError::ErrorResponse(answer)))
                if answer.response().status().as_u16() == 404 =>
            {
                Ok(None)
            }
            Ok(Err(error)) => Err(classed(&error, somewhere())),
            Err(_elapsed) => Err(unanswered(
                format!("gave no answer within {limit:?}"),
                somewhere(),
            )),
        }
    }
}

fn read(document: &str) -> Result<Instance, NoInstance> {
    let parsed: Option<IdentityDocument> = serde_json::from_str(document).ok();
    let instance = parsed.map(|found| Instance {
        id: found.instance_id,
        region: found.region,
        account: found.account_id,
    });
    instance
        .filter(Instance::is_valid)
        .ok_or_else(|| NoInstance::Unreachable {
            why: "sent no identity document of an instance; what answers in its place?".to_owned(),
        })
}

/// Whether the machine or the environment indicates that there must be a metadata service.
pub(super) fn somewhere() -> bool {
    if std::env::var_os(ENDPOINT).is_some() {
        return true;
    }
    for (path, start) in HINTS {
        let mut found = Vec::new();
        if let Ok(file) = File::open(path)
            && file.take(256).read_to_end(&mut found).is_ok()
            && found.starts_with(start.as_bytes())
        {
            return true;
        }
    }
    false
}

fn classed(error: &ImdsError, must_be: bool) -> NoInstance {
    let causes = chain(error);
    if let Some(bad) = find::<BadValue>(error) {
        return NoInstance::Unreachable {
            why: format!("cannot be believed: {bad}; {}", bad.remedy()),
        };
    }
    match error {
        // A token is refused with 403 only if the service is switched off.
        ImdsError::FailedToLoadToken(_) if causes.contains("forbidden") => {
            NoInstance::Unreachable {
                why:
                    "is switched off for this instance: `aws ec2 modify-instance-metadata-options \
                     --instance-id ID --http-endpoint enabled`"
                        .to_owned(),
            }
        }
        ImdsError::FailedToLoadToken(failed) if failed.is_dispatch_failure() => {
            unanswered(format!("gave no answer ({causes})"), must_be)
        }
        ImdsError::IoError(_) => unanswered(format!("gave no answer ({causes})"), must_be),
        ImdsError::ErrorResponse(answer) => {
            let status = answer.response().status().as_u16();
            answered_otherwise(&format!("answered {status}"), status >= 500, must_be)
        }
        // The SDK's error quotes an unexpected answer in full.
        ImdsError::FailedToLoadToken(_) => answered_otherwise(
            "gave no token",
            causes.contains("status: StatusCode(5"),
            must_be,
        ),
        _ => NoInstance::Unreachable {
            why: format!("could not be asked: {causes}"),
        },
    }
}

fn unanswered(what: String, must_be: bool) -> NoInstance {
    if !must_be {
        return NoInstance::NotOnEc2 {
            why: format!("the metadata service {what}"),
        };
    }
    // The connection was established, so a firewall is not the cause: only the packets of this
    // answer have a hop limit.
    let remedy = if what.contains("read timeout") {
        "it can be reached, but its answer does not come as far as here, as with a hop limit of 1 \
         in a container: raise it (`aws ec2 modify-instance-metadata-options --instance-id ID \
         --http-put-response-hop-limit 2`), or use the host's network"
    } else {
        "put no firewall, network policy or proxy in front of it"
    };
    NoInstance::Unreachable {
        why: format!("{what}; {remedy}"),
    }
}

/// Other clouds have a different service at the same address.
fn answered_otherwise(what: &str, passing: bool, must_be: bool) -> NoInstance {
    match must_be || passing {
        true => NoInstance::Unreachable {
            why: format!("{what}; nothing to do unless it lasts"),
        },
        false => NoInstance::NotOnEc2 {
            why: format!("what is at the metadata service's address {what}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_document_is_taken_whole_or_not_at_all() {
        let document = |id: &str| {
            format!(
                r#"{{"instanceId":"{id}","region":"eu-west-1","accountId":"123456789012","x":null}}"#
            )
        };
        let instance = read(&document("i-0e2e0000000000001")).unwrap();
        assert_eq!(
            (instance.id.as_str(), instance.region.as_str()),
            ("i-0e2e0000000000001", "eu-west-1")
        );
        assert_eq!(instance.account, "123456789012");
        for bad in [
            "",
            "i-",
            "mi-0123",
            "i-../../x",
            "i-1&DryRun=false",
            "i-0123456789abcdef0123456789abcdef01",
        ] {
            assert!(read(&document(bad)).is_err(), "{bad}");
        }
        for bad in ["eu-west-1\\n", "", "evil.example/", "EU"] {
            let document = document("i-1").replace("eu-west-1", bad);
            assert!(read(&document).is_err(), "{document}");
        }
        assert!(read(&document("i-1").replace("123456789012", "12345678901x")).is_err());
        assert!(read("<html>").is_err() && read(r#"{"instanceId":"i-1"}"#).is_err());
    }
}

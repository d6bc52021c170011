//! Fetches documents from a Secrets Manager secret: one GetSecretValue for each stage.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use aws_smithy_types::DateTime;
use aws_types::SdkConfig;
use jiff::{Timestamp, Unit};
use zeroize::Zeroizing;

use crate::client::clients::Clients;
use crate::client::fault::{Call, no_region, words};
use crate::client::region::secret_arn;
use crate::client::{Aws, secret_value, service_endpoint};
use authkeys_core::origin::stages::{Read, together};
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::origin::{Fetched, MAX_DOCUMENT, Part, SourceUrl, Stage, Version, Versions};

/// Secrets Manager's code for a stage that no version has, a version without a value, and a missing
/// secret.
const NOT_FOUND: &str = "ResourceNotFoundException";

/// One secret, as named in a source URL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secret<'a> {
    pub(super) url: &'a SourceUrl,
    pub(super) id: &'a str,
    pub(super) stages: &'a BTreeSet<Stage>,
}

/// The client for all secrets.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    pub(super) clients: Clients<Client>,
}

impl Secrets {
    /// One attempt at all stages; its time limit covers credentials and bodies.
    pub(super) async fn attempt(
        &self,
        aws: &Aws,
        secret: &Secret<'_>,
        known: Option<&Versions>,
    ) -> Result<Fetched, FetchError> {
        let call = secret.call(None, Stage::Current);
        let attempt = self.unlimited(aws, secret, known);
        call.within(aws.limits.attempt, attempt).await
    }

    async fn unlimited(
        &self,
        aws: &Aws,
        secret: &Secret<'_>,
        known: Option<&Versions>,
    ) -> Result<Fetched, FetchError> {
        let config = aws.config(secret.url.region()).await;
        let config = config.map_err(|bad| secret.call(None, Stage::Current).unfit(&bad))?;
        if config.region().is_none() {
            return Err(no_region(&secret.call(Some(&config), Stage::Current)));
        }
        let client = self
            .clients
            .of(secret.url.region(), || Client::new(&config));
        let read =
            async |stage| read(&client, secret, &secret.call(Some(&config), stage), stage).await;
        let mut further = BTreeMap::new();
        // In this order, a promotion between the reads hides no key: the pending version is found
        // under one of its stages, or under both.
        let pending = if secret.stages.contains(&Stage::Pending) {
            read(Stage::Pending).await?
        } else {
            None
        };
        further.extend(pending.map(|read| (Stage::Pending, read)));
        let Some(current) = read(Stage::Current).await? else {
            let call = secret.call(Some(&config), Stage::Current);
            return Err(call.failed(
                Class::Missing,
                "returned no value",
                "put one; the keys in force stay",
            ));
        };
        let previous = if secret.stages.contains(&Stage::Previous) {
            read(Stage::Previous).await?
        } else {
            None
        };
        further.extend(previous.map(|read| (Stage::Previous, read)));
        Ok(together(current.part, further, known))
    }
}

/// The version on one stage; `None` if no version has the stage, or only one without a value.
async fn read(
    client: &Client,
    secret: &Secret<'_>,
    call: &Call,
    stage: Stage,
) -> Result<Option<Read>, FetchError> {
    match client
        .get_secret_value()
        .secret_id(secret.id)
        .version_stage(stage.to_string())
        .send()
        .await
    {
        Ok(answer) => taken(call, answer, stage),
        Err(error) if stage != Stage::Current && error.code() == Some(NOT_FOUND) => Ok(None),
        Err(error) => Err(call.classed(&error)),
    }
}

fn taken(
    call: &Call,
    answer: GetSecretValueOutput,
    stage: Stage,
) -> Result<Option<Read>, FetchError> {
    let created = answer.created_date.and_then(to_milliseconds);
    let value = secret_value(answer.secret_string, answer.secret_binary);
    // From here on it is wiped when dropped.
    let bytes = Zeroizing::new(value.unwrap_or_default());
    if bytes.is_empty() && stage != Stage::Current {
        return Ok(None);
    }
    if bytes.len() > MAX_DOCUMENT {
        return Err(call.too_large());
    }
    let id = answer.version_id.unwrap_or_default();
    if id.is_empty() {
        let remedy = format!(
            "is that Secrets Manager? check the endpoint {}",
            call.endpoint
        );
        return Err(call.failed(Class::Invalid, "answered without a VersionId", remedy));
    }
    // A version's value never changes, but a secret that is deleted and created again may reuse the
    // id of a version.
    let token = match created {
        Some(created) => format!("{id} {created}"),
        None => format!("{id} "),
    };
    // The writer of the secret may choose the id, which is printed to terminals, logs and the
    // service manager.
    let part = Part {
        version: Version {
            label: words(&id),
            token,
        },
        created,
        bytes,
    };
    Ok(Some(Read {
        part,
        labels: answer.version_stages.unwrap_or_default(),
    }))
}

/// The date is a floating point number: digits after the milliseconds are noise.
fn to_milliseconds(date: DateTime) -> Option<Timestamp> {
    let nanos = i32::try_from(date.subsec_nanos()).ok()?;
    let exact = Timestamp::new(date.secs(), nanos).ok()?;
    exact.round(Unit::Millisecond).ok()
}

impl Secret<'_> {
    /// The call; without a configuration if none has been loaded yet.
    pub(super) fn call(&self, config: Option<&SdkConfig>, stage: Stage) -> Call {
        let arn = self.id.starts_with("arn:");
        Call {
            source: self.url.to_string(),
            operation: match stage {
                Stage::Current => "Secrets Manager GetSecretValue AWSCURRENT",
                Stage::Pending => "Secrets Manager GetSecretValue AWSPENDING",
                Stage::Previous => "Secrets Manager GetSecretValue AWSPREVIOUS",
            },
            action: "secretsmanager:GetSecretValue",
            resource: secret_arn(config, self.id),
            or_else: if arn {
                ", and for another account's secret in the secret's own policy too"
            } else {
                ""
            },
            endpoint: service_endpoint(config, "Secrets Manager", "Secrets Manager"),
        }
    }
}

//! Publishes to a Secrets Manager secret. The new version is created under a label of its own that
//! no node reads; then AWSCURRENT is moved to it, only from the version that was read: Secrets
//! Manager refuses the move if another publisher was faster. The label is removed in either case;
//! the next publication removes one that a killed publisher left.

use std::cell::Cell;
use std::fmt::Write as _;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata as _;
use aws_sdk_secretsmanager::types::SecretVersionsListEntry;
use aws_types::SdkConfig;
use tokio::time::timeout;

use super::{NotWritten, PublishTarget, Published, WrittenVersion};
use crate::client::fault::{Call, words};
use crate::client::region::secret_arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::service_endpoint;
use authkeys_core::origin::{Class, FetchError};

const CURRENT: &str = "AWSCURRENT";
const PREVIOUS: &str = "AWSPREVIOUS";
const NOT_FOUND: &str = "ResourceNotFoundException";
/// The prefix of our own labels.
const OURS: &str = "authkeysctl-";

/// The arguments of every call.
struct Secret<'a> {
    target: &'a PublishTarget,
    id: &'a str,
    text: &'a str,
    config: SdkConfig,
    client: Client,
    /// The new version's id, which also makes a repeated call count only once.
    token: String,
    /// The label of the new version.
    label: String,
}

/// Writes a new version and makes it the current one.
pub(super) async fn write(
    target: &PublishTarget,
    id: &str,
    region: Option<&str>,
    text: &str,
    over: Option<&Published>,
) -> Result<WrittenVersion, NotWritten> {
    let call = |config: Option<&SdkConfig>| {
        call(
            target,
            id,
            config,
            "PutSecretValue",
            "secretsmanager:PutSecretValue",
        )
    };
    let config = target.config(region, call).await?;
    let token = token().map_err(|fault| {
        call(Some(&config)).failed(Class::Invalid, &fault, "nothing was written")
    })?;
    let label = format!("{OURS}{token}");
    let secret = Secret {
        target,
        id,
        text,
        client: Client::new(&config),
        config,
        token,
        label,
    };
    if over.is_none() && secret.create().await? {
        return Ok(secret.written());
    }
    let labels = secret.put().await?;
    // The very first version becomes the current one by itself. One guide of AWS says that every
    // version does, whatever its label: then AWSPREVIOUS shows what it replaced.
    let current = labels.iter().any(|label| label == CURRENT);
    let moved = if current {
        Ok(true)
    } else {
        secret.make_current(over).await
    };
    let overwrote = match over {
        Some(published) if current => secret.overwrote(&published.version.label).await,
        _ => Ok(None),
    };
    let cleared = secret.clear().await;
    if !moved? {
        return Err(NotWritten::Lost);
    }
    // The document is published even if this failed.
    let mut written = secret.written();
    if let Err(fault) = cleared {
        written.warnings.push(format!(
            "the label {} stays on the version: {fault}",
            secret.label
        ));
    }
    if let Err(fault) = secret.sweep().await {
        written.warnings.push(format!(
            "labels of killed publishers may stay on old versions: {fault}"
        ));
    }
    match overwrote {
        Ok(version) => written.overwrote = version,
        Err(fault) => written.warnings.push(format!(
            "it is not known which version was replaced: {fault}"
        )),
    }
    Ok(written)
}

impl Secret<'_> {
    fn written(&self) -> WrittenVersion {
        WrittenVersion {
            version: self.token.clone(),
            overwrote: None,
            warnings: Vec::new(),
        }
    }

    fn call(&self, operation: &'static str, action: &'static str) -> Call {
        call(self.target, self.id, Some(&self.config), operation, action)
    }

    /// Creates the secret; `false` if it exists, but has no value.
    async fn create(&self) -> Result<bool, NotWritten> {
        let call = self.call("CreateSecret", "secretsmanager:CreateSecret");
        if self.id.starts_with("arn:") {
            return Ok(false);
        }
        let create = async || {
            let request = self
                .client
                .create_secret()
                .name(self.id)
                .secret_string(self.text);
            let request = request.client_request_token(&self.token);
            match self.limited(&call, request.send()).await? {
                Ok(_) => Ok(true),
                Err(error) if error.code() == Some("ResourceExistsException") => Ok(false),
                Err(error) => Err(call.classed(&error)),
            }
        };
        if self.tried(&call, create).await? {
            return Ok(true);
        }
        // Either it existed before, without a value, or somebody has just created it with one.
        match self.target.read().await? {
            None => Ok(false),
            Some(_) => Err(NotWritten::Lost),
        }
    }

    /// Creates the new version and returns its labels.
    async fn put(&self) -> Result<Vec<String>, NotWritten> {
        let call = self.call("PutSecretValue", "secretsmanager:PutSecretValue");
        let put = async || {
            let request = self
                .client
                .put_secret_value()
                .secret_id(self.id)
                .secret_string(self.text);
            let request = request
                .client_request_token(&self.token)
                .version_stages(&self.label);
            match self.limited(&call, request.send()).await? {
                Ok(answer) => Ok(answer.version_stages.unwrap_or_default()),
                Err(error) => Err(call.classed(&error)),
            }
        };
        Ok(self.tried(&call, put).await?)
    }

    /// Moves AWSCURRENT from the version that was read; `false` if it is on another one by now.
    async fn make_current(&self, over: Option<&Published>) -> Result<bool, NotWritten> {
        let call = self.call(
            "UpdateSecretVersionStage",
            "secretsmanager:UpdateSecretVersionStage",
        );
        let from = over.map(|published| published.version.label.clone());
        let attempts = Cell::new(0_u32);
        let make = async || {
            attempts.set(attempts.get().saturating_add(1));
            let request = self
                .client
                .update_secret_version_stage()
                .secret_id(self.id)
                .version_stage(CURRENT);
            let request = request
                .move_to_version_id(&self.token)
                .set_remove_from_version_id(from.clone());
            match self.limited(&call, request.send()).await? {
                Ok(_) => Ok(true),
                Err(error) => match error.code() {
                    Some("InvalidParameterException" | "InvalidRequestException" | NOT_FOUND) => {
                        Ok(false)
                    }
                    _ => Err(call.classed(&error)),
                },
            }
        };
        match self.tried(&call, make).await? {
            false if attempts.get() > 1 => Err(NotWritten::Unclear),
            is_moved => Ok(is_moved),
        }
    }

    /// The version that ours replaced, unless it is `read`, the one that was read before.
    async fn overwrote(&self, read: &str) -> Result<Option<String>, FetchError> {
        let call = self.call("GetSecretValue", "secretsmanager:GetSecretValue");
        let previous = async || {
            let request = self
                .client
                .get_secret_value()
                .secret_id(self.id)
                .version_stage(PREVIOUS);
            match self.limited(&call, request.send()).await? {
                Ok(answer) => Ok(answer.version_id.unwrap_or_default()),
                Err(error) => Err(call.classed(&error)),
            }
        };
        let previous = words(&self.tried(&call, previous).await?);
        Ok(if previous == read {
            None
        } else {
            Some(previous)
        })
    }

    /// Removes our label.
    async fn clear(&self) -> Result<(), FetchError> {
        self.unlabel(&self.token, &self.label).await
    }

    /// Removes the labels that killed publishers left.
    async fn sweep(&self) -> Result<(), FetchError> {
        let call = self.call(
            "ListSecretVersionIds",
            "secretsmanager:ListSecretVersionIds",
        );
        let list = async || {
            let request = self.client.list_secret_version_ids().secret_id(self.id);
            match self.limited(&call, request.send()).await? {
                Ok(answer) => Ok(answer.versions.unwrap_or_default()),
                Err(error) => Err(call.classed(&error)),
            }
        };
        // The first page is enough: only versions with labels are listed, and a secret has at most
        // 20 of those.
        let versions = self.tried(&call, list).await?;
        for (version, label) in leftovers(&versions, &self.token) {
            self.unlabel(version, label).await?;
        }
        Ok(())
    }

    /// Removes a label. Secrets Manager eventually deletes a version without labels.
    async fn unlabel(&self, version: &str, label: &str) -> Result<(), FetchError> {
        let call = self.call(
            "UpdateSecretVersionStage",
            "secretsmanager:UpdateSecretVersionStage",
        );
        let clear = async || {
            let request = self
                .client
                .update_secret_version_stage()
                .secret_id(self.id)
                .version_stage(label);
            match self
                .limited(&call, request.remove_from_version_id(version).send())
                .await?
            {
                Ok(_) => Ok(()),
                Err(error) => Err(call.classed(&error)),
            }
        };
        self.tried(&call, clear).await
    }

    async fn limited<T>(
        &self,
        call: &Call,
        request: impl Future<Output = T>,
    ) -> Result<T, FetchError> {
        let limit = self.target.aws().limits.attempt;
        timeout(limit, request)
            .await
            .map_err(|_elapsed| call.timed_out(limit))
    }

    /// A call that is made twice counts once: because of its token, or because the second move has
    /// nothing to move.
    async fn tried<T>(
        &self,
        call: &Call,
        attempt: impl AsyncFnMut() -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        retry(
            &self.target.aws().limits.retry,
            &RandomJitter,
            call,
            attempt,
        )
        .await
    }
}

/// The versions that publishers left behind, each with its label, now that `current` is the current
/// one. A version created before it was meant to replace a version that is no longer current: even
/// if its publisher is still running, its move of AWSCURRENT will be refused. A version with a
/// stage of AWS is in use, and labels that are not ours are left alone.
fn leftovers<'a>(
    versions: &'a [SecretVersionsListEntry],
    current: &str,
) -> Vec<(&'a str, &'a str)> {
    let came_in = |id: &str| {
        versions
            .iter()
            .find(|entry| entry.version_id() == Some(id))?
            .created_date()
    };
    let Some(now) = came_in(current) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in versions {
        let labels = entry.version_stages();
        let older = entry
            .created_date()
            .is_some_and(|at| (at.secs(), at.subsec_nanos()) < (now.secs(), now.subsec_nanos()));
        if let (true, Some(id), false) = (
            older,
            entry.version_id(),
            labels.iter().any(|label| label.starts_with("AWS")),
        ) {
            found.extend(
                labels
                    .iter()
                    .filter(|label| label.starts_with(OURS))
                    .map(|label| (id, label.as_str())),
            );
        }
    }
    found
}

fn call(
    target: &PublishTarget,
    id: &str,
    config: Option<&SdkConfig>,
    operation: &'static str,
    action: &'static str,
) -> Call {
    Call {
        source: target.to_string(),
        operation: match operation {
            "GetSecretValue" => "Secrets Manager GetSecretValue",
            "CreateSecret" => "Secrets Manager CreateSecret",
            "ListSecretVersionIds" => "Secrets Manager ListSecretVersionIds",
            "PutSecretValue" => "Secrets Manager PutSecretValue",
            _ => "Secrets Manager UpdateSecretVersionStage",
        },
        action,
        resource: secret_arn(config, id),
        or_else: "",
        endpoint: service_endpoint(config, "Secrets Manager", "Secrets Manager"),
    }
}

/// 32 random hexadecimal digits, which nobody else has.
fn token() -> Result<String, String> {
    let mut random = [0; 16];
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(16) => Ok(random.iter().fold(String::new(), |mut token, byte| {
            let _ = write!(token, "{byte:02x}");
            token
        })),
        _ => Err("was not made: the system has no randomness".to_owned()),
    }
}

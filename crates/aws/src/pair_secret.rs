//! A secret with a key pair, as a rotation reads and changes it: its stages, a pending version, the
//! move of AWSCURRENT.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata as _;
use aws_types::SdkConfig;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::client::fault::{Call, no_region, words};
use crate::client::region::secret_arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::{Aws, service_endpoint};
use authkeys_core::origin::FetchError;

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
const PREVIOUS: &str = "AWSPREVIOUS";
const NOT_FOUND: &str = "ResourceNotFoundException";
/// More pages than the versions of any secret take.
const MAX_PAGES: usize = 20;

/// One version of the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// Its id, which is the token that it was written with.
    pub id: String,
    /// Its text; empty if it has none.
    pub value: Zeroizing<String>,
}

/// Never prints the value.
impl std::fmt::Debug for SecretVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretVersion({})", self.id)
    }
}

/// What the secret holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stages {
    /// Whether the secret exists.
    pub exists: bool,
    /// Whether Secrets Manager rotates it.
    pub is_rotation_enabled: bool,
    /// The stages of each version that has any.
    pub labels: BTreeMap<String, Vec<String>>,
    /// The version under AWSCURRENT.
    pub current: Option<SecretVersion>,
    /// The version under AWSPENDING, even if it is the current one.
    pub pending: Option<SecretVersion>,
    /// The version under AWSPREVIOUS.
    pub previous: Option<SecretVersion>,
}

/// The result of a conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairWrite {
    /// It was written.
    Done,
    /// Another writer was faster.
    Lost,
}

/// The secret.
#[derive(Debug)]
pub struct PairSecret {
    aws: Arc<Aws>,
    id: String,
    region: Option<String>,
    rotation_token: Option<String>,
}

impl PairSecret {
    /// The secret with this name or ARN; without `region`, that of the ARN is used.
    pub fn new(aws: Arc<Aws>, id: &str, region: Option<&str>) -> Self {
        Self {
            aws,
            id: id.to_owned(),
            region: region.or_else(|| region_of_arn(id)).map(str::to_owned),
            rotation_token: None,
        }
    }

    /// The same, for calls that belong to a rotation by Secrets Manager.
    #[must_use]
    pub fn with_rotation_token(self, token: Option<String>) -> Self {
        Self {
            rotation_token: token,
            ..self
        }
    }

    /// Its name or ARN.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it holds now.
    pub async fn read(&self) -> Result<Stages, FetchError> {
        let secret = self.connect().await?;
        let call = secret.call("DescribeSecret");
        let described = secret.tried(&call, async || {
            let request = secret.client.describe_secret().secret_id(&self.id);
            match secret.limited(&call, request.send()).await? {
                Ok(answer) => Ok(Some(answer)),
                Err(error) if error.code() == Some(NOT_FOUND) => Ok(None),
                Err(error) => Err(call.classed(&error)),
            }
        });
        let Some(answer) = described.await? else {
            return Ok(Stages::default());
        };
        let labels: BTreeMap<String, Vec<String>> = answer
            .version_ids_to_stages
            .unwrap_or_default()
            .into_iter()
            .collect();
        let mut stages = Stages {
            exists: true,
            is_rotation_enabled: answer.rotation_enabled.unwrap_or_default(),
            ..Stages::default()
        };
        stages.pending = secret.version(&labels, PENDING).await?;
        stages.current = secret.version(&labels, CURRENT).await?;
        stages.previous = secret.version(&labels, PREVIOUS).await?;
        stages.labels = labels;
        Ok(stages)
    }

    /// The ids of all versions, including those without a label.
    pub async fn version_ids(&self) -> Result<BTreeSet<String>, FetchError> {
        let secret = self.connect().await?;
        let call = secret.call("ListSecretVersionIds");
        let mut ids = BTreeSet::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let page = secret.tried(&call, async || {
                let request = secret.client.list_secret_version_ids().secret_id(&self.id);
                let request = request
                    .include_deprecated(true)
                    .set_next_token(next.clone());
                match secret.limited(&call, request.send()).await? {
                    Ok(answer) => Ok(answer),
                    Err(error) => Err(call.classed(&error)),
                }
            });
            let answer = page.await?;
            for version in answer.versions.unwrap_or_default() {
                ids.extend(version.version_id);
            }
            next = answer.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                break;
            }
        }
        Ok(ids)
    }

    /// Creates the secret, with an empty object as its first value.
    pub async fn create(&self, token: &str) -> Result<PairWrite, FetchError> {
        let secret = self.connect().await?;
        let call = secret.call("CreateSecret");
        let created = secret.tried(&call, async || {
            let request = secret.client.create_secret().name(&self.id);
            let request = request.secret_string("{}").client_request_token(token);
            match secret.limited(&call, request.send()).await? {
                Ok(_) => Ok(PairWrite::Done),
                Err(error) if error.code() == Some("ResourceExistsException") => {
                    Ok(PairWrite::Lost)
                }
                Err(error) => Err(call.classed(&error)),
            }
        });
        created.await
    }

    /// Writes a version under AWSPENDING or, if the secret has no version yet, under AWSCURRENT. A
    /// token that was used for another value is `Lost`.
    pub async fn put(
        &self,
        token: &str,
        value: &str,
        stage: PairStage,
    ) -> Result<PairWrite, FetchError> {
        let secret = self.connect().await?;
        let call = secret.call("PutSecretValue");
        let written = secret.tried(&call, async || {
            let request = secret.client.put_secret_value().secret_id(&self.id);
            let request = request
                .secret_string(value)
                .client_request_token(token)
                .version_stages(stage.label())
                .set_rotation_token(self.rotation_token.clone());
            match secret.limited(&call, request.send()).await? {
                Ok(_) => Ok(PairWrite::Done),
                Err(error) if error.code() == Some("ResourceExistsException") => {
                    Ok(PairWrite::Lost)
                }
                Err(error) => Err(call.classed(&error)),
            }
        });
        written.await
    }

    /// Moves AWSCURRENT to `version`, only from the version that was read.
    pub async fn make_current(
        &self,
        version: &str,
        from: Option<&str>,
    ) -> Result<PairWrite, FetchError> {
        self.update(CURRENT, Some(version), from).await
    }

    /// Removes AWSPENDING from a version.
    pub async fn drop_pending(&self, version: &str) -> Result<PairWrite, FetchError> {
        self.update(PENDING, None, Some(version)).await
    }

    async fn update(
        &self,
        stage: &str,
        to: Option<&str>,
        from: Option<&str>,
    ) -> Result<PairWrite, FetchError> {
        let secret = self.connect().await?;
        let call = secret.call("UpdateSecretVersionStage");
        let updated = secret.tried(&call, async || {
            let request = secret.client.update_secret_version_stage();
            let request = request
                .secret_id(&self.id)
                .version_stage(stage)
                .set_move_to_version_id(to.map(str::to_owned))
                .set_remove_from_version_id(from.map(str::to_owned));
            match secret.limited(&call, request.send()).await? {
                Ok(_) => Ok(PairWrite::Done),
                Err(error) => match error.code() {
                    Some("InvalidParameterException" | "InvalidRequestException" | NOT_FOUND) => {
                        Ok(PairWrite::Lost)
                    }
                    _ => Err(call.classed(&error)),
                },
            }
        });
        updated.await
    }

    async fn connect(&self) -> Result<SecretConnection<'_>, FetchError> {
        let config = match self.aws.config(self.region.as_deref()).await {
            Ok(config) => config,
            Err(bad) => return Err(call(&self.id, None, "DescribeSecret").unfit(&bad)),
        };
        if config.region().is_none() {
            return Err(no_region(&call(&self.id, Some(&config), "DescribeSecret")));
        }
        let client = Client::new(&config);
        Ok(SecretConnection {
            secret: self,
            config,
            client,
        })
    }
}

/// The stage of a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairStage {
    /// The very first version, which becomes the current one in any case.
    Current,
    /// A pending version.
    Pending,
}

impl PairStage {
    fn label(self) -> &'static str {
        match self {
            Self::Current => CURRENT,
            Self::Pending => PENDING,
        }
    }
}

struct SecretConnection<'a> {
    secret: &'a PairSecret,
    config: SdkConfig,
    client: Client,
}

impl SecretConnection<'_> {
    fn call(&self, operation: &'static str) -> Call {
        call(&self.secret.id, Some(&self.config), operation)
    }

    /// The version with that label. If it has no value, its text is empty.
    async fn version(
        &self,
        labels: &BTreeMap<String, Vec<String>>,
        stage: &str,
    ) -> Result<Option<SecretVersion>, FetchError> {
        let Some(id) = labelled(labels, stage) else {
            return Ok(None);
        };
        let call = self.call("GetSecretValue");
        let read = self.tried(&call, async || {
            let request = self.client.get_secret_value().secret_id(&self.secret.id);
            match self.limited(&call, request.version_id(id).send()).await? {
                Ok(answer) => Ok(answer.secret_string.map(Zeroizing::new)),
                Err(error) if error.code() == Some(NOT_FOUND) => Ok(None),
                Err(error) => Err(call.classed(&error)),
            }
        });
        let value = read.await?.unwrap_or_default();
        Ok(Some(SecretVersion {
            id: words(id),
            value,
        }))
    }

    async fn limited<T>(
        &self,
        call: &Call,
        request: impl Future<Output = T>,
    ) -> Result<T, FetchError> {
        let limit = self.secret.aws.limits.attempt;
        timeout(limit, request)
            .await
            .map_err(|_elapsed| call.timed_out(limit))
    }

    async fn tried<T>(
        &self,
        call: &Call,
        attempt: impl AsyncFnMut() -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        retry(&self.secret.aws.limits.retry, &RandomJitter, call, attempt).await
    }
}

/// The region that a secret's ARN names.
fn region_of_arn(id: &str) -> Option<&str> {
    let rest = id.strip_prefix("arn:")?;
    match rest.split(':').nth(2) {
        Some("") | None => None,
        Some(region) => Some(region),
    }
}

/// The id of the version with that label.
fn labelled<'a>(versions: &'a BTreeMap<String, Vec<String>>, stage: &str) -> Option<&'a str> {
    for (id, labels) in versions {
        if labels.iter().any(|label| label == stage) {
            return Some(id);
        }
    }
    None
}

fn call(id: &str, config: Option<&SdkConfig>, operation: &'static str) -> Call {
    let (operation, action) = match operation {
        "CreateSecret" => (
            "Secrets Manager CreateSecret",
            "secretsmanager:CreateSecret",
        ),
        "DescribeSecret" => (
            "Secrets Manager DescribeSecret",
            "secretsmanager:DescribeSecret",
        ),
        "GetSecretValue" => (
            "Secrets Manager GetSecretValue",
            "secretsmanager:GetSecretValue",
        ),
        "ListSecretVersionIds" => (
            "Secrets Manager ListSecretVersionIds",
            "secretsmanager:ListSecretVersionIds",
        ),
        "PutSecretValue" => (
            "Secrets Manager PutSecretValue",
            "secretsmanager:PutSecretValue",
        ),
        _ => (
            "Secrets Manager UpdateSecretVersionStage",
            "secretsmanager:UpdateSecretVersionStage",
        ),
    };
    Call {
        source: format!("secretsmanager:{id}"),
        operation,
        action,
        resource: secret_arn(config, id),
        or_else: "",
        endpoint: service_endpoint(config, "Secrets Manager", "Secrets Manager"),
    }
}

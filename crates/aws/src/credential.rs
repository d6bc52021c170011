//! One version of a secret that a person reads to log in with. Its value is wiped when dropped.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_types::SdkConfig;
use zeroize::Zeroizing;

use crate::client::fault::{Call, no_region};
use crate::client::region::secret_arn;
use crate::client::retry::{RandomJitter, retry};
use crate::client::{Aws, secret_value, service_endpoint};
use authkeys_core::origin::SourceUrl;
use authkeys_core::origin::failure::{Class, FetchError};

/// Secrets Manager's code for a missing secret, a stage that no version has, and a version without
/// a value.
const NOT_FOUND: &str = "ResourceNotFoundException";

/// A secret with a key to log in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    id: String,
    region: Option<String>,
}

impl Credential {
    /// Parses a secret's name or ARN, or `secretsmanager:NAME-OR-ARN?region=REGION`; the error says
    /// what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let whole = if text.starts_with("secretsmanager:") {
            text.to_owned()
        } else {
            format!("secretsmanager:{text}")
        };
        let url = SourceUrl::parse(&whole).map_err(|fault| fault.to_string())?;
        let query = whole.split_once('?').map_or("", |(_, query)| query);
        let only_region = query.is_empty() || query.starts_with("region=") && !query.contains('&');
        match &url {
            SourceUrl::Secret { id, .. } if only_region => Ok(Self {
                id: id.clone(),
                region: url.region().map(str::to_owned),
            }),
            _ => Err(format!(
                "{text:?} does not name a secret: write its name, its ARN, or \
                 secretsmanager:NAME?region=REGION"
            )),
        }
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.id
    }

    /// The value of the version with this stage; `None` if no version has the stage, or that
    /// version has no value yet.
    pub async fn read(
        &self,
        aws: &Aws,
        stage: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, FetchError> {
        let limits = &aws.limits;
        let call = self.call(None);
        let mut read = retry(&limits.retry, &RandomJitter, &call, async || {
            call.within(limits.attempt, self.attempt(aws, stage)).await
        })
        .await;
        if let Err(failure) = &mut read {
            aws.explain(failure).await;
        }
        read
    }

    async fn attempt(
        &self,
        aws: &Aws,
        stage: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, FetchError> {
        let config = aws.config(self.region.as_deref()).await;
        let config = config.map_err(|bad| self.call(None).unfit(&bad))?;
        let call = self.call(Some(&config));
        if config.region().is_none() {
            return Err(no_region(&call));
        }
        let asked = Client::new(&config)
            .get_secret_value()
            .secret_id(&self.id)
            .version_stage(stage)
            .send()
            .await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => {
                // This code has two meanings, which only the message distinguishes.
                let message = error.message().unwrap_or_default();
                let lacks_value = message.contains("secret value") || message.contains("label");
                if error.code() == Some(NOT_FOUND) && lacks_value {
                    return Ok(None);
                }
                return Err(self.described(call.classed(&error), &call, error.code()));
            }
        };
        let value = secret_value(answer.secret_string, answer.secret_binary);
        Ok(value.map(Zeroizing::new))
    }

    /// The failure with remedies for a person instead of a node.
    fn described(&self, failure: FetchError, call: &Call, code: Option<&str>) -> FetchError {
        let remedy = match code {
            Some(NOT_FOUND) => format!(
                "no such secret in {}: correct its name, or its region (AWS_REGION, or \
                 secretsmanager:NAME?region=REGION)",
                call.endpoint
            ),
            _ => failure
                .remedy
                .replace("`source`", "--secret")
                .replace("; the keys in force stay", "")
                .replace("this node's", "this machine's"),
        };
        FetchError { remedy, ..failure }
    }

    /// The failure for a stage that a person requested and no version has.
    pub fn no_such_stage(&self, stage: &str) -> FetchError {
        let remedy = if stage == "AWSCURRENT" {
            "the secret has no value yet: put a key pair into it".to_owned()
        } else {
            format!(
                "correct --stage; `aws secretsmanager list-secret-version-ids --secret-id {}` \
                 lists the stages",
                self.id
            )
        };
        let what = format!("found no version with the stage {stage}");
        self.call(None).failed(Class::Missing, &what, remedy)
    }

    fn call(&self, config: Option<&SdkConfig>) -> Call {
        Call {
            source: self.id.clone(),
            operation: "Secrets Manager GetSecretValue",
            action: "secretsmanager:GetSecretValue",
            resource: secret_arn(config, &self.id),
            or_else: if self.id.starts_with("arn:") {
                ", and for another account's secret in the secret's own policy too"
            } else {
                ""
            },
            endpoint: service_endpoint(config, "Secrets Manager", "Secrets Manager"),
        }
    }
}

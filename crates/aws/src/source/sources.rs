//! All sources behind one seam.

use std::sync::Arc;

use super::parameter::{Parameter, Parameters};
use super::prefix::{Prefix, Prefixes};
use super::s3::{Object, S3};
use super::secret::{Secret, Secrets};
use crate::client::retry::{Jitter, RandomJitter, retry};
use crate::client::{Aws, Limits};
use authkeys_core::caught::caught;
use authkeys_core::origin::{Class, Fetch, FetchError, Fetched, SourceUrl, Stage, Versions};

/// The real sources. AWS configuration, credentials and connections are set up by the first fetch
/// that needs them, and then kept. It must run in a tokio runtime with I/O and time enabled.
#[derive(Debug)]
pub struct AwsSources<J = RandomJitter> {
    aws: Arc<Aws>,
    s3: S3,
    prefixes: Prefixes,
    secrets: Secrets,
    parameters: Parameters,
    jitter: J,
}

impl AwsSources {
    /// Uses the default limits.
    pub fn new() -> Self {
        Self::with(Limits::default(), RandomJitter)
    }
}

impl Default for AwsSources {
    fn default() -> Self {
        Self::new()
    }
}

impl<J: Jitter> AwsSources<J> {
    /// Uses the given limits and randomness.
    pub fn with(limits: Limits, jitter: J) -> Self {
        let s3 = S3::default();
        let secrets = Secrets::default();
        let parameters = Parameters::default();
        let aws = Arc::new(Aws::new(limits));
        Self {
            aws,
            s3,
            prefixes: Prefixes::default(),
            secrets,
            parameters,
            jitter,
        }
    }

    /// The access to AWS, for other parts that share it.
    pub fn aws(&self) -> &Arc<Aws> {
        &self.aws
    }
}

impl<J: Jitter> Fetch for AwsSources<J> {
    async fn fetch(
        &self,
        url: &SourceUrl,
        known: Option<&Versions>,
    ) -> Result<Fetched, FetchError> {
        // The SDK panics on some values from outside, which may leave it in an undefined state.
        let mut answer = caught(self.ask(url, known)).await.unwrap_or_else(|panic| {
            self.forget();
            Err(panic.failure(url))
        });
        if let Err(failure) = &mut answer {
            self.aws.explain(failure).await;
        }
        // A role may be replaced, or a session revoked, while our credentials still look valid, so
        // the next cycle starts afresh.
        if answer
            .as_ref()
            .is_err_and(|error| error.class == Class::Denied)
        {
            self.forget();
        }
        answer
    }
}

impl<J: Jitter> AwsSources<J> {
    /// Makes the next fetch start afresh, with a new connection and new credentials.
    fn forget(&self) {
        self.aws.forget();
        self.s3.clients.forget();
        self.prefixes.clients.forget();
        self.secrets.clients.forget();
        self.parameters.clients.forget();
    }

    async fn ask(&self, url: &SourceUrl, known: Option<&Versions>) -> Result<Fetched, FetchError> {
        let policy = &self.aws.limits.retry;
        let jitter = &self.jitter;
        let aws = &self.aws;
        let current = known.map(|known| &known.current);
        match url {
            SourceUrl::File { path } => Err(FetchError {
                code: None,
                class: Class::Invalid,
                message: format!("{} is a file of this machine", path.display()),
                remedy: "read it there".to_owned(),
            }),
            SourceUrl::S3 {
                bucket,
                key,
                version_id,
                ..
            } => {
                let object = Object {
                    url,
                    bucket,
                    key,
                    version_id: version_id.as_deref(),
                };
                let call = object.call(None);
                retry(policy, jitter, &call, async || {
                    self.s3.attempt(aws, &object, current).await
                })
                .await
            }
            SourceUrl::Prefix { bucket, prefix, .. } => {
                let prefix = Prefix {
                    url,
                    bucket,
                    prefix,
                };
                let call = prefix.list_call(None);
                retry(policy, jitter, &call, async || {
                    self.prefixes.attempt(aws, &prefix, current).await
                })
                .await
            }
            SourceUrl::Secret { id, stages, .. } => {
                let secret = Secret { url, id, stages };
                let call = secret.call(None, Stage::Current);
                retry(policy, jitter, &call, async || {
                    self.secrets.attempt(aws, &secret, known).await
                })
                .await
            }
            SourceUrl::Parameter { id, .. } => {
                let parameter = Parameter { url, id };
                let call = parameter.call(None);
                retry(policy, jitter, &call, async || {
                    self.parameters.attempt(aws, &parameter, current).await
                })
                .await
            }
        }
    }
}

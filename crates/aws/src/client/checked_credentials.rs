//! Wraps the provider of credentials: checks them, and sets a time limit.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use tokio::time::timeout;

use super::credentials::{CredentialOrigin, LIMIT};
use super::values::check_credentials;

/// A provider whose credentials are checked, whatever their origin.
#[derive(Debug)]
pub(super) struct CheckedCredentials {
    provider: SharedCredentialsProvider,
    origin: CredentialOrigin,
}

impl CheckedCredentials {
    /// Wraps a provider.
    pub(super) fn new(provider: SharedCredentialsProvider, origin: CredentialOrigin) -> Self {
        Self { provider, origin }
    }
}

impl ProvideCredentials for CheckedCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let provided = timeout(LIMIT, self.provider.provide_credentials()).await;
            let provided = provided
                .unwrap_or_else(|_elapsed| Err(CredentialsError::provider_timed_out(LIMIT)));
            let credentials = provided.map_err(|error| self.origin.explained(error))?;
            match check_credentials(&credentials) {
                Ok(()) => Ok(credentials),
                Err(bad) => Err(CredentialsError::invalid_configuration(bad)),
            }
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.provider
            .fallback_on_interrupt()
            .filter(|credentials| check_credentials(credentials).is_ok())
    }
}

//! What every call to AWS shares: configuration, HTTP client, time limits, and how failures are
//! classed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_secretsmanager::primitives::Blob;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use checked_credentials::CheckedCredentials;
use http::Http;
use instance::Metadata;
use retry::Policy;
use values::BadValue;

use authkeys_core::origin::FetchError;
use authkeys_core::origin::instance::NoInstance;

mod bundle;
mod call;
mod checked_credentials;
pub mod clients;
mod codes;
mod credentials;
pub mod fault;
pub mod http;
pub mod instance;
mod kind;
pub mod nudge;
mod reach;
pub mod region;
pub mod retry;
pub mod values;
mod verdict;
mod words;

/// Time limits. All of them apply to every call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To connect, TLS included.
    pub connect: Duration,
    /// From the request to the head of the answer, and between two pieces of its body.
    pub read: Duration,
    /// One attempt, including credentials and body.
    pub attempt: Duration,
    /// The retry policy, including the limit for the whole operation.
    pub retry: Policy,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            read: Duration::from_secs(10),
            attempt: Duration::from_secs(15),
            retry: Policy::default(),
        }
    }
}

impl Limits {
    /// For an operation of many calls, which throttling must not stop half-way: up to six attempts,
    /// within some seconds.
    pub fn patient() -> Self {
        let retry = Policy {
            attempts: 6,
            cap: Duration::from_secs(3),
            ..Policy::default()
        };
        Self {
            retry,
            ..Self::default()
        }
    }
}

/// Access to AWS. Nothing is read or set up before the first call.
#[derive(Debug)]
pub struct Aws {
    /// The time limits of every call.
    pub limits: Limits,
    /// The metadata service.
    pub metadata: Metadata,
    http: Http,
    /// One for each region that a URL names, and one for the environment's region.
    configs: Mutex<BTreeMap<Option<String>, SdkConfig>>,
}

impl Aws {
    /// With these limits; the environment is read by the first call.
    pub fn new(limits: Limits) -> Self {
        let http = Http::new(&std::env::var("AUTHKEYSD_PLAIN_HTTP").unwrap_or_default());
        Self {
            limits,
            metadata: Metadata::new(http.shared()),
            http,
            configs: Mutex::default(),
        }
    }

    /// The SDK's configuration for `region`, or for the region of the environment, the profile or
    /// the metadata service. It is loaded once, but one without a region is not kept: at boot the
    /// metadata service may not be ready yet.
    pub async fn config(&self, region: Option<&str>) -> Result<SdkConfig, BadValue> {
        let key = region.map(str::to_owned);
        let kept = locked(&self.configs).get(&key).cloned();
        if let Some(config) = kept {
            return Ok(config);
        }
        let config = self.load(region).await?;
        if config.region().is_some() {
            locked(&self.configs).insert(key, config.clone());
        }
        Ok(config)
    }

    async fn load(&self, region: Option<&str>) -> Result<SdkConfig, BadValue> {
        let origin = values::check_settings().await?;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.limits.connect)
            .read_timeout(self.limits.read)
            .build();
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.shared())
            // Our own retry policy is the only one; the SDK's would multiply with it.
            .retry_config(RetryConfig::standard().with_max_attempts(1))
            .timeout_config(timeouts)
            // Our own limits also cover the body.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // A 304 may carry the checksum of a body that it does not have, and S3-compatible
            // servers do not support checksums.
            .response_checksum_validation(
                aws_types::sdk_config::ResponseChecksumValidation::WhenRequired,
            )
            .request_checksum_calculation(
                aws_types::sdk_config::RequestChecksumCalculation::WhenRequired,
            );
        let config = match region {
            Some(region) => loader.region(Region::new(region.to_owned())).load().await,
            None => loader.load().await,
        };
        values::check_region(&config)?;
        // No https request has been made so far.
        self.http
            .trust(setting(&config, "", "AWS_CA_BUNDLE", "ca_bundle").map(PathBuf::from));
        let filled = config
            .clone()
            .into_builder()
            .service_config(FilledSettings(config.clone()))
            .build();
        let Some(credentials) = config.credentials_provider() else {
            return Ok(filled);
        };
        let checked = SharedCredentialsProvider::new(CheckedCredentials::new(credentials, origin));
        Ok(filled.into_builder().credentials_provider(checked).build())
    }

    /// On an instance without credentials or a region, asks its metadata service for the reason,
    /// and makes that the remedy.
    pub async fn explain(&self, failure: &mut FetchError) {
        if !reach::lacks_metadata(&failure.remedy) {
            return;
        }
        // The SDK treats an answer that we refuse as "there is none".
        if let Some(bad) = self.http.refused_metadata() {
            failure.class = bad.class();
            failure.remedy = format!("{bad}: {}", bad.remedy());
        } else if instance::somewhere()
            && let Err(why @ NoInstance::Unreachable { .. }) = self.metadata.instance().await
        {
            failure.remedy = why.to_string();
        }
    }

    /// Drops what was loaded, including credentials: the next call reads the environment again.
    pub fn forget(&self) {
        locked(&self.configs).clear();
    }
}

/// Locks a mutex, even if another thread panicked while it held it.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The settings of single services, without empty values: a client panics on an empty endpoint.
#[derive(Debug)]
struct FilledSettings(SdkConfig);

impl LoadServiceConfig for FilledSettings {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let value = self.0.service_config()?.load_config(key.clone())?;
        if value.is_empty() {
            setting(&self.0, "", key.env(), key.profile())
        } else {
            Some(value)
        }
    }
}

/// A client of S3.
pub fn s3_client(config: &SdkConfig) -> aws_sdk_s3::Client {
    // A custom endpoint seldom has a DNS name for every bucket.
    let path_style = endpoint(config, "S3").is_some();
    aws_sdk_s3::Client::from_conf(
        aws_sdk_s3::config::Builder::from(config)
            .force_path_style(path_style)
            .build(),
    )
}

/// The checksum by which S3 checks an object's bytes, for a header of the request. The SDK would
/// send it after the bytes, which some S3-compatible servers do not read.
pub(crate) fn checksum(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Sha256::digest(bytes))
}

/// The value of a secret's version, which Secrets Manager returns as text or as bytes.
pub(crate) fn secret_value(text: Option<String>, bytes: Option<Blob>) -> Option<Vec<u8>> {
    match text {
        Some(text) => Some(text.into_bytes()),
        None => bytes.map(Blob::into_inner),
    }
}

/// The endpoint that the environment or the profile sets for a service (`S3`:
/// `AWS_ENDPOINT_URL_S3`, then `AWS_ENDPOINT_URL`, and so on), as the SDK's clients take it.
pub fn endpoint(config: &SdkConfig, service_id: &str) -> Option<String> {
    match setting(config, service_id, "AWS_ENDPOINT_URL", "endpoint_url") {
        Some(own) => Some(own),
        None => config.endpoint_url().map(str::to_owned),
    }
}

/// The same endpoint for messages; by default the service in its region. Without a configuration if
/// none has been loaded yet.
pub fn service_endpoint(config: Option<&SdkConfig>, service_id: &str, name: &str) -> String {
    if let Some(config) = config {
        if let Some(endpoint) = endpoint(config, service_id) {
            return endpoint;
        }
        if let Some(region) = config.region() {
            return format!("{name} in {region}");
        }
    }
    format!("{name} (or the metadata service)")
}

/// A setting of the environment or the profile, for one service or for all.
fn setting(config: &SdkConfig, service_id: &str, env: &str, profile: &str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service_id)
        .env(env)
        .profile(profile)
        .build()
        .ok()?;
    config
        .service_config()?
        .load_config(key)
        .filter(|value| !value.is_empty())
}

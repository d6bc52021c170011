//! One request to EC2: its address, its signature, its way over the SDK's connections.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::body::SdkBody;
use thiserror::Error;

use super::endpoint;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// A request without a good answer; what the answer says is in the raw response.
pub(super) type Failure = SdkError<Refused, HttpResponse>;

/// The answer is an error.
#[derive(Debug, Error)]
#[error("the answer is an error")]
pub(super) struct Refused;

/// Where the configuration says that EC2 is; the error is why it cannot be there.
pub(super) fn address(config: &SdkConfig, region: &str) -> Result<String, String> {
    let own =
        crate::client::endpoint(config, "EC2").map(|url| url.trim_end_matches('/').to_owned());
    let fips = config.use_fips().unwrap_or_default();
    own.map_or_else(
        || endpoint::endpoint(region, fips, config.use_dual_stack().unwrap_or_default()),
        Ok,
    )
}

/// Fails as the SDK's own clients do when there are no credentials.
pub(super) async fn credentials(config: &SdkConfig) -> Result<Credentials, Failure> {
    let got = match config.credentials_provider() {
        Some(provider) => provider.provide_credentials().await,
        None => Err(CredentialsError::not_loaded_no_source()),
    };
    got.map_err(|error| SdkError::dispatch_failure(ConnectorError::other(error.into(), None)))
}

/// The signed request; the error is what is wrong with the endpoint.
pub(super) fn signed(
    config: &SdkConfig,
    endpoint: &str,
    region: &str,
    credentials: Credentials,
    form: String,
) -> Result<HttpRequest, String> {
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("ec2")
        .time(config.time_source().unwrap_or_default().now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|fault| fault.to_string())?;
    let address = format!("{endpoint}/");
    let body = SignableBody::Bytes(form.as_bytes());
    let headers = std::iter::once(("content-type", FORM));
    let signable =
        SignableRequest::new("POST", &address, headers, body).map_err(|fault| fault.to_string())?;
    let (instructions, _signature) = sign(signable, &parameters.into())
        .map_err(|fault| fault.to_string())?
        .into_parts();

    let mut request = HttpRequest::new(SdkBody::from(form));
    request
        .set_method("POST")
        .map_err(|fault| fault.to_string())?;
    // The operation puts its endpoint in front.
    request.set_uri("/").map_err(|fault| fault.to_string())?;
    request.headers_mut().insert("content-type", FORM);
    for (name, value) in instructions.headers() {
        request
            .headers_mut()
            .try_insert(name.to_owned(), value.to_owned())
            .map_err(|fault| fault.to_string())?;
    }
    Ok(request)
}

/// One attempt over the shared connections.
pub(super) async fn send(
    config: &SdkConfig,
    endpoint: &str,
    request: HttpRequest,
) -> Result<String, Failure> {
    let mut operation = Operation::builder()
        .service_name("EC2")
        .operation_name("query")
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .no_auth()
        .no_retry();
    if let Some(client) = config.http_client() {
        operation = operation.http_client(client);
    }
    if let Some(limits) = config.timeout_config() {
        operation = operation.timeout_config(limits.clone());
    }
    let operation = operation
        .serializer(|request: Sendable| {
            request
                .0
                .try_clone()
                .ok_or_else(|| "the body is a stream".into())
        })
        .deserializer(|response: &HttpResponse| match response.body().bytes() {
            Some(body) if response.status().is_success() => {
                Ok(String::from_utf8_lossy(body).into_owned())
            }
            _ => Err(OrchestratorError::operation(Refused)),
        })
        .build();
    operation.invoke(Sendable(request)).await
}

/// A request whose signature no debug output shows.
struct Sendable(HttpRequest);

impl std::fmt::Debug for Sendable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sendable")
    }
}

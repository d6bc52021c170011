//! One request: its address, its signature, and how it is sent over the SDK's connections.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_types::body::SdkBody;
use thiserror::Error;

use super::{AwsService, Body, endpoint};

/// A request without a successful answer; the raw response has the contents of the answer.
pub(crate) type Failure = SdkError<ErrorStatus, HttpResponse>;

/// An error answer.
#[derive(Debug, Error)]
#[error("the answer is an error")]
pub(crate) struct ErrorStatus;

/// The configured address of a service; the error says why it cannot be used.
pub(super) fn address(
    config: &SdkConfig,
    service: &AwsService,
    region: &str,
) -> Result<String, String> {
    if let Some(own) = crate::client::endpoint(config, service.id) {
        return Ok(own.trim_end_matches('/').to_owned());
    }
    let fips = config.use_fips().unwrap_or_default();
    let dual_stack = config.use_dual_stack().unwrap_or_default();
    endpoint::endpoint(service, region, fips, dual_stack)
}

/// Fails as the SDK's own clients do if credentials cannot be obtained.
pub(super) async fn credentials(config: &SdkConfig) -> Result<Credentials, Failure> {
    let got = match config.credentials_provider() {
        Some(provider) => provider.provide_credentials().await,
        None => Err(CredentialsError::not_loaded_no_source()),
    };
    got.map_err(|error| SdkError::dispatch_failure(ConnectorError::other(error.into(), None)))
}

/// The signed request; the error says what is wrong with the endpoint.
pub(super) fn signed(
    config: &SdkConfig,
    service: &AwsService,
    endpoint: &str,
    region: &str,
    credentials: Credentials,
    body: Body,
) -> Result<HttpRequest, BoxError> {
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service.name)
        .time(config.time_source().unwrap_or_default().now())
        .settings(SigningSettings::default())
        .build()?;
    let address = format!("{endpoint}/");
    let own_headers = body.headers();
    let signable = SignableRequest::new(
        "POST",
        &address,
        own_headers.iter().copied(),
        SignableBody::Bytes(body.text.as_bytes()),
    )?;
    let (instructions, _signature) = sign(signable, &parameters.into())?.into_parts();

    let mut request = HttpRequest::new(SdkBody::from(body.text));
    request.set_method("POST")?;
    // The operation prepends its endpoint.
    request.set_uri("/")?;
    for (name, value) in own_headers {
        request.headers_mut().insert(name, value);
    }
    for (name, value) in instructions.headers() {
        request
            .headers_mut()
            .try_insert(name.to_owned(), value.to_owned())?;
    }
    Ok(request)
}

/// One attempt over the shared connections.
pub(super) async fn send(
    config: &SdkConfig,
    service: &AwsService,
    endpoint: &str,
    request: HttpRequest,
) -> Result<String, Failure> {
    let mut operation = Operation::builder()
        .service_name(service.id)
        .operation_name("call")
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
            _ => Err(OrchestratorError::operation(ErrorStatus)),
        })
        .build();
    operation.invoke(Sendable(request)).await
}

/// A request whose debug output does not contain its signature.
struct Sendable(HttpRequest);

impl std::fmt::Debug for Sendable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sendable")
    }
}

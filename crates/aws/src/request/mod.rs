//! Signed requests to services of which only a few calls are needed, with the SDK's credentials,
//! region and connections. The SDK's own clients for them would be too expensive: the one for EC2
//! takes 8 GB of memory to compile, the one for KMS a large part of a package.

use aws_config::SdkConfig;

use crate::client::Aws;
use crate::client::fault::Call;
use authkeys_core::origin::failure::{Class, FetchError};

mod endpoint;
mod wire;

pub(crate) use wire::Failure;

/// A service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AwsService {
    /// Its id in `AWS_ENDPOINT_URL_ID`.
    pub(crate) id: &'static str,
    /// Its name in host names and signatures.
    pub(crate) name: &'static str,
    /// Whether its usual hosts in us-gov are already FIPS hosts.
    pub(crate) gov_hosts_are_fips: bool,
}

/// The body of a request.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) content_type: &'static str,
    /// The operation, if the protocol names it in a header.
    pub(crate) target: Option<&'static str>,
    pub(crate) text: String,
}

impl Body {
    fn headers(&self) -> Vec<(&'static str, &'static str)> {
        let mut headers = vec![("content-type", self.content_type)];
        if let Some(target) = self.target {
            headers.push(("x-amz-target", target));
        }
        headers
    }
}

/// Signs and sends, once. The outer error is from before the request, the inner one from the
/// request.
pub(crate) async fn send(
    aws: &Aws,
    region: Option<&str>,
    service: &AwsService,
    call: &Call,
    body: Body,
) -> Result<Result<String, Failure>, FetchError> {
    let config = aws.config(region).await.map_err(|bad| call.unfit(&bad))?;
    let Some(region) = config.region().map(ToString::to_string) else {
        return Err(call.failed(
            Class::Invalid,
            "was not made: no region is known",
            "set AWS_REGION; on EC2 the metadata service tells it",
        ));
    };
    let endpoint = match wire::address(&config, service, &region) {
        Ok(endpoint) => endpoint,
        Err(why) => return Err(not_made(call, service, &why)),
    };
    let credentials = match wire::credentials(&config).await {
        Ok(credentials) => credentials,
        Err(error) => return Ok(Err(error)),
    };
    match wire::signed(&config, service, &endpoint, &region, credentials, body) {
        Ok(request) => Ok(wire::send(&config, service, &endpoint, request).await),
        Err(fault) => Err(not_made(call, service, &fault.to_string())),
    }
}

fn not_made(call: &Call, service: &AwsService, why: &str) -> FetchError {
    let remedy = format!("correct the region, or AWS_ENDPOINT_URL_{}", service.id);
    call.failed(Class::Invalid, &format!("was not made: {why}"), remedy)
}

/// The call, with the endpoint that it goes to.
pub(crate) async fn placed(
    aws: &Aws,
    region: Option<&str>,
    service: &AwsService,
    call: &Call,
) -> Call {
    let Ok(config) = aws.config(region).await else {
        return call.clone();
    };
    Call {
        endpoint: address(&config, service),
        ..call.clone()
    }
}

fn address(config: &SdkConfig, service: &AwsService) -> String {
    let region = config.region().map(ToString::to_string).unwrap_or_default();
    wire::address(config, service, &region).unwrap_or_else(|_| service.id.to_owned())
}

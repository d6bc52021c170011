//! Fetches a document from a Systems Manager parameter: one GetParameter, with decryption.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::operation::get_parameter::GetParameterOutput;
use aws_sdk_ssm::types::ParameterType;
use aws_types::SdkConfig;

use crate::client::clients::Clients;
use crate::client::fault::{Call, no_region};
use crate::client::region::parameter_arn;
use crate::client::{Aws, service_endpoint};
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::origin::{Fetched, MAX_DOCUMENT, SourceUrl, Version};

/// One parameter, as named in a source URL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter<'a> {
    pub(super) url: &'a SourceUrl,
    /// With the version or label, if the URL selects one.
    pub(super) id: &'a str,
}

/// The client for all parameters.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub(super) clients: Clients<Client>,
}

impl Parameters {
    /// One attempt; its time limit covers credentials and body.
    pub(super) async fn attempt(
        &self,
        aws: &Aws,
        parameter: &Parameter<'_>,
        known: Option<&Version>,
    ) -> Result<Fetched, FetchError> {
        let call = parameter.call(None);
        let attempt = self.unlimited(aws, parameter, known);
        call.within(aws.limits.attempt, attempt).await
    }

    async fn unlimited(
        &self,
        aws: &Aws,
        parameter: &Parameter<'_>,
        known: Option<&Version>,
    ) -> Result<Fetched, FetchError> {
        let config = aws
            .config(parameter.url.region())
            .await
            .map_err(|bad| parameter.call(None).unfit(&bad))?;
        let call = parameter.call(Some(&config));
        if config.region().is_none() {
            return Err(no_region(&call));
        }
        let client = self
            .clients
            .of(parameter.url.region(), || Client::new(&config));
        match client
            .get_parameter()
            .name(parameter.id)
            .with_decryption(true)
            .send()
            .await
        {
            Ok(answer) => taken(&call, answer, known),
            Err(error) => Err(call.classed(&error)),
        }
    }
}

fn taken(
    call: &Call,
    answer: GetParameterOutput,
    known: Option<&Version>,
) -> Result<Fetched, FetchError> {
    let Some(found) = answer.parameter else {
        let remedy = format!(
            "is that Systems Manager? check the endpoint {}",
            call.endpoint
        );
        return Err(call.failed(Class::Invalid, "answered without a parameter", remedy));
    };
    if found.r#type == Some(ParameterType::StringList) {
        let remedy = "publish it as a String or a SecureString";
        return Err(call.failed(
            Class::Invalid,
            "returned a StringList, which is not a document",
            remedy,
        ));
    }
    // The versions of a parameter that is deleted and created again start at 1 again.
    let modified = found
        .last_modified_date
        .map(|date| format!("{}.{:09}", date.secs(), date.subsec_nanos()));
    let label = found.version.to_string();
    let token = format!("{label} {}", modified.unwrap_or_default());
    let bytes = found.value.unwrap_or_default().into_bytes();
    if bytes.len() > MAX_DOCUMENT {
        return Err(call.too_large());
    }
    let version = Version { label, token };
    Ok(if known == Some(&version) {
        Fetched::Unchanged
    } else {
        Fetched::document(bytes, version)
    })
}

impl Parameter<'_> {
    /// The call; without a configuration if none has been loaded yet.
    pub(super) fn call(&self, config: Option<&SdkConfig>) -> Call {
        Call {
            source: self.url.to_string(),
            operation: "Systems Manager GetParameter",
            action: "ssm:GetParameter",
            resource: parameter_arn(config, self.id),
            or_else: "",
            endpoint: service_endpoint(config, "SSM", "Systems Manager"),
        }
    }
}

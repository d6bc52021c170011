//! A parameter of Systems Manager. PutParameter knows no condition: that nobody was in between is seen by the version it
//! gives, which must be the one after the version that was read.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::ProvideErrorMetadata as _;
use aws_sdk_ssm::types::{ParameterStringFilter, ParameterTier, ParameterType};
use aws_types::SdkConfig;
use tokio::time::timeout;

use super::{NotWritten, Published, Target, Written};
use crate::aws::fault::Call;
use crate::aws::region::{arn, parameter_arn};
use crate::aws::service_endpoint;
use crate::source::{Class, FetchError};

/// The most bytes of a parameter in the standard tier; beyond, it is an advanced one, and has its price.
const STANDARD: usize = 4_096;

/// Writes the next version. It is tried once: a second attempt could not be told from somebody else's write.
pub(super) async fn write(
    target: &Target,
    id: &str,
    region: Option<&str>,
    text: &str,
    over: Option<&Published>,
) -> Result<Written, NotWritten> {
    let call = |config: Option<&SdkConfig>| call(target, id, config, "PutParameter");
    let config = target.config(region, call).await?;
    let (call, client) = (call(Some(&config)), Client::new(&config));
    let request = client.put_parameter().name(id).value(text).overwrite(over.is_some());
    let request = if text.len() > STANDARD { request.tier(ParameterTier::Advanced) } else { request };
    let request = match over {
        // Public keys need no encryption.
        None => request.r#type(ParameterType::String),
        Some(_) => match key_of(target, id, &config, &client).await? {
            None => request,
            Some(key) => request.r#type(ParameterType::SecureString).set_key_id(key),
        },
    };
    match limited(target, &call, request.send()).await? {
        Ok(answer) => {
            let read = over.map_or(Some(0), |published| published.version.label.parse::<i64>().ok());
            let between = answer.version.saturating_sub(1);
            let overwrote = (read != Some(between)).then(|| between.to_string());
            Ok(Written { version: answer.version.to_string(), overwrote })
        }
        Err(error) if error.code() == Some("ParameterAlreadyExists") => Err(NotWritten::Lost),
        Err(error) => Err(call.classed(&error).into()),
    }
}

/// The KMS key of a SecureString; `None` for what is not encrypted. Without its name the account's default key would
/// take the place of one's own.
async fn key_of(
    target: &Target,
    id: &str,
    config: &SdkConfig,
    client: &Client,
) -> Result<Option<Option<String>>, FetchError> {
    let get = call(target, id, Some(config), "GetParameter");
    let answer = limited(target, &get, client.get_parameter().name(id).send()).await?;
    let found = answer.map_err(|error| get.classed(&error))?.parameter;
    if found.as_ref().and_then(|found| found.r#type.as_ref()) != Some(&ParameterType::SecureString) {
        return Ok(None);
    }
    let describe = call(target, id, Some(config), "DescribeParameters");
    let name = found.and_then(|found| found.name).unwrap_or_else(|| id.to_owned());
    let filter = ParameterStringFilter::builder().key("Name").option("Equals").values(name).build();
    let filter = filter.map_err(|fault| describe.failed(Class::Invalid, &fault.to_string(), "check the target"))?;
    let answer = limited(target, &describe, client.describe_parameters().parameter_filters(filter).send()).await?;
    let found = answer.map_err(|error| describe.classed(&error))?.parameters.unwrap_or_default();
    Ok(Some(found.into_iter().find_map(|found| found.key_id)))
}

async fn limited<T>(target: &Target, call: &Call, request: impl Future<Output = T>) -> Result<T, FetchError> {
    let limit = target.aws().limits.attempt;
    timeout(limit, request).await.map_err(|_elapsed| call.timed_out(limit))
}

fn call(target: &Target, id: &str, config: Option<&SdkConfig>, operation: &'static str) -> Call {
    let (operation, action, resource) = match operation {
        "DescribeParameters" => {
            ("Systems Manager DescribeParameters", "ssm:DescribeParameters", arn(config, "ssm", "*"))
        }
        "GetParameter" => ("Systems Manager GetParameter", "ssm:GetParameter", parameter_arn(config, id)),
        _ => ("Systems Manager PutParameter", "ssm:PutParameter", parameter_arn(config, id)),
    };
    let endpoint = service_endpoint(config, "SSM", "Systems Manager");
    Call { source: target.to_string(), operation, action, resource, or_else: "", endpoint }
}

//! Publishes to a Systems Manager parameter. PutParameter has no condition: the returned version
//! must follow the version that was read, or another writer was in between.

use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::ProvideErrorMetadata as _;
use aws_sdk_ssm::operation::describe_parameters::DescribeParametersOutput;
use aws_sdk_ssm::types::{ParameterStringFilter, ParameterTier, ParameterType};
use aws_types::SdkConfig;
use tokio::time::timeout;

use super::{NotWritten, PublishTarget, Published, WrittenVersion};
use crate::client::fault::Call;
use crate::client::region::{arn, parameter_arn};
use crate::client::service_endpoint;
use authkeys_core::origin::{Class, FetchError};

/// The size limit of a parameter in the standard tier, in bytes; a larger one is an advanced
/// parameter, which costs money.
const STANDARD: usize = 4_096;
/// More pages than a list for one name has, so that a server that never ends is not followed
/// forever.
const MAX_PAGES: usize = 1_000;

/// Writes the next version. It is not retried: a second attempt would look like another publisher's
/// write.
pub(super) async fn write(
    target: &PublishTarget,
    id: &str,
    region: Option<&str>,
    text: &str,
    over: Option<&Published>,
) -> Result<WrittenVersion, NotWritten> {
    let config = target
        .config(region, |config| call(target, id, config, "PutParameter"))
        .await?;
    let call = call(target, id, Some(&config), "PutParameter");
    let client = Client::new(&config);
    let name = written_name(id);
    let request = client
        .put_parameter()
        .name(name)
        .value(text)
        .overwrite(over.is_some());
    let request = if text.len() > STANDARD {
        request.tier(ParameterTier::Advanced)
    } else {
        request
    };
    let request = match over {
        // Public keys need no encryption.
        None => request.r#type(ParameterType::String),
        Some(_) => match key_of(target, id, &config, &client).await? {
            None => request,
            Some(key) => request.r#type(ParameterType::SecureString).key_id(key),
        },
    };
    let mut answer = limited(target, &call, request.clone().send()).await?;
    // Without a tier, a small document is stored in the standard tier, and an advanced parameter
    // cannot return to that.
    if answer
        .as_ref()
        .is_err_and(|error| is_downgrade(error.code(), error.message()))
    {
        answer = limited(target, &call, request.tier(ParameterTier::Advanced).send()).await?;
    }
    match answer {
        Ok(answer) => {
            let read = match over {
                Some(published) => published.version.label.parse::<i64>().ok(),
                None => Some(0),
            };
            let before = answer.version.saturating_sub(1);
            Ok(WrittenVersion {
                version: answer.version.to_string(),
                overwrote: match read {
                    Some(read) if read == before => None,
                    _ => Some(before.to_string()),
                },
                warnings: Vec::new(),
            })
        }
        Err(error) if error.code() == Some("ParameterAlreadyExists") => Err(NotWritten::Lost),
        Err(error) => Err(call.classed(&error).into()),
    }
}

/// The name for PutParameter, which accepts no ARN: the name of a hierarchy begins with a slash.
fn written_name(id: &str) -> &str {
    let Some(rest) = id.strip_prefix("arn:") else {
        return id;
    };
    let Some((_, name)) = rest.split_once(":parameter/") else {
        return id;
    };
    match name.contains('/') {
        // Include the slash before the name.
        true => id.get(id.len() - name.len() - 1..).unwrap_or(id),
        false => name,
    }
}

fn is_downgrade(code: Option<&str>, message: Option<&str>) -> bool {
    let message = message.unwrap_or_default();
    code == Some("ValidationException")
        && (message.contains("advanced-parameter tier") || message.contains("downgrade"))
}

/// The KMS key of a SecureString; `None` if the parameter is not encrypted. Without the key's name,
/// the account's default key would replace a custom one. This reads what the write will replace:
/// the parameter with that name in the account of the credentials, whatever account an ARN names.
async fn key_of(
    target: &PublishTarget,
    id: &str,
    config: &SdkConfig,
    client: &Client,
) -> Result<Option<String>, FetchError> {
    let get = call(target, id, Some(config), "GetParameter");
    let answer = limited(
        target,
        &get,
        client.get_parameter().name(written_name(id)).send(),
    )
    .await?;
    let found = match answer {
        Ok(answer) => answer.parameter,
        Err(error) if id.starts_with("arn:") && error.code() == Some("ParameterNotFound") => {
            return Err(of_another_account(&get));
        }
        Err(error) => return Err(get.classed(&error)),
    };
    // An answer without a parameter means that nothing is encrypted there.
    let Some(found) = found else { return Ok(None) };
    if id.starts_with("arn:")
        && let Some(arn) = found.arn()
        && account(arn) != account(id)
    {
        return Err(of_another_account(&get));
    }
    if found.r#type != Some(ParameterType::SecureString) {
        return Ok(None);
    }
    let describe = call(target, id, Some(config), "DescribeParameters");
    let name = match found.name() {
        Some(name) if !name.starts_with("arn:") => name,
        _ => written_name(id),
    };
    let key = described_key(target, &describe, client, name).await?;
    Ok(Some(key))
}

fn of_another_account(get: &Call) -> FetchError {
    get.failed(
        Class::Invalid,
        "shows that the ARN is of another account, whose shared parameters can only be read",
        "publish with credentials of the account that owns it; nothing was written",
    )
}

/// The key in the parameter's description. An empty page is not necessarily the last one.
async fn described_key(
    target: &PublishTarget,
    describe: &Call,
    client: &Client,
    name: &str,
) -> Result<String, FetchError> {
    let filter = ParameterStringFilter::builder()
        .key("Name")
        .option("Equals")
        .values(name)
        .build();
    let filter = filter
        .map_err(|fault| describe.failed(Class::Invalid, &fault.to_string(), "check the target"))?;
    let mut next: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let request = client
            .describe_parameters()
            .parameter_filters(filter.clone());
        let answer = limited(
            target,
            describe,
            request.set_next_token(next.clone()).send(),
        )
        .await?;
        let page = answer.map_err(|error| describe.classed(&error))?;
        if let Some(key) = listed_key(&page, name) {
            return Ok(key.to_owned());
        }
        let token = page.next_token.unwrap_or_default();
        if token.is_empty() || next.as_ref() == Some(&token) {
            break;
        }
        next = Some(token);
    }
    Err(describe.failed(
        Class::Invalid,
        "does not name the KMS key of the parameter, and without it the key set would be encrypted \
         with another one",
        "nothing was written; find the key (aws ssm describe-parameters), or publish to a \
         parameter of the type String",
    ))
}

/// The key of the first parameter with that name, or without a name.
fn listed_key<'a>(page: &'a DescribeParametersOutput, name: &str) -> Option<&'a str> {
    for found in page.parameters() {
        match found.name() {
            Some(other) if other != name => {}
            _ => return found.key_id(),
        }
    }
    None
}

fn account(arn: &str) -> Option<&str> {
    arn.split(':').nth(4)
}

async fn limited<T>(
    target: &PublishTarget,
    call: &Call,
    request: impl Future<Output = T>,
) -> Result<T, FetchError> {
    let limit = target.aws().limits.attempt;
    timeout(limit, request)
        .await
        .map_err(|_elapsed| call.timed_out(limit))
}

fn call(
    target: &PublishTarget,
    id: &str,
    config: Option<&SdkConfig>,
    operation: &'static str,
) -> Call {
    let (operation, action, resource) = match operation {
        "DescribeParameters" => (
            "Systems Manager DescribeParameters",
            "ssm:DescribeParameters",
            arn(config, "ssm", "*"),
        ),
        "GetParameter" => (
            "Systems Manager GetParameter",
            "ssm:GetParameter",
            parameter_arn(config, id),
        ),
        _ => (
            "Systems Manager PutParameter",
            "ssm:PutParameter",
            parameter_arn(config, id),
        ),
    };
    let endpoint = service_endpoint(config, "SSM", "Systems Manager");
    Call {
        source: target.to_string(),
        operation,
        action,
        resource,
        or_else: "",
        endpoint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_written_by_its_name() {
        for (id, name) in [
            ("/prod/keys", "/prod/keys"),
            ("keys", "keys"),
            ("/keys", "/keys"),
            (
                "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/keys",
                "/prod/keys",
            ),
            (
                "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/keys",
                "keys",
            ),
        ] {
            assert_eq!(written_name(id), name, "{id}");
        }
    }
}

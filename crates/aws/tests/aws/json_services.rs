//! What Secrets Manager and Parameter Store answer, for the tests of both.

use authkeys_core::origin::Fetched;
use authkeys_testing::s3_stub::StubAnswer;

pub(crate) const SECRET: &str = "secretsmanager:prod/ssh";
pub(crate) const CURRENT_ONLY: &str = "secretsmanager:prod/ssh?stages=AWSCURRENT";
pub(crate) const PARAMETER: &str = "ssm:/prod/keys";

/// What KMS says where the key is known.
pub(crate) const NO_KMS: &str = "User: \
                      arn:aws:sts::123456789012:assumed-role/a-role-with-a-name-that-is-rather-long/i-0123456789abcdef0 \
                      is not authorized to perform: kms:Decrypt on resource: \
                      arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-0123456789ab \
                      because no identity-based policy allows the kms:Decrypt action";
pub(crate) const KEY: &str =
    "arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-0123456789ab";
pub(crate) const NAMED: &str = "allow kms:Decrypt on the KMS key \
                     arn:aws:kms:eu-central-1:123456789012:key/1b2c3d4e-0000-4000-8000-0123456789ab, \
                     in the key's own policy and in the role's";

/// A version as GetSecretValue brings it; `labels` are the stages that it bears.
pub(crate) fn value(version: &str, labels: &[&str], text: &str) -> StubAnswer {
    let labels: Vec<String> = labels.iter().map(|label| format!("\"{label}\"")).collect();
    StubAnswer::json(&format!(
        "{{\"ARN\":\"arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/ssh-AbC123\",\"Name\":\"prod/ssh\",\
         \"VersionId\":\"{version}\",\"SecretString\":\"{text}\",\"VersionStages\":[{}],\"CreatedDate\":1795255200.123}}",
        labels.join(",")
    ))
}

/// What Secrets Manager answers when no version bears AWSPENDING.
pub(crate) fn no_such_stage() -> StubAnswer {
    let message =
        "Secrets Manager can't find the specified secret value for staging label: AWSPENDING";
    StubAnswer::json_error("400 Bad Request", "ResourceNotFoundException", message)
}

/// A parameter as GetParameter brings it.
pub(crate) fn parameter(kind: &str, version: u32, text: &str) -> StubAnswer {
    StubAnswer::json(&format!(
        "{{\"Parameter\":{{\"Name\":\"/prod/keys\",\"Type\":\"{kind}\",\"Value\":\"{text}\",\"Version\":{version},\
         \"LastModifiedDate\":1795255200.5}}}}"
    ))
}

/// The labels of what came, AWSCURRENT first.
pub(crate) fn versions(fetched: &Fetched) -> Vec<String> {
    let Fetched::Documents { current, further } = fetched else {
        panic!("{fetched:?}")
    };
    let further = further
        .iter()
        .map(|(stage, part)| format!("{stage} {}", part.version.label));
    std::iter::once(format!("AWSCURRENT {}", current.version.label))
        .chain(further)
        .collect()
}

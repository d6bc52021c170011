//! What an answer that is an error means, and what to do: by its code, else by its status.

use super::fault::{Answer, Call};
use super::words::{WORDS, instant, words};
use authkeys_core::origin::arn::is_region;
use authkeys_core::origin::failure::Class;

pub(super) const LATER: &str = "nothing to do unless it lasts; it is tried again";

/// The class and the remedy.
pub(super) fn verdict(call: &Call, answer: &Answer<'_>) -> (Class, String) {
    let told = |class, remedy: &str| (class, remedy.to_owned());
    if let Some(remedy) = of_kms(call, answer) {
        return (Class::Denied, remedy);
    }
    match answer.code {
        "NoSuchBucket" => told(Class::Missing, "create the bucket, or correct its name in `source`"),
        "NoSuchVersion" => told(Class::Missing, "correct `version_id` in `source`, or leave it out"),
        "ParameterVersionNotFound" => {
            told(Class::Missing, "correct the version or label behind the name in `source`, or leave it out")
        }
        "ResourceNotFoundException" if answer.message.contains("secret value") => {
            told(Class::Missing, "the secret has no value yet: put one; the keys in force stay")
        }
        "ResourceNotFoundException" | "ParameterNotFound" => (
            Class::Missing,
            format!(
                "create it in {}, or correct the name or the region in `source`; the keys in force stay",
                call.endpoint
            ),
        ),
        "InvalidRequestException" if answer.message.contains("delet") => told(
            Class::Missing,
            "the secret is scheduled for deletion: restore it (aws secretsmanager restore-secret), or correct `source`; \
             the keys in force stay",
        ),
        "InvalidObjectState" => {
            told(Class::Invalid, "the object is archived: publish it again in the storage class STANDARD")
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" if skewed(answer).is_some() => {
            (Class::Transient, skew(skewed(answer)))
        }
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidToken"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidSecurity"
        | "AuthFailure"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException" => told(
            Class::Denied,
            "the credentials are wrong: correct the keys in the environment or the profile, or use an instance profile",
        ),
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => told(
            Class::Denied,
            "the credentials have expired: renew them, or use an instance profile, which renews its own",
        ),
        "OptInRequired" => told(
            Class::Denied,
            "the account has not switched this region or service on: do so, or correct the region in `source`",
        ),
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => (Class::Transient, skew(answer.clocks)),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            (Class::Invalid, elsewhere(answer))
        }
        "SlowDown" | "RequestTimeout" | "RequestLimitExceeded" | "TemporaryRedirect" | "OperationAborted" => {
            told(Class::Transient, LATER)
        }
        "InternalError"
        | "InternalFailure"
        | "InternalServiceError"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => told(Class::Transient, LATER),
        code if code.contains("Throttl") || code.starts_with("TooManyRequests") => told(Class::Transient, LATER),
        // awsJson1.1 says so with the status 400.
        code if code.starts_with("AccessDenied") || code == "NotAuthorized" => (Class::Denied, allow(call)),
        _ => of_status(call, answer),
    }
}

fn of_status(call: &Call, answer: &Answer<'_>) -> (Class, String) {
    match answer.status {
        404 | 405 if answer.delete_marker => (
            Class::Missing,
            "it was deleted (a delete marker is in its place): publish again; the keys in force stay".to_owned(),
        ),
        404 | 410 => (Class::Missing, "publish it, or correct `source`; the keys in force stay".to_owned()),
        401 | 403 => (Class::Denied, allow(call)),
        301 | 308 => (Class::Invalid, elsewhere(answer)),
        408 | 429 | 302 | 307 | 500..=599 => (Class::Transient, LATER.to_owned()),
        200..=299 => (
            Class::Invalid,
            format!("that is no answer of the service: find the proxy or login page before {}", call.endpoint),
        ),
        _ => (Class::Invalid, format!("check `source` and the endpoint {}", call.endpoint)),
    }
}

fn allow(call: &Call) -> String {
    format!("allow {} on {}{}", call.action, call.resource, call.or_else)
}

/// The services tell of KMS in codes of their own, in codes for everything, or only in their message.
fn of_kms(call: &Call, answer: &Answer<'_>) -> Option<String> {
    let (code, message) = (answer.code, answer.message);
    let codes = ["DecryptionFailure", "InvalidKeyId", "DisabledException", "KMSInvalidStateException"];
    let denied = code.starts_with("AccessDenied");
    let spoken_of = message.contains("kms:") || message.contains("KMS");
    // Other codes may name a key's ARN in passing.
    let judged = denied || code == "InvalidRequestException" || code == "ValidationException";
    if !(code.starts_with("KMS.") || codes.contains(&code) || judged && spoken_of) {
        return None;
    }
    let says = |part: &str| message.contains(part) || code.contains(part);
    let key = kms_key(call, message);
    let everywhere = "in the key's own policy and in the role's";
    Some(if says("pending deletion") || says("PendingDeletion") {
        format!(
            "{key} is to be deleted: cancel that (aws kms cancel-key-deletion) and enable it, or publish again under \
             another one"
        )
    } else if says("disabled") || says("Disabled") {
        format!("enable {key}, or publish again under another one")
    } else if denied || says("AccessDenied") || says("not authorized") {
        format!("allow kms:Decrypt on {key}, {everywhere}")
    } else {
        format!("{key} must be there, enabled and not pending deletion, and kms:Decrypt on it be allowed, {everywhere}")
    })
}

/// The key by the ARN that the service tells, which is where its words are cut off; else how to find it.
fn kms_key(call: &Call, message: &str) -> String {
    let in_arn = |c: char| c.is_ascii_alphanumeric() || ":/_-".contains(c);
    let arn = message.split(|c| !in_arn(c)).find(|word| word.starts_with("arn:") && word.contains(":kms:"));
    if let Some(arn) = arn.filter(|arn| arn.len() <= WORDS) {
        return format!("the KMS key {}", arn.trim_end_matches(':'));
    }
    let thing = call.thing();
    let shows = match thing {
        "secret" => "aws secretsmanager describe-secret --query KmsKeyId",
        "parameter" => "aws ssm describe-parameters --query Parameters[].[Name,KeyId]",
        _ => "aws s3api head-object --query SSEKMSKeyId",
    };
    format!("the {thing}'s KMS key (`{shows}` names it)")
}

fn elsewhere(answer: &Answer<'_>) -> String {
    match answer.region {
        "" => "the bucket is in another region: add `?region=REGION` to `source`".to_owned(),
        region if is_region(region) => format!("the bucket is in {region}: add `?region={region}` to `source`"),
        _ => "correct the region or the endpoint".to_owned(),
    }
}

/// The server's clock and the time of our signature, from a message such as "Signature expired: 20261121T100000Z is now
/// earlier than 20261121T101000Z (20261121T101500Z - 5 min.)".
fn skewed<'a>(answer: &Answer<'a>) -> Option<(&'a str, &'a str)> {
    if !(answer.message.contains("Signature expired") || answer.message.contains("Signature not yet current")) {
        return None;
    }
    let times = answer.message.split(|c: char| !c.is_ascii_alphanumeric());
    let mut times = times.filter(|word| word.len() == 16 && instant(word).is_some());
    let ours = times.next()?;
    Some((times.nth(1)?, ours))
}

fn skew(clocks: Option<(&str, &str)>) -> String {
    let Some((server, ours)) = clocks else {
        return "this node's clock is wrong: start or mend its time service (chronyd, systemd-timesyncd)".to_owned();
    };
    let offset = instant(server).zip(instant(ours)).map(|(server, ours)| server.duration_since(ours).as_secs());
    let by = match offset {
        Some(seconds) => format!("{} s {}", seconds.abs(), if seconds < 0 { "ahead" } else { "behind" }),
        None => format!("{} here, {} there", words(ours), words(server)),
    };
    format!("this node's clock is wrong ({by}): start or mend its time service (chronyd, systemd-timesyncd)")
}

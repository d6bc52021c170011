//! What an error answer means, and what to do: by its code, or otherwise by its status.

use super::call::{Call, ErrorAnswer};
use super::codes::{CODES, LATER, PUBLISH, Remedy};
use super::words::{WORDS, instant, words};
use authkeys_core::origin::arn::is_region;
use authkeys_core::origin::failure::Class;

/// The class and the remedy.
pub(super) fn verdict(call: &Call, answer: &ErrorAnswer<'_>) -> (Class, String) {
    if let Some(found) = of_kms(call, answer) {
        return found;
    }
    let message = answer.message;
    match answer.code {
        "ResourceNotFoundException" if message.contains("secret value") => (
            Class::Missing,
            "the secret has no value yet: put one; the keys in force stay".to_owned(),
        ),
        "InvalidRequestException" if message.contains("delet") => (
            Class::Missing,
            format!(
                "the secret is scheduled for deletion: restore it (aws secretsmanager \
                 restore-secret {}), or correct `source`; the keys in force stay",
                named(call)
            ),
        ),
        "InvalidParameterException" | "InvalidRequestException" if message.contains("replica") => (
            Class::Invalid,
            "this is a replica of the secret: publish in the secret's primary region".to_owned(),
        ),
        "SignatureDoesNotMatch" | "InvalidSignatureException" if skewed(answer).is_some() => {
            (Class::Transient, skew(skewed(answer)))
        }
        _ if answer.delete_marker => of_status(call, answer),
        code => match CODES.iter().find(|(codes, ..)| codes.contains(&code)) {
            Some((_, class, remedy)) => (*class, worded(*remedy, call, answer)),
            None if code.contains("Throttl") || code.starts_with("TooManyRequests") => {
                (Class::Transient, LATER.to_owned())
            }
            None if code.starts_with("AccessDenied") => (Class::Denied, allow(call, message)),
            None => of_status(call, answer),
        },
    }
}

/// The class and the remedy when STS or a sign-in service answers a request for credentials with
/// this code.
pub(super) fn of_credentials(code: &str) -> Option<(Class, &'static str)> {
    let (_, class, remedy) = CODES.iter().find(|(codes, ..)| codes.contains(&code))?;
    let remedy = match remedy {
        Remedy::Allow => {
            "allow sts:AssumeRole on the role that the profile names, and let the role's trust \
             policy name these credentials"
        }
        Remedy::Say(words) => words,
        Remedy::Clock => "set this node's clock (chronyd, systemd-timesyncd)",
        Remedy::Later | Remedy::Create | Remedy::Elsewhere | Remedy::Kms => LATER,
    };
    Some((*class, remedy))
}

fn worded(remedy: Remedy, call: &Call, answer: &ErrorAnswer<'_>) -> String {
    match remedy {
        Remedy::Say(words) => words.to_owned(),
        Remedy::Later => LATER.to_owned(),
        Remedy::Allow => allow(call, answer.message),
        Remedy::Create => format!(
            "create it in {}, or correct the name or the region in `source`; the keys in force \
             stay",
            call.endpoint
        ),
        Remedy::Clock => skew(answer.clocks),
        Remedy::Elsewhere => elsewhere(answer),
        Remedy::Kms => mend_key(call, answer),
    }
}

fn of_status(call: &Call, answer: &ErrorAnswer<'_>) -> (Class, String) {
    match answer.status {
        404 | 405 if answer.delete_marker => (
            Class::Missing,
            "it was deleted (a delete marker is in its place): publish again; the keys in force \
             stay"
                .to_owned(),
        ),
        404 | 410 => (Class::Missing, PUBLISH.to_owned()),
        401 | 403 => (Class::Denied, allow(call, answer.message)),
        301 | 308 => (Class::Invalid, elsewhere(answer)),
        408 | 429 | 302 | 307 | 500..=599 => (Class::Transient, LATER.to_owned()),
        200..=299 => (
            Class::Invalid,
            format!(
                "that is not an answer of the service: find the proxy or login page before {}",
                call.endpoint
            ),
        ),
        _ => (
            Class::Invalid,
            format!("check `source` and the endpoint {}", call.endpoint),
        ),
    }
}

fn allow(call: &Call, message: &str) -> String {
    if let Some(policy) = explicit_deny(message) {
        return format!(
            "an explicit deny in {policy} forbids {} on {}, and no permission outweighs it: change \
             that policy",
            call.action, call.resource
        );
    }
    format!("allow {} on {}{}", call.action, call.resource, call.or_else)
}

/// The kind of policy that explicitly denies the call, as in "with an explicit deny in a
/// resource-based policy".
fn explicit_deny(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("explicit deny")?;
    let policy = rest.strip_prefix(" in ").unwrap_or_default();
    let mut phrases = policy.split(|c: char| !(c.is_ascii_alphabetic() || c == ' ' || c == '-'));
    let policy = phrases.next().unwrap_or_default().trim();
    Some(if policy.is_empty() || policy.len() > 60 {
        "a policy"
    } else {
        policy
    })
}

/// The services report KMS errors with specific codes, with general codes, or only in the message.
fn of_kms(call: &Call, answer: &ErrorAnswer<'_>) -> Option<(Class, String)> {
    let code = answer.code;
    let message = answer.message;
    let spoken_of = message.contains("kms:") || message.contains("KMS");
    // Other codes may mention a key's ARN.
    let judged = code.starts_with("AccessDenied")
        || code == "InvalidRequestException"
        || code == "ValidationException";
    if !(code.starts_with("KMS.") || judged && spoken_of) {
        return None;
    }
    // The fault is in KMS itself.
    if ["Internal", "Timeout", "Throttl", "Unavailable"]
        .iter()
        .any(|part| code.contains(part))
    {
        return Some((Class::Transient, LATER.to_owned()));
    }
    Some((Class::Denied, mend_key(call, answer)))
}

/// Whether an answer's message or code contains this text.
fn has(answer: &ErrorAnswer<'_>, part: &str) -> bool {
    answer.message.contains(part) || answer.code.contains(part)
}

fn mend_key(call: &Call, answer: &ErrorAnswer<'_>) -> String {
    let message = answer.message;
    let key = kms_key(call, message);
    let action = kms_action(call, message);
    let everywhere = "in the key's own policy and in the role's";
    if has(answer, "pending deletion") || has(answer, "PendingDeletion") {
        let id = key.strip_prefix("the KMS key ").unwrap_or("KEY");
        format!(
            "{key} is to be deleted: cancel that (aws kms cancel-key-deletion --key-id {id}) and \
             enable it, or publish again under another one"
        )
    } else if has(answer, "disabled") || has(answer, "Disabled") {
        format!("enable {key}, or publish again under another one")
    } else if let Some(policy) = explicit_deny(message) {
        format!(
            "an explicit deny in {policy} forbids {action} on {key}, and no permission outweighs \
             it: change that policy"
        )
    } else if has(answer, "AccessDenied") || has(answer, "not authorized") {
        format!("allow {action} on {key}, {everywhere}")
    } else {
        format!(
            "{key} must be there, enabled and not pending deletion, and {action} on it be allowed, \
             {everywhere}"
        )
    }
}

/// What KMS must allow: the action that the service names, or otherwise what the call needs.
fn kms_action<'a>(call: &'a Call, message: &'a str) -> &'a str {
    let named = message.split(|c: char| !(c.is_ascii_alphanumeric() || c == ':'));
    let mut named = named.filter(|word| word.len() > 4 && word.starts_with("kms:"));
    if let Some(action) = named.next() {
        return action;
    }
    let writes = [":Put", ":Create", ":Update"]
        .iter()
        .any(|part| call.action.contains(part));
    match (writes, call.thing()) {
        (_, "key") => call.action,
        (false, _) => "kms:Decrypt",
        // An advanced parameter, and the values that the other two services encrypt, use a data
        // key.
        (true, "parameter") => "kms:Encrypt, kms:GenerateDataKey and kms:Decrypt",
        (true, _) => "kms:GenerateDataKey and kms:Decrypt",
    }
}

/// The key, by the ARN in the service's message unless that was cut off; otherwise how to find it.
fn kms_key(call: &Call, message: &str) -> String {
    let mut parts = message.split(|c: char| !(c.is_ascii_alphanumeric() || ":/_-".contains(c)));
    let arn = parts.find(|part| part.starts_with("arn:") && part.contains(":kms:"));
    if let Some(arn) = arn
        && arn.len() <= WORDS
    {
        return format!("the KMS key {}", arn.trim_end_matches(':'));
    }
    let thing = call.thing();
    if thing == "key" {
        return format!("the KMS key {}", call.resource);
    }
    let shows = match thing {
        "secret" => "aws secretsmanager describe-secret --query KmsKeyId",
        "parameter" => "aws ssm describe-parameters --query Parameters[].[Name,KeyId]",
        _ => "aws s3api head-object --query SSEKMSKeyId",
    };
    let shows = format!("{shows} {}", named(call));
    let shows = shows.trim_end();
    format!("the {thing}'s KMS key (`{shows}` names it)")
}

/// The options by which the AWS CLI names the resource of the call, for a command that can be
/// copied. A name with characters that a shell may interpret is left for people to fill in.
fn named(call: &Call) -> String {
    let place = call.source.split('?').next().unwrap_or_default();
    match call.thing() {
        "secret" => match place.strip_prefix("secretsmanager:") {
            Some(id) if is_plain(id) => format!("--secret-id {id}"),
            _ => "--secret-id NAME".to_owned(),
        },
        "object" => match bucket_and_key(&call.resource) {
            Some((bucket, key)) if is_plain(key) => format!("--bucket {bucket} --key {key}"),
            _ => "--bucket BUCKET --key KEY".to_owned(),
        },
        _ => String::new(),
    }
}

/// Whether no shell interprets any of these characters.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/_.+=@:-".contains(&b))
}

/// The bucket and the key in an object's ARN.
fn bucket_and_key(arn: &str) -> Option<(&str, &str)> {
    let (_, object) = arn.split_once(":::")?;
    object.split_once('/')
}

fn elsewhere(answer: &ErrorAnswer<'_>) -> String {
    match answer.region {
        "" => "the bucket is in another region: add `?region=REGION` to `source`".to_owned(),
        region if is_region(region) => {
            format!("the bucket is in {region}: add `?region={region}` to `source`")
        }
        _ => "correct the region or the endpoint".to_owned(),
    }
}

/// The server's clock and the time of our signature, from a message such as "Signature expired:
/// 20261121T100000Z is now earlier than 20261121T101000Z (20261121T101500Z - 5 min.)".
fn skewed<'a>(answer: &ErrorAnswer<'a>) -> Option<(&'a str, &'a str)> {
    if !(answer.message.contains("Signature expired")
        || answer.message.contains("Signature not yet current"))
    {
        return None;
    }
    let times = answer.message.split(|c: char| !c.is_ascii_alphanumeric());
    let mut times = times.filter(|word| word.len() == 16 && instant(word).is_some());
    let ours = times.next()?;
    Some((times.nth(1)?, ours))
}

fn skew(clocks: Option<(&str, &str)>) -> String {
    let Some((server, ours)) = clocks else {
        return "this node's clock is wrong: start or repair its time service (chronyd, \
                systemd-timesyncd)"
            .to_owned();
    };
    let by = match (instant(server), instant(ours)) {
        (Some(server), Some(ours)) => {
            let seconds = server.duration_since(ours).as_secs();
            let side = if seconds < 0 { "ahead" } else { "behind" };
            format!("{} s {side}", seconds.abs())
        }
        _ => format!("{} here, {} there", words(ours), words(server)),
    };
    format!(
        "this node's clock is wrong ({by}): start or repair its time service (chronyd, \
         systemd-timesyncd)"
    )
}

#[cfg(test)]
mod tests;

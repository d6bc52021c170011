//! What EC2's errors mean: EC2's own codes here; codes that all services share are classed
//! elsewhere (`client`).

use super::answer::{Ec2Refusal, refusal};
use super::{DESCRIBE, Permitted};
use crate::client::fault::{Call, ErrorAnswer, header};
use crate::request::Failure;
use authkeys_core::origin::failure::{Class, FetchError};

/// The answer to a dry run; `None` if the error is about something else.
pub(super) fn dry_run(error: &Failure) -> Option<Permitted> {
    match read(error)?.code.as_str() {
        "DryRunOperation" => Some(Permitted::Yes),
        "UnauthorizedOperation" => Some(Permitted::No),
        _ => None,
    }
}

/// Classes a failed call.
pub(super) fn classed(call: &Call, error: &Failure) -> FetchError {
    let Some(response) = error.raw_response() else {
        return call.unanswered(error);
    };
    let Ec2Refusal {
        code,
        message,
        request_id,
    } = read(error).unwrap_or_default();
    let id = if request_id.is_empty() {
        header(response, "x-amzn-requestid")
    } else {
        &request_id
    };
    let status = response.status().as_u16();
    let answer = ErrorAnswer {
        status,
        code: &code,
        message: &message,
        request_id: id,
        ..ErrorAnswer::default()
    };
    let mut failed = call.answered(&answer);
    if let Some((class, remedy)) = verdict(call, &code) {
        if failed.class != class {
            failed.code = None;
        }
        failed.class = class;
        failed.remedy = remedy;
    } else if matches!(failed.class, Class::Missing | Class::Invalid) {
        // The shared remedy is about key sets.
        failed.remedy = format!("check the region and the endpoint {}", call.endpoint);
    }
    failed
}

fn read(error: &Failure) -> Option<Ec2Refusal> {
    let body = error.raw_response()?.body().bytes()?;
    Some(refusal(&String::from_utf8_lossy(body)))
}

fn verdict(call: &Call, code: &str) -> Option<(Class, String)> {
    Some(match code {
        "OptInRequired" | "PendingVerification" | "Blocked" => (
            Class::Denied,
            "the account may not use EC2 in this region: ask who administers it".to_owned(),
        ),
        "TagLimitExceeded" => (
            Class::Invalid,
            "the instance has 50 tags already: remove some that are not used".to_owned(),
        ),
        // A request for instances depends on nothing in the configuration.
        "InvalidParameterValue" | "InvalidParameter" | "FilterLimitExceeded"
            if call.action == DESCRIBE =>
        {
            (
                Class::Invalid,
                "correct what the message names; is it one of --filter?".to_owned(),
            )
        }
        // Where the metadata service shows tags, their keys must not contain a slash or a space.
        "InvalidParameterValue" | "InvalidTagKey.Malformed" | "TagPolicyViolation" => (
            Class::Invalid,
            "correct what the message names; `tag_prefix` and `key_name_tag` in [report]?"
                .to_owned(),
        ),
        "InvalidInstanceID.NotFound" | "InvalidID" | "InvalidInstanceID.Malformed" => (
            Class::Missing,
            "EC2 knows no such instance here: is the region right, and are the credentials this \
             account's?"
                .to_owned(),
        ),
        // Several calls within seconds of each other, or a fault of EC2 itself.
        "ConcurrentTagAccess" | "Unavailable" | "InternalFailure" | "InternalError" => (
            Class::Transient,
            "nothing to do unless it lasts; it is tried again".to_owned(),
        ),
        _ => return None,
    })
}

//! What KMS's errors mean for a signing key: KMS's own codes here; codes that all services share
//! are classed elsewhere (`client`).

use serde::Deserialize;

use super::MAKE_ONE;
use crate::client::fault::{Call, ErrorAnswer, header};
use crate::request::Failure;
use authkeys_core::origin::failure::{Class, FetchError};

/// The contents of an error answer.
#[derive(Debug, Default, Deserialize)]
struct KmsRefusal {
    #[serde(rename = "__type", default)]
    code: String,
    #[serde(alias = "Message", default)]
    message: String,
}

/// Classes a failed call.
pub(super) fn classed(call: &Call, error: &Failure) -> FetchError {
    let Some(response) = error.raw_response() else {
        return call.unanswered(error);
    };
    let body = response.body().bytes().unwrap_or_default();
    // A proxy's web page has no fields of an error.
    let mut refusal: KmsRefusal = serde_json::from_slice(body).unwrap_or_default();
    if refusal.code.is_empty() {
        header(response, "x-amzn-errortype").clone_into(&mut refusal.code);
    }
    // The code is `com.amazonaws.kms#NotFoundException` or, in a header,
    // `NotFoundException:http://...`.
    let code = refusal.code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    let answer = ErrorAnswer {
        status: response.status().as_u16(),
        code,
        message: &refusal.message,
        request_id: header(response, "x-amzn-requestid"),
        ..ErrorAnswer::default()
    };
    let mut failed = call.answered(&answer);
    if let Some((class, remedy)) = verdict(call, code, &refusal.message) {
        if failed.class != class {
            failed.code = None;
        }
        failed.class = class;
        failed.remedy = remedy;
    } else if matches!(failed.class, Class::Missing | Class::Invalid) {
        // The shared remedy is about key sets.
        failed.remedy = format!("check the key's name and the endpoint {}", call.endpoint);
    }
    failed
}

fn verdict(call: &Call, code: &str, message: &str) -> Option<(Class, String)> {
    let key = &call.resource;
    Some(match code {
        "NotFoundException" => (
            Class::Missing,
            format!(
                "{} has no such key or alias: correct the name, or the region (?region=REGION, \
                 AWS_REGION); a key of another account is named by its ARN",
                call.endpoint
            ),
        ),
        "DisabledException" => (
            Class::Denied,
            format!(
                "the key is disabled: enable it (aws kms enable-key --key-id {key}), or sign with \
                 another one"
            ),
        ),
        "KMSInvalidStateException" | "KMSInvalidState" if message.contains("deletion") => (
            Class::Denied,
            format!(
                "the key is to be deleted: cancel that (aws kms cancel-key-deletion --key-id \
                 {key}) and enable it, or sign with another one"
            ),
        ),
        "KMSInvalidStateException" | "KMSInvalidState" => (
            Class::Denied,
            format!(
                "see what state the key is in (aws kms describe-key --key-id {key}), or sign with \
                 another one"
            ),
        ),
        "InvalidKeyUsageException" | "UnsupportedOperationException" => (
            Class::Invalid,
            format!("the key is not one that signs, and that never changes: {MAKE_ONE}"),
        ),
        "InvalidArnException" | "ValidationException" => (
            Class::Invalid,
            "correct the key's name: kms:KEY-ID, kms:alias/NAME or kms:ARN".to_owned(),
        ),
        "KeyUnavailableException" | "DependencyTimeoutException" | "KMSInternalException" => (
            Class::Transient,
            "try again; if it lasts, look at the AWS Health Dashboard".to_owned(),
        ),
        _ => return None,
    })
}

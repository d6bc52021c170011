//! Chooses the stable code of a failure, if it can be more precise than the class.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;

use super::call::ErrorAnswer;
use super::credentials::Unobtainable;
use super::reach::is_refusal;
use super::words::find;
use authkeys_core::fault::FaultCode;
use authkeys_core::origin::failure::Class;

/// The code of an error answer.
pub(super) fn answered(answer: &ErrorAnswer<'_>, class: Class) -> Option<FaultCode> {
    match class {
        Class::Transient if is_clock(answer) => Some(FaultCode::ClockSkewed),
        Class::Transient if is_throttling(answer) => Some(FaultCode::AwsThrottled),
        Class::Denied if is_of_kms(answer) => Some(FaultCode::KmsDenied),
        Class::Denied if is_of_credentials(answer.code) => Some(FaultCode::CredentialsRefused),
        Class::Invalid if is_elsewhere(answer) => Some(FaultCode::RegionWrong),
        Class::Transient | Class::Denied | Class::Missing | Class::Invalid => None,
    }
}

/// The code of a call that got no answer.
pub(super) fn unanswered(error: &(dyn Error + 'static), class: Class) -> Option<FaultCode> {
    if class != Class::Denied {
        return None;
    }
    if find::<Unobtainable>(error).is_some() || is_refusal(error) {
        return Some(FaultCode::CredentialsRefused);
    }
    find::<CredentialsError>(error).map(|_| FaultCode::CredentialsMissing)
}

fn is_clock(answer: &ErrorAnswer<'_>) -> bool {
    let message = answer.message;
    match answer.code {
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => true,
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            message.contains("Signature expired") || message.contains("Signature not yet current")
        }
        _ => false,
    }
}

fn is_throttling(answer: &ErrorAnswer<'_>) -> bool {
    let code = answer.code;
    let named = [
        "SlowDown",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "ProvisionedThroughputExceeded",
        "TooManyRequests",
    ];
    code.contains("Throttl")
        || named.iter().any(|name| code.starts_with(name))
        || answer.status == 429
}

fn is_of_kms(answer: &ErrorAnswer<'_>) -> bool {
    let code = answer.code;
    let of_kms = [
        "DecryptionFailure",
        "EncryptionFailure",
        "InvalidKeyId",
        "DisabledException",
    ];
    code.starts_with("KMS") || of_kms.contains(&code) || answer.message.contains("kms:")
}

fn is_of_credentials(code: &str) -> bool {
    matches!(
        code,
        "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "InvalidToken"
            | "InvalidSecurity"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "AuthFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
    )
}

fn is_elsewhere(answer: &ErrorAnswer<'_>) -> bool {
    let named = [
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    ];
    named.contains(&answer.code) || matches!(answer.status, 301 | 308)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_search_for_has_a_code_of_its_own() {
        for (status, code, message, class, expected) in [
            (
                503,
                "SlowDown",
                "",
                Class::Transient,
                Some(FaultCode::AwsThrottled),
            ),
            (
                400,
                "ThrottlingException",
                "",
                Class::Transient,
                Some(FaultCode::AwsThrottled),
            ),
            (429, "", "", Class::Transient, Some(FaultCode::AwsThrottled)),
            (500, "InternalError", "", Class::Transient, None),
            (
                403,
                "RequestTimeTooSkewed",
                "",
                Class::Transient,
                Some(FaultCode::ClockSkewed),
            ),
            (403, "AccessDenied", "", Class::Denied, None),
            (
                403,
                "AccessDenied",
                "kms:Decrypt",
                Class::Denied,
                Some(FaultCode::KmsDenied),
            ),
            (
                403,
                "InvalidAccessKeyId",
                "",
                Class::Denied,
                Some(FaultCode::CredentialsRefused),
            ),
            (
                403,
                "SignatureDoesNotMatch",
                "",
                Class::Denied,
                Some(FaultCode::CredentialsRefused),
            ),
            (
                400,
                "ExpiredToken",
                "",
                Class::Denied,
                Some(FaultCode::CredentialsRefused),
            ),
            (
                301,
                "PermanentRedirect",
                "",
                Class::Invalid,
                Some(FaultCode::RegionWrong),
            ),
            (404, "NoSuchKey", "", Class::Missing, None),
        ] {
            let answer = ErrorAnswer {
                status,
                code,
                message,
                ..ErrorAnswer::default()
            };
            assert_eq!(answered(&answer, class), expected, "{status} {code}");
        }
    }
}

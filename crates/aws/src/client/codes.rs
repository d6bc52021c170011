//! The error codes of AWS: what each one means, and what to do.

use authkeys_core::origin::failure::Class;

/// What to do about an error.
#[derive(Debug, Clone, Copy)]
pub(super) enum Remedy {
    /// The remedy in these words.
    Say(&'static str),
    /// Wait: it is tried again.
    Later,
    /// Allow the call.
    Allow,
    /// Create what is missing.
    Create,
    /// Set the clock.
    Clock,
    /// Use the region where the resource is.
    Elsewhere,
    /// Repair the KMS key, or the access to it.
    Kms,
}

pub(crate) const LATER: &str = "nothing to do unless it lasts; it is tried again";

const KEYS: Remedy = Remedy::Say(
    "the credentials are wrong: correct the keys in the environment or the profile, or use an \
     instance profile",
);
const KEYS_OR_REGION: Remedy = Remedy::Say(
    "the credentials are wrong: correct the keys in the environment or the profile, or use an \
     instance profile; else the account has not switched this region on, or this node's clock is \
     wrong",
);
const EXPIRED: Remedy = Remedy::Say(
    "the credentials have expired: renew them (aws sso login, aws login), or use an instance \
     profile, which renews its own",
);
const QUOTA: Remedy = Remedy::Say("remove what nobody needs, or ask AWS for a higher quota");

/// What each code means. Codes that only their message makes clear are judged earlier.
pub(super) const CODES: &[(&[&str], Class, Remedy)] = &[
    (
        &["NoSuchBucket"],
        Class::Missing,
        Remedy::Say("create the bucket, or correct its name in `source`"),
    ),
    (&["NoSuchKey"], Class::Missing, Remedy::Say(PUBLISH)),
    (
        &["NoSuchVersion"],
        Class::Missing,
        Remedy::Say("correct `version_id` in `source`, or leave it out"),
    ),
    (
        &["ParameterVersionNotFound"],
        Class::Missing,
        Remedy::Say("correct the version or label behind the name in `source`, or leave it out"),
    ),
    (
        &["ResourceNotFoundException", "ParameterNotFound"],
        Class::Missing,
        Remedy::Create,
    ),
    (
        &["InvalidObjectState"],
        Class::Invalid,
        Remedy::Say("the object is archived: publish it again in the storage class STANDARD"),
    ),
    (
        &[
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "InvalidToken",
            "InvalidSecurity",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "IDPRejectedClaim",
            "InvalidIdentityToken",
            "InvalidClientException",
            "UnauthorizedClientException",
        ],
        Class::Denied,
        KEYS,
    ),
    (
        &[
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "AuthFailure",
        ],
        Class::Denied,
        KEYS_OR_REGION,
    ),
    (
        &[
            "ExpiredToken",
            "ExpiredTokenException",
            "TokenRefreshRequired",
            "UnauthorizedException",
            "InvalidGrantException",
        ],
        Class::Denied,
        EXPIRED,
    ),
    (
        &["OptInRequired", "RegionDisabledException"],
        Class::Denied,
        Remedy::Say(
            "the account has not switched this region or service on: do so, or correct the region \
             in `source`",
        ),
    ),
    (
        &[
            "RequestTimeTooSkewed",
            "RequestExpired",
            "RequestInTheFuture",
        ],
        Class::Transient,
        Remedy::Clock,
    ),
    (
        &[
            "PermanentRedirect",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
        ],
        Class::Invalid,
        Remedy::Elsewhere,
    ),
    (
        &[
            "SlowDown",
            "SlowDownException",
            "RequestTimeout",
            "RequestTimeoutException",
            "RequestLimitExceeded",
            "BandwidthLimitExceeded",
            "PriorRequestNotComplete",
            "TransactionInProgressException",
            "ProvisionedThroughputExceededException",
            "RequestThrottled",
            "RequestThrottledException",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "EC2ThrottledException",
            "TooManyRequestsException",
            "TooManyRequestsError",
            "TemporaryRedirect",
            "OperationAborted",
            "ConditionalRequestConflict",
            "BadDigest",
            "InternalError",
            "InternalFailure",
            "InternalServiceError",
            "InternalServerError",
            "InternalServerException",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "IDPCommunicationError",
        ],
        Class::Transient,
        Remedy::Later,
    ),
    // The token of a page expires after a while: the list starts again.
    (
        &[
            "InvalidPaginationToken",
            "InvalidNextToken",
            "InvalidNextTokenException",
        ],
        Class::Transient,
        Remedy::Later,
    ),
    (
        &["TooManyUpdates"],
        Class::Transient,
        Remedy::Say(
            "somebody else writes it at this moment: look at what is published, then publish again",
        ),
    ),
    // awsJson1.1 reports this with the status 400.
    (
        &[
            "AccessDenied",
            "AccessDeniedException",
            "NotAuthorized",
            "UnauthorizedOperation",
        ],
        Class::Denied,
        Remedy::Allow,
    ),
    (
        &["DecryptionFailure", "EncryptionFailure", "InvalidKeyId"],
        Class::Denied,
        Remedy::Kms,
    ),
    (
        &["DisabledException", "KMSInvalidStateException"],
        Class::Denied,
        Remedy::Kms,
    ),
    (
        &["InvalidRequest"],
        Class::Invalid,
        Remedy::Say(
            "check `source`, and correct what the message names: a bucket whose objects Object \
             Lock retains takes none without a checksum, and objects under keys of a customer's \
             own (SSE-C) are not supported",
        ),
    ),
    (
        &["EncryptionTypeMismatch"],
        Class::Invalid,
        Remedy::Say("correct the encryption that the bucket's policy or default asks for"),
    ),
    (
        &["LimitExceededException"],
        Class::Invalid,
        Remedy::Say(
            "the secret has too many versions or labels: publish no more than once in ten minutes, \
             and remove labels that nobody uses",
        ),
    ),
    (
        &["ResourceExistsException", "ParameterAlreadyExists"],
        Class::Invalid,
        Remedy::Say("somebody else made it meanwhile: look at it, then publish again"),
    ),
    (
        &[
            "InvalidParameterException",
            "InvalidRequestException",
            "ValidationException",
            "PreconditionNotMetException",
        ],
        Class::Invalid,
        Remedy::Say("check `source`, and correct what the message names"),
    ),
    (
        &["ParameterMaxVersionLimitExceeded"],
        Class::Invalid,
        Remedy::Say(
            "the parameter has 100 versions, and the oldest bears a label, so that it is kept: \
             move that label to a newer version (aws ssm label-parameter-version)",
        ),
    ),
    (&["ParameterLimitExceeded"], Class::Invalid, QUOTA),
    (
        &[
            "HierarchyLevelLimitExceededException",
            "HierarchyTypeMismatchException",
        ],
        Class::Invalid,
        Remedy::Say(
            "choose another name, of at most 15 levels, or delete the parameter that is in its way",
        ),
    ),
    (
        &["ParameterPatternMismatchException"],
        Class::Invalid,
        Remedy::Say(
            "the parameter has an allowed pattern that no key set matches: take the pattern off",
        ),
    ),
    (
        &["UnsupportedParameterType"],
        Class::Invalid,
        Remedy::Say("delete the parameter and publish again: it becomes a String"),
    ),
];

pub(super) const PUBLISH: &str = "publish it, or correct `source`; the keys in force stay";

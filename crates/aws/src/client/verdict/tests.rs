use super::*;

/// Codes of calls that are made here, of parts of them that are not.
const NOT_OURS: [(&str, &str); 18] = [
    ("ReplicatedWriteConflictException", "DynamoDB's alone"),
    ("InvalidWriteOffset", "nothing is appended to an object"),
    ("TooManyParts", "nothing is appended to an object"),
    (
        "MalformedPolicyDocumentException",
        "no secret's policy is written",
    ),
    ("MalformedPolicyDocument", "no session policy is sent"),
    ("PackedPolicyTooLarge", "no session policy is sent"),
    ("InvalidContextAssertion", "no context is sent"),
    ("InvalidAllowedPatternException", "no pattern is sent"),
    (
        "PoliciesLimitExceededException",
        "no parameter policy is sent",
    ),
    ("InvalidPolicyTypeException", "no parameter policy is sent"),
    (
        "InvalidPolicyAttributeException",
        "no parameter policy is sent",
    ),
    ("IncompatiblePolicyException", "no parameter policy is sent"),
    (
        "InvalidFilterKey",
        "the filter is ours, and always the same",
    ),
    (
        "InvalidFilterOption",
        "the filter is ours, and always the same",
    ),
    ("InvalidFilterValue", "the filter is a name that was read"),
    (
        "UnsupportedGrantTypeException",
        "the grant is the SDK's, and always the same",
    ),
    (
        "InvalidScopeException",
        "the scope is the SDK's, and always the same",
    ),
    (
        "AuthorizationPendingException",
        "nobody is signed in by the program",
    ),
];

fn call(action: &'static str) -> Call {
    Call {
        source: "s3://b/k".to_owned(),
        operation: "an operation",
        action,
        resource: "arn:aws:s3:::b/k".to_owned(),
        or_else: "",
        endpoint: "S3 in eu-west-1".to_owned(),
    }
}

fn judged(action: &'static str, code: &str, message: &str) -> (Class, String) {
    verdict(
        &call(action),
        &ErrorAnswer {
            status: 400,
            code,
            message,
            ..ErrorAnswer::default()
        },
    )
}

#[test]
fn every_code_of_the_models_has_its_class_and_remedy_or_is_not_ours() {
    for line in include_str!("../codes.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let (from, code) = line.split_once(' ').unwrap();
        let ours = CODES.iter().any(|(codes, ..)| codes.contains(&code));
        let not = NOT_OURS.iter().any(|(name, _)| *name == code);
        assert!(ours != not, "{line}: {ours} {not}");
        let (class, remedy) = judged("s3:GetObject", code, "");
        let passing = ["transient", "throttling", "retry"].contains(&from);
        // Kinesis' code for its rate is Secrets Manager's for its quotas.
        if ours && passing && code != "LimitExceededException" {
            assert_eq!(
                (class, remedy.as_str()),
                (Class::Transient, LATER),
                "{line}"
            );
        }
        assert!(
            !ours || !remedy.contains("check `source` and the endpoint"),
            "{line}: {remedy}"
        );
    }
    let mut codes: Vec<_> = CODES.iter().flat_map(|(codes, ..)| codes.iter()).collect();
    codes.sort_unstable();
    assert!(
        codes.is_sorted_by(|one, next| one < next),
        "a code is there twice: {codes:?}"
    );
}

#[test]
fn kms_is_mended_by_the_action_that_the_service_names_or_that_the_call_needs() {
    let denied = "User: arn:aws:sts::1:assumed-role/r is not authorized to perform: \
                  kms:GenerateDataKey on resource: arn:aws:kms:eu-west-1:123456789012:key/1 \
                  because no identity-based policy allows it";
    let (class, remedy) = judged("s3:PutObject", "AccessDenied", denied);
    assert_eq!(class, Class::Denied);
    assert!(
        remedy.starts_with("allow kms:GenerateDataKey on the KMS key arn:aws:kms:"),
        "{remedy}"
    );
    for (action, code, wanted) in [
        (
            "secretsmanager:GetSecretValue",
            "DecryptionFailure",
            "kms:Decrypt on it",
        ),
        (
            "secretsmanager:PutSecretValue",
            "EncryptionFailure",
            "kms:GenerateDataKey and kms:Decrypt on it",
        ),
        (
            "secretsmanager:CreateSecret",
            "EncryptionFailure",
            "kms:GenerateDataKey and kms:Decrypt on it",
        ),
        (
            "ssm:PutParameter",
            "InvalidKeyId",
            "kms:Encrypt, kms:GenerateDataKey and kms:Decrypt on it",
        ),
    ] {
        let (class, remedy) = judged(action, code, "");
        assert!(
            class == Class::Denied && remedy.contains(wanted),
            "{action}: {remedy}"
        );
    }
    for code in [
        "KMS.KMSInternalException",
        "KMS.DependencyTimeoutException",
        "KMS.ThrottlingException",
    ] {
        assert_eq!(
            judged("s3:GetObject", code, "").0,
            Class::Transient,
            "{code}"
        );
    }
}

#[test]
fn an_explicit_deny_is_not_answered_by_a_permission() {
    let says = |tail: &str| {
        format!("User: arn:aws:iam::1:user/u is not authorized to perform: s3:GetObject {tail}")
    };
    for (tail, policy) in [
        (
            "on resource: \"x\" with an explicit deny in a resource-based policy",
            "a resource-based policy",
        ),
        (
            "with an explicit deny in a service control policy: arn:aws:organizations::1:policy/p",
            "a service control policy",
        ),
        (
            "with an explicit deny in a VPC endpoint policy",
            "a VPC endpoint policy",
        ),
        ("with an explicit deny", "a policy"),
    ] {
        for code in [
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
        ] {
            let (class, remedy) = judged("s3:GetObject", code, &says(tail));
            assert_eq!(class, Class::Denied);
            assert!(
                remedy.starts_with(&format!(
                    "an explicit deny in {policy} forbids s3:GetObject on arn"
                )),
                "{remedy}"
            );
            assert!(!remedy.contains("allow"), "{remedy}");
        }
    }
}

#[test]
fn replicas_quotas_and_regions_have_their_own_remedies() {
    for (action, code, message, wanted) in [
        (
            "secretsmanager:PutSecretValue",
            "InvalidParameterException",
            "Operation not permitted on a replica secret.",
            "primary region",
        ),
        (
            "secretsmanager:PutSecretValue",
            "LimitExceededException",
            "",
            "too many versions or labels",
        ),
        (
            "ssm:PutParameter",
            "ParameterMaxVersionLimitExceeded",
            "",
            "move that label",
        ),
        (
            "ssm:PutParameter",
            "TooManyUpdates",
            "",
            "somebody else writes it",
        ),
        ("ec2:CreateTags", "AuthFailure", "", "clock is wrong"),
        (
            "ssm:GetParameter",
            "UnrecognizedClientException",
            "",
            "not switched this region on",
        ),
        ("s3:PutObject", "InvalidRequest", "", "Object Lock"),
    ] {
        let (_, remedy) = judged(action, code, message);
        assert!(remedy.contains(wanted), "{code}: {remedy}");
    }
}

//! Parameter Store's answers, good and broken, against a scripted server: a parameter with its
//! version, and what is wrong with it.

use authkeys_core::origin::{Class, Fetched};
use authkeys_testing::s3_stub::{Stub, StubAnswer};

use crate::fetching::{fails_at, fetch, fetch_from};
use crate::isolated::isolated;
use crate::json_services::{KEY, NAMED, NO_KMS, PARAMETER, parameter, versions};

#[test]
fn a_parameter_is_brought_decrypted_with_its_version_and_unchanged_brings_nothing() {
    isolated(&[], |home| {
        let again = parameter("SecureString", 3, "keys");
        let remade = StubAnswer::json(
            "{\"Parameter\":{\"Value\":\"other\",\"Version\":3,\"LastModifiedDate\":1795255300}}",
        );
        let stub = Stub::start([again.clone(), again, remade]);
        let fetched = fetch_from(&stub, home, PARAMETER, None).unwrap();
        let Fetched::Documents { current, .. } = &fetched else {
            panic!()
        };
        assert_eq!(
            (current.bytes.as_slice(), versions(&fetched)),
            (&b"keys"[..], vec!["AWSCURRENT 3".to_owned()])
        );
        assert_eq!(
            fetch(PARAMETER, Some(&current.version)),
            Ok(Fetched::Unchanged)
        );
        // Deleted and made again it counts its versions anew.
        assert_ne!(
            fetch(PARAMETER, Some(&current.version)),
            Ok(Fetched::Unchanged)
        );
        let [request, ..] = &stub.requests()[..] else {
            panic!()
        };
        assert_eq!(
            request.header("x-amz-target"),
            Some("AmazonSSM.GetParameter")
        );
        assert_eq!(
            request.body,
            "{\"Name\":\"/prod/keys\",\"WithDecryption\":true}"
        );
    });
}

#[test]
fn versions_labels_and_arns_of_parameters_are_sent_as_they_are_to_the_arns_region() {
    isolated(&[], |home| {
        let arn = "arn:aws:ssm:us-west-2:210987654321:parameter/prod/keys";
        for (id, region) in [
            ("keys:live", "eu-central-1"),
            ("/prod/keys:3", "eu-central-1"),
            (arn, "us-west-2"),
        ] {
            let stub = Stub::start([parameter("String", 3, "keys")]);
            fetch_from(&stub, home, &format!("ssm:{id}"), None).unwrap();
            let [request] = &stub.requests()[..] else {
                panic!()
            };
            assert_eq!(
                request.body,
                format!("{{\"Name\":\"{id}\",\"WithDecryption\":true}}")
            );
            assert!(
                request
                    .header("authorization")
                    .unwrap()
                    .contains(&format!("/{region}/ssm/")),
                "{request:?}"
            );
        }
    });
}

#[test]
fn f36_what_is_wrong_with_a_parameter_is_told_each_with_its_remedy() {
    isolated(&[], |home| {
        let denied = "allow ssm:GetParameter on arn:aws:ssm:eu-central-1:*:parameter/prod/keys";
        let disabled = "k is disabled. (Service: AWSKMS; Error Code: DisabledException)";
        let pending =
            "k is pending deletion. (Service: AWSKMS; Error Code: KMSInvalidStateException)";
        let no_kms = "The ciphertext refers to a key you may not use. (Service: AWSKMS; Error \
                      Code: AccessDeniedException)";
        for (code, message, class, part) in [
            (
                "ParameterNotFound",
                "",
                Class::Missing,
                "create it in http://",
            ),
            (
                "ParameterVersionNotFound",
                "m",
                Class::Missing,
                "correct the version or label",
            ),
            (
                "AccessDeniedException",
                "not authorized to perform: ssm:GetParameter",
                Class::Denied,
                denied,
            ),
            (
                "AccessDeniedException",
                no_kms,
                Class::Denied,
                "allow kms:Decrypt on the parameter's KMS key (`aws ssm",
            ),
            ("AccessDeniedException", NO_KMS, Class::Denied, NAMED),
            (
                "InvalidKeyId",
                &format!("{KEY} is disabled."),
                Class::Denied,
                &format!("enable the KMS key {KEY}, or"),
            ),
            (
                "InvalidKeyId",
                disabled,
                Class::Denied,
                "enable the parameter's KMS key",
            ),
            (
                "InvalidKeyId",
                pending,
                Class::Denied,
                "cancel that (aws kms cancel-key-deletion --key-id ",
            ),
            ("ValidationException", "m", Class::Invalid, "check `source`"),
        ] {
            let answer = StubAnswer::json_error("400 Bad Request", code, message);
            fails_at(
                home,
                PARAMETER,
                &[answer],
                1,
                class,
                &["Systems Manager GetParameter answered 400", code, part],
            );
        }
        let list = parameter("StringList", 1, "a,b");
        fails_at(
            home,
            PARAMETER,
            &[list],
            1,
            Class::Invalid,
            &["returned a StringList", "a String or a SecureString"],
        );
        fails_at(
            home,
            PARAMETER,
            &[StubAnswer::json("{}")],
            1,
            Class::Invalid,
            &["without a parameter"],
        );
    });
}

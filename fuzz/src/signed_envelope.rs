//! A document and its signature: taken apart and put together again they are the same bytes, and
//! nothing but what was signed passes for signed.

use authkeys_core::document::Envelope;
use authkeys_core::verify::{SignerRules, Signers, verify_signature};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::rules::assert_clean;

const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----";
const END: &[u8] = b"-----END SSH SIGNATURE-----";

/// The signers of the seeds; their private keys are thrown away.
const SIGNERS: &[u8] = include_bytes!("../signed/allowed_signers");

/// All that they ever signed for documents.
const SIGNED: &[u8] = include_bytes!("../signed/payload.json");

/// Splits the input; the parts are the input, and splitting them again changes nothing. Whether its
/// signature passes.
pub fn check(input: &[u8]) -> bool {
    let Ok(envelope) = Envelope::split(input) else {
        return false;
    };
    let begins = |line: &[u8]| line.starts_with(BEGIN);
    assert!(
        !envelope.payload.split(|b| *b == b'\n').any(begins),
        "a signature is left in the payload"
    );
    if !envelope
        .payload
        .split(|b| *b == b'\n')
        .any(|line| line.starts_with(END))
    {
        let payload = Envelope::split(envelope.payload);
        assert_eq!(
            payload,
            Ok(Envelope {
                payload: envelope.payload,
                signature: None
            })
        );
    }
    let Some(signature) = envelope.signature else {
        assert_eq!(envelope.payload, input);
        return false;
    };
    let joined = [envelope.payload, signature].concat();
    let rest = input
        .strip_prefix(joined.as_slice())
        .expect("the parts are the input");
    assert!(
        rest.iter().all(u8::is_ascii_whitespace),
        "only white space may follow"
    );
    assert!(begins(signature));
    assert_eq!(
        Envelope::split(&joined),
        Ok(envelope),
        "joined and split again"
    );

    let (zone, now) = (
        TimeZone::UTC,
        Timestamp::from_second(1_795_000_000).expect("a good time"),
    );
    let rules = SignerRules {
        principals: None,
        zone: &zone,
        min_rsa_bits: 2_048,
    };
    let signers = Signers::parse(SIGNERS, &rules).expect("good signers");
    match verify_signature(envelope.payload, signature, &signers, now) {
        Ok(who) => {
            assert!(who.ends_with("@acme"));
            assert!(envelope.payload == SIGNED, "a forgery");
            let mut altered = envelope.payload.to_vec();
            altered.push(b'\n');
            assert!(
                verify_signature(&altered, signature, &signers, now).is_err(),
                "longer by a line feed"
            );
            true
        }
        Err(fault) => {
            assert_clean(&fault.to_string());
            // Whatever is wrong with it, it is wrong with what was signed in truth as well, or the
            // payload is another.
            assert!(
                envelope.payload != SIGNED
                    || verify_signature(SIGNED, signature, &signers, now).is_err()
            );
            false
        }
    }
}

//! A document and its signature: taken apart and put together again they are the same bytes.

use authkeysd::document::Envelope;

const BEGIN: &[u8] = b"-----BEGIN SSH SIGNATURE-----";

/// Splits the input; the parts are the input, and splitting them again changes nothing. Whether there is a signature.
pub fn check(input: &[u8]) -> bool {
    let Ok(envelope) = Envelope::split(input) else { return false };
    let begins = |line: &[u8]| line.starts_with(BEGIN);
    assert!(!envelope.payload.split(|b| *b == b'\n').any(begins), "a signature is left in the payload");
    let payload = Envelope::split(envelope.payload);
    assert_eq!(payload, Ok(Envelope { payload: envelope.payload, signature: None }));
    let Some(signature) = envelope.signature else {
        assert_eq!(envelope.payload, input);
        return false;
    };
    let joined = [envelope.payload, signature].concat();
    let rest = input.strip_prefix(joined.as_slice()).expect("the parts are the input");
    assert!(rest.iter().all(u8::is_ascii_whitespace), "only white space may follow");
    assert!(begins(signature));
    assert_eq!(Envelope::split(&joined), Ok(envelope), "joined and split again");
    true
}

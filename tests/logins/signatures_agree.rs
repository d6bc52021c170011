//! Our check of signatures and `ssh-keygen -Y verify` agree, both ways, for each type of key; where
//! ours is stricter on purpose it is said.

mod envelopes;

mod signers;

use std::sync::LazyLock;

use authkeys_core::document::Envelope;
use authkeys_core::verify::{SignerRules, Signers, verify_signature};
use authkeys_testing::signing::{self, Oracle, Token, frame_of, sk_signed};
use authkeys_testing::{Key, KeyType};
use jiff::Timestamp;
use jiff::tz::TimeZone;

const NOW: &str = "20261122120000Z";
const DOCUMENT: &str = "{\"version\": 1, \"serial\": 1, \"keys\": []}\n";
const WHO: &str = "ops@acme";

static ED: LazyLock<Key> = LazyLock::new(|| Key::new("ops"));
static OTHER: LazyLock<Key> = LazyLock::new(|| Key::new("other"));

fn bare(key: &Key) -> String {
    format!("{WHO} {}\n", key.bare())
}

/// What we say: who signed it, or why not.
fn ours(signers: &str, document: &[u8], who: &str) -> Result<String, String> {
    let zone = TimeZone::UTC;
    let who = [who.to_owned()];
    let rules = SignerRules {
        principals: Some(&who),
        zone: &zone,
        min_rsa_bits: 1_024,
    };
    let signers =
        Signers::parse(signers.as_bytes(), &rules).map_err(|faults| format!("{faults:?}"))?;
    let envelope = Envelope::split(document).map_err(|refused| refused.to_string())?;
    let signature = envelope.signature.ok_or("unsigned")?;
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    verify_signature(envelope.payload, signature, &signers, now).map_err(|bad| bad.to_string())
}

/// What ssh-keygen says of the same bytes.
fn theirs(signers: &str, document: &[u8], who: &str) -> Result<(), String> {
    Oracle {
        signers,
        who,
        at: NOW,
        zone: "UTC",
    }
    .verify(document)
}

#[track_caller]
fn agree(what: &str, signers: &str, document: impl AsRef<[u8]>, accepted: bool) {
    let document = document.as_ref();
    let (ours, theirs) = (ours(signers, document, WHO), theirs(signers, document, WHO));
    assert_eq!(theirs.is_ok(), accepted, "{what}: ssh-keygen: {theirs:?}");
    assert_eq!(ours.is_ok(), accepted, "{what}: we: {ours:?}");
}

#[test]
fn every_type_of_key_and_both_hash_algorithms() {
    let mut keys: Vec<Key> = KeyType::ALL
        .into_iter()
        .map(|kind| Key::of_type(kind, "ops"))
        .collect();
    keys.extend([1_024, 3_072].map(|bits| Key::rsa(bits, "ops")));
    for key in &keys {
        for hash in ["sha256", "sha512"] {
            let signed = signing::sign_with(DOCUMENT, key, "authkeysd", hash);
            agree(
                &format!("{} {hash}", key.type_word()),
                &bare(key),
                &signed,
                true,
            );
            agree("another's key", &bare(&OTHER), &signed, false);
            let altered = signed.replacen("serial", "Serial", 1);
            agree("altered", &bare(key), altered, false);
        }
    }
}

#[test]
fn the_largest_rsa_keys() {
    // Made once, for it takes minutes: the private halves are gone.
    let (signers, signed) = (
        include_str!("signatures/rsa-8192.signers"),
        include_str!("signatures/rsa-8192.signed"),
    );
    agree("8192 bits", signers, signed, true);
    agree(
        "altered",
        signers,
        signed.replacen("serial", "Serial", 1),
        false,
    );
}

#[test]
fn security_keys() {
    for token in Token::ALL {
        let (line, signed) = (token.line(), sk_signed(DOCUMENT, "authkeysd", token));
        let signers = format!("{WHO} {line}\n");
        agree(&line, &signers, &signed, true);
        agree(
            "altered",
            &signers,
            signed.replacen("serial", "Serial", 1),
            false,
        );
        // Flags and counter are signed as well.
        let bytes = frame_of(&signed);
        for at in 1..=5 {
            let mut other = bytes.clone();
            let at = other.len() - at;
            other[at] ^= 1;
            agree(
                "flags and counter",
                &signers,
                signing::envelope(DOCUMENT, &other),
                false,
            );
        }
    }
}

#[test]
fn where_we_are_stricter_than_ssh_keygen() {
    let (ed, signed) = (ED.bare(), signing::sign(DOCUMENT, &ED));
    // Two signatures: ssh-keygen stops reading at the first END. What it does not look at must not
    // be published.
    let twice = signed.clone() + &signed[signed.find("-----BEGIN").unwrap()..];
    let trailing = signed.clone() + "trailing words\n";
    // A line that ssh-keygen passes over may be a signer who was mistyped, or one whose bounds
    // were.
    let faulty = format!("{WHO} ssh-ed25519 AAAA\n{WHO} {ed}\n");
    let unknown = format!("x@acme no-such-option {ed}\n{WHO} {ed}\n");
    let authority = format!("x@acme cert-authority {ed}\n{WHO} {ed}\n");
    let day = format!("{WHO} valid-before=\"20270231\" {ed}\n");
    let commas = format!("{WHO} ,namespaces=\"authkeysd\",,valid-before=\"20270101\" {ed}\n");
    let control = format!("{WHO} {ed} \u{1b}[31m\n");
    let plain = bare(&ED);
    // No crate that is fit for it checks RSA signatures of more than 8,192 bits.
    let (huge, by_huge) = (
        include_str!("signatures/rsa-16384.signers"),
        include_str!("signatures/rsa-16384.signed"),
    );
    for (signers, document, words) in [
        (
            &huge.to_owned(),
            &by_huge.to_owned(),
            "more than 8192 bits are not supported",
        ),
        (&plain, &twice, "something follows its END line"),
        (&plain, &trailing, "something follows its END line"),
        (&faulty, &signed, "the key's bytes are damaged"),
        (&unknown, &signed, "is not known"),
        (&authority, &signed, "cert-authority is not supported"),
        (&day, &signed, "is not a time"),
        (&commas, &signed, "is not known"),
        (&control, &signed, "control character"),
    ] {
        theirs(signers, document.as_bytes(), WHO)
            .unwrap_or_else(|fault| panic!("{signers}: {fault}"));
        let fault = ours(signers, document.as_bytes(), WHO).unwrap_err();
        assert!(fault.contains(words), "{fault}");
    }
}

//! Our check of signatures and `ssh-keygen -Y verify` agree, both ways; where ours is stricter on
//! purpose it is said.

use std::sync::LazyLock;

use authkeys_core::document::Envelope;
use authkeys_core::verify::{SignerRules, Signers, verify_signature};
use authkeys_testing::signing::{self, Oracle, Token, frame, frame_of, sk_signed};
use authkeys_testing::{Key, KeyType};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

const NOW: &str = "20261122120000Z";
const DOCUMENT: &str = "{\"version\": 1, \"serial\": 1, \"keys\": []}\n";
const WHO: &str = "ops@acme";

static ED: LazyLock<Key> = LazyLock::new(|| Key::new("ops"));
static SIGNED: LazyLock<String> = LazyLock::new(|| signing::sign(DOCUMENT, &ED));
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
fn what_surrounds_a_signature() {
    let (signers, signed) = (bare(&ED), signing::sign(DOCUMENT, &ED));
    let (payload, signature) = signed.split_at(signed.find("-----BEGIN").unwrap());
    let with = |payload: &str, signature: &str| format!("{payload}{signature}");
    agree("as made", &signers, &signed, true);
    agree(
        "blanks at the end",
        &signers,
        with(payload, &(signature.to_owned() + " \t\n\n")),
        true,
    );
    agree("no line feed at the end", &signers, signed.trim_end(), true);
    agree(
        "signature with CRLF",
        &signers,
        with(payload, &signature.replace('\n', "\r\n")),
        false,
    );
    agree(
        "all with CRLF",
        &signers,
        signed.replace('\n', "\r\n"),
        false,
    );
    let inside = signature.replacen("\nU1NI", "\nU1\r\n \tNI", 1);
    agree(
        "blanks in the base64",
        &signers,
        with(payload, &inside),
        true,
    );
    let joined = signature
        .replace('\n', "")
        .replace("SIGNATURE----------", "");
    agree("all on one line", &signers, with(payload, &joined), false);
    let (begin, rest) = signature.split_once('\n').unwrap();
    let (body, end) = rest.split_once("\n-----END").unwrap();
    agree(
        "base64 on one line",
        &signers,
        format!(
            "{payload}{begin}\n{}\n-----END{end}",
            body.replace('\n', "")
        ),
        true,
    );
    agree(
        "words behind BEGIN",
        &signers,
        with(payload, &signature.replacen("-----\n", "----- x\n", 1)),
        false,
    );
    agree(
        "no END",
        &signers,
        with(payload, signature.split("-----END").next().unwrap()),
        false,
    );
    agree(
        "a line feed more",
        &signers,
        with(&(payload.to_owned() + "\n"), signature),
        false,
    );
    agree(
        "a blank more",
        &signers,
        with(&payload.replace('\n', " \n"), signature),
        false,
    );
    agree(
        "a line feed less",
        &signers,
        with(payload.trim_end(), &format!("\n\n{signature}")),
        false,
    );
    agree(
        "nothing in it",
        &signers,
        with(
            payload,
            "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        ),
        false,
    );
    let unended = signing::sign(DOCUMENT.trim_end(), &ED);
    agree(
        "signed without its last line feed",
        &signers,
        unended.replacen("-----BEGIN", "\n-----BEGIN", 1),
        false,
    );
    let windows = DOCUMENT.replace('\n', "\r\n");
    agree(
        "signed with CRLF",
        &signers,
        signing::sign(&windows, &ED),
        true,
    );
    agree("an empty payload", &signers, signing::sign("", &ED), true);
}

#[test]
fn what_is_in_a_signature() {
    let signers = bare(&ED);
    let bytes = frame_of(&signing::sign(DOCUMENT, &ED));
    let put = |bytes: &[u8]| signing::envelope(DOCUMENT, bytes);
    agree("as made", &signers, put(&bytes), true);
    agree("cut off", &signers, put(&bytes[..bytes.len() - 1]), false);
    agree(
        "a byte more",
        &signers,
        put(&[&bytes[..], &[0]].concat()),
        false,
    );
    for (version, accepted) in [(0_u8, true), (1, true), (2, false)] {
        let mut other = bytes.clone();
        other[9] = version;
        agree(
            &format!("version {version}"),
            &signers,
            put(&other),
            accepted,
        );
    }
    for namespace in ["file", "git", "authkeysd2", "Authkeysd"] {
        agree(
            namespace,
            &signers,
            signing::sign_with(DOCUMENT, &ED, namespace, "sha512"),
            false,
        );
    }
    let mut parts = frame(&bytes);
    parts[2] = b"for later".to_vec();
    agree(
        "a reserved field",
        &signers,
        put(&signing::assemble(&parts)),
        true,
    );
    for hash in ["sha1", "sha384", "SHA512", "", "sha256"] {
        let mut parts = frame(&bytes);
        parts[3] = hash.into();
        agree(
            &format!("it says {hash:?}"),
            &signers,
            put(&signing::assemble(&parts)),
            false,
        );
    }
    let mut parts = frame(&bytes);
    parts[0] = frame(&frame_of(&signing::sign(DOCUMENT, &OTHER)))[0].clone();
    agree(
        "another's key in the frame",
        &signers,
        put(&signing::assemble(&parts)),
        false,
    );
    agree(
        "the same, he may too",
        &(signers.clone() + &bare(&OTHER)),
        put(&signing::assemble(&parts)),
        false,
    );
    // An RSA signature that says another hash than it has, or the old SHA-1 name.
    let rsa = Key::rsa(2_048, "ops");
    let bytes = frame_of(&signing::sign(DOCUMENT, &rsa));
    for name in [
        "rsa-sha2-256",
        "ssh-rsa",
        "ssh-ed25519",
        "rsa-sha2-512-cert-v01@openssh.com",
    ] {
        let mut parts = frame(&bytes);
        let inner = signing::strings(&parts[4]);
        parts[4] = signing::pack(&[name.as_bytes(), &inner[1]]);
        agree(name, &bare(&rsa), put(&signing::assemble(&parts)), false);
    }
    let bytes = frame_of(&signing::sign(DOCUMENT, &ED));
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 0x10;
        agree(
            &format!("byte {at} is another"),
            &signers,
            put(&other),
            false,
        );
    }
}

#[test]
fn lines_of_the_signers_file() {
    let (ed, other, signed) = (ED.bare(), OTHER.bare(), signing::sign(DOCUMENT, &ED));
    for (signers, accepted) in [
        (format!("{WHO} {ed}"), true),
        (format!("{WHO} {ed} a comment # here\n"), true),
        (
            format!("\n  \t\n# comment\n   # another\n \t{WHO}\t {ed}\r\n"),
            true,
        ),
        (format!("\"{WHO}\" {ed}\n"), true),
        (format!("ops\"@acme\" {ed}\n"), true),
        (format!("\"{WHO},him self\" {ed}\n"), true),
        (format!("a@acme,{WHO},b@acme {ed}\n"), true),
        (format!("*@acme {ed}\n"), true),
        (format!("ops@???? {ed}\n"), true),
        (format!("*@acme,!ops@* {ed}\n"), false),
        (format!("!{WHO},* {ed}\n"), false),
        (format!("!evil@acme,* {ed}\n"), true),
        (format!("OPS@acme {ed}\n{WHO} {other}\n"), false),
        (format!("ops@acme.com {ed}\n{WHO} {other}\n"), false),
        (format!("{WHO} {other}\n{WHO} {ed}\n"), true),
        (format!("{WHO} namespaces=\"authkeysd\" {ed}\n"), true),
        (format!("{WHO} NameSpaces=\"file,authkeysd\" {ed}\n"), true),
        (
            format!("{WHO} namespaces=\"auth*,!*d\" {ed}\n{WHO} {other}\n"),
            false,
        ),
        (
            format!("{WHO} namespaces=\"file\" {ed}\n{WHO} {other}\n"),
            false,
        ),
        (
            format!("{WHO} namespaces=\"file\" {ed}\n{WHO} {ed}\n"),
            true,
        ),
        (
            format!("{WHO} valid-after=\"20261122120000Z\" {ed}\n"),
            true,
        ),
        (
            format!("{WHO} valid-after=\"20261122120001Z\" {ed}\n"),
            false,
        ),
        (
            format!("{WHO} valid-before=\"20261122120000Z\" {ed}\n"),
            true,
        ),
        (
            format!("{WHO} valid-before=\"20261122115959Z\" {ed}\n"),
            false,
        ),
        (format!("{WHO} valid-before=\"20261122\" {ed}\n"), false),
        (format!("{WHO} valid-before=\"20261123\" {ed}\n"), true),
        (
            format!("{WHO} valid-before=\"202611221200utc\" {ed}\n"),
            true,
        ),
        (format!("{WHO} valid-before=\"202611221159\" {ed}\n"), false),
        (
            format!(
                "{WHO} valid-after=\"20260101\",namespaces=\"authkeysd\",VALID-BEFORE=\"20270101z\" {ed}\n"
            ),
            true,
        ),
        // What is no line for both of us.
        (
            format!("{WHO} valid-after=\"20270101\",valid-before=\"20260101\" {ed}\n"),
            false,
        ),
        (format!("{WHO} valid-before=\"2026\" {ed}\n"), false),
        (format!("{WHO} valid-before=\"20261301\" {ed}\n"), false),
        (format!("{WHO} valid-before=20270101 {ed}\n"), false),
        (
            format!("{WHO} namespaces=\"a\",namespaces=\"authkeysd\" {ed}\n"),
            false,
        ),
        (format!("{WHO} namespaces=\"authkeysd {ed}\n"), false),
        (format!("{WHO} namespaces=\"authkeysd\", {ed}\n"), false),
        (
            format!("{WHO} namespaces=\"authkeysd\"valid-before=\"20270101\" {ed}\n"),
            false,
        ),
        (format!("{WHO} no-touch-required {ed}\n"), false),
        (format!("{WHO} cert-authority {ed}\n"), false),
        (format!("{WHO} namespaces {ed}\n"), false),
        (format!("\"{WHO} {ed}\n"), false),
        (format!("{ed}\n"), false),
        (
            format!("{WHO} {}\n", ed.replace("ssh-ed25519", "ed25519")),
            false,
        ),
        (format!("{WHO}\n"), false),
        (format!("{WHO} {}\n", &ed[..ed.len() - 4]), false),
        (
            format!("{WHO} {}\n", ed.replace("ssh-ed25519 ", "ssh-rsa ")),
            false,
        ),
        (String::new(), false),
    ] {
        agree(&signers, &signers, &signed, accepted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_list_of_patterns(principals in "[os@?*!,]{1,6}", namespaces in "(a|d|authkeysd|[*?!,]){1,5}", who in "[os@]{1,3}") {
        let signed = LazyLock::force(&SIGNED);
        let signers = format!("{principals} namespaces=\"{namespaces}\" {}\n", ED.bare());
        let ours = ours(&signers, signed.as_bytes(), &who);
        prop_assert_eq!(ours.is_ok(), theirs(&signers, signed.as_bytes(), &who).is_ok(), "{:?}", ours);
    }
}

#[test]
fn times_without_z_are_read_as_the_local_standard_time_also_in_summer() {
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let signed = signing::sign(DOCUMENT, &ED);
    let envelope = Envelope::split(signed.as_bytes()).unwrap();
    let mut accepted = 0;
    for day in ["20260701", "20261201"] {
        for (bound, hour, minute) in [
            ("valid-before", 12, "00"),
            ("valid-after", 12, "00"),
            ("valid-before", 11, "30"),
        ] {
            let signers = format!("{WHO} {bound}=\"{day}{hour}{minute}\" {}\n", ED.bare());
            for utc in [
                "0959", "1000", "1029", "1031", "1059", "1100", "1101", "1159", "1200", "1201",
            ] {
                let at = format!("{day}{utc}00Z");
                let oracle = Oracle {
                    signers: &signers,
                    who: WHO,
                    at: &at,
                    zone: "CET-1CEST,M3.5.0,M10.5.0/3",
                };
                let theirs = oracle.verify(signed.as_bytes());
                let rules = SignerRules {
                    principals: None,
                    zone: &berlin,
                    min_rsa_bits: 2_048,
                };
                let time = format!(
                    "{}-{}-{}T{}:{}:00Z",
                    &day[..4],
                    &day[4..6],
                    &day[6..],
                    &utc[..2],
                    &utc[2..]
                );
                let ours = verify_signature(
                    envelope.payload,
                    envelope.signature.unwrap(),
                    &Signers::parse(signers.as_bytes(), &rules).unwrap(),
                    time.parse().unwrap(),
                );
                assert_eq!(
                    ours.is_ok(),
                    theirs.is_ok(),
                    "{signers} at {at}: {ours:?} {theirs:?}"
                );
                accepted += usize::from(ours.is_ok());
            }
        }
    }
    assert!(
        (10..50).contains(&accepted),
        "both answers were met: {accepted}"
    );
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

#[test]
fn several_signers_and_their_rotation() {
    let (old, new) = (&*ED, &*OTHER);
    let by = |key: &Key| signing::sign(DOCUMENT, key);
    let both = format!(
        "{WHO} valid-before=\"20261122\" {}\n{WHO} valid-after=\"20261122\" {}\n",
        old.bare(),
        new.bare()
    );
    agree("the old key after its time", &both, by(old), false);
    agree("the new key in its time", &both, by(new), true);
    let overlap = format!(
        "{WHO} valid-before=\"20261231\" {}\nnew@acme,{WHO} {}\n",
        old.bare(),
        new.bare()
    );
    agree("the old key, still good", &overlap, by(old), true);
    agree("the new key, already good", &overlap, by(new), true);
    agree("a signer who was taken out", &bare(new), by(old), false);
}

//! The signers file: its lines, patterns and times, and several signers.

use std::sync::LazyLock;

use authkeys_core::document::Envelope;
use authkeys_core::verify::{SignerRules, Signers, verify_signature};
use authkeys_testing::Key;
use authkeys_testing::signing::{self, Oracle};
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{DOCUMENT, ED, OTHER, WHO, agree, bare, ours, theirs};

static SIGNED: LazyLock<String> = LazyLock::new(|| signing::sign(DOCUMENT, &ED));

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

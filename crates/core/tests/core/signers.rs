//! The allowed_signers file: every fault with its line, and who may sign.

use authkeys_core::verify::{NotAllowed, SignerRules, Signers, SignersFault, signed_by};
use authkeys_testing::numbered::{ed, line, rsa};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn parse(text: &str, principals: &[&str]) -> Result<Signers, Vec<SignersFault>> {
    let principals: Vec<String> = principals.iter().map(|who| (*who).to_owned()).collect();
    let principals = (!principals.is_empty()).then_some(principals.as_slice());
    Signers::parse(
        text.as_bytes(),
        &SignerRules {
            principals,
            zone: &TimeZone::UTC,
            min_rsa_bits: 2_048,
        },
    )
}

fn faults(text: &str, principals: &[&str]) -> Vec<String> {
    let found = parse(text, principals).expect_err(text);
    found
        .iter()
        .map(|fault| format!("{}: {fault}", fault.line))
        .collect()
}

fn admit(signers: &Signers, key: &str, at: &str) -> Result<String, NotAllowed> {
    signers.admit(&line(key).key, at.parse::<Timestamp>().unwrap())
}

const NOW: &str = "2026-11-22T12:00:00Z";

#[test]
fn all_faults_are_told_at_once_with_their_lines() {
    let text = format!(
        "# ours\nops@acme {key}\nx@acme cert-authority {key}\n\ny@acme valid-befor=\"20270101\" {key}\nz@acme ssh-ed25519 AAAA\n\
         w@acme {weak}\nv@acme {huge}\nu@acme ssh-dss AAAA\n\"t@acme {key}\n!s@acme {key}\n\
         \"r\t@acme\" {key}\n",
        key = ed(1),
        weak = rsa(1_024, 1),
        huge = rsa(16_384, 1),
    );
    let starts = [
        "3: cert-authority is not supported",
        "5: option \"valid-befor\" is not known",
        "6: the key's bytes are damaged",
        "7: RSA key of 1024 bits",
        "8: signatures of RSA keys of more than 8192 bits",
        "9: DSA keys are refused",
        "10: a quote around the principals does not end",
        "11: the list of principals names nobody",
        "12: the list of principals has a tab in it",
    ];
    let found = faults(&text, &[]);
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (fault, start) in found.iter().zip(starts) {
        assert!(
            fault.starts_with(start),
            "{fault} should start with {start}"
        );
    }
}

#[test]
fn a_file_in_which_nobody_may_sign_is_a_fault() {
    let key = ed(1);
    for text in ["", "\n# only words\n"] {
        assert!(
            faults(text, &[])[0].starts_with("0: it names no signer"),
            "{text}"
        );
    }
    let git = format!("ops@acme namespaces=\"git\" {key}\n");
    assert!(faults(&git, &[])[0].starts_with("0: none of its signers"));
    assert!(
        faults(&format!("ops@acme {key}\n"), &["jo@acme"])[0].starts_with("0: none of its signers")
    );
    let both = format!("ops@acme {key}\n*@home {}\n", ed(2));
    let signers = parse(&both, &["ops@acme", "jo@acme", "x@home"]).unwrap();
    assert_eq!(signers.missing().collect::<Vec<_>>(), ["jo@acme"]);
}

#[test]
fn a_signer_is_told_by_the_principal_that_was_asked_for_else_by_what_his_line_says() {
    let text = format!("ops@acme,*@ops.acme {}\njo@acme {}\n", ed(1), ed(2));
    let all = parse(&text, &[]).unwrap();
    assert_eq!(
        admit(&all, &ed(1), NOW),
        Ok("ops@acme,*@ops.acme".to_owned())
    );
    assert_eq!(admit(&all, &ed(2), NOW), Ok("jo@acme".to_owned()));
    assert_eq!(
        admit(&all, &ed(3), NOW),
        Err(NotAllowed::Unknown(line(&ed(3)).key.fingerprint()))
    );
    let some = parse(&text, &["kim@ops.acme"]).unwrap();
    assert_eq!(admit(&some, &ed(1), NOW), Ok("kim@ops.acme".to_owned()));
    assert_eq!(
        admit(&some, &ed(2), NOW),
        Err(NotAllowed::Principal("jo@acme".to_owned()))
    );
    assert_eq!(
        some.counting()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .len(),
        1
    );
}

#[test]
fn a_signers_time_counts_to_the_second_and_a_later_line_may_be_wider() {
    let text = format!(
        "ops valid-after=\"20261101Z\",valid-before=\"20261122120000Z\" {}\nops namespaces=\"git\" {}\nops {}\n",
        ed(1),
        ed(2),
        ed(2)
    );
    let signers = parse(&text, &[]).unwrap();
    assert!(matches!(
        admit(&signers, &ed(1), "2026-10-31T23:59:59.999Z"),
        Err(NotAllowed::NotYet { .. })
    ));
    assert!(admit(&signers, &ed(1), "2026-11-01T00:00:00Z").is_ok());
    assert!(admit(&signers, &ed(1), "2026-11-22T12:00:00.999Z").is_ok());
    assert!(matches!(
        admit(&signers, &ed(1), "2026-11-22T12:00:01Z"),
        Err(NotAllowed::Expired { .. })
    ));
    assert!(admit(&signers, &ed(2), NOW).is_ok());
    let shown = signers.counting().next().unwrap().to_string();
    assert!(
        shown.starts_with(
            "ops from 2026-11-01T00:00:00Z until 2026-11-22T12:00:00Z, ssh-ed25519 SHA256:"
        ),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn no_file_panics_and_what_is_read_was_written(text in "(([a-z*!,\"@]{0,9}|ops) (namespaces=\"[a-z*,!]{0,9}\"|valid-before=\"[0-9Z]{4,15}\"|[a-z-]{0,9})?,? ?K[1-3]?[ a-z#]{0,5}\n){0,4}") {
        let text = (1..4).fold(text, |text, n| text.replace(&format!("K{n}"), &ed(n)));
        match parse(&text, &[]) {
            Ok(signers) => prop_assert!(signers.counting().all(|signer| text.lines().nth(signer.line - 1).is_some_and(|line| line.contains(&signer.key.base64())))),
            Err(faults) => prop_assert!(faults.iter().all(|fault| fault.line <= text.split('\n').count())),
        }
    }

    #[test]
    fn no_bytes_panic(file: Vec<u8>, payload: Vec<u8>, armored: Vec<u8>) {
        let _ = Signers::parse(&file, &SignerRules { principals: None, zone: &TimeZone::UTC, min_rsa_bits: 2_048 });
        prop_assert!(signed_by(&payload, &armored).is_err());
        let framed = [b"-----BEGIN SSH SIGNATURE-----\n".as_slice(), base64(&[b"SSHSIG", &armored[..]].concat()).as_bytes(), b"\n-----END SSH SIGNATURE-----"].concat();
        prop_assert!(signed_by(&payload, &framed).is_err());
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

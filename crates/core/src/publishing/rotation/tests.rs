use super::*;
use crate::document::{Rules, parse};
use crate::key::LineRules;
use crate::publishing::entries::{edited, fingerprints};

const NOW: &str = "2026-11-27T12:00:00Z";

fn line(number: u8) -> String {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    let secret = [number; 32];
    let point = curve25519_dalek::edwards::EdwardsPoint::mul_base(
        &curve25519_dalek::scalar::Scalar::from_bytes_mod_order(secret),
    );
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend(point.compress().as_bytes());
    format!("ssh-ed25519 {} key-{number}", BASE64_STANDARD.encode(blob))
}

fn key(number: u8) -> KeyLine {
    KeyLine::parse(line(number).as_bytes(), &LineRules::default()).unwrap()
}

fn fingerprint(number: u8) -> Fingerprint {
    key(number).key.fingerprint()
}

fn published(entries: &str, revoked: &str) -> Vec<u8> {
    format!("{{\n  \"version\": 1,\n  \"serial\": 4,\n  \"keys\": [\n{entries}\n  ],\n  \"revoked\": [{revoked}]\n}}\n")
        .into_bytes()
}

fn entry(number: u8, more: &str) -> String {
    format!("    {{\"public_key\": \"{}\"{more}}}", line(number))
}

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn apply(payload: &[u8], edits: &Edits) -> (Vec<u8>, Document) {
    let text = edited(payload, edits).unwrap();
    let document = parse(&text, &Rules::default()).unwrap();
    (text, document)
}

fn admitted(
    payload: &[u8],
    keys: Keys<'_>,
    terms: Option<&Terms>,
) -> Result<Document, NotAdmitted> {
    let document = parse(payload, &Rules::default()).unwrap();
    let places = fingerprints(payload).unwrap();
    let edits = admit(&document, &places, keys, &key(2), terms, now())?;
    let (text, document) = apply(payload, &edits);
    let places = fingerprints(&text).unwrap();
    assert!(is_admitted(&document, keys.current, &key(2)));
    let again = admit(&document, &places, keys, &key(2), terms, now())?;
    assert!(
        again.is_empty(),
        "what is done is not done again: {again:?}"
    );
    Ok(document)
}

#[test]
fn the_new_key_gets_each_entry_of_the_current_one_and_that_stays() {
    let options = ", \"options\": [\"restrict\", \"pty\"], \"accounts\": [\"ubuntu\"]";
    let ending = ", \"accounts\": [\"deploy\"], \"not_after\": \"2026-12-01T00:00:00Z\"";
    let payload = published(
        &[entry(1, options), entry(1, ending), entry(9, "")].join(",\n"),
        "",
    );
    let current = key(1);
    let keys = Keys {
        current: Some(&current),
        previous: None,
    };
    let document = admitted(&payload, keys, None).unwrap();
    assert_eq!(document.keys.len(), 5);
    let new = entries_of(&document, &fingerprint(2));
    assert_eq!(new[0].line.options.each(), ["restrict", "pty"]);
    assert_eq!(new[0].accounts.as_ref().unwrap().len(), 1);
    assert_eq!((new[1].not_before, new[1].not_after), (None, None));
    assert_eq!(entries_of(&document, &fingerprint(1)).len(), 2);
}

#[test]
fn a_new_key_on_other_terms_gets_those_of_the_current_one() {
    let payload = published(
        &[
            entry(1, ", \"accounts\": [\"ubuntu\"]"),
            entry(2, ", \"not_after\": \"2026-11-01T00:00:00Z\""),
        ]
        .join(",\n"),
        "",
    );
    let current = key(1);
    let keys = Keys {
        current: Some(&current),
        previous: None,
    };
    let document = admitted(&payload, keys, None).unwrap();
    let new = entries_of(&document, &fingerprint(2));
    assert_eq!(new.len(), 1);
    assert_eq!(new[0].not_after, None);
    assert_eq!(new[0].accounts.as_ref().unwrap().len(), 1);
}

#[test]
fn a_current_key_that_is_not_there_needs_terms_and_is_let_in_too() {
    let payload = published(&entry(9, ""), "");
    let current = key(1);
    let keys = Keys {
        current: Some(&current),
        previous: None,
    };
    assert_eq!(
        admitted(&payload, keys, None),
        Err(NotAdmitted::Terms(fingerprint(1)))
    );
    let terms = Terms {
        options: vec!["restrict".to_owned()],
        ..Terms::default()
    };
    let document = admitted(&payload, keys, Some(&terms)).unwrap();
    assert_eq!(window(&document, &fingerprint(1)), Window::Open);
    assert_eq!(window(&document, &fingerprint(2)), Window::Open);
    // The very first key of a secret needs none.
    let first = admitted(&payload, Keys::default(), None).unwrap();
    assert_eq!(first.keys.len(), 2);
}

#[test]
fn a_revoked_current_key_does_not_come_back_and_a_revoked_new_one_does_not_come_in() {
    let current = key(1);
    let keys = Keys {
        current: Some(&current),
        previous: None,
    };
    let payload = published(&entry(9, ""), &format!("\"{}\"", fingerprint(1)));
    let document = admitted(&payload, keys, Some(&Terms::default())).unwrap();
    assert_eq!(window(&document, &fingerprint(1)), Window::Absent);
    let payload = published(&entry(1, ""), &format!("\"{}\"", fingerprint(2)));
    assert_eq!(
        admitted(&payload, keys, None),
        Err(NotAdmitted::Revoked(fingerprint(2)))
    );
}

#[test]
fn f58_after_a_revoked_key_the_new_one_does_not_open_more_than_that_one_did() {
    let current = key(1);
    let keys = Keys {
        current: Some(&current),
        previous: None,
    };
    let revoked = format!("\"{}\"", fingerprint(1));
    for entries in [entry(9, ""), [entry(9, ""), entry(1, "")].join(",\n")] {
        assert_eq!(
            admitted(&published(&entries, &revoked), keys, None),
            Err(NotAdmitted::TermsRevoked(fingerprint(1)))
        );
    }
}

#[test]
fn f58_the_new_key_does_not_end_with_the_old_one() {
    let current = key(1);
    let keys = Keys {
        current: Some(&current),
        previous: None,
    };
    let options = ", \"options\": [\"restrict\", \"expiry-time=\\\"20261221Z\\\"\"]";
    let payload = published(&entry(1, options), "");
    let document = admitted(&payload, keys, None).unwrap();
    let new = entries_of(&document, &fingerprint(2));
    assert_eq!(new[0].line.options.each(), ["restrict"]);
    // Nor does one count that somebody gave such an end.
    let both = [entry(1, options), entry(2, options)].join(",\n");
    let both = parse(&published(&both, ""), &Rules::default()).unwrap();
    assert!(!is_admitted(&both, keys.current, &key(2)));
}

#[test]
fn the_key_before_the_current_one_goes_once_it_is_over() {
    let current = key(1);
    let previous = key(3);
    let keys = Keys {
        current: Some(&current),
        previous: Some(&previous),
    };
    for (end, early) in [
        ("2026-11-27T11:59:59Z", false),
        (NOW, false),
        ("2026-11-27T12:00:01Z", true),
    ] {
        let old = entry(3, &format!(", \"not_after\": \"{end}\""));
        let payload = published(&[entry(1, ""), old].join(",\n"), "");
        match admitted(&payload, keys, None) {
            Ok(document) => {
                assert!(!early, "{end}");
                assert!(document.revoked.contains(&fingerprint(3)));
                assert_eq!(window(&document, &fingerprint(3)), Window::Absent);
            }
            Err(fault) => assert!(
                early && matches!(fault, NotAdmitted::Early { .. }),
                "{fault}"
            ),
        }
    }
}

#[test]
fn the_old_key_ends_once_and_never_later_than_it_did() {
    let early = ", \"not_after\": \"2026-11-27T12:00:05Z\", \"accounts\": [\"deploy\"]";
    let payload = published(
        &[entry(1, ""), entry(2, ""), entry(1, early)].join(",\n"),
        "",
    );
    let document = parse(&payload, &Rules::default()).unwrap();
    let places = fingerprints(&payload).unwrap();
    let at: Timestamp = "2026-11-27T12:10:00Z".parse().unwrap();
    let edits = end(&document, &places, &fingerprint(1), at);
    let (text, ended) = apply(&payload, &edits);
    assert_eq!(window(&ended, &fingerprint(1)), Window::Ends(at));
    assert_eq!(window(&ended, &fingerprint(2)), Window::Open);
    let old = entries_of(&ended, &fingerprint(1));
    assert_eq!(
        old[1].not_after,
        Some("2026-11-27T12:00:05Z".parse().unwrap())
    );
    // A later time changes nothing.
    let later = end(
        &ended,
        &fingerprints(&text).unwrap(),
        &fingerprint(1),
        at + jiff::SignedDuration::from_hours(1),
    );
    assert!(later.is_empty());
}

#[test]
fn an_entry_that_nodes_leave_out_does_not_outlive_the_others() {
    let bad = ", \"options\": [\"tunnel=\\\"1\\\"\"]";
    let payload = published(&[entry(1, bad), entry(1, ""), entry(2, "")].join(",\n"), "");
    let document = parse(&payload, &Rules::default()).unwrap();
    let places = fingerprints(&payload).unwrap();
    let at: Timestamp = "2026-11-27T12:10:00Z".parse().unwrap();
    let (text, ended) = apply(&payload, &end(&document, &places, &fingerprint(1), at));
    assert_eq!(window(&ended, &fingerprint(1)), Window::Ends(at));
    assert!(ended.left_out.is_empty());
    let mut edits = Edits::default();
    remove_and_revoke(
        &ended,
        &fingerprints(&text).unwrap(),
        &fingerprint(1),
        &mut edits,
    );
    let (_, gone) = apply(&text, &edits);
    assert_eq!(window(&gone, &fingerprint(1)), Window::Absent);
    assert!(gone.revoked.contains(&fingerprint(1)));
}

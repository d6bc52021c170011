//! The allowed_signers file: read, written out in one form and read again, it lets in the same
//! signers at the same times.

use authkeys_core::key::KeyBlob;
use authkeys_core::verify::{SignerRules, Signers};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::rules::assert_clean;

/// Reads the input as the file, with and without chosen principals. Whether it is a good one.
pub fn check(input: &[u8]) -> bool {
    // The zone matters: a time without Z is the node's own standard time.
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a good zone");
    let chosen = ["ops@acme".to_owned(), "jo".to_owned()];
    let good = [None, Some(&chosen[..])].map(|principals| {
        let rules = SignerRules {
            principals,
            zone: &zone,
            min_rsa_bits: 2_048,
        };
        let signers = match Signers::parse(input, &rules) {
            Ok(signers) => signers,
            Err(faults) => {
                assert!(!faults.is_empty(), "a fault is named");
                faults
                    .iter()
                    .for_each(|fault| assert_clean(&fault.to_string()));
                return false;
            }
        };
        let canonical = render(&signers);
        let again = Signers::parse(canonical.as_bytes(), &rules);
        let again = again.unwrap_or_else(|faults| panic!("{faults:?}: {canonical}"));
        assert_eq!(render(&again), canonical, "byte-stable");
        let mut counting = 0;
        for (signer, copy) in signers.counting().zip(again.counting()) {
            counting += 1;
            assert_clean(&signer.to_string());
            assert_eq!(
                (&signer.key, &signer.principals, &signer.namespaces),
                (&copy.key, &copy.principals, &copy.namespaces)
            );
            assert_eq!(
                (signer.valid_after, signer.valid_before),
                (copy.valid_after, copy.valid_before)
            );
            for now in times(signer.valid_after, signer.valid_before) {
                assert_eq!(
                    admit(&signers, &signer.key, now),
                    admit(&again, &signer.key, now),
                    "at {now}: {canonical}"
                );
            }
        }
        assert!(
            counting > 0 && again.counting().count() == counting,
            "a file without a signer is a fault"
        );
        true
    });
    assert!(good[0] || !good[1], "choosing among signers adds none");
    good[0]
}

fn admit(signers: &Signers, key: &KeyBlob, now: Timestamp) -> Option<String> {
    signers.admit(key, now).ok()
}

/// The ends of a signer's time, and the seconds around them.
fn times(after: Option<Timestamp>, before: Option<Timestamp>) -> impl Iterator<Item = Timestamp> {
    let ends = after.into_iter().chain(before).map(Timestamp::as_second);
    let seconds: Vec<i64> = ends
        .flat_map(|end| [end - 1, end, end + 1])
        .chain([1_795_000_000])
        .collect();
    seconds
        .into_iter()
        .filter_map(|second| Timestamp::from_second(second).ok())
}

/// The signers who count, one a line, everything quoted.
fn render(signers: &Signers) -> String {
    let mut text = String::new();
    for signer in signers.counting() {
        let quoted = |name: &str, value: &str| format!("{name}=\"{}\"", value.replace('"', "\\\""));
        let time = |time: Timestamp| {
            Offset::UTC
                .to_datetime(time)
                .strftime("%Y%m%d%H%M%SZ")
                .to_string()
        };
        let options: Vec<String> = [
            signer
                .namespaces
                .as_ref()
                .map(|list| quoted("namespaces", &list.to_string())),
            signer
                .valid_after
                .map(|from| quoted("valid-after", &time(from))),
            signer
                .valid_before
                .map(|until| quoted("valid-before", &time(until))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let (options, key) = (options.join(","), &signer.key);
        text.push_str(&format!(
            "\"{}\" {options} {} {}\n",
            signer.principals,
            key.kind(),
            key.base64()
        ));
    }
    text
}

//! The properties of the fuzz targets (fuzz/src), over the committed seeds: what `make fuzz` starts
//! from.

#[path = "../../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "to the fuzz targets it is a library")]
mod properties;

/// Runs one target's property over its seeds, of which `least` are good, and over each seed cut
/// short and spoilt in a few places.
fn run(target: &str, least: usize, check: fn(&[u8]) -> bool) {
    let seeds = authkeys_testing::checkout().join("fuzz/seeds").join(target);
    let (mut count, mut good) = (0, 0);
    for entry in std::fs::read_dir(&seeds).unwrap() {
        let seed = std::fs::read(entry.unwrap().path()).unwrap();
        good += usize::from(check(&seed));
        for part in 1..8 {
            let at = seed.len() * part / 8;
            check(&seed[..at]);
            let mut spoilt = seed.clone();
            spoilt
                .get_mut(at)
                .into_iter()
                .for_each(|byte| *byte ^= 1 << part);
            check(&spoilt);
        }
        count += 1;
    }
    assert!(
        good >= least && good < count,
        "{good} of {count} seeds in {} are good",
        seeds.display()
    );
}

#[test]
fn key_line_seeds() {
    run("key_line", 12, properties::key_line::check);
}

#[test]
fn text_document_seeds() {
    run("text_document", 8, properties::text_document::check);
}

#[test]
fn json_document_seeds() {
    run("json_document", 12, properties::json_document::check);
}

#[test]
fn signed_envelope_seeds() {
    run("signed_envelope", 5, properties::signed_envelope::check);
}

#[test]
fn allowed_signers_seeds() {
    run("allowed_signers", 7, properties::allowed_signers::check);
}

#[test]
fn wire_seeds() {
    run("wire", 6, properties::wire::check);
}

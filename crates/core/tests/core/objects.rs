//! The objects below a prefix, read as one document.

use authkeys_core::document::{self, Document, Refused, Rules, join};
use authkeys_core::fault::FaultCode;
use authkeys_testing::numbered::{ed, rsa, rules};
use proptest::prelude::*;

fn joined(objects: &[(&str, &str)]) -> Vec<u8> {
    join(objects.iter().map(|(name, text)| (*name, text.as_bytes())))
}

fn parse(objects: &[(&str, &str)]) -> Result<Document, Refused> {
    let rules = Rules {
        line: rules(),
        allow_private_key: false,
    };
    document::parse(&joined(objects), &rules)
}

#[test]
fn the_keys_of_all_objects_are_one_document_in_their_order() {
    let (alice, bob) = (
        format!("{} alice", ed(1)),
        format!("# his\n{} bob\n", ed(2)),
    );
    let document = parse(&[("alice.pub", &alice), ("bob/laptop.pub", &bob)]).unwrap();
    let keys: Vec<(usize, &str)> = document
        .keys
        .iter()
        .map(|key| (key.place, key.line.comment.as_str()))
        .collect();
    assert_eq!(keys, [(2, "alice"), (5, "bob")]);
    let text = String::from_utf8(joined(&[("alice.pub", &alice), ("b", &bob)])).unwrap();
    assert_eq!(
        text,
        format!(
            "# object alice.pub, {} bytes\n{alice}\n# object b, {} bytes\n{bob}",
            alice.len(),
            bob.len()
        )
    );
}

#[test]
fn an_object_without_a_key_refuses_the_whole_and_is_named() {
    let good = ed(1);
    for (text, why) in [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ("# nothing\n", "it is empty"),
        ("hello world\n", "no valid key in it"),
        (
            "{\"version\":1,\"keys\":[]}\n",
            "it is not a key set but JSON",
        ),
        (
            "\u{feff}ssh-ed25519 AAAA\n",
            "UTF-8 behind a byte order mark",
        ),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "private key"),
    ] {
        let refused = parse(&[("a.pub", &good), ("dir/b.pub", text), ("c.pub", &good)]);
        let refused = refused.unwrap_err();
        let told = refused.to_string();
        assert!(
            told.starts_with("dir/b.pub: ") && told.contains(why),
            "{text:?}: {told}"
        );
        let private = text.contains("PRIVATE");
        assert_eq!(refused.code() == FaultCode::DocumentHasPrivateKey, private);
    }
    // Cut off in the middle of a key, with a good one before it.
    let cut = format!("{good}\n{}", &ed(2)[..40]);
    let told = parse(&[("a.pub", &cut)]).unwrap_err().to_string();
    assert!(told.starts_with("a.pub: it was cut off: line 2"), "{told}");
}

#[test]
fn a_key_that_is_not_good_enough_is_left_out_by_its_objects_name() {
    let weak = rsa(1_024, 1);
    let document = parse(&[("a.pub", &ed(1)), ("b.pub", &weak)]).unwrap();
    assert_eq!((document.keys.len(), document.left_out.len()), (1, 1));
    assert_eq!(document.left_out[0].line, 4);
    assert!(document.left_out[0].reason.starts_with("b.pub line 1: "));
    assert!(parse(&[("b.pub", &weak)]).is_err(), "no key at all is left");
}

#[test]
fn what_an_object_holds_says_nothing_about_the_others() {
    // An object that looks like the line that names the next one.
    let trick = format!("{}\n# object alice.pub, 4096 bytes\n", ed(1));
    let document = parse(&[("a", &trick), ("b", &ed(2))]).unwrap();
    assert_eq!(document.keys.len(), 2);
    // Names that would break the line are told otherwise.
    let text = joined(&[("a\nb\u{1b}[2J, 5 bytes", &ed(1))]);
    assert_eq!(text.iter().filter(|b| **b == b'\n').count(), 2);
    assert!(document::parse(&text, &Rules::default()).is_ok());
    // What was changed on the way is not a document.
    let whole = joined(&[("a", &ed(1)), ("b", &ed(2))]);
    for end in [whole.len() - 1, whole.len() - 30, 40] {
        assert!(
            document::parse(&whole[..end], &Rules::default()).is_err(),
            "{end}"
        );
    }
}

proptest! {
    #[test]
    fn objects_come_back_as_they_were_whatever_they_hold(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..5)
    ) {
        let objects = texts.iter().map(|text| ("name", text.as_slice()));
        let document = join(objects);
        // None of it makes the reader fail in another way than by a refusal.
        let _ = document::parse(&document, &Rules::default());
        let with_keys: Vec<Vec<u8>> = texts
            .iter()
            .map(|text| [ed(1).as_bytes(), b"\n#", text.as_slice()].concat())
            .filter(|text| !text.contains(&b'\n') || !text[ed(1).len() + 1..].contains(&b'\n'))
            .collect();
        if !with_keys.is_empty() {
            let document = join(with_keys.iter().map(|text| ("name", text.as_slice())));
            let count = document::parse(&document, &Rules::default()).map(|one| one.keys.len());
            // A last line that lacks its end and is no key means that an object was cut off.
            prop_assert!(count.is_err() || count == Ok(with_keys.len()));
        }
    }
}

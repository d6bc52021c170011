//! Edits of documents in every layout that people and programs write.

use proptest::prelude::*;

use super::*;
use crate::document::{Rules, parse};

const KEYS: [&str; 4] = [
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHgPe4gNgxBnmmcGJ4R164HYmGb604KnqvydhixXKrUc a",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICtfGkO2xNORn+gOuvoTywk/bycbirpMFqL1E3EmiR1I b",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBX4Ys5qukEkV49ihCpsasoAg6wncK2483N10UNa+tMr c",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPQBDVDKlHFWXcKO5l8iIwwc6RIFNN2Qa6Ccm4shMZg6 d",
];

fn entry(key: &str) -> PublishedEntry {
    PublishedEntry {
        public_key: key.to_owned(),
        options: vec![],
        accounts: None,
        not_before: None,
        not_after: None,
    }
}

fn full(key: &str) -> PublishedEntry {
    PublishedEntry {
        options: vec!["from=\"10.0.0.0/8\"".to_owned(), "no-pty".to_owned()],
        accounts: Some(BTreeSet::from([
            UserName::parse("jo").unwrap(),
            UserName::parse("al").unwrap(),
        ])),
        not_after: Some("2027-01-01T00:00:00Z".parse().unwrap()),
        ..entry(key)
    }
}

fn fingerprint(key: &str) -> Fingerprint {
    identify(key.as_bytes()).unwrap().key.fingerprint()
}

fn text(json: &str, edits: &Edits) -> String {
    String::from_utf8(edited(json.as_bytes(), edits).unwrap()).unwrap()
}

#[test]
fn an_entry_is_added_as_the_others_are_laid_out() {
    let added = Edits {
        added: vec![full("K B b")],
        ..Edits::default()
    };
    for (json, wanted) in [
        (
            "{\n  \"version\": 1,\n  \"keys\": [\n    {\"public_key\": \"K A a\"}\n  ]\n}\n",
            "{\n  \"version\": 1,\n  \"keys\": [\n    {\"public_key\": \"K A a\"},\n    {\"public_key\": \"K B b\", \"options\": \
             [\"from=\\\"10.0.0.0/8\\\"\", \"no-pty\"], \"accounts\": [\"al\", \"jo\"], \"not_after\": \
             \"2027-01-01T00:00:00Z\"}\n  ]\n}\n",
        ),
        (
            "{\"version\":1,\"keys\":[{\"public_key\":\"K A a\"}]}",
            "{\"version\":1,\"keys\":[{\"public_key\":\"K A a\"},{\"public_key\":\"K B b\",\"options\":\
             [\"from=\\\"10.0.0.0/8\\\"\",\"no-pty\"],\"accounts\":[\"al\",\"jo\"],\"not_after\":\"2027-01-01T00:00:00Z\"}]}",
        ),
        (
            "{\r\n\t\"version\": 1,\r\n\t\"keys\": [\r\n\t\t{\r\n\t\t\t\"public_key\": \"K A a\"\r\n\t\t}\r\n\t]\r\n}\r\n",
            "{\r\n\t\"version\": 1,\r\n\t\"keys\": [\r\n\t\t{\r\n\t\t\t\"public_key\": \"K A a\"\r\n\t\t},\r\n\t\t{\r\n\t\t\t\
             \"public_key\": \"K B b\",\r\n\t\t\t\"options\": [\"from=\\\"10.0.0.0/8\\\"\", \"no-pty\"],\r\n\t\t\t\"accounts\": \
             [\"al\", \"jo\"],\r\n\t\t\t\"not_after\": \"2027-01-01T00:00:00Z\"\r\n\t\t}\r\n\t]\r\n}\r\n",
        ),
    ] {
        assert_eq!(text(json, &added), wanted);
    }
    let empty = "{\n  \"version\": 1,\n  \"keys\": []\n}\n";
    let one = Edits {
        added: vec![entry("K B b")],
        ..Edits::default()
    };
    assert_eq!(
        text(empty, &one),
        "{\n  \"version\": 1,\n  \"keys\": [\n    {\"public_key\": \"K B b\"}\n  ]\n}\n"
    );
}

#[test]
fn entries_go_and_fingerprints_come_and_nothing_else_changes() {
    let print = fingerprint(KEYS[0]);
    let edits = Edits {
        removed: [0].into(),
        revoked: [print].into(),
        ..Edits::default()
    };
    for (json, wanted) in [
        (
            "{ \"version\" : 1 ,  \"keys\" : [ 1 , 2,3 ] , \"name\": \"x\" }",
            format!(
                "{{ \"version\" : 1 ,  \"keys\" : [ 2,3 ], \"revoked\" : [\"{print}\"] , \"name\": \
                 \"x\" }}"
            ),
        ),
        (
            "{\n  \"version\": 1,\n  \"revoked\": [\n    \"x\"\n  ],\n  \"keys\": [\n    1\n  ]\n}",
            format!(
                "{{\n  \"version\": 1,\n  \"revoked\": [\n    \"x\",\n    \"{print}\"\n  ],\n  \"keys\": []\n}}"
            ),
        ),
        (
            "{\n  \"version\": 1,\n  \"keys\": [\n    1,\n    2\n  ]\n}",
            format!(
                "{{\n  \"version\": 1,\n  \"keys\": [\n    2\n  ],\n  \"revoked\": [\n    \"{print}\"\n  ]\n}}"
            ),
        ),
    ] {
        assert_eq!(text(json, &edits), wanted);
    }
}

#[test]
fn bytes_that_are_not_utf_8_stay_as_they_are() {
    let json =
        [b"{\"version\": 1, \"keys\": [{\"public_key\": \"K A J\xfcrgen\"}]}".as_slice()].concat();
    let edits = Edits {
        added: vec![entry("K B J\u{fc}rgen")],
        ..Edits::default()
    };
    let wanted = [
        b"{\"version\": 1, \"keys\": [{\"public_key\": \"K A J\xfcrgen\"}, {\"public_key\": \"K B J".as_slice(),
        "\u{fc}rgen\"}]}".as_bytes(),
    ]
    .concat();
    assert_eq!(edited(&json, &edits).unwrap(), wanted);
}

#[test]
fn what_is_no_document_is_not_edited() {
    for json in [
        "",
        "[]",
        "{}",
        "{\"version\": 1}",
        "{\"version\": 1, \"keys\": 3}",
        "ssh-ed25519 AAAA",
    ] {
        let edits = Edits {
            added: vec![entry("K B b")],
            ..Edits::default()
        };
        assert_eq!(edited(json.as_bytes(), &edits), None, "{json}");
    }
}

#[test]
fn text_becomes_a_document() {
    let made = document(&[entry(KEYS[0]), full(KEYS[1])]).unwrap();
    let read = parse(&made, &Rules::default()).unwrap();
    assert_eq!((read.keys.len(), read.left_out.len()), (2, 0));
}

/// White space as JSON has it.
fn blank() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![Just(" "), Just("\n"), Just("\t"), Just("\r\n"), Just("")],
        0..3,
    )
    .prop_map(|parts| parts.concat())
}

/// A document of some of the keys, with white space anywhere that JSON allows it.
fn documents() -> impl Strategy<Value = (String, Vec<usize>)> {
    let keys = proptest::sample::subsequence(vec![0_usize, 1, 2], 0..=3);
    (keys, proptest::collection::vec(blank(), 40), any::<bool>()).prop_map(
        |(keys, blanks, revoked_first)| {
            let mut blanks = blanks.into_iter().cycle();
            let mut next = || blanks.next().unwrap();
            let mut entries = Vec::new();
            for at in &keys {
                entries.push(format!(
                    "{}{{{}\"public_key\"{}:{}\"{}\"{}}}{}",
                    next(),
                    next(),
                    next(),
                    next(),
                    KEYS[*at],
                    next(),
                    next()
                ));
            }
            let revoked = format!(
                "{}\"revoked\"{}:{}[{}]{}",
                next(),
                next(),
                next(),
                next(),
                next()
            );
            let list = format!(
                "{}\"keys\"{}:{}[{}]{}",
                next(),
                next(),
                next(),
                entries.join(","),
                next()
            );
            let version = format!("{}\"version\"{}:{}1{}", next(), next(), next(), next());
            let fields = if revoked_first {
                [revoked, version, list]
            } else {
                [list, version, revoked]
            };
            (format!("{{{}}}{}", fields.join(","), next()), keys)
        },
    )
}

proptest! {
    #[test]
    fn an_entry_that_is_added_and_taken_out_again_leaves_no_trace((json, keys) in documents()) {
        let added = Edits { added: vec![full(KEYS[3])], ..Edits::default() };
        let with = text(&json, &added);
        let read = parse(with.as_bytes(), &Rules::default()).unwrap();
        prop_assert_eq!(read.keys.len(), keys.len() + 1);
        prop_assert_eq!(read.left_out.len(), 0);
        prop_assert_eq!(read.keys[keys.len()].accounts.as_ref().map(BTreeSet::len), Some(2));
        if !keys.is_empty() {
            let removed = Edits { removed: [keys.len()].into(), ..Edits::default() };
            prop_assert_eq!(text(&with, &removed), json);
        }
    }

    #[test]
    fn what_is_revoked_goes_and_all_else_stays((json, keys) in documents(), which in 0_usize..3) {
        let print = fingerprint(KEYS[which]);
        let places = fingerprints(json.as_bytes()).unwrap();
        let removed: BTreeSet<usize> = (0..places.len()).filter(|at| places[*at] == Some(print)).collect();
        prop_assert_eq!(removed.len(), usize::from(keys.contains(&which)));
        let edits = Edits { removed, revoked: [print].into(), ..Edits::default() };
        let read = parse(text(&json, &edits).as_bytes(), &Rules::default()).unwrap();
        let left: Vec<Fingerprint> = read.keys.iter().map(|key| key.line.key.fingerprint()).collect();
        let wanted: Vec<Fingerprint> =
            keys.iter().filter(|at| **at != which).map(|at| fingerprint(KEYS[*at])).collect();
        prop_assert_eq!(left, wanted);
        prop_assert_eq!(read.revoked, BTreeSet::from([print]));
        // Without the edit's own bytes the rest is the author's, in the author's order.
        let mut rest = json.chars();
        for c in text(&json, &Edits { revoked: BTreeSet::new(), ..edits }).chars() {
            prop_assert!(rest.any(|other| other == c));
        }
    }
}

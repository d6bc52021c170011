//! Comments of keys: no comment costs a key, and nothing else passes as one.

use authkeys_core::document::Digest;
use authkeys_core::key::{KeyLine, granted};
use authkeys_core::outcome::Status;
use authkeys_testing::numbered::{ed, rules};

use super::{parse, reason, refusal};
use crate::cycles::block;
use crate::world::{A, World};

#[test]
fn f48_a_comment_never_costs_a_key() {
    let key = ed(1);
    for (comment, written) in [
        (&b"J\xfcrgen"[..], "J\u{fffd}rgen"),
        (b"a\tb", "a\u{fffd}b"),
        (b"a\x1b[2Jb", "a\u{fffd}[2Jb"),
        (b"a\0b", "a\u{fffd}b"),
        (b"a\rb", "a\u{fffd}b"),
        (b"\x07", "\u{fffd}"),
        (b"\x80\xff", "\u{fffd}\u{fffd}"),
        (
            "a\u{85}b\u{202e}c\u{feff}".as_bytes(),
            "a\u{fffd}b\u{fffd}c\u{fffd}",
        ),
        ("\u{feff}".as_bytes(), "\u{fffd}"),
        (b"\xef\xbf", "\u{fffd}"),
    ] {
        for options in ["", "restrict,command=\"a b\" "] {
            let text = [options.as_bytes(), key.as_bytes(), b" ", comment, b"\n"].concat();
            let document = parse(&text).unwrap();
            assert_eq!(
                (document.keys.len(), document.left_out.len()),
                (1, 0),
                "{comment:?}"
            );
            assert_eq!(
                document.keys[0].line.to_string(),
                format!("{options}{key} {written}"),
                "{comment:?}"
            );
            assert!(
                document
                    .altered_comments()
                    .unwrap()
                    .starts_with("the comment in line 1 "),
                "{comment:?}"
            );
            // Somebody else's line counts as well, with the same options.
            let foreign = granted(text.strip_suffix(b"\n").unwrap())
                .map(|(key, options)| (key, options.to_string()));
            let mine = &document.keys[0].line;
            assert_eq!(
                foreign,
                Some((mine.key.clone(), mine.options.to_string())),
                "{comment:?}"
            );
        }
    }
    for plain in [
        format!("{key} J\u{fc}rgen  M\u{fc}ller # 1\r"),
        key.clone(),
        format!("{key} \t"),
        format!("{key}\r\r"),
    ] {
        let document = parse(format!("{plain}\n")).unwrap();
        assert_eq!(document.altered_comments(), None, "{plain:?}");
    }
}

#[test]
fn f48_a_long_comment_is_cut_and_the_line_keeps_its_limit() {
    for letter in ["x", "\u{fc}", "\u{1f511}", "\u{7}"] {
        let text = format!("{} {}\n", ed(1), letter.repeat(9_000));
        let document = parse(&text).unwrap();
        let line = document.keys[0].line.to_string();
        assert!(line.len() <= 8_192 && line.len() > 8_180, "{}", line.len());
        assert!(document.altered_comments().is_some());
        let json = format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}]}}",
            text.trim_end().replace('\u{7}', "\\u0007")
        );
        assert_eq!(parse(json).unwrap().keys[0].line, document.keys[0].line);
    }
    // Of options and key it is the limit still.
    let long = format!("command=\"{}\" {}", "x".repeat(8_200), ed(2));
    assert!(reason(&long).contains("longer than 8 KiB"));
}

#[test]
fn f48_what_stands_before_the_comment_is_as_strict_as_ever() {
    let key = ed(1);
    let (kind, blob) = key.split_once(' ').unwrap();
    for bad in [
        [b"command=\"\xfc\" ", key.as_bytes()].concat(),
        [kind.as_bytes(), b"\x07 ", blob.as_bytes(), b" comment"].concat(),
        [kind.as_bytes(), b" ", blob.as_bytes(), b"\xa0 comment"].concat(),
        [
            kind.as_bytes(),
            b" ",
            &blob.as_bytes()[..40],
            b"\0",
            &blob.as_bytes()[40..],
        ]
        .concat(),
        format!("command=\"a\tb\" {key}").into_bytes(),
        format!("from=\"\u{202e}\" {key}").into_bytes(),
    ] {
        assert!(
            KeyLine::parse(&bad, &rules()).is_err(),
            "{:?}",
            String::from_utf8_lossy(&bad)
        );
    }
}

#[test]
fn f48_a_comment_that_was_altered_is_said_and_nothing_else_changes() {
    let world = World::new("source = \"file:/k\"\n[[account]]\nuser = \"a\"\n");
    world.publish(
        "file:/k",
        "1",
        &format!("{} one\n{} t\tw\to\n", ed(1), ed(2)),
    );
    for _ in 0..2 {
        let outcome = world.cycle();
        assert_eq!((outcome.status, outcome.faults.len()), (Status::Ok, 0));
        let warned = &outcome.sources[0].warnings;
        assert!(
            warned.len() == 1 && warned[0].starts_with("file:/k: the comment in line 2 "),
            "{warned:?}"
        );
    }
    assert_eq!(
        world.host.text(A),
        block(&[
            &format!("{} one", ed(1)),
            &format!("{} t\u{fffd}w\u{fffd}o", ed(2))
        ])
    );
    let many: String = (1..=9)
        .map(|number| format!("{} a\tb\n", ed(number)))
        .collect();
    assert!(
        parse(many)
            .unwrap()
            .altered_comments()
            .unwrap()
            .starts_with("the comment in lines 1, 2, 3, 4, 5 and 4 more ")
    );
}

#[test]
fn f48_a_latin_1_comment_in_json_costs_no_key_and_nothing_else_may_hold_such_bytes() {
    let json = |comment: &[u8], further: &[u8]| {
        let head = format!("{{\"version\":1,\"keys\":[{{\"public_key\":\"{} ", ed(1));
        [head.as_bytes(), comment, b"\"", further, b"}]}"].concat()
    };
    for comment in [&b"J\xfcrgen"[..], b"\x80", b"\\u00fc\xff", b"\xef\xbf"] {
        let bytes = json(comment, b"");
        let document = parse(&bytes).unwrap();
        assert_eq!(
            (document.keys.len(), document.left_out.len()),
            (1, 0),
            "{comment:?}"
        );
        assert!(
            document.keys[0].line.comment.contains('\u{fffd}'),
            "{comment:?}"
        );
        assert!(
            document
                .altered_comments()
                .unwrap()
                .starts_with("the comment in line 1 "),
            "{comment:?}"
        );
        assert_eq!(
            document.digest,
            Digest::of(&bytes),
            "the digest is of what was published"
        );
    }
    let secret = [
        format!("{{\"PublicKey\":\"{} J", ed(1)).as_bytes(),
        b"\xfcrgen\"}",
    ]
    .concat();
    assert_eq!(
        parse(&secret).unwrap().keys[0].line.comment,
        "J\u{fffd}rgen"
    );
    // An account or a field that cannot be read is not guessed at.
    for further in [
        &b",\"accounts\":[\"j\xfcrgen\"]"[..],
        b",\"not_\xfcfter\":\"2099-01-01T00:00:00Z\"",
    ] {
        let refused = refusal(json(b"me", further));
        assert!(
            refused.contains("line 1 holds bytes that are not UTF-8"),
            "{refused}"
        );
    }
    assert!(
        parse(json(b"me", b",\"options\":[\"command=\\\"\xfc\\\"\"]"))
            .unwrap_err()
            .to_string()
            .contains("ASCII")
    );
    // Nor does such a byte hide a private key.
    let hidden = b",\"options\":[\"-----BEGIN OPENSSH PRIVATE \\u004bEY-----\"]";
    assert!(refusal(json(b"J\xfcrgen", hidden)).contains("it holds a private key"));
}

#[test]
fn f48_a_key_behind_a_bare_carriage_return_is_not_taken_for_a_comment() {
    for text in [
        format!("{} one\r{} two\r", ed(1), ed(2)),
        format!("{} one\rrestrict {}\r\r", ed(1), ed(2)),
    ] {
        assert!(
            refusal(&text).contains("there is a line break in it"),
            "{}",
            refusal(&text)
        );
    }
}

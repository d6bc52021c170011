//! `authkeysctl grant`: keys come into a published key set, and no other byte changes.

use authkeys_testing::{Key, KeyType};

use crate::bucket::{Bucket, TARGET};
use crate::desk::document;

#[test]
fn a_grant_adds_one_entry_and_changes_no_other_byte_but_the_serial() {
    let (one, two, three) = (Key::new("one"), Key::new("two"), Key::new("three"));
    // With line ends of another system, and blanks where no program puts them.
    let text = format!(
        "{{\r\n  \"version\" : 1,\r\n  \"name\": \"workers\", \"serial\":  7,\r\n\r\n  \"keys\": [\r\n      \
         {{\"public_key\": \"{}\" }}\r\n  ]  ,\"revoked\" :[ ]\r\n}}\r\n",
        one.line
    );
    let Some(bucket) = Bucket::with(&text) else {
        return;
    };
    let file = bucket
        .desk
        .file("two.pub", format!("# whose it is\n{}\n", two.line));
    let run = bucket.grant(&[
        file.to_str().unwrap(),
        "--accounts",
        "jo,al",
        "--option",
        "no-pty",
    ]);
    run.succeeds();
    assert!(run.stdout.contains(&format!(
        "workers/7 -> workers/8\n  + {} ssh-ed25519 two\n",
        two.fingerprint()
    )));
    assert!(
        run.stdout.contains("      al, jo; options no-pty\n"),
        "{run:?}"
    );
    assert!(
        run.stdout
            .contains(&format!("published workers/8 at {TARGET}, version ")),
        "{run:?}"
    );
    let entry = format!(
        ",\r\n      {{\"public_key\" : \"{}\", \"options\" : [\"no-pty\"], \"accounts\" : [\"al\", \"jo\"] }}\r\n  ]  ,",
        two.line
    );
    let wanted = text.replace("\r\n  ]  ,", &entry).replace("  7,", "  8,");
    assert_eq!(bucket.published(), wanted);

    // A line in the place of a file, its own options, a window and another comment.
    let line = format!("restrict,pty {}", three.line);
    let run = bucket.grant(&[
        &line,
        "--until",
        "2999-01-01T01:00+01:00",
        "--comment",
        "the \"third\"",
    ]);
    run.succeeds();
    let entry = format!(
        ",\r\n      {{\"public_key\" : \"{} the \\\"third\\\"\", \"options\" : [\"restrict\", \"pty\"], \"not_after\" : \
         \"2999-01-01T00:00:00Z\" }}\r\n  ]  ,",
        three.bare()
    );
    let wanted = wanted.replace("\r\n  ]  ,", &entry).replace("  8,", "  9,");
    assert_eq!(bucket.published(), wanted);

    // Once more: it is there already, and nothing is written.
    let run = bucket.grant(&[
        &line,
        "--until",
        "2999-01-01T00:00Z",
        "--comment",
        "the \"third\"",
    ]);
    run.succeeds();
    assert!(
        run.stdout
            .contains("this is what is published already, with serial 9"),
        "{run:?}"
    );
    assert_eq!(bucket.published(), wanted);

    // And out again: what was before, byte for byte, but the serial and the fingerprints.
    bucket
        .revoke(&[&three.fingerprint(), "comment:tw?"])
        .succeeds();
    let published = bucket.published();
    let (head, rest) = published.split_once("\"revoked\" :").unwrap();
    let (revoked, tail) = rest.split_at(rest.find(']').unwrap() + 1);
    assert_eq!(
        format!("{head}\"revoked\" :[ ]{tail}"),
        text.replace("  7,", "  10,")
    );
    let mut prints = [two.fingerprint(), three.fingerprint()];
    prints.sort();
    let mut read: Vec<String> = serde_json::from_str(revoked).unwrap();
    read.sort();
    assert_eq!(read, prints);
}

#[test]
fn a_window_is_counted_from_its_beginning_and_refused_when_it_is_over() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let Some(bucket) = Bucket::with(&document(Some(1), &[&one])) else {
        return;
    };
    let before = bucket.published();
    for (more, status, word) in [
        (
            &["--until", "2020-01-01T00:00:00Z"][..],
            64,
            "the window is already over: it ends at 2020-01-01T00:00:00Z",
        ),
        (
            &["--until", "2999-01-01T00:00:00"],
            64,
            "is not a time with an offset",
        ),
        (
            &[
                "--from",
                "2999-01-02T00:00:00Z",
                "--until",
                "2999-01-01T00:00:00Z",
            ],
            64,
            "the window is empty",
        ),
        (&["--for", "0d"], 64, "is not a period such as"),
        (&["--for", "soon"], 64, "is not a period such as"),
        (
            &["--for", "3d", "--until", "2999-01-01T00:00:00Z"],
            64,
            "cannot be used with",
        ),
    ] {
        let run = bucket.grant(&[&[two.line.as_str()], more].concat());
        run.fails(status, &[&[word]]);
    }
    assert_eq!(bucket.published(), before);
    bucket
        .grant(&[&two.line, "--from", "2999-01-01T00:00:00Z", "--for", "30d"])
        .succeeds();
    assert!(
        bucket.published().contains(
            "\"not_before\": \"2999-01-01T00:00:00Z\", \"not_after\": \"2999-01-31T00:00:00Z\"}"
        ),
        "{}",
        bucket.published()
    );
}

#[test]
fn what_is_no_key_to_grant_has_its_own_clear_word_and_nothing_is_written() {
    let (one, two, gone) = (Key::new("one"), Key::new("two"), Key::new("gone"));
    let text = document(Some(1), &[&one]).replace(
        "  ]\n",
        &format!("  ],\n  \"revoked\": [\"{}\"]\n", gone.fingerprint()),
    );
    let Some(bucket) = Bucket::with(&text) else {
        return;
    };
    let private = std::fs::read_to_string(two.private()).unwrap();
    let certificate = certificate(&two);
    let weak = Key::of_type(KeyType::Rsa2048, "rsa");
    let file = |name: &str, text: &str| bucket.desk.file(name, text).display().to_string();
    let strict = file(
        "config.toml",
        "source = \"file:/k\"\n[policy]\nmin_rsa_bits = 3072\n[[account]]\nuser = \"jo\"\n",
    );
    for (more, word) in [
        (
            vec![two.line.clone(), two.line.clone()],
            "is given twice; name it once",
        ),
        (
            vec![gone.line.clone()],
            "is in `revoked`, and no node lets it in",
        ),
        (
            vec![two.private().display().to_string()],
            "it is a private key, which belongs to its owner alone",
        ),
        (
            vec!["--".to_owned(), private],
            "it is a private key, which belongs to its owner alone",
        ),
        (vec![certificate], "certificate"),
        (
            vec![file("both", &format!("{}\n{}\n", one.line, two.line))],
            "it has 2 keys; name each of them by itself",
        ),
        (vec![file("empty", "# nothing\n\n")], "no key in it"),
        (vec![file("words", "not a key\n")], "is not granted: "),
        (
            vec!["/nonexistent/two.pub".to_owned()],
            "name a public key's file, - for standard input, or a key line",
        ),
        (
            vec![
                two.line.clone(),
                "--option".to_owned(),
                "environment=\"A=b\"".to_owned(),
            ],
            "environment",
        ),
        (
            vec![
                two.line.clone(),
                "--option".to_owned(),
                "no-such-thing".to_owned(),
            ],
            "is not known to sshd",
        ),
        (
            vec![weak.line.clone(), "--config".to_owned(), strict],
            "2048",
        ),
        (
            vec![one.line.clone(), "--accounts".to_owned(), "jo".to_owned()],
            "there already on other terms (every account); --replace",
        ),
    ] {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let run = bucket.grant(&[&["--yes"], &more[..]].concat());
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
        assert!(
            run.status == 1 && run.stderr.contains(word) && run.stdout.is_empty(),
            "{word}: {run:?}"
        );
        assert_eq!(bucket.published(), text, "{word}");
    }
    // On purpose.
    bucket.grant(&[&one.line, "--accounts", "jo", "--replace", "--yes"]);
    assert!(bucket.published().contains(&format!(
        "{{\"public_key\": \"{}\", \"accounts\": [\"jo\"]}}",
        one.line
    )));
}

/// A user certificate for a key, signed by itself.
fn certificate(key: &Key) -> String {
    let public = key.private().with_extension("pub");
    let mut keygen = std::process::Command::new("ssh-keygen");
    keygen
        .args(["-q", "-s"])
        .arg(key.private())
        .args(["-I", "id", "-n", "jo"])
        .arg(&public);
    assert!(keygen.status().unwrap().success());
    std::fs::read_to_string(key.private().with_file_name("key-cert.pub"))
        .unwrap()
        .trim()
        .to_owned()
}

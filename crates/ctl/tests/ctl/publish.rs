//! `authkeysctl publish` to S3: what it shows, asks about, refuses and signs, and the serial that it
//! takes.

use authkeys_testing::{Key, Setup, me};

use crate::bucket::{Bucket, TARGET};
use crate::desk::{document, serial};

#[test]
fn a_publication_takes_the_next_serial_and_changes_no_other_byte() {
    let Some(bucket) = Bucket::new() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    bucket.desk.file("a", document(None, &[&one]));
    let run = bucket.desk.publish("a", TARGET, &[]);
    assert_eq!(run.status, 0, "{run:?}");
    let first = format!(
        "{TARGET}: nothing is published there yet; this makes workers/1\n  + {} ssh-ed25519 one\n",
        one.fingerprint()
    );
    assert!(run.stdout.starts_with(&first), "{run:?}");
    assert!(
        run.stdout
            .contains(&format!("published workers/1 at {TARGET}, version ")),
        "{run:?}"
    );
    assert!(
        run.stdout
            .ends_with(": authkeysctl fleet --wait --document workers/1\n"),
        "{run:?}"
    );
    assert_eq!(
        bucket.published(),
        document(None, &[&one]).replacen("\"version\": 1,", "\"version\": 1,\n  \"serial\": 1,", 1)
    );

    bucket.desk.file("a", document(Some(1), &[&one, &two]));
    let run = bucket.desk.publish("a", TARGET, &[]);
    run.succeeds();
    let change = format!(
        "{TARGET}: workers/1 -> workers/2\n  + {} ssh-ed25519 two\n",
        two.fingerprint()
    );
    assert!(run.stdout.starts_with(&change), "{run:?}");
    assert_eq!(bucket.published(), document(Some(2), &[&one, &two]));
    assert!(run.stdout.contains("sha256:"), "{run:?}");

    // The file keeps its serial: the next one is counted from what is published.
    bucket.desk.file("a", document(Some(1), &[&two]));
    let run = bucket.desk.publish("a", TARGET, &[]);
    run.succeeds();
    assert!(
        run.stdout
            .contains(&format!("\n  - {} ssh-ed25519 one\n", one.fingerprint())),
        "{run:?}"
    );
    assert_eq!(bucket.published(), document(Some(3), &[&two]));
    // One's own number, where that is higher.
    bucket.desk.file("a", document(Some(40), &[&two]));
    let run = bucket.desk.publish("a", TARGET, &[]);
    run.succeeds();
    assert!(
        run.stdout
            .contains("workers/3 -> workers/40\n  no key changes\n"),
        "{run:?}"
    );
    assert_eq!(serial(&bucket.published()), 40);
}

#[test]
fn what_is_published_already_is_not_published_again_with_another_serial() {
    let Some(bucket) = Bucket::new() else { return };
    let key = Key::new("k");
    let already = |run: &authkeys_testing::Run, serial: u32| {
        run.succeeds();
        let words = format!("{TARGET}: this is what is published already, with serial {serial}\n");
        assert_eq!(run.stdout, words);
    };
    for file in [document(None, &[&key]), document(Some(1), &[&key])] {
        bucket.desk.file("a", &file);
        bucket.desk.publish("a", TARGET, &[]);
        let before = bucket.published();
        let serial = u32::try_from(serial(&before)).unwrap();
        for _ in 0..2 {
            already(&bucket.desk.publish("a", TARGET, &[]), serial);
        }
        assert_eq!(bucket.published(), before);
    }
    // Signed by that key: the signature need not be renewed; by another one it is.
    let (mine, other) = (Key::new("mine"), Key::new("other"));
    let sign = |key: &Key| {
        bucket
            .desk
            .publish("a", TARGET, &["--sign", key.private().to_str().unwrap()])
    };
    sign(&mine).succeeds();
    let before = bucket.published();
    assert!(before.contains("SIGNATURE"), "{before}");
    already(&sign(&mine), u32::try_from(serial(&before)).unwrap());
    assert_eq!(bucket.published(), before);
    sign(&other).succeeds();
    assert_ne!(bucket.published(), before);
}

#[test]
fn a_dry_run_shows_and_writes_nothing() {
    let Some(bucket) = Bucket::new() else { return };
    let key = Key::new("k");
    bucket.moto.put_object(
        "keys",
        "prod/workers.json",
        document(Some(5), &[&key]).as_bytes(),
    );
    let changed = document(Some(5), &[&key]).replace(
        "}\n  ]",
        ", \"options\": [\"restrict\"], \"accounts\": [\"jo\"]}\n  ]",
    );
    bucket.desk.file("a", &changed);
    let run = bucket.desk.publish("a", TARGET, &["--dry-run"]);
    run.fails(
        0,
        &[&[
            "warning: ",
            "accounts that no key names: all of its keys go",
        ]],
    );
    for line in [
        &format!("  ~ {} ssh-ed25519 k\n", key.fingerprint()),
        "      - k: every account\n",
        "      + k: jo; options restrict\n",
        "nothing was written: --dry-run\n",
    ] {
        assert!(run.stdout.contains(line), "{line}: {run:?}");
    }
    assert_eq!(bucket.published(), document(Some(5), &[&key]));
}

#[test]
fn what_nodes_would_refuse_is_not_published() {
    let Some(bucket) = Bucket::new() else { return };
    let key = Key::new("k");
    bucket.moto.put_object(
        "keys",
        "prod/workers.json",
        document(Some(5), &[&key]).as_bytes(),
    );
    let private = std::fs::read_to_string(key.private()).unwrap();
    let rotation = serde_json::json!({"PublicKey": key.line, "PrivateKey": private}).to_string();
    for (text, word) in [
        (String::new(), "it is empty"),
        (private, "private key"),
        (rotation, "private key"),
        (document(Some(6), &[]), "0 keys in force"),
        (document(Some(6), &[&key]).replace("keys", "kyes"), "kyes"),
        (
            format!("{}\n", key.line),
            "after that nodes take no document without one",
        ),
        (document(Some((1 << 53) + 1), &[&key]), "over 2^53"),
    ] {
        bucket.desk.file("a", &text);
        for more in [&[][..], &["--yes"]] {
            let run = bucket.desk.publish("a", TARGET, more);
            assert!(
                run.status == 1 && run.stderr.contains(word),
                "{word}: {run:?}"
            );
            assert!(run.stderr.contains("is not published: "), "{run:?}");
        }
    }
    assert_eq!(bucket.published(), document(Some(5), &[&key]));
}

#[test]
fn f10_who_would_replace_every_key_at_once_is_warned_and_asked() {
    let Some(bucket) = Bucket::new() else { return };
    let (old, new) = (Key::new("old"), Key::new("new"));
    bucket.desk.file("old", document(None, &[&old]));
    bucket.desk.file("both", document(None, &[&old, &new]));
    bucket.desk.file("new", document(None, &[&new]));
    let publish = |name: &str, more: &[&str]| bucket.desk.publish(name, TARGET, more);
    publish("old", &[]).succeeds();
    publish("new", &[]).fails(
        1,
        &[
            &[
                "warning: ",
                "all of its keys are replaced at once",
                "publish both for a while",
            ],
            &["nothing was written", "--yes"],
        ],
    );
    assert_eq!(serial(&bucket.published()), 1);
    // As a rotation should go.
    publish("both", &[]).succeeds();
    publish("new", &[]).succeeds();
    // On purpose.
    publish("old", &["--yes"]).fails(0, &[&["warning: ", "replaced at once"]]);
    assert_eq!(serial(&bucket.published()), 4);
}

#[test]
fn a_fingerprint_that_leaves_revoked_is_asked_about_and_louder_when_its_key_comes_back() {
    let Some(bucket) = Bucket::new() else { return };
    let (good, stolen, other) = (Key::new("good"), Key::new("stolen"), Key::new("other"));
    let publish = |keys: &[&Key], revoked: &[&Key], more: &[&str]| {
        let revoked: Vec<String> = revoked
            .iter()
            .map(|key| format!("\"{}\"", key.fingerprint()))
            .collect();
        let text = document(None, keys).replacen(
            "  ]\n",
            &format!("  ],\n  \"revoked\": [{}]\n", revoked.join(",")),
            1,
        );
        bucket.desk.file("a", text);
        bucket.desk.publish("a", TARGET, more)
    };
    publish(&[&good], &[&stolen, &other], &[]).succeeds();
    let gone = stolen.fingerprint().to_string();
    let left = publish(&[&good], &[&other], &[]);
    left.fails(
        1,
        &[
            &["warning: ", &gone, "left `revoked`"],
            &["nothing was written", "--yes"],
        ],
    );
    let back = publish(&[&good, &stolen], &[], &[]);
    back.fails(
        1,
        &[
            &[
                "warning: REVOKED KEY COMES BACK: ",
                &gone,
                "can log in again",
            ],
            &[
                "warning: ",
                &other.fingerprint().to_string(),
                "left `revoked`",
            ],
            &["nothing was written", "--yes"],
        ],
    );
    assert_eq!(serial(&bucket.published()), 1);
    // To add one, or to leave them as they are, is nothing to ask about.
    publish(&[&good], &[&stolen, &other, &Key::new("third")], &[]).succeeds();
    publish(&[&good], &[&other], &["--yes"]).fails(0, &[&["left `revoked`"]]);
    assert_eq!(serial(&bucket.published()), 3);
}

#[test]
fn it_signs_and_does_not_replace_a_signed_document_by_an_unsigned_one_unasked() {
    let Some(bucket) = Bucket::new() else { return };
    let (ops, other, key) = (Key::new("ops"), Key::new("other"), Key::new("k"));
    let allowed = bucket
        .desk
        .file("allowed", format!("ops@acme {}\n", ops.bare()));
    let (allowed, ops_key, other_key) = (
        allowed.display().to_string(),
        ops.private(),
        other.private(),
    );
    let (ops_key, other_key) = (ops_key.to_str().unwrap(), other_key.to_str().unwrap());
    bucket.desk.file("a", document(None, &[&key]));
    assert_eq!(
        bucket
            .desk
            .publish(
                "a",
                TARGET,
                &["--sign", ops_key, "--allowed-signers", &allowed]
            )
            .status,
        0
    );
    let published = bucket.published();
    assert!(
        serial(&published) == 1 && published.ends_with("-----END SSH SIGNATURE-----\n"),
        "{published}"
    );

    // A node that asks for signatures takes it.
    let node = Setup::new();
    let file = format!("file = \"{}/%u\"", node.path("keys").display());
    let mut node = node
        .account(&me(), &file)
        .tables(&format!("[trust]\nallowed_signers = \"{allowed}\"\n"));
    node.source = TARGET.to_owned();
    node.use_s3_at(&bucket.moto.endpoint());
    node.run(["sync"]).succeeds();

    let refused = bucket.desk.publish(
        "a",
        TARGET,
        &["--sign", other_key, "--allowed-signers", &allowed, "--yes"],
    );
    assert!(
        refused.status == 1 && refused.stderr.contains("is not published: "),
        "{refused:?}"
    );
    for more in [&["--yes"][..], &["--dry-run"]] {
        let unsigned = bucket.desk.publish(
            "a",
            TARGET,
            &[&["--allowed-signers", &allowed], more].concat(),
        );
        assert!(
            unsigned.status == 1 && unsigned.stderr.contains("it is not signed, and "),
            "{unsigned:?}"
        );
        assert_eq!(
            unsigned.stdout, "",
            "nothing is shown or asked that cannot be"
        );
    }
    let unsigned = bucket.desk.publish("a", TARGET, &[]);
    unsigned.fails(
        1,
        &[&["what is published is signed, this is not"], &["--yes"]],
    );
    assert_eq!(bucket.published(), published);
    // What was signed elsewhere goes out as it is, and only with a serial that nodes will take.
    bucket.desk.file("a", &published);
    let again = bucket.desk.publish("a", TARGET, &[]);
    assert!(
        again.status == 0 && again.stdout.contains("this is what is published already"),
        "{again:?}"
    );
    bucket.moto.put_object(
        "keys",
        "prod/workers.json",
        document(Some(7), &[&key]).as_bytes(),
    );
    let late = bucket.desk.publish("a", TARGET, &[]);
    assert!(
        late.status == 1 && late.stderr.contains("must be 8 or higher"),
        "{late:?}"
    );
    node.run(["sync"]).fails(1, &[&["it is not signed"]]);
}

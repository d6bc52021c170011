//! `authkeysctl grant` and `revoke`: keys come into a published key set and go out of it, and no
//! other byte changes.

use crate::desk::{Desk, aws_json, bucket, document};
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, KeyType, Run, clean_ctl, outcome_of, stand_in};
use serde_json::json;

const TARGET: &str = "s3://keys/prod/workers.json";

struct Bucket {
    moto: Moto,
    desk: Desk,
}

impl Bucket {
    fn new() -> Option<Self> {
        let (moto, desk) = bucket()?;
        Some(Self { moto, desk })
    }

    fn with(text: &str) -> Option<Self> {
        let bucket = Self::new()?;
        bucket.put(text);
        Some(bucket)
    }

    fn put(&self, text: impl AsRef<[u8]>) {
        self.moto
            .put_object("keys", "prod/workers.json", text.as_ref());
    }

    fn published(&self) -> String {
        self.moto.object("keys", "prod/workers.json")
    }

    fn run(&self, command: &str, target: &str, more: &[&str]) -> Run {
        let mut ctl = clean_ctl();
        outcome_of(
            ctl.envs(stand_in(&self.moto.endpoint()))
                .arg(command)
                .arg(target)
                .args(more),
        )
    }

    fn grant(&self, more: &[&str]) -> Run {
        self.run("grant", TARGET, more)
    }

    fn revoke(&self, more: &[&str]) -> Run {
        self.run("revoke", TARGET, more)
    }
}

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

#[test]
fn a_key_set_that_has_expired_is_edited_with_a_new_end_and_else_the_way_out_is_told() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let old = "\"expires\": \"2020-01-01T00:00:00Z\"";
    let text = document(Some(7), &[&one, &two]).replacen(
        "  \"keys\"",
        &format!("  {old},\n  \"keys\""),
        1,
    );
    let Some(bucket) = Bucket::with(&text) else {
        return;
    };
    bucket.moto.switch_versions_on("keys");
    let three = Key::new("three");
    let first = bucket
        .moto
        .put_object("keys", "prod/workers.json", text.as_bytes())
        .unwrap();
    for arguments in [
        &["grant", &three.line][..],
        &["revoke", &two.fingerprint()],
        &["rollback", "--to", &first, "--yes"],
    ] {
        let run = bucket.run(arguments[0], TARGET, &arguments[1..]);
        if arguments[0] == "rollback" {
            // It is what is published already.
            assert_eq!(run.status, 0, "{run:?}");
        } else {
            assert_eq!(run.status, 1, "{run:?}");
            assert!(
                run.stderr
                    .contains("nodes would be stale; --expires TIME lets it expire later"),
                "{run:?}"
            );
        }
        assert_eq!(bucket.published(), text, "{arguments:?}");
    }
    let new = "2999-01-01T01:00:00+01:00";
    let revoked = bucket.revoke(&[&two.fingerprint(), "--expires", new]);
    assert_eq!(revoked.status, 0, "{revoked:?}");
    assert!(
        revoked
            .stdout
            .contains("~ expires 2020-01-01T00:00:00Z -> 2999-01-01T00:00:00Z"),
        "{revoked:?}"
    );
    let wanted = text
        .replacen(old, "\"expires\": \"2999-01-01T00:00:00Z\"", 1)
        .replacen(": 7,", ": 8,", 1);
    let wanted = wanted.replacen(
        &format!(",\n    {{\"public_key\": \"{}\"}}", two.line),
        "",
        1,
    );
    let wanted = wanted.replacen(
        "  ]\n",
        &format!(
            "  ],\n  \"revoked\": [\n    \"{}\"\n  ]\n",
            two.fingerprint()
        ),
        1,
    );
    assert_eq!(bucket.published(), wanted);

    // Back to what has expired: the same word, and the same way out; the revoked key stays out.
    let back = bucket.run("rollback", TARGET, &["--to", &first, "--yes"]);
    assert!(
        back.status == 1 && back.stderr.contains("--expires TIME lets it expire later"),
        "{back:?}"
    );
    let back = bucket.run(
        "rollback",
        TARGET,
        &["--to", &first, "--yes", "--expires", "2998-01-01T00:00:00Z"],
    );
    assert_eq!(back.status, 0, "{back:?}");
    let published = bucket.published();
    assert!(
        published.contains("\"2998-01-01T00:00:00Z\"") && !published.contains(&two.line),
        "{published}"
    );
    // The end alone can be renewed too, and none that is over.
    let same = bucket.grant(&[&one.line, "--expires", new]);
    assert_eq!(same.status, 0, "{same:?}");
    assert!(bucket.published().contains("\"2999-01-01T00:00:00Z\""));
    bucket
        .grant(&[&three.line, "--expires", "2020-01-01T00:00:00Z"])
        .fails(64, &[&["is over already"]]);
    bucket
        .grant(&[&three.line, "--expires", "tomorrow"])
        .fails(64, &[&["is not a time with an offset"]]);
}

#[test]
fn nothing_that_the_published_key_set_says_reaches_a_terminal_unmade_when_it_is_edited() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let hostile = "\\u001b]0;x\\u0007\\u202e\\r\\u009b2J";
    let text = document(Some(7), &[&one, &two]).replace(" two\"", &format!(" {hostile}\""));
    assert!(text.contains(hostile));
    let Some(bucket) = Bucket::new() else { return };
    bucket.moto.switch_versions_on("keys");
    let first = bucket
        .moto
        .put_object("keys", "prod/workers.json", text.as_bytes())
        .unwrap();
    bucket.put(document(Some(8), &[&one]));
    let (three, print) = (Key::new("three"), two.fingerprint());
    for (command, arguments) in [
        ("rollback", &["--to", &first, "--dry-run"][..]),
        ("rollback", &["--to", &first, "--yes"]),
        ("grant", &[&three.line, "--dry-run"]),
        ("revoke", &["comment:*x*", "--dry-run", "--yes"]),
        ("revoke", &["comment:\u{1b}[31m*", "--dry-run"]),
        ("revoke", &[&print, "--yes"]),
    ] {
        let run = bucket.run(command, TARGET, arguments);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(
            !said.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r', '\u{9b}']),
            "{command} {arguments:?}: {run:?}"
        );
        assert!(!said.is_empty() && run.status != 101, "{run:?}");
    }
    assert!(
        bucket.published().contains(&format!("\"{print}\"")),
        "{}",
        bucket.published()
    );
}

#[test]
fn a_signed_key_set_is_signed_anew_or_not_touched() {
    let (one, two, ops, stranger) = (
        Key::new("one"),
        Key::new("two"),
        Key::new("ops"),
        Key::new("stranger"),
    );
    let Some(bucket) = Bucket::new() else { return };
    let sign = |key: &Key| ["--sign".to_owned(), key.private().display().to_string()];
    bucket.desk.file("a", document(None, &[&one]));
    let [flag, key] = sign(&ops);
    bucket.desk.publish("a", TARGET, &[&flag, &key]);
    let before = bucket.published();
    for run in [
        bucket.grant(&[&two.line]),
        bucket.revoke(&["comment:one", "--yes"]),
    ] {
        run.fails(
            1,
            &[&[
                "it is signed, and an edit needs a new signature: name the key with --sign",
                "nothing was written",
            ]],
        );
    }
    assert_eq!(bucket.published(), before);
    let allowed = bucket
        .desk
        .file("allowed", format!("ops@acme {}\n", ops.bare()))
        .display()
        .to_string();
    let run = bucket.grant(&[&two.line, &flag, &key, "--allowed-signers", &allowed]);
    assert_eq!(run.status, 0, "{run:?}");
    let published = bucket
        .desk
        .file("published", bucket.published())
        .display()
        .to_string();
    let verified =
        outcome_of(clean_ctl().args(["verify", "--allowed-signers", &allowed, &published]));
    verified.succeeds();

    // By a stranger: a new signature would vouch for what that one wrote.
    let [flag, theirs] = sign(&stranger);
    bucket.desk.file("a", document(Some(9), &[&one]));
    bucket.desk.publish("a", TARGET, &[&flag, &theirs, "--yes"]);
    let before = bucket.published();
    let run = bucket.grant(&[&two.line, &flag, &key, "--allowed-signers", &allowed]);
    assert!(
        run.status == 1 && run.stderr.contains("its signature cannot be trusted"),
        "{run:?}"
    );
    assert_eq!(bucket.published(), before);
}

#[test]
fn text_becomes_json_only_when_that_is_asked_for() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let text = format!("# ours\nno-pty {}\nssh-ed25519 AAAA broken\n", one.line);
    let Some(bucket) = Bucket::with(&text) else {
        return;
    };
    for run in [bucket.grant(&[&two.line]), bucket.revoke(&["comment:one"])] {
        run.fails(1, &[&["it is authorized_keys text", "--json converts it"]]);
    }
    assert_eq!(bucket.published(), text);
    let run = bucket.grant(&[&two.line, "--json"]);
    assert!(
        run.status == 1
            && run
                .stderr
                .contains("warning: line 3 is left out of the JSON"),
        "{run:?}"
    );
    bucket.grant(&[&two.line, "--json", "--yes"]);
    assert_eq!(
        bucket.published(),
        format!(
            "{{\n  \"version\": 1,\n  \"serial\": 1,\n  \"keys\": [\n    {{\"public_key\": \"{}\", \"options\": [\"no-pty\"]}},\n    \
             {{\"public_key\": \"{}\"}}\n  ]\n}}\n",
            one.line, two.line
        )
    );
}

#[test]
fn a_rotation_secret_and_a_broken_key_set_are_not_edited() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let rotation = serde_json::json!({"PublicKey": one.line}).to_string();
    let Some(bucket) = Bucket::with(&rotation) else {
        return;
    };
    bucket
        .grant(&[&two.line, "--json"])
        .fails(1, &[&["it is a rotation secret", "nothing was written"]]);
    assert_eq!(bucket.published(), rotation);
    bucket.put("{\"version\": 1, \"kyes\": []}\n");
    for run in [
        bucket.grant(&[&two.line]),
        bucket.revoke(&["comment:*", "--yes"]),
    ] {
        run.fails(
            1,
            &[&[
                "what is published is not a document",
                "kyes",
                "nothing was written",
            ]],
        );
    }
}

#[test]
fn what_is_revoked_is_named_and_what_matches_nothing_is_an_error() {
    let (one, two, other) = (Key::new("one"), Key::new("two"), Key::new("other"));
    let Some(bucket) = Bucket::with(&document(Some(1), &[&one, &two])) else {
        return;
    };
    let before = bucket.published();
    let print = other.fingerprint();
    bucket.revoke(&[&print]).fails(
        1,
        &[&[
            "no key there matches",
            &print,
            "--unlisted",
            "nothing was written",
        ]],
    );
    bucket.revoke(&["comment:three*"]).fails(
        1,
        &[&["no key there matches comment:three*", "nothing was written"]],
    );
    bucket
        .revoke(&["SHA256:short"])
        .fails(64, &[&["is not a fingerprint"]]);
    bucket
        .revoke(&["/nonexistent"])
        .fails(1, &[&["cannot read /nonexistent"]]);
    let dry = bucket.revoke(&[&two.fingerprint(), "--dry-run"]);
    dry.succeeds();
    assert!(
        dry.stdout
            .contains(&format!("  - {} ssh-ed25519 two\n", two.fingerprint())),
        "{dry:?}"
    );
    assert!(
        dry.stdout
            .contains(&format!("  + revoked {}\n", two.fingerprint())),
        "{dry:?}"
    );
    assert_eq!(bucket.published(), before);

    bucket.revoke(&[&print, "--unlisted"]).succeeds();
    assert!(bucket.published().contains(&print));
    let file = bucket.desk.file("two.pub", &two.line);
    bucket.revoke(&[file.to_str().unwrap()]).succeeds();
    let text = bucket.published();
    assert!(
        !text.contains(two.base64()) && text.contains(&two.fingerprint()),
        "{text}"
    );
    // Once more: nothing is to be done, and that is good.
    let again = bucket.revoke(&[&two.fingerprint()]);
    again.fails(0, &[&["is already revoked there"]]);
    assert_eq!(bucket.published(), text);

    // The last key.
    let run = bucket.revoke(&["comment:one"]);
    run.fails(
        1,
        &[
            &[
                "warning: nodes with [policy] min_keys = 1 or more",
                "keep such an account's last keys",
            ],
            &["warning: accounts that no key names: all of its keys go (1 key)"],
            &["nothing was written", "--yes"],
        ],
    );
    assert_eq!(bucket.published(), text);
    let run = bucket.revoke(&["comment:one", "--yes"]);
    assert_eq!(run.status, 0, "{run:?}");
    assert!(
        bucket.published().contains("\"keys\": []"),
        "{}",
        bucket.published()
    );
}

#[test]
fn secrets_and_parameters_are_edited_alike() {
    let Some(bucket) = Bucket::new() else { return };
    let (one, two) = (Key::new("one"), Key::new("two"));
    bucket.desk.file("a", document(None, &[&one]));
    for target in ["secretsmanager:prod/keys", "ssm:/prod/keys"] {
        bucket
            .run("grant", target, &[&two.line])
            .fails(1, &[&["nothing is published there", "authkeysctl publish"]]);
        bucket.desk.publish("a", target, &[]).succeeds();
        bucket.run("grant", target, &[&two.line]).succeeds();
        bucket.run("revoke", target, &["comment:one"]).succeeds();
        bucket
            .run("grant", target, &[&two.line, "--sse", "AES256"])
            .fails(64, &[&["is not an object in S3", "leave --sse out"]]);
    }
    let endpoint = bucket.moto.endpoint();
    let secret = aws_json(
        &endpoint,
        "secretsmanager",
        "secretsmanager.GetSecretValue",
        &json!({"SecretId": "prod/keys", "VersionStage": "AWSCURRENT"}),
    );
    let parameter = aws_json(
        &endpoint,
        "ssm",
        "AmazonSSM.GetParameter",
        &json!({"Name": "/prod/keys"}),
    );
    for text in [&secret["SecretString"], &parameter["Parameter"]["Value"]] {
        let read: serde_json::Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        assert_eq!(
            (&read["serial"], read["keys"].as_array().unwrap().len()),
            (&json!(3), 1),
            "{read}"
        );
        assert_eq!(read["revoked"], json!([one.fingerprint()]));
    }
}

#[test]
fn an_object_is_encrypted_as_its_bucket_asks_for() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let Some(bucket) = Bucket::with(&document(Some(1), &[&one])) else {
        return;
    };
    bucket.grant(&[&two.line, "--sse", "none"]).fails(
        64,
        &[&["is not a kind of encryption; write AES256, aws:kms, or aws:kms:KEY"]],
    );
    for (sse, words) in [
        (
            "aws:kms:alias/ours",
            &["x-amz-server-side-encryption: aws:kms", "alias/ours"][..],
        ),
        ("AES256", &["x-amz-server-side-encryption: AES256"]),
    ] {
        let comment = sse.replace(':', "-");
        bucket
            .grant(&[&two.line, "--replace", "--comment", &comment, "--sse", sse])
            .succeeds();
        let head = bucket.moto.head("keys", "prod/workers.json");
        assert!(words.iter().all(|word| head.contains(word)), "{head}");
    }
}

//! What kinds of key sets `authkeysctl grant`, `revoke` and `rollback` edit: expired, hostile,
//! signed, as text, in a secret, in a parameter, encrypted; and what they leave alone.

use authkeys_testing::{Key, clean_ctl, outcome_of};
use serde_json::json;

use crate::bucket::{Bucket, TARGET};
use crate::desk::{aws_json, document};

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
    for (command, arguments, status, shown) in [
        ("rollback", &["--to", &first, "--dry-run"][..], 0, "]0;x"),
        ("rollback", &["--to", &first, "--yes"], 0, "]0;x"),
        ("grant", &[&three.line, "--dry-run"], 0, "three"),
        ("revoke", &["comment:*x*", "--dry-run", "--yes"], 0, "]0;x"),
        ("revoke", &["comment:\u{1b}[31m*", "--dry-run"], 1, "[31m*"),
        ("revoke", &[&print, "--yes"], 0, "]0;x"),
    ] {
        let run = bucket.run(command, TARGET, arguments);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(
            !said.contains(['\u{1b}', '\u{7}', '\u{202e}', '\r', '\u{9b}']),
            "{command} {arguments:?}: {run:?}"
        );
        assert!(run.status == status && said.contains(shown), "{run:?}");
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
    let broken = "{\"version\": 1, \"kyes\": []}\n";
    bucket.put(broken);
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
    assert_eq!(bucket.published(), broken);
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

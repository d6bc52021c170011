//! What people paste in the place of a key set, or around a key, and what they are told.

use authkeys_core::document::{self, Document, Refused, Rules};
use authkeys_testing::numbered::{ed, rsa, rules};

fn parse(bytes: impl AsRef<[u8]>) -> Result<Document, Refused> {
    let rules = Rules {
        line: rules(),
        allow_private_key: false,
    };
    document::parse(bytes.as_ref(), &rules)
}

fn refusal(bytes: impl AsRef<[u8]>) -> String {
    parse(bytes).expect_err("must be refused").to_string()
}

/// What a key is left out for, beside a good one.
fn reason(line: &str) -> String {
    let document = parse(format!("{}\n{line}\n", ed(1))).unwrap();
    assert_eq!(
        (document.keys.len(), document.left_out.len()),
        (1, 1),
        "{line}"
    );
    document.left_out[0].reason.clone()
}

#[test]
fn a_second_key_behind_the_first_one_in_a_line_is_named_and_costs_the_first_nothing() {
    let (one, two) = (ed(1), rsa(2_048, 1));
    for between in [" me ", " ", " me,", " me\\n", " \t", " restrict,", " me;"] {
        let comment = format!("{one}{between}{two}");
        let json = comment.replace('\\', "\\\\").replace('\t', "\\t");
        for text in [
            format!("{comment} you\n{}\n", ed(3)),
            format!(
                "{{\"version\":1,\"keys\":[{{\"public_key\":\"{json}\"}},{{\"public_key\":\"{}\"}}]}}",
                ed(3)
            ),
        ] {
            let document = parse(&text).unwrap();
            assert_eq!(document.keys.len(), 2, "{text}");
            assert_eq!(document.left_out.len(), 1, "{text}");
            let reason = &document.left_out[0].reason;
            assert!(reason.starts_with("a second key (SHA256:"), "{reason}");
        }
    }
    let long = format!("{one} {} AAAA{}\n", "word".repeat(200), "x".repeat(60));
    assert_eq!(parse(long).unwrap().left_out, []);
}

#[test]
fn what_is_pasted_around_a_key_is_named() {
    let key = ed(1);
    let (kind, blob) = key.split_once(' ').unwrap();
    let before = "is before the key type and is not an option";
    for (line, words) in [
        (
            blob.to_owned(),
            "the key type is missing; write ssh-ed25519",
        ),
        (
            format!("{blob} me"),
            "the key type is missing; write ssh-ed25519",
        ),
        (format!("echo \"{key}\" >> authorized_keys"), before),
        (format!("export KEY='{key}'"), before),
        (format!("SSH_KEY=\"{key}\""), before),
        (format!("> {key}"), before),
        (format!("+{key}"), before),
        (format!("`{key}`"), before),
        (format!("1\t{key}"), before),
        (format!("ssh rsa {blob}"), before),
        (
            format!("ssh\u{2013}ed25519 {blob}"),
            "(U+2013) is in the options",
        ),
        (
            format!("\u{201c}{key}\u{201d}"),
            "(U+201C) is in the options",
        ),
        (
            format!("from=\u{201c}10.0.0.0/8\u{201d} {key}"),
            "(U+201C) is in",
        ),
        (format!("{kind}\u{a0}{blob} me"), "(U+00A0) is in"),
        (
            format!("no-x12-forwarding {key}"),
            "option \"no-x12-forwarding\" is not known",
        ),
        (
            "0123456789abcdef0123456789abcdef".to_owned(),
            "key of another program",
        ),
    ] {
        let reason = reason(&line);
        assert!(reason.contains(words), "{line}: {reason}");
    }
}

#[test]
fn a_file_that_only_stands_for_a_key_set_is_named() {
    for (text, words) in [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12\n",
            "a pointer of Git LFS",
        ),
        ("$ANSIBLE_VAULT;1.1;AES256\n6162\n", "an encrypted file"),
        ("${tls_private_key.k.public_key_openssh}\n", "a template"),
        ("{{ ssh_keys }}\n", "a template"),
        ("$SSH_KEY\n", "a template"),
        ("{\\\"version\\\":1}\n", "escaped once too often"),
        ("%PDF-1.7\n%x\n", "a binary file"),
        ("\u{7f}ELF\0\0\0", "a binary file"),
        ("\0\0\0\0\0\0\0\0\0", "zero bytes alone"),
        (
            "{\"Parameter\":{\"Value\":\"x\"}}",
            "--query Parameter.Value --output text",
        ),
        (
            "{\"SecretString\":\"{}\"}",
            "--query SecretString --output text",
        ),
        ("{\"KeyPairs\":[]}", "--include-public-key"),
        ("{\"keys\":[{\"kty\":\"RSA\"}]}", "a JSON Web Key"),
        ("{\"data\":\"ENC[]\",\"sops\":{}}", "encrypted by sops"),
        ("{\"version\":\"1\",\"keys\":[]}", "a number without quotes"),
        (
            "{\"version\":1,\"keys\":[],}",
            "no comma behind the last element",
        ),
        ("{'version':1}", "straight double quotes only"),
        (
            "{\"version\":1,\"keys\":[]}\n{}",
            "nothing may follow its last brace",
        ),
    ] {
        let said = refusal(text);
        assert!(said.contains(words), "{text}: {said}");
    }
}

//! What people publish by mistake: nothing that is harmless costs a key, and every refusal says
//! what to do.

use authkeys_core::document::{self, Document, Refused, Rules};
use authkeys_testing::numbered::{ed, on_curve, rsa, rules, wire};

mod comments;

fn parse(bytes: impl AsRef<[u8]>) -> Result<Document, Refused> {
    document::parse(
        bytes.as_ref(),
        &Rules {
            line: rules(),
            allow_private_key: false,
        },
    )
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
fn f56_a_key_in_json_may_end_in_line_ends() {
    let good = |name: &str, end: &str| match name {
        "public_key" => format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{} me{end}\"}}]}}",
            ed(1)
        ),
        _ => format!("{{\"PublicKey\":\"{} me{end}\"}}", ed(1)),
    };
    for name in ["public_key", "PublicKey"] {
        for end in [
            "\\n",
            "\\r\\n",
            "\\n\\n",
            "\\r\\n\\r\\n",
            " \\n",
            "\\n \\t",
            "\\r",
        ] {
            let document = parse(good(name, end)).unwrap();
            assert_eq!(
                document.keys[0].line.to_string(),
                format!("{} me", ed(1)),
                "{name} {end}"
            );
            assert_eq!(document.altered_comments(), None, "{name} {end}");
        }
    }
    let bare = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"\\n{}\\n\"}}]}}",
        ed(1)
    );
    assert_eq!(parse(bare).unwrap().keys[0].line.to_string(), ed(1));
    // A second key in the same field must not pass for the first one's comment.
    for two in [
        format!("{}\\n{}", ed(1), ed(2)),
        format!("{} me\\n{} you", ed(1), ed(2)),
        format!("{} me\\r\\nrestrict {} you", ed(1), ed(2)),
        format!("{} me\\n# all\\n{}", ed(1), ed(2)),
        format!("{}\\n{} me", &ed(1)[..40], &ed(1)[40..]),
        format!("{} \\n{} me", &ed(1)[..40], &ed(1)[40..]),
        format!("ssh-ed25519\\n{} me", &ed(1)[12..]),
    ] {
        let json = format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{two}\"}},{{\"public_key\":\"{}\"}}]}}",
            ed(3)
        );
        let document = parse(json).unwrap();
        assert!(
            document.left_out[0]
                .reason
                .contains("write each key in one line"),
            "{two}: {:?}",
            document.left_out
        );
    }
}

#[test]
fn a_file_of_another_kind_is_named_and_the_way_out_with_it() {
    let key = ed(1);
    let base64 = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("{key} one\n"))
    };
    for (bytes, words) in [
        (
            format!("[\"{key}\"]").into_bytes(),
            &["a JSON array", "\"version\": 1"][..],
        ),
        (
            format!("[\"{key}\",\n\"{}\"]\n", ed(2)).into_bytes(),
            &["a JSON array"],
        ),
        (
            format!(" [\n  {{\"public_key\": \"{key}\"}}\n]").into_bytes(),
            &["a JSON array"],
        ),
        (b"[]".to_vec(), &["a JSON array"]),
        (
            format!("\"{key}\"").into_bytes(),
            &["a JSON string", "without the quotes"],
        ),
        (
            format!("\"{key}\\n{}\\n\"\n", ed(2)).into_bytes(),
            &["a JSON string"],
        ),
        (b"17".to_vec(), &["a JSON number or word"]),
        (b"null\n".to_vec(), &["a JSON number or word"]),
        (b"true".to_vec(), &["a JSON number or word"]),
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03+\xce".to_vec(),
            &["a gzip file", "uncompressed"],
        ),
        (
            b"\x1f\x8b\x08\0\n\0\n\0\0\x03+\xce\n".to_vec(),
            &["a gzip file"],
        ),
        (b"PK\x03\x04\x14\0".to_vec(), &["a zip file"]),
        (b"BZh91AY&SY".to_vec(), &["a compressed file"]),
        (b"\xfd7zXZ\0\0\x04".to_vec(), &["a compressed file"]),
        (b"\x28\xb5\x2f\xfd\x04\0".to_vec(), &["a compressed file"]),
        (
            b"\x30\x82\x01\x22\x30\x0d\x06\x09".to_vec(),
            &["in DER", "ssh-keygen -i -m PKCS8"],
        ),
        (
            b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70".to_vec(),
            &["in DER"],
        ),
        (
            b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec(),
            &["without their base64"],
        ),
        (base64.into_bytes(), &["base64", "base64 -d"]),
        (format!("- {key}\n- {}\n", ed(2)).into_bytes(), &["YAML"]),
        (
            format!("---\nssh_authorized_keys:\n  - {key}\n").into_bytes(),
            &["YAML"],
        ),
        (
            format!("ssh_authorized_keys:\n  - {key}\n").into_bytes(),
            &["YAML"],
        ),
        (format!("keys: [\"{key}\"]\n").into_bytes(), &["YAML"]),
        (
            format!("[keys]\nfirst = \"{key}\"\n").into_bytes(),
            &["[sections]"],
        ),
        (format!("'{key}'").into_bytes(), &["single quotes"]),
        (b"\xff\xfes\0s\0h\0".to_vec(), &["UTF-16"]),
        (
            format!("\u{feff}{key}\n").into_bytes(),
            &["byte order mark"],
        ),
        (b"<!DOCTYPE html><html></html>".to_vec(), &["web page"]),
        (
            b"{\"version\":1,\"keys\":[],\"name\":\"J\xfcrgen\"}".to_vec(),
            &["line 1 holds bytes that are not UTF-8"],
        ),
        (
            format!("{{\"keys\":[\"{key}\"]}}").into_bytes(),
            &["neither `version` nor", "\"version\": 1"],
        ),
    ] {
        let refused = refusal(&bytes);
        assert!(
            words.iter().all(|word| refused.contains(word)),
            "{:?}: {refused}",
            String::from_utf8_lossy(&bytes)
        );
        assert!(!refused.contains("cut off"), "{refused}");
    }
    // What is really cut off is called so.
    assert!(refusal(&key[..40]).contains("cut off"));
    assert!(refusal(format!("{key} one\n[")).contains("cut off"));
    // Nor does what is a key set become another thing by its first line.
    assert_eq!(parse(format!("- a list\n{key}\n")).unwrap().keys.len(), 1);
    let dsa = "{\"version\":1,\"keys\":[{\"public_key\":\"ssh-dss AAAA\"}]}";
    assert!(refusal(dsa).contains("DSA keys are refused"));
}

#[test]
fn a_key_in_the_format_of_another_program_is_named_with_the_command_that_converts_it() {
    let body = "AAAAC3NzaC1lZDI1NTE5AAAAIHOLP2JmNZ2MHpDJjQcs1fAfAEMaV6lWxS2Z/wVz\nOgoh\n";
    let rfc4716 = format!(
        "---- BEGIN SSH2 PUBLIC KEY ----\nComment: \"ed25519-key\"\n{body}---- END SSH2 PUBLIC KEY ----"
    );
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{body}-----END {label}-----");
    for (text, words) in [
        (rfc4716, "ssh-keygen -i -f FILE"),
        (pem("PUBLIC KEY"), "ssh-keygen -i -m PKCS8 -f FILE"),
        (pem("RSA PUBLIC KEY"), "ssh-keygen -i -m PEM -f FILE"),
        (pem("CERTIFICATE"), "openssl x509"),
        (pem("PGP PUBLIC KEY BLOCK"), "gpg --export-ssh-key"),
        (pem("SSH SIGNATURE"), "only a JSON document can be signed"),
        (pem("EC PARAMETERS"), "ssh-keygen -y -f KEY"),
    ] {
        for end in ["", "\n", "\r\n"] {
            let text = format!("{text}{end}")
                .replace('\n', if end == "\r\n" { "\r\n" } else { "\n" })
                .replace("\r\r", "\r");
            let refused = refusal(&text);
            assert!(
                refused.contains(words) && !refused.contains("cut off"),
                "{text}: {refused}"
            );
            // Beside good keys each of its lines is named.
            let beside = parse(format!("{}\n{}\n", ed(1), text.trim_end())).unwrap();
            assert!(
                beside.left_out[0].reason.contains(words),
                "{:?}",
                beside.left_out
            );
            assert!(
                !beside
                    .left_out
                    .iter()
                    .any(|bad| bad.reason.contains("option")),
                "{:?}",
                beside.left_out
            );
            // And in the field of a secret, or of JSON.
            let quoted = serde_json::to_string(&text).unwrap();
            for json in [
                format!("{{\"PublicKey\":{quoted}}}"),
                format!("{{\"version\":1,\"keys\":[{{\"public_key\":{quoted}}}]}}"),
            ] {
                assert!(refusal(&json).contains(words), "{json}: {}", refusal(&json));
            }
        }
    }
}

#[test]
fn a_time_that_is_no_text_says_what_it_must_be() {
    for time in [
        "1798761600",
        "true",
        "{}",
        "[\"2027-01-01T00:00:00Z\"]",
        "null",
        "\"2027-01-01\"",
    ] {
        let json = format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\",\"not_after\":{time}}}]}}",
            ed(1)
        );
        let words = "RFC 3339 time with an offset, such as";
        assert!(refusal(&json).contains(words), "{json}: {}", refusal(&json));
    }
}

#[test]
fn a_line_that_is_no_key_says_what_it_is_taken_for() {
    let (key, long) = (ed(2), rsa(2_048, 1));
    let (_, blob) = key.split_once(' ').unwrap();
    let certificate = wire(&[b"ssh-ed25519-cert-v01@openssh.com", &on_curve([9; 32])]);
    for (line, words) in [
        (long[20..].to_owned(), "broken over several lines"),
        (
            format!("{}== me@here", &blob[..40]),
            "broken over several lines",
        ),
        (
            format!("host.example.org {key}"),
            "\"host.example.org\" is before the key type, as in known_hosts",
        ),
        (format!("host,192.0.2.1 {key}"), "as in known_hosts"),
        (format!("[host]:2222 {key}"), "as in known_hosts"),
        (format!("|1|abc=|def= {key}"), "as in known_hosts"),
        (format!("@revoked * {key}"), "as in known_hosts"),
        (
            format!("@cert-authority *.example.org {key}"),
            "as in known_hosts",
        ),
        (format!("ops@acme {key}"), "allowed_signers"),
        (
            format!("ops:{key}"),
            "names a user before the key type, as in the metadata of Google Cloud; begin the line \
             with ssh-ed25519",
        ),
        (format!("deploy:{long}"), "\"deploy:ssh-rsa\" names a user"),
        (
            "2048 65537 1234567890123456789 me@here".to_owned(),
            "SSH protocol 1",
        ),
        (format!("- {key}"), "begins with a dash"),
        (
            format!("rsa-sha2-512 {}", &long[8..]),
            "write ssh-rsa before the same base64",
        ),
        (
            format!("rsa-sha2-256 {}", &long[8..]),
            "write ssh-rsa before the same base64",
        ),
        (
            format!("webauthn-sk-ecdsa-sha2-nistp256@openssh.com {blob}"),
            "write sk-ecdsa-sha2-nistp256@openssh.com before the same base64",
        ),
        (
            format!("ssh-ed25519-cert-v01@openssh.com {certificate}"),
            "FILE.pub, not FILE-cert.pub",
        ),
        (
            format!("command=\"echo \"hi\"\" {key}"),
            "a quote inside its value must be written \\\"",
        ),
        (
            format!("command=\"say \"hello world\"\" {key}"),
            "a quote inside an option's value must be written \\\"",
        ),
        (
            format!("command=\"a \"b c\" d\" {key}"),
            "must be written \\\"",
        ),
        (format!("command=\"it is \" open {key}"), "must be written"),
        (format!("command=\"open {key}"), "is written \\\""),
        (
            format!("command=\"\"quoted\"\",restrict {key}"),
            "must be written \\\"",
        ),
        (
            format!("restrict, pty {key}"),
            "there is a blank between the options",
        ),
        (
            format!("restrict ,pty {key}"),
            "there is a blank between the options",
        ),
        (
            format!("restrict pty {key}"),
            "there is a blank between the options",
        ),
        (
            format!("from=\"10.0.0.0/8\" command=\"a\" {key}"),
            "there is a blank between the options",
        ),
        (
            format!("frobnicate {key}"),
            "\"frobnicate\" is before the key type and is not an option of sshd",
        ),
        (format!("ssh-ed25519 {}", &blob[..50]), "cut off"),
    ] {
        assert!(reason(&line).contains(words), "{line}: {}", reason(&line));
    }
    let wrapped = parse(format!(
        "{}\n{}\n{}\n{}\n",
        ed(1),
        &long[..120],
        &long[120..375],
        &long[375..]
    ))
    .unwrap();
    let reasons: Vec<&str> = wrapped
        .left_out
        .iter()
        .map(|bad| bad.reason.as_str())
        .collect();
    assert!(
        reasons.len() == 3
            && reasons[1..]
                .iter()
                .all(|why| why.contains("over several lines")),
        "{reasons:?}"
    );
    let json = |field: &str| {
        parse(format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":{field}}}]}}"
        ))
    };
    let options = serde_json::to_string(&format!("restrict {key}")).unwrap();
    assert!(
        json(&options)
            .unwrap_err()
            .to_string()
            .contains("options belong into the field `options`")
    );
    let secret = refusal(format!("{{\"PublicKey\":{options}}}"));
    assert!(
        secret.contains("a rotation secret has no place") && secret.contains("JSON document"),
        "{secret}"
    );
    assert!(!secret.contains("the field `options`"), "{secret}");
    let host = serde_json::to_string(&format!("host.example.org {key}")).unwrap();
    assert!(
        json(&host)
            .unwrap_err()
            .to_string()
            .contains("as in known_hosts")
    );
}

#[test]
fn what_is_published_in_the_place_of_a_key_set_is_named_for_what_it_is() {
    let key = ed(1);
    let utf_32 = |to_bytes: fn(u32) -> [u8; 4]| {
        key.chars()
            .flat_map(|c| to_bytes(c.into()))
            .collect::<Vec<u8>>()
    };
    for (bytes, words) in [
        (b"\x5d\0\0\x80\0\xff\xff\xff".to_vec(), "a compressed file"),
        (b"\x78\x9c\xab\x56\x2a".to_vec(), "a compressed file"),
        (b"\x04\x22\x4d\x18\x64".to_vec(), "a compressed file"),
        (utf_32(u32::to_le_bytes), "UTF-32"),
        (utf_32(u32::to_be_bytes), "UTF-32"),
        (
            key.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            "UTF-16",
        ),
        (
            format!("#cloud-config\nssh_authorized_keys:\n  - {key}\n").into_bytes(),
            "YAML",
        ),
        (
            format!("[[keys]]\npublic_key = \"{key}\"\n").into_bytes(),
            "TOML",
        ),
        (
            b"<<<<<<< HEAD\n{\"version\":1}\n=======\n{}\n>>>>>>> x\n".to_vec(),
            "a merge conflict",
        ),
        (
            format!("[192.0.2.1]:22 {key}\n").into_bytes(),
            "as in known_hosts",
        ),
        (
            format!("ops@acme namespaces=\"authkeysd\" {key}\n").into_bytes(),
            "allowed_signers",
        ),
        (
            b"256 SHA256:2PZ7Q0k0PlAUG4h6cB1Yy3m3mT0cZ3m0b0p2xqv0lXk me (ED25519)\n".to_vec(),
            "a fingerprint",
        ),
        (
            key.replace("ssh-ed25519", "ed25519").into_bytes(),
            "write ssh-ed25519 before the same base64",
        ),
        (
            key.replace("ssh-ed25519", "SSH-ED25519").into_bytes(),
            "write ssh-ed25519 before the same base64",
        ),
        (
            rsa(2_048, 1).replace("ssh-rsa", "RSA").into_bytes(),
            "write ssh-rsa before the same base64",
        ),
        (
            format!("{}\n{}\n", &key[..40], &key[40..]).into_bytes(),
            "line 1: this looks like a part of a key",
        ),
        (b"Access denied".to_vec(), "not a key line"),
        (
            b"403 Forbidden\nThe proxy says no\n".to_vec(),
            "not a key line",
        ),
        (b"/home/me/.ssh/id_ed25519.pub\n".to_vec(), "not a key line"),
        (
            format!("{{\"version\":1,\"keys\":[\"{key}\"]}}").into_bytes(),
            "expected an object with `public_key`",
        ),
    ] {
        let refused = refusal(&bytes);
        assert!(
            refused.contains(words) && !refused.contains("cut off"),
            "{words}: {refused}"
        );
    }
    let beside = parse(format!("{}\nconsole output\nThe end\n", ed(2))).unwrap();
    assert!(
        beside
            .left_out
            .iter()
            .all(|bad| bad.reason.contains("not a key line")),
        "{:?}",
        beside.left_out
    );
}

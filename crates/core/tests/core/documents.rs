//! Documents: what is a key set, what is refused whole, what is left out.

use authkeys_core::document::{self, Document, Refused, Rules};
use authkeys_core::key::Fingerprint;
use authkeys_testing::numbered::{ed, print, rules, wire};
use proptest::prelude::*;

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

#[test]
fn text_is_one_key_a_line_for_every_account() {
    let text = format!("# team\r\n\n{} one\r\n  \nrestrict {} two\n", ed(1), ed(2));
    let document = parse(&text).unwrap();
    assert_eq!(document.keys.len(), 2);
    assert!(
        document
            .keys
            .iter()
            .all(|key| key.accounts.is_none() && key.not_after.is_none())
    );
    assert_eq!((document.name, document.serial), (None, None));
}

#[test]
fn f34_pages_and_emptiness_are_no_key_set() {
    for nothing in ["", " \n\t\n", "# only a comment\n"] {
        assert_eq!(parse(nothing), Err(Refused::Empty), "{nothing:?}");
    }
    let page = "<html><head><title>Sign in to the network</title></head>\n<body>Please log in</body></html>\n";
    assert!(refusal(page).contains("web page"));
    assert!(refusal(page.trim_end()).contains("web page"));
    assert!(refusal("{}").contains("neither `version` nor `PublicKey`"));
    assert!(refusal("{\"error\": \"login required\"}").contains("neither"));
    // What was meant as a rotation secret is told what is wrong with it.
    let twice = format!("{{\"PublicKey\":\"{0}\",\"PublicKey\":\"{0}\"}}", ed(1));
    assert!(
        refusal(&twice).contains("duplicate field `PublicKey`"),
        "{}",
        refusal(&twice)
    );
    assert!(refusal([0_u8; 4_096]).contains("zero bytes alone"));
}

#[test]
fn another_encoding_is_named_as_such() {
    let json = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}]}}",
        ed(1)
    );
    for text in [ed(1), format!("{}\n{}\n", ed(1), ed(2)), json.clone()] {
        for (mark, bytes) in [
            (0, u16::to_le_bytes as fn(u16) -> [u8; 2]),
            (0, u16::to_be_bytes),
            (0xfeff, u16::to_le_bytes),
        ] {
            let marked = Some(mark)
                .filter(|mark| *mark > 0)
                .into_iter()
                .chain(text.encode_utf16());
            let bytes: Vec<u8> = marked.flat_map(bytes).collect();
            let refused = refusal(&bytes);
            assert!(
                refused.contains("not plain UTF-8 text but UTF-16")
                    && refused.contains("save it as UTF-8"),
                "{refused}"
            );
        }
    }
    assert!(refusal(format!("\u{feff}{json}")).contains("byte order mark"));
}

#[test]
fn f35_a_document_that_was_cut_off_is_refused_whole() {
    let text = format!("{} one\n{} two\n", ed(1), ed(2));
    let keys = |cut: usize| parse(&text[..cut]).map(|document| document.keys.len());
    let second = text.find("two").unwrap();
    for cut in text.find('\n').unwrap() + 2..second - 1 {
        assert!(
            matches!(keys(cut), Err(Refused::CutOff { line: 2, .. })),
            "{cut}"
        );
    }
    assert_eq!(keys(second + 1), Ok(2), "a cut comment leaves a good key");
    assert!(matches!(
        parse(format!("{} one\n# a comm", ed(1))),
        Err(Refused::CutOff { .. })
    ));
    let json = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}]}}",
        ed(1)
    );
    assert!(parse(&json).is_ok());
    for cut in 1..json.len() {
        assert!(parse(&json[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn f04_one_bad_key_is_left_out_by_name_and_the_others_stay() {
    let document = parse(format!("{} one\nssh-dss AAAA old\n{} two\n", ed(1), ed(2))).unwrap();
    assert_eq!(document.keys.len(), 2);
    assert_eq!(document.left_out.len(), 1);
    assert_eq!(
        (
            document.left_out[0].line,
            document.left_out[0].reason.as_str()
        ),
        (2, "DSA keys are refused by sshd")
    );
    let json = format!(
        "{{\"version\": 1, \"keys\": [\n  {{\"public_key\": \"{}\"}},\n  {{\"public_key\": \"{}\", \"options\": [\"bogus\"]}}\n]}}",
        ed(1),
        ed(2)
    );
    let document = parse(json).unwrap();
    assert_eq!((document.keys.len(), document.left_out[0].line), (1, 3));
}

#[test]
fn json_has_all_its_fields() {
    let json = format!(
        r#"{{"version": 1, "name": "workers-2026-11", "serial": 17, "audience": "prod/workers",
            "expires": "2027-01-01T00:00:00Z",
            "keys": [{{"public_key": "{}", "options": ["restrict", "from=\"10.0.0.0/8\""], "accounts": ["ubuntu"],
                       "not_before": "2026-11-21T00:00:00+01:00", "not_after": "2026-12-21T00:00:00Z"}}],
            "revoked": ["{}"]}}"#,
        ed(1),
        print(&ed(2))
    );
    let document = parse(json).unwrap();
    assert_eq!(document.name.unwrap().to_string(), "workers-2026-11");
    assert_eq!(document.serial.unwrap().to_string(), "17");
    assert_eq!(document.audience.unwrap().to_string(), "prod/workers");
    assert_eq!(
        document.expires.unwrap().to_string(),
        "2027-01-01T00:00:00Z"
    );
    assert!(
        document
            .revoked
            .contains(&Fingerprint::parse(&print(&ed(2))).unwrap())
    );
    let key = &document.keys[0];
    assert_eq!(key.not_before.unwrap().to_string(), "2026-11-20T23:00:00Z");
    assert_eq!(
        key.accounts
            .as_ref()
            .unwrap()
            .iter()
            .next()
            .unwrap()
            .as_str(),
        "ubuntu"
    );
    assert!(
        key.line
            .to_string()
            .starts_with("restrict,from=\"10.0.0.0/8\" ssh-ed25519")
    );
}

#[test]
fn a_slip_in_json_never_grants_more_than_was_meant() {
    let with = |extra: &str| {
        refusal(format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\",{extra}}}]}}",
            ed(1)
        ))
    };
    assert!(with("\"not_afer\":\"2027-01-01T00:00:00Z\"").contains("unknown field `not_afer`"));
    assert!(
        with("\"not_after\":\"2027-01-01T00:00:00Z\",\"not_after\":null")
            .contains("duplicate field")
    );
    for bad in [
        "\"not_after\":null",
        "\"not_after\":\"2027-01-01\"",
        "\"not_after\":\"2027-01-01T00:00:00\"",
        "\"not_after\":\"2027-01-01 00:00:00Z\"",
        "\"not_after\":\"2027-01-01T00:00:00+01\"",
        "\"not_after\":\"2027-01-01T00:00:00+0100\"",
        "\"not_after\":\"2027-01-01T00:00:00,5Z\"",
        "\"not_after\":\"2027-01-01T000000.00000Z\"",
        "\"not_after\":\"2027-01-01T00:00:00.Z\"",
        "\"not_after\":\"2027-01-01T00:00:00Z[UTC]\"",
        "\"not_after\":1798761600",
        "\"accounts\":null",
        "\"accounts\":\"ubuntu\"",
        "\"accounts\":[\"../etc\"]",
        "\"options\":\"restrict\"",
    ] {
        assert!(
            with(bad).starts_with("line 1: keys: "),
            "{bad}: {}",
            with(bad)
        );
    }
    let top = |extra: &str| {
        refusal(format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}],{extra}}}",
            ed(1)
        ))
    };
    for bad in [
        "\"name\":\"has blank\"",
        "\"name\":\"\"",
        "\"name\":null",
        "\"serial\":9007199254740993",
        "\"serial\":-1",
        "\"serial\":\"17\"",
        "\"serial\":1.5",
        "\"revoked\":[\"MD5:00\"]",
        "\"revoked\":null",
        "\"expires\":\"tomorrow\"",
        "\"keys\":[]",
        "\"extra\":1",
    ] {
        top(bad);
    }
    assert!(refusal("{\"version\":2,\"keys\":[],\"new\":1}").contains("version 2 is not known"));
    assert!(refusal("{\"version\":1}").contains("missing field `keys`"));
    assert!(refusal("{\"version\":1,\"keys\":[]} trailing").contains("trailing"));
    assert!(refusal(format!("[{{\"public_key\":\"{}\"}}]", ed(1))).contains("a JSON array"));
}

#[test]
fn a_refusal_repeats_little_of_the_document_and_nothing_hidden() {
    let (key, long) = (ed(1), "[".repeat(500_000));
    let blob = wire(&["ssh-\u{202e}x".as_bytes(), &[1; 32]]);
    for hostile in [
        format!("{{\"version\":{long}{}}}", "]".repeat(500_000)),
        format!(
            "{{\"version\":1,\"keys\":[],\"{}\":1}}",
            "x".repeat(500_000)
        ),
        format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{key}\",\"\\u001b[31m\\u202e\":1}}]}}"
        ),
        format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{key}\",\"accounts\":[\"a b{}\"]}}]}}",
            "x".repeat(500_000)
        ),
        format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{key}\",\"options\":[\"{}\"]}}]}}",
            "x".repeat(500_000)
        ),
        format!("{} {key}\n", "x".repeat(8_000)),
        format!("ssh-ed25519 {blob}\n"),
    ] {
        let text = refusal(&hostile);
        assert!(text.len() < 500, "{}", text.len());
        assert!(
            !text.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{text:?}"
        );
    }
}

#[test]
fn an_empty_list_of_keys_is_said_on_purpose_and_left_to_policy() {
    let document = parse("{\"version\":1,\"keys\":[]}").unwrap();
    assert!(document.keys.is_empty() && document.left_out.is_empty());
    assert!(
        refusal("{\"version\":1,\"keys\":[{\"public_key\":\"ssh-dss AAAA\"}]}")
            .contains("no valid key")
    );
}

#[test]
fn the_last_days_of_the_calendar_mean_never() {
    for never in [
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.999Z",
        "9999-12-31T23:59:59-08:00",
        "9999-12-31T00:00:00Z",
        "9999-12-30T23:30:00Z",
        "9999-12-30T12:00:00-12:00",
    ] {
        let json = format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\",\"not_after\":\"{never}\"}}]}}",
            ed(1)
        );
        assert_eq!(
            parse(json).unwrap().keys[0].not_after.unwrap().to_string()[..4],
            *"9999",
            "{never}"
        );
    }
    for wrong in [
        "9999-12-31T23:59:61Z",
        "9999-12-31T99:00:00Z",
        "9999-12-32T00:00:00Z",
        "9999-12-31T23:59:59+99:00",
        "9999-12-31T00:00:00",
        "9999-12-31 00:00:00Z",
    ] {
        let json = format!("{{\"version\":1,\"keys\":[],\"expires\":\"{wrong}\"}}");
        assert!(refusal(&json).contains("not an RFC 3339 time"), "{wrong}");
    }
}

#[test]
fn an_empty_window_is_a_bad_key() {
    let json = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}},{{\"public_key\":\"{}\",\"not_before\":\"2027-01-01T00:00:00Z\",\"not_after\":\"2027-01-01T00:00:00Z\"}}]}}",
        ed(1),
        ed(2)
    );
    assert!(
        parse(json).unwrap().left_out[0]
            .reason
            .contains("its window is empty")
    );
}

#[test]
fn too_many_keys_are_refused() {
    let text: String = (0..4_097).map(|n| format!("{}\n", ed(n))).collect();
    assert_eq!(parse(&text), Err(Refused::TooManyKeys(4_097)));
    assert_eq!(
        parse(text.split_once('\n').unwrap().1).unwrap().keys.len(),
        4_096
    );
}

#[test]
fn private_keys_are_refused_in_every_form() {
    let pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n";
    let public = ed(1);
    for secret in [
        pem.to_owned(),
        format!("{public}\n{pem}"),
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n".to_owned(),
        format!("PuTTY-User-Key-File-3: ssh-ed25519\n{public}\n"),
        format!("{{\"PublicKey\":\"{public}\",\"PrivateKey\":\"x\"}}"),
        format!("{{\"PublicKey\":\"{public}\",\"private_key\":\"x\"}}"),
        format!("{{\"PublicKey\":\"{public}\",\"note\":\"-----BEGIN PRIVATE\\u0020KEY-----\"}}"),
        format!("{{\"PublicKey\":\"{public}\",\"note\":\"{{ PRIVATE\\u0020KEY----- }}\"}}"),
        format!("{{\"PublicKey\":\"{public}\",\"before\":\"{{\\\"PrivateKey\\\":\\\"x\\\"}}\"}}"),
        format!(
            "{{\"version\":1,\"keys\":[{{\"public_key\":\"{public}\"}}],\"PrivateKey\":\"x\"}}"
        ),
    ] {
        let text = refusal(&secret);
        assert!(
            text.contains("it holds a private key") && text.contains("ssh-keygen -y"),
            "{secret}: {text}"
        );
        assert!(!text.contains("b3Bl"), "the secret itself is not repeated");
    }
}

#[test]
fn a_private_key_does_not_hide_behind_what_cannot_be_searched() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for screen in [&deep, "1e999", "\"\\ud800\""] {
        let text = refusal(format!(
            "{{\"PublicKey\":\"{}\",\"x\":{screen},\"PrivateKey\":\"x\"}}",
            ed(1)
        ));
        assert!(text.contains("its JSON is wrong"), "{screen}: {text}");
    }
}

#[test]
fn f04_json_in_strings_of_json_does_not_exhaust_the_stack_and_a_mislaid_key_is_still_found() {
    let embed = |inner: &str| inner.replace('\\', "\\u005c").replace('"', "\\u0022");
    let (open, close) = ("[".repeat(100), "]".repeat(100));
    let mut nested = "{\"PrivateKey\":1}".to_owned();
    for depth in 0..100 {
        let document = format!(
            "{{\"PublicKey\":\"{}\",\"x\":{open}\"{}\"{close}}}",
            ed(1),
            embed(&nested)
        );
        // Nobody mislays a key deeper than that.
        assert!(
            depth > 2 || refusal(&document).contains("a field PrivateKey"),
            "{depth}"
        );
        if depth % 33 == 0 {
            let _ = parse(&document);
        }
        nested = format!("{{\"\":{open}\"{}\"{close}}}", embed(&nested));
    }
}

#[test]
fn of_a_signed_rotation_secret_only_the_public_half_is_kept_too() {
    let armor = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n";
    let secret = format!(
        "{{\"PublicKey\":\"{}\",\"PrivateKey\":\"the secret\"}}\n{armor}",
        ed(1)
    );
    let allowed = Rules {
        line: rules(),
        allow_private_key: true,
    };
    assert_eq!(
        document::parse(secret.as_bytes(), &allowed)
            .unwrap()
            .keys
            .len(),
        1
    );
    let kept = document::public_half(secret.as_bytes()).expect("not the document itself");
    assert!(!String::from_utf8(kept).unwrap().contains("the secret"));
}

#[test]
fn a_rotation_secret_is_its_public_half() {
    let secret = format!(
        "{{\"PublicKey\":\"{} me\\n\",\"PrivateKey\":\"-----BEGIN OPENSSH PRIVATE KEY-----\"}}",
        ed(1)
    );
    let allowed = Rules {
        line: rules(),
        allow_private_key: true,
    };
    let document = document::parse(secret.as_bytes(), &allowed).unwrap();
    assert_eq!(document.keys[0].line.to_string(), format!("{} me", ed(1)));
    let kept = document::public_half(secret.as_bytes()).unwrap();
    assert!(!String::from_utf8(kept.clone()).unwrap().contains("PRIVATE"));
    assert_eq!(
        document::parse(&kept, &allowed).unwrap().keys,
        document.keys
    );
    assert_eq!(
        parse(format!(
            "{{\"PublicKey\":\"{}\",\"Other\":[1,{{}}]}}",
            ed(1)
        ))
        .unwrap()
        .keys
        .len(),
        1
    );
    assert!(
        parse(format!(
            "{{\"PublicKey\":\"{0}\",\"PublicKey\":\"{0}\"}}",
            ed(1)
        ))
        .is_err()
    );
}

#[test]
fn a_signature_is_set_apart_and_its_damage_is_seen() {
    let payload = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}]}}\n",
        ed(1)
    );
    let armor = "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n";
    let signed = format!("{payload}{armor}");
    assert_eq!(
        parse(&signed).unwrap().digest,
        parse(&payload).unwrap().digest
    );
    assert!(refusal(format!("{signed}x")).contains("something follows"));
    assert!(refusal(format!("{payload}-----BEGIN SSH SIGNATURE-----\nAAAA\n")).contains("cut off"));
    assert!(refusal(format!("{signed}{armor}")).contains("something follows"));
}

proptest! {
    #[test]
    fn f04_no_document_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn f04_nor_does_a_json_like_one(text in "[\\{\\}\\[\\]\",:a-zA-Z0-9 .\\\\-]{0,200}") {
        let _ = parse(format!("{{\"version\":1,\"keys\":[{text}"));
        let _ = parse(format!("{{{text}"));
    }
}

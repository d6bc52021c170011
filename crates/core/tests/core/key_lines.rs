//! The grammar of key lines: what is installed, and what is recognised in lines that others wrote.

use authkeys_core::key::{
    BadBlob, BadLine, BadOption, KeyLine, LineRules, Mistake, OptionPolicy, Weakness, identify,
};
use authkeys_testing::numbered::{ed, line, modulus, on_curve, p256_point, rsa, rules, wire};
use proptest::prelude::*;

fn fault(text: &str) -> BadLine {
    KeyLine::parse(text.as_bytes(), &rules()).expect_err(text)
}

#[test]
fn f06_every_key_type_that_sshd_knows_is_installed() {
    let point = p256_point(5);
    let sk_ed = wire(&[b"sk-ssh-ed25519@openssh.com", &on_curve([9; 32]), b"ssh:"]);
    let sk_ec = wire(&[
        b"sk-ecdsa-sha2-nistp256@openssh.com",
        b"nistp256",
        &point,
        b"ssh:",
    ]);
    let ec = wire(&[b"ecdsa-sha2-nistp256", b"nistp256", &point]);
    for good in [
        ed(1),
        rsa(2_048, 3),
        rsa(4_096, 3),
        format!("ecdsa-sha2-nistp256 {ec}"),
        format!("sk-ssh-ed25519@openssh.com {sk_ed}"),
        format!("sk-ecdsa-sha2-nistp256@openssh.com {sk_ec}"),
    ] {
        assert_eq!(line(&good).to_string(), good);
    }
}

#[test]
fn the_canonical_form_has_single_spaces_and_keeps_options_and_comment() {
    let key = ed(1);
    let (kind, blob) = key.split_once(' ').unwrap();
    let messy = format!(
        "  RESTRICT,Pty,,command=\"echo \\\"a b\\\" # x\"\t {kind} \t{blob}   two  words # here \r"
    );
    assert_eq!(
        line(&messy).to_string(),
        format!("restrict,pty,command=\"echo \\\"a b\\\" # x\" {kind} {blob} two  words # here")
    );
}

#[test]
fn what_sshd_refuses_is_not_installed() {
    let key = ed(1);
    let (_, blob) = key.split_once(' ').unwrap();
    let cut = &key[..key.len() - 5];
    for bad in [
        format!("\u{feff}{key}"),
        format!("restrict, pty {key}"),
        format!("frobnicate {key}"),
        format!("from=10.0.0.1 {key}"),
        format!("command=\"unterminated {key}"),
        format!("principals=\"x\" {key}"),
        format!("cert-authority {key}"),
        format!("ssh-rsa {blob}"),
        cut.to_owned(),
        format!("{key}{key}"),
        format!("expiry-time=\"20261340\" {key}"),
        format!("expiry-time=\"2026\" {key}"),
        format!("command=\"a\",command=\"b\" {key}"),
        format!("from=\"a\",from=\"b\" {key}"),
        format!("from=\"\" {key}"),
        format!("from=\"10.0.0.1/8\" {key}"),
        format!("from=\"10.0.0.0/33\" {key}"),
        format!("from=\"a, b\" {key}"),
        format!("from=\"a,,b\" {key}"),
        format!("from=\"!10.1.1.1\" {key}"),
        format!("from=\"!10.0.0.0/8,!*.example.org\" {key}"),
        format!("permitopen=\"host\" {key}"),
        format!("permitopen=\"host:0\" {key}"),
        format!("permitlisten=\"99999\" {key}"),
        "ssh-ed25519".to_owned(),
        "just words here".to_owned(),
    ] {
        fault(&bad);
    }
}

#[test]
fn the_reason_is_told_precisely() {
    assert_eq!(
        fault("ssh-dss AAAA").to_string(),
        "DSA keys are refused by sshd"
    );
    assert!(matches!(
        fault(&rsa(1_024, 1)),
        BadLine::Blob(BadBlob::RsaBits {
            bits: 1_024,
            min: 2_048
        })
    ));
    assert!(matches!(
        fault(&format!("pty {}", ed(1))),
        BadLine::Option(BadOption::NeedsRestrict(_))
    ));
    assert!(matches!(
        fault(&format!("environment=\"A=b\" {}", ed(1))),
        BadLine::Option(BadOption::NotAllowed(_))
    ));
    assert!(matches!(
        fault(&format!("no-touch-required {}", ed(1))),
        BadLine::Option(BadOption::NotAllowed(_))
    ));
    let off_curve = wire(&[b"ecdsa-sha2-nistp256", b"nistp256", &[4; 65]]);
    assert!(matches!(
        fault(&format!("ecdsa-sha2-nistp256 {off_curve}")),
        BadLine::Blob(BadBlob::Weak(Weakness::NotOnCurve))
    ));
    let padded = wire(&[
        b"ssh-rsa",
        &[1, 0, 1],
        &[vec![0, 0], modulus(2_048, 3)].concat(),
    ]);
    assert!(matches!(
        fault(&format!("ssh-rsa {padded}")),
        BadLine::Blob(BadBlob::NotCanonical)
    ));
    assert!(matches!(
        fault(&format!("command=\"{}\" {}", "x".repeat(8_200), ed(1))),
        BadLine::TooLong
    ));
}

#[test]
fn control_characters_before_the_comment_make_a_key_bad_and_are_never_stripped() {
    let key = ed(1);
    for control in [
        '\0',
        '\x07',
        '\x0b',
        '\x0c',
        '\x1b',
        '\x7f',
        '\u{85}',
        '\u{202e}',
        '\u{2028}',
        '\r',
        '\u{ad}',
        '\u{61c}',
        '\u{180e}',
        '\u{fffa}',
        '\u{e0041}',
    ] {
        let (kind, blob) = key.split_once(' ').unwrap();
        for bad in [
            format!("{kind}{control} {blob} comment"),
            format!("{kind} {blob}{control} comment"),
            format!("{kind} {control}{blob} comment"),
            format!("command=\"a{control}b\" {key}"),
        ] {
            assert!(matches!(fault(&bad), BadLine::Control(_)), "{control:?}");
        }
    }
    assert!(matches!(
        fault(&format!("command=\"a\tb\" {key}")),
        BadLine::Option(BadOption::NotAscii)
    ));
    assert!(matches!(
        fault(&format!("command=\"ü\" {key}")),
        BadLine::Mistake(Mistake::NotAscii('ü', 0xfc))
    ));
    line(&format!("{key} Jürgen"));
    line(&format!(
        "from=\"10.0.0.0/8,!10.1.1.1,::/0,0.0.0.0/0,fe80::1/128,*.example.org,192.0.2.?\" {key}"
    ));
    assert!(KeyLine::parse(&[key.as_bytes(), b" \xff"].concat(), &rules()).is_ok());
    assert!(matches!(
        KeyLine::parse(&[b"\xff ", key.as_bytes()].concat(), &rules()),
        Err(BadLine::NotUtf8)
    ));
}

#[test]
fn a_type_from_inside_of_a_blob_is_told_with_nothing_hidden() {
    let blob = wire(&["ssh-\u{202e}\u{1b}[2J\u{200b}x".as_bytes(), &[1; 32]]);
    let told = fault(&format!("ssh-ed25519 {blob}")).to_string();
    assert!(told.contains("ssh-??[2J?x"), "{told:?}");
}

/// sshd knows three curves by name; what a user writes in his own file goes to root's terminal once
/// it counts as a key.
#[test]
fn a_blob_whose_curve_would_command_a_terminal_is_no_key() {
    let line = |curve: &str| format!("ecdsa {}", wire(&[b"ecdsa", curve.as_bytes(), &[4; 65]]));
    assert_eq!(
        identify(line("nistp999").as_bytes()).unwrap().key.kind(),
        "ecdsa-sha2-nistp999"
    );
    for curve in ["nistp256\u{1b}[2J", "\u{202e}652ptsin", "nistp256 "] {
        assert_eq!(identify(line(curve).as_bytes()), None, "{curve:?}");
    }
}

#[test]
fn the_allow_list_of_the_configuration_replaces_the_default() {
    let names =
        |names: &[&str]| OptionPolicy::Only(names.iter().map(|n| (*n).to_owned()).collect());
    let judge = |text: &str, options| {
        KeyLine::parse(
            text.as_bytes(),
            &LineRules {
                min_rsa_bits: 2_048,
                options,
            },
        )
        .is_ok()
    };
    assert!(judge(
        &format!("environment=\"A=b\",pty {}", ed(1)),
        names(&["environment", "pty"])
    ));
    assert!(!judge(&format!("restrict {}", ed(1)), names(&["pty"])));
    assert!(judge(&format!("no-pty {}", ed(1)), names(&["no-*"])));
    assert!(!judge(
        &format!("no-touch-required {}", ed(1)),
        names(&["no-*"])
    ));
}

#[test]
fn json_options_are_single_options() {
    let parts = |options: &[&str]| {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        KeyLine::from_parts(&ed(1), &options, &rules())
    };
    let good = parts(&["restrict", "pty", "from=\"10.0.0.0/8,!10.1.1.1\""]).unwrap();
    assert!(
        good.to_string()
            .starts_with("restrict,pty,from=\"10.0.0.0/8,!10.1.1.1\" ssh-ed25519 ")
    );
    for bad in [
        &["restrict,pty"][..],
        &[""],
        &["restrict "],
        &[",restrict"],
        &["restrict", "from=\"a\" ssh-ed25519"],
    ] {
        assert!(parts(bad).is_err(), "{bad:?}");
    }
    assert!(matches!(
        KeyLine::from_parts(&format!("restrict {}", ed(1)), &[], &rules()),
        Err(BadLine::OptionsInKey)
    ));
    assert!(KeyLine::from_parts(&format!("{}\n{}", ed(1), ed(2)), &[], &rules()).is_err());
}

#[test]
fn a_key_is_recognised_in_every_coat_in_which_sshd_takes_it() {
    let plain = rsa(2_048, 3);
    let key = line(&plain).key;
    let (_, blob) = plain.split_once(' ').unwrap();
    let spelled = wire(&[b"RSA", &[1, 0, 1], &modulus(2_048, 3)]);
    let sha2 = wire(&[b"rsa-sha2-512", &[1, 0, 1], &modulus(2_048, 3)]);
    let zeros = wire(&[
        b"ssh-rsa",
        &[0, 1, 0, 1],
        &[vec![0, 0], modulus(2_048, 3)].concat(),
    ]);
    for coat in [
        plain.clone(),
        format!("rsa-sha2-512 {blob}"),
        format!("ssh-rsa {spelled}"),
        format!("ssh-rsa {sha2}"),
        format!("ssh-rsa {zeros}"),
        format!(" \t{plain} comment\r"),
        format!("{plain}\0garbage"),
        format!("expiry-time=\"20200101\" {plain}"),
        format!("bogus-option,no-pty\t{plain}"),
        format!("command=\"a \\\" b # c\" {plain}"),
        // Bait: a whole blob in a quoted option, where a reader that splits at blanks would take it
        // for the key.
        format!(
            "command=\"x {} y\" {plain}",
            ed(9).split_once(' ').unwrap().1
        ),
        format!(
            "no-pty,environment=\"A=b\t{}\" {plain}",
            ed(9).split_once(' ').unwrap().1
        ),
        format!("ssh-rsa {}\r{}", &blob[..8], &blob[8..]),
        format!("ssh-rsa {}\x0b\x0c{}", &blob[..8], &blob[8..]),
    ] {
        assert_eq!(
            identify(coat.as_bytes()).map(|found| found.key),
            Some(key.clone()),
            "{coat:?}"
        );
    }
    for none in [
        "",
        "   ",
        "# ssh-ed25519 AAAA",
        "ssh-rsa",
        "words only here",
        "command=\"open ssh-rsa AAAA",
    ] {
        assert_eq!(identify(none.as_bytes()), None, "{none:?}");
    }
    assert_eq!(identify(format!("#{plain}").as_bytes()), None);
    assert_eq!(identify(format!("\0{plain}").as_bytes()), None);
}

#[test]
fn a_type_that_is_not_known_yet_is_still_recognised() {
    let future = format!(
        "ssh-future@openssh.com {}",
        wire(&[b"ssh-future@openssh.com", &[1; 1_400]])
    );
    assert_eq!(
        identify(future.as_bytes()).unwrap().key.kind(),
        "ssh-future@openssh.com"
    );
    assert!(matches!(
        fault(&future),
        BadLine::Blob(BadBlob::UnknownType(_))
    ));
}

proptest! {
    #[test]
    fn f04_no_input_makes_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = identify(&bytes);
        let _ = KeyLine::parse(&bytes, &rules());
    }

    #[test]
    fn what_is_installed_reads_back_as_itself(
        number in any::<u16>(),
        options in proptest::collection::vec(prop_oneof![
            Just("restrict".to_owned()),
            Just("NO-PTY".to_owned()),
            Just(String::new()),
            "permitopen=\"[a-z]{1,9}:[1-9][0-9]{0,3}\"",
            "permitlisten=\"[1-9][0-9]{0,3}\"",
            "expiry-time=\"20[2-9][0-9]0[1-9]1[0-9](Z|z|)\"",
        ], 0..5),
        command in proptest::option::of("[ !#-~]{0,20}"),
        comment in "[ -~äß]{0,20}",
    ) {
        let mut options = options;
        options.extend(command.map(|c| format!("command=\"{}\"", c.trim_end_matches('\\'))));
        let text = format!("{} {} {comment}", options.join(","), ed(number));
        if let Ok(line) = KeyLine::parse(text.as_bytes(), &rules()) {
            let canonical = line.to_string();
            prop_assert_eq!(KeyLine::parse(canonical.as_bytes(), &rules()).unwrap(), line.clone());
            prop_assert_eq!(identify(canonical.as_bytes()).unwrap().key, line.key.clone());
            prop_assert_eq!(identify(text.as_bytes()).unwrap().key, line.key);
        } else {
            prop_assert!(options.iter().any(|o| o.contains("expiry")), "{}", text);
        }
    }
}

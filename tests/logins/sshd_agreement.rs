//! Generated key lines: whatever the real readers accept we recognise, and whatever we would
//! install they accept.

use std::collections::BTreeSet;

use authkeys_testing::{Key, KeyType, inside, lab, ssh_keygen_lists, sshd_accepts};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::ours;

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    // The same shapes of lines at every run, around fresh keys: what fails here can be run again.
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Good options, bad ones, and good ones with something wrong about them.
fn option() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("restrict"),
        Just("pty"),
        Just("no-pty"),
        Just("user-rc"),
        Just("no-user-rc"),
        Just("port-forwarding"),
        Just("no-port-forwarding"),
        Just("agent-forwarding"),
        Just("no-x11-forwarding"),
        Just("touch-required"),
        Just("no-touch-required"),
        Just("verify-required"),
        Just("cert-authority"),
        Just("no-restrict"),
        Just("bogus"),
        Just("no-command"),
        Just("command"),
        Just("from"),
        Just(""),
        Just("restricted"),
        Just("#"),
    ]
    .prop_map(str::to_owned);
    let name = prop_oneof![
        Just("command"),
        Just("environment"),
        Just("expiry-time"),
        Just("from"),
        Just("permitopen"),
        Just("permitlisten"),
        Just("tunnel"),
        Just("principals"),
        Just("restrict"),
        Just("frob"),
    ];
    let value = prop_oneof![
        "true( #\\\\x| \\\\\"y\\\\\"|)",
        "127\\.0\\.0\\.[01](/8|/32|/33|)",
        "\\*",
        "!?[a-z*?]{0,4}(,[a-z0-9.*]{1,4})?",
        "20[3-6][0-9](0[1-9]|1[0-9])[0-3][0-9]([0-2][0-9][0-6][0-9]([0-6][0-9])?)?(Z|z|UTC|)",
        "[A-Z_=]{0,4}",
        "(\\[::1\\]|host|\\*)?(:|/|)([0-9]{1,5}|\\*|x|)",
        "[0-9]{1,3}|any|ANY",
    ];
    let frame = prop_oneof![8 => Just(("\"", "\"")), 1 => Just(("", "")), 1 => Just(("\"", "")), 1 => Just(("\"", "\"x"))];
    let valued = (name, value, frame)
        .prop_map(|(name, value, (open, close))| format!("{name}={open}{value}{close}"));
    (prop_oneof![3 => word, 4 => valued], 0..8_u8).prop_map(|(option, upper)| {
        if upper == 0 {
            option.to_ascii_uppercase()
        } else {
            option
        }
    })
}

fn options() -> impl Strategy<Value = String> {
    let joint = prop_oneof![30 => Just(","), 1 => Just(", "), 1 => Just(",,")];
    proptest::collection::vec((option(), joint), 0..4).prop_map(|list| {
        let mut text = String::new();
        for (at, (option, joint)) in list.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { joint });
            text.push_str(option);
        }
        text
    })
}

fn blanks() -> impl Strategy<Value = &'static str> {
    prop_oneof![40 => Just(" "), 2 => Just("\t"), 2 => Just("  \t "), 1 => Just("\u{b}"), 1 => Just("\r"), 1 => Just("")]
}

fn lead() -> impl Strategy<Value = &'static str> {
    prop_oneof![40 => Just(""), 5 => Just(" \t"), 1 => Just("#"), 1 => Just("\u{feff}"), 1 => Just("\u{c}"), 1 => Just("\0")]
}

fn tail() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        20 => Just(" comment"), 4 => Just(""), 2 => Just("\r"), 1 => Just(" a # b\r"), 1 => Just("\tx"), 1 => Just("\0 x"),
        1 => Just(" \u{fc}"), 1 => Just(" \u{1b}[31m"), 1 => Just("x"), 1 => Just("="), 1 => Just(" "),
    ]
}

/// How the word before the blob may be spelled.
fn word(kind: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![
        30 => Just(kind.to_owned()), 1 => Just(kind.to_ascii_uppercase()), 1 => Just("ssh-ed25519".to_owned()),
        1 => Just("rsa-sha2-512".to_owned()), 1 => Just("rsa".to_owned()), 1 => Just("ssh-dss".to_owned()),
    ]
}

/// Ways to spoil or to disguise a blob.
fn disguise(blob: Vec<u8>) -> impl Strategy<Value = String> {
    let fields = fields(&blob);
    let respelled = |name: &'static [u8], zeros: usize| {
        let mut fields = fields.clone();
        fields[0] = name.to_vec();
        if fields.len() == 3 {
            fields[2] = [vec![0; zeros], fields[2].clone()].concat();
        }
        STANDARD.encode(wire(&fields))
    };
    let plain = STANDARD.encode(&blob);
    let own = fields[0].clone();
    let is_rsa = own == b"ssh-rsa";
    let coats = vec![
        respelled(if is_rsa { b"ssh-rsa" } else { b"ssh-ed25519" }, 2),
        respelled(if is_rsa { b"RSA" } else { b"ED25519" }, 0),
        respelled(if is_rsa { b"rsa" } else { b"Ed25519" }, 1),
        respelled(b"rsa-sha2-256", 0),
        respelled(b"ssh-dss", 0),
        STANDARD.encode([blob.as_slice(), &[0]].concat()),
        STANDARD.encode(&blob[..blob.len() - 1]),
        plain[..plain.len() - 1].to_owned(),
        format!("{}=", plain),
        format!("{}\u{b}\r\u{c}{}", &plain[..20], &plain[20..]),
        format!("{} {}", &plain[..20], &plain[20..]),
        format!("{}-{}", &plain[..20], &plain[21..]),
    ];
    prop_oneof![3 => Just(plain), 2 => proptest::sample::select(coats)]
}

fn fields(mut blob: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    while let Some((length, rest)) = blob.split_first_chunk::<4>() {
        let (field, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        fields.push(field.to_vec());
        blob = rest;
    }
    fields
}

fn wire(fields: &[Vec<u8>]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|f| [&u32::try_from(f.len()).unwrap().to_be_bytes(), f.as_slice()].concat())
        .collect()
}

fn any_line(key: &Key) -> impl Strategy<Value = String> + use<> {
    let blob = STANDARD.decode(key.base64()).unwrap();
    let kind = if key.type_word() == "ssh-rsa" {
        "ssh-rsa"
    } else {
        "ssh-ed25519"
    };
    let head = prop_oneof![2 => Just(String::new()).boxed(), 3 => options().prop_map(|o| if o.is_empty() { o } else { o + " " }).boxed()];
    (lead(), head, word(kind), blanks(), disguise(blob), tail()).prop_map(
        |(lead, head, word, blanks, blob, tail)| format!("{lead}{head}{word}{blanks}{blob}{tail}"),
    )
}

#[test]
fn f09_whatever_ssh_keygen_lists_we_recognise_as_the_same_key() {
    let keys = [Key::new("ed"), Key::of_type(KeyType::Rsa2048, "rsa")];
    let lines = prop_oneof![any_line(&keys[0]), any_line(&keys[1])];
    let listed = std::cell::Cell::new(0);
    let result = runner(800).run(&lines, |line| {
        let (theirs, ours) = (ssh_keygen_set(&line), ours::recognise(line.as_bytes()));
        let ours: BTreeSet<String> = ours.iter().map(ToString::to_string).collect();
        listed.set(listed.get() + theirs.len());
        prop_assert!(
            theirs.is_subset(&ours),
            "ssh-keygen lists {:?}, we recognise {:?}",
            theirs,
            ours
        );
        if let Some(canonical) = ours::canonical(line.as_bytes()) {
            prop_assert_eq!(ssh_keygen_set(&canonical), ours, "{}", canonical);
        }
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(
        listed.get() > 100,
        "the generator makes too few lines that anybody reads: {}",
        listed.get()
    );
}

fn ssh_keygen_set(line: &str) -> BTreeSet<String> {
    ssh_keygen_lists(format!("{line}\n").as_bytes())
        .into_iter()
        .collect()
}

#[test]
fn f04_whatever_we_install_logs_in_and_whatever_logs_in_we_recognise() {
    lab(|| {
        assert!(inside());
        let keys = [Key::new("ed"), Key::of_type(KeyType::Rsa2048, "rsa")];
        let strategy = prop_oneof![
            any_line(&keys[0]).prop_map(|line| (0, line)),
            any_line(&keys[1]).prop_map(|line| (1, line))
        ];
        let (accepted, installed) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
        let result = runner(200).run(&strategy, |(at, line)| {
            let key = &keys[at];
            let logs_in = sshd_accepts(format!("{line}\n").as_bytes(), key);
            accepted.set(accepted.get() + u32::from(logs_in));
            prop_assert!(
                !logs_in || ours::recognised(line.as_bytes(), key),
                "sshd lets it in, we do not see it"
            );
            if let Some(canonical) = ours::canonical(line.as_bytes()) {
                installed.set(installed.get() + 1);
                let ours = sshd_accepts(format!("{canonical}\n").as_bytes(), key);
                prop_assert_eq!(ours, logs_in, "our form {} of it differs", canonical);
                // A last character cut off and another put behind it make a good line of somebody
                // else's key.
                let same = ours::recognised(line.as_bytes(), key);
                let depends = ours::depends_on_host_or_time(line.as_bytes());
                prop_assert!(logs_in || !same || depends, "we would install a dead line");
            }
            Ok(())
        });
        result.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(
            accepted.get() > 40 && installed.get() > 30,
            "too few: {} and {}",
            accepted.get(),
            installed.get()
        );
    });
}

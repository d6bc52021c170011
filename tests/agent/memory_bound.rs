//! What many keys and accounts cost, in memory and in work. Row 16 of docs/failures.md: whatever a
//! source or an account's file holds, the service's memory grows by a small multiple of the 1 MiB
//! that either may have.

use authkeys_testing::{Service, Setup, eventually, me};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

mod many_keys;

/// The most bytes of a document and of an account's file.
const CAP: usize = 1 << 20;

/// The most that one input may add to the memory of a service that has a small key set, in
/// multiples of its 1 MiB. Good keys cost most: they are in the document, the plan, the file, the
/// status and the journal at the same time.
const FACTOR: usize = 24;

/// An Ed25519 key of that number, without a comment. Made of a seed, because of 32 bytes chosen at
/// will every second is not a point on the curve, and such a key is left out.
pub(crate) fn key(number: usize) -> String {
    let mut seed = [7; 32];
    seed[24..].copy_from_slice(&number.to_be_bytes());
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let blob = [
        b"\0\0\0\x0bssh-ed25519\0\0\0\x20".as_slice(),
        pair.public_key().as_ref(),
    ]
    .concat();
    format!("ssh-ed25519 {}", STANDARD.encode(blob))
}

/// `piece` for each number, as many as fit into 1 MiB beside `around`.
fn fill(open: &str, mut piece: impl FnMut(usize) -> String, close: &str) -> Vec<u8> {
    let mut text = open.to_owned();
    for number in 0.. {
        let next = piece(number);
        if text.len() + next.len() + close.len() > CAP {
            break;
        }
        text.push_str(&next);
    }
    text.push_str(close);
    text.into_bytes()
}

/// The peak of the service's resident memory in bytes, after a cycle in which it met the document
/// and the file.
fn peak(document: &[u8], file: &[u8], extra: &str) -> usize {
    let mut setup = Setup::new();
    setup.top = "schedule = \"1h\"".to_owned();
    let path = setup.path("authorized_keys");
    let signers = setup.path("allowed_signers");
    std::fs::write(&signers, format!("ops@acme {}\n", key(0))).unwrap();
    let extra = extra.replace(
        "SIGNERS",
        &format!("[trust]\nallowed_signers = \"{}\"", signers.display()),
    );
    let setup = setup.account(&me(), &format!("file = \"{}\"\n{extra}", path.display()));
    assert!(document.len() <= CAP && file.len() <= CAP);
    setup.publish(document);
    if !file.is_empty() {
        std::fs::write(&path, file).unwrap();
    }
    let service = Service::start(&setup, |_| {});
    eventually("the first cycle's end", || {
        setup.runtime_dir().join("status.json").exists()
    });
    memory(&service, "VmHWM:")
}

/// A line of the process's status in bytes.
fn memory(service: &Service, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kibibytes.parse::<usize>().unwrap() * 1_024
}

fn measure(rows: &[(&str, Vec<u8>, Vec<u8>, &str)]) {
    let least = peak(format!("{}\n", key(1)).as_bytes(), b"", "");
    let mut wrong = String::new();
    for (name, document, file, extra) in rows {
        let grown = peak(document, file, extra).saturating_sub(least);
        println!(
            "{:6.1} MiB over {:.1} MiB: {name}",
            mebibytes(grown),
            mebibytes(least)
        );
        if grown > FACTOR * CAP {
            wrong.push_str(&format!("{name}: {:.1} MiB\n", mebibytes(grown)));
        }
    }
    assert!(
        wrong.is_empty(),
        "more than {FACTOR} times the cap of 1 MiB:\n{wrong}"
    );
}

fn mebibytes(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes / 1_024).unwrap()) / 1_024.0
}

/// A document of version 1 with one key, and these further fields.
fn with(open: &str, piece: impl FnMut(usize) -> String, close: &str) -> Vec<u8> {
    let head = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}],{open}",
        key(1)
    );
    fill(&head, piece, close)
}

/// A document of version 1 whose second key has these fields.
fn key_with(open: &str, piece: impl FnMut(usize) -> String, close: &str) -> Vec<u8> {
    let head = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"{0}\"}},{{\"public_key\":\"{0}\",{open}",
        key(1)
    );
    fill(&head, piece, close)
}

fn same(text: &str) -> impl FnMut(usize) -> String {
    move |_| text.to_owned()
}

#[test]
fn f16_no_document_costs_more_memory_than_a_small_multiple_of_its_size() {
    let nested = {
        let mut nested = "{\"\":1}".to_owned();
        loop {
            let next = format!(
                "{{\"\":\"{}\"}}",
                nested.replace('\\', "\\u005c").replace('"', "\\u0022")
            );
            if next.len() + 200 > CAP {
                break nested;
            }
            nested = next;
        }
    };
    let rows = [
        (
            "4,096 keys of 250 bytes",
            fill(
                "",
                |n| {
                    if n < 4_096 {
                        format!("{} {:0170}\n", key(n), n)
                    } else {
                        String::from("\n")
                    }
                },
                "",
            ),
        ),
        (
            "4,096 keys in JSON",
            fill(
                "{\"version\":1,\"keys\":[",
                |n| {
                    format!(
                        "{{\"public_key\":\"{}\",\"not_after\":\"2099-01-01T00:00:00Z\",\"options\":[\"restrict\",\"pty\"]}},",
                        key(n)
                    )
                },
                &format!("{{\"public_key\":\"{}\"}}]}}", key(0)),
            ),
        ),
        (
            "4,095 bad keys",
            fill(
                &format!("{}\n", key(1)),
                |n| {
                    if n < 4_095 {
                        format!("{:0250}\n", n)
                    } else {
                        String::from("\n")
                    }
                },
                "",
            ),
        ),
        ("half a million bad keys", fill("", same("x\n"), "")),
        (
            "a million blank lines",
            fill("", same("\n"), &format!("{}\n", key(1))),
        ),
        (
            "half a million comments",
            fill("", same("#\n"), &format!("{}\n", key(1))),
        ),
        ("one long line", fill(&key(1), same(" long"), "\n")),
        (
            "one long comment in JSON",
            fill(
                &format!("{{\"version\":1,\"keys\":[{{\"public_key\":\"{} ", key(1)),
                same("\\u00e9"),
                "\"}]}",
            ),
        ),
        ("zeros", vec![0; CAP]),
        (
            "not UTF-8",
            [b"{\"version\":1,".as_slice(), &vec![0xff; CAP - 20]].concat(),
        ),
        (
            "deep nesting",
            fill("{\"version\":1,\"keys\":", same("["), ""),
        ),
        (
            "deep nesting of objects",
            fill("{\"version\":1,\"keys\":", same("{\"a\":"), ""),
        ),
        (
            "a version of 1 MiB",
            fill("{\"version\":\"", same("\\u0085"), "\",\"keys\":[]}"),
        ),
        (
            "a name of 1 MiB",
            with("\"name\":\"", same("\\u0001"), "\"}"),
        ),
        (
            "a name of 1 MiB of what is shown longer",
            with("\"name\":\"", same("\u{85}"), "\"}"),
        ),
        (
            "an unknown field of 1 MiB",
            with("\"", same("\\u0085"), "\":1}"),
        ),
        (
            "half a million keys",
            fill("{\"version\":1,\"keys\":[0", same(",1"), "]}"),
        ),
        (
            "half a million revoked",
            with("\"revoked\":[0", same(",1"), "]}"),
        ),
        (
            "20,000 revoked",
            with(
                "\"revoked\":[",
                |n| {
                    format!(
                        "\"SHA256:{}\",",
                        &STANDARD.encode([[1; 24].as_slice(), &n.to_be_bytes()].concat())[..43]
                    )
                },
                "\"SHA256:2PZ7Q0k0PlAUG4h6cB1Yy3m3mT0cZ3m0b0p2xqv0lXk\"]}",
            ),
        ),
        (
            "a revoked one of 1 MiB",
            with("\"revoked\":[\"", same("\u{85}"), "\"]}"),
        ),
        (
            "150,000 accounts",
            key_with("\"accounts\":[", |n| format!("\"{n:x}\","), "\"x\"]}]}"),
        ),
        (
            "an account of 1 MiB",
            key_with("\"accounts\":[\"", same("\u{85}"), "\"]}]}"),
        ),
        (
            "350,000 options",
            key_with("\"options\":[\"\"", same(",\"\""), "]}]}"),
        ),
        (
            "130,000 good options",
            key_with("\"options\":[\"pty\"", same(",\"pty\""), "]}]}"),
        ),
        (
            "an option of 1 MiB",
            key_with("\"options\":[\"command=\\\"", same("\u{85}"), "\\\"\"]}]}"),
        ),
        (
            "a time of 1 MiB",
            key_with("\"not_after\":\"", same("\u{85}"), "\"}]}"),
        ),
        (
            "a huge signature",
            fill(
                &format!(
                    "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}]}}\n-----BEGIN SSH SIGNATURE-----\n",
                    key(1)
                ),
                same("QUJDREVGR0g=\n"),
                "-----END SSH SIGNATURE-----\n",
            ),
        ),
        (
            "half a million blank lines before the signature's end",
            fill(
                "{\n-----BEGIN SSH SIGNATURE-----\n",
                same("\n"),
                "-----END SSH SIGNATURE-----\n",
            ),
        ),
        (
            "a rotation secret with much beside",
            fill(
                &format!("{{\"PublicKey\":\"{}\",\"x\":\"", key(1)),
                same("\\u0085"),
                "\"}",
            ),
        ),
        (
            "a rotation secret with many fields",
            fill(
                &format!("{{\"PublicKey\":\"{}\"", key(1)),
                same(",\"\":[]"),
                "}",
            ),
        ),
        (
            "JSON in strings of JSON",
            format!("{{\"PublicKey\":\"{}\",\"x\":{nested}}}", key(1)).into_bytes(),
        ),
        (
            "a private key of 1 MiB",
            fill("-----BEGIN OPENSSH PRIVATE KEY-----\n", same("AAAA"), "\n"),
        ),
    ];
    let plain = rows
        .iter()
        .map(|(name, document)| (*name, document.clone(), Vec::new(), ""));
    let signed = rows.iter().filter(|(name, _)| name.contains("signature"));
    let signed = signed.map(|(name, document)| (*name, document.clone(), Vec::new(), "SIGNERS"));
    measure(&plain.chain(signed).collect::<Vec<_>>());
}

#[test]
fn f16_nor_does_what_a_user_puts_into_his_file() {
    // The shortest lines that could be somebody's key.
    let strange = |number: usize| {
        let blob = [
            b"\0\0\0\x01a\0\0\0\x1f".as_slice(),
            &[1; 23],
            &number.to_be_bytes(),
        ]
        .concat();
        format!("a {}\n", STANDARD.encode(blob))
    };
    let small = format!("{}\n", key(1)).into_bytes();
    let files = [
        ("a million blank lines", fill("", same("\n"), "")),
        ("a line of 1 MiB", fill("", same("x"), "")),
        ("zeros", vec![0; CAP]),
        (
            "markers that begin",
            fill("", same("# BEGIN authkeysd\n"), ""),
        ),
        (
            "markers and blank lines",
            fill("", same("# BEGIN authkeysd\n\n# END authkeysd\n\n"), ""),
        ),
        ("options without an end", fill("", same("\"\\\" \t"), "")),
        (
            "keys of 70 bytes",
            fill("", |n| format!("{}\n", key(n)), ""),
        ),
        ("keys of 60 bytes", fill("", strange, "")),
        ("one key again and again", fill("", |_| strange(1), "")),
        (
            "copies of the published key",
            fill("", |_| format!("{}\n", key(1)), ""),
        ),
    ];
    let rows = ["", "mode = \"exclusive\""].map(|extra| {
        files
            .clone()
            .map(|(name, file)| (name, small.clone(), file, extra))
    });
    measure(&rows.concat());
}

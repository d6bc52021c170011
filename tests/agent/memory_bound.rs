//! What many keys and accounts cost, in memory and in work. Row 16 of docs/failures.md: whatever a
//! source or an account's file holds, the service's memory grows by a small multiple of the 1 MiB
//! that either may have.

use std::time::Duration;

use authkeys_testing::{Service, Setup, clean_command, eventually, lab, me};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::Value;

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

/// The variables that the unit sets for malloc: in another environment the same program grows
/// otherwise.
fn environment_of_unit() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("../../systemd/authkeysd.service").lines();
    lines.filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}

/// How many instructions one `sync` takes. Unlike seconds they are the same on every machine and in
/// every run.
fn instructions(setup: &Setup) -> u64 {
    setup.write_config();
    let program = clean_command().get_program().to_owned();
    let mut command = std::process::Command::new("valgrind");
    // Without caches it takes half of callgrind's time.
    command
        .args([
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
        ])
        .arg(program);
    command.args(["--config", &setup.config().display().to_string(), "sync"]);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.envs(environment_of_unit()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let counted = said
        .lines()
        .filter(|line| line.contains("refs:"))
        .find_map(|line| line.rsplit_once(' '))
        .unwrap();
    counted.1.replace(',', "").parse().unwrap()
}

/// Accounts `many0`, `many1` and so on, with homes.
fn add_accounts(count: u32) {
    let mut passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    for number in 0..count {
        let (home, uid) = (format!("/home/many{number}"), 62_000 + number);
        passwd.push_str(&format!("many{number}:x:{uid}:{uid}::{home}:/bin/sh\n"));
        std::fs::create_dir(&home).unwrap();
        std::os::unix::fs::chown(&home, Some(uid), Some(uid)).unwrap();
    }
    std::fs::write("/etc/passwd", passwd).unwrap();
}

/// The most that a unit more may cost among many, in percent of what it costs among few.
const LINEAR: u64 = 115;

/// Asserts that the second step up costs as much for each unit as the first.
fn assert_linear(counts: [u64; 3], work: [u64; 3]) {
    let first = (work[1] - work[0]) / (counts[1] - counts[0]);
    let second = (work[2] - work[1]) / (counts[2] - counts[1]);
    println!("{counts:?}: {work:?}, {first} and then {second} instructions for each more");
    assert!(
        second * 100 < first * LINEAR,
        "{first} instructions for each, later {second}"
    );
}

/// Keys in text, with options and a comment.
fn in_text(count: u64) -> Vec<u8> {
    let line = |n| {
        format!(
            "restrict,from=\"10.0.0.0/8\" {} user-{n}@example.org\n",
            key(usize::try_from(n).unwrap())
        )
    };
    (0..count).map(line).collect::<String>().into_bytes()
}

/// The same in JSON, where the quotes are escaped and there are times.
fn in_json(count: u64) -> Vec<u8> {
    let entry = |n| {
        let key = key(usize::try_from(n).unwrap());
        format!(
            r#"{{"public_key":"{key} user-{n}@example.org","options":["restrict","from=\"10.0.0.0/8\""],"not_after":"2099-01-01T00:00:00Z"}}"#
        )
    };
    let entries: Vec<String> = (0..count).map(entry).collect();
    format!("{{\"version\":1,\"keys\":[{}]}}", entries.join(",")).into_bytes()
}

/// Up to the most keys that a document may have.
fn assert_linear_in_keys(published: fn(u64) -> Vec<u8>) {
    let counts = [10, 512, 4_096];
    let cost = counts.map(|count| {
        let setup = Setup::new();
        let path = setup.path("authorized_keys");
        let setup = setup.account(&me(), &format!("file = \"{}\"", path.display()));
        setup.publish(published(count));
        // The first cycle installs them, the second finds them all there.
        [instructions(&setup), instructions(&setup)]
    });
    assert_linear(counts, cost.map(|[install, _]| install));
    assert_linear(counts, cost.map(|[_, unchanged]| unchanged));
}

#[test]
fn f57_the_work_of_a_cycle_grows_linearly_with_the_keys_in_the_units_environment() {
    assert_linear_in_keys(in_text);
}

#[test]
fn f57_the_work_of_a_cycle_grows_linearly_with_the_keys_in_json_in_the_units_environment() {
    assert_linear_in_keys(in_json);
}

#[test]
fn f57_the_work_of_a_cycle_grows_linearly_with_the_accounts_in_the_units_environment() {
    lab(|| {
        let counts = [1, 100, 300];
        add_accounts(300);
        let cost = counts.map(|count| {
            let setup = (0..count).fold(Setup::new(), |setup, n| {
                setup.account(&format!("many{n}"), "")
            });
            setup.publish(in_text(10));
            let install = instructions(&setup);
            (0..count)
                .for_each(|n| std::fs::remove_dir_all(format!("/home/many{n}/.ssh")).unwrap());
            install
        });
        assert_linear(counts, cost);
    });
}

/// The most bytes that a key of one account more may cost in a cycle, and after it, where the
/// accounts have one document.
const KEY_IN_CYCLE: usize = 600;
const KEY_AT_REST: usize = 450;

#[test]
fn f57_accounts_of_one_document_share_its_keys_in_memory() {
    lab(|| {
        let (few, many, keys) = (2, 42, 300);
        add_accounts(many);
        let cost = [few, many].map(|count| {
            let mut setup = (0..count).fold(Setup::new(), |setup, n| {
                setup.account(&format!("many{n}"), "")
            });
            setup.top = "schedule = \"1h\"".to_owned();
            setup.environment.extend(
                environment_of_unit().map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
            setup.publish(in_text(keys));
            let service = Service::start(&setup, |_| {});
            eventually("the first cycle's end", || {
                setup.runtime_dir().join("status.json").exists()
            });
            // The status is written a moment before the cycle lets go of its memory.
            let rest = (0..20).map(|_| {
                std::thread::sleep(Duration::from_millis(50));
                memory(&service, "VmRSS:")
            });
            let rest = rest.min().unwrap();
            let peak = memory(&service, "VmHWM:");
            for n in 0..count {
                std::fs::remove_dir_all(format!("/home/many{n}/.ssh")).unwrap();
            }
            [peak, rest]
        });
        let more = usize::try_from(many - few).unwrap() * usize::try_from(keys).unwrap();
        let [peak, rest] = [0, 1].map(|at| cost[1][at].saturating_sub(cost[0][at]) / more);
        println!("{cost:?}: {peak} bytes for each key of each account in a cycle, {rest} after it");
        assert!(
            peak < KEY_IN_CYCLE && rest < KEY_AT_REST,
            "{peak} bytes in a cycle, {rest} after it"
        );
    });
}

#[test]
fn f57_a_status_counts_more_keys_than_it_lists_and_status_keys_lists_them_all() {
    let setup = Setup::with_file();
    let text = |count: usize| {
        (0..count)
            .map(|n| format!("{} user-{n}\n", key(n)))
            .collect::<String>()
    };
    setup.publish(text(1_500));
    let whole: Value = serde_json::from_str(&setup.run(["sync", "--json"]).stdout).unwrap();
    let whole = &whole["accounts"][0];
    assert_eq!(
        whole["in_force"].as_array().unwrap().len(),
        1_500,
        "whoever asks for it gets all of it"
    );
    // A key of somebody else's is not one of ours, wherever the list comes from.
    let others = text(1_502).lines().last().unwrap().to_owned()
        + "\n"
        + &std::fs::read_to_string(setup.file()).unwrap();
    std::fs::write(setup.file(), others).unwrap();
    let status = |arguments: [&str; 3]| -> Value {
        let run = setup.run(arguments);
        run.succeeds();
        serde_json::from_str::<Value>(&run.stdout).unwrap()["accounts"][0].clone()
    };
    let shown = status(["status", "--json", "--max-age=1h"]);
    assert_eq!(
        shown["in_force"].as_array().unwrap()[..],
        whole["in_force"].as_array().unwrap()[..100]
    );
    assert_eq!(
        (&shown["counts"]["in_force"], &shown["counts"]["added"]),
        (&1_500.into(), &1_500.into())
    );
    assert_eq!(shown["keys_digest"], whole["keys_digest"]);
    assert_eq!(
        status(["status", "--json", "--keys"])["in_force"],
        whole["in_force"]
    );
    let run = setup.run(["status", "--keys"]);
    run.succeeds();
    let of_ours = |line: &&str| line.starts_with("    SHA256:");
    assert_eq!(
        run.stdout.lines().filter(of_ours).count(),
        1_500,
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("1500 keys in force") && run.stdout.contains("+ and 1400 more"),
        "{}",
        run.stdout
    );
    // What a later process remembers is enough to know a repair for one.
    std::fs::write(setup.file(), "").unwrap();
    setup.run(["sync"]).repairs();
    setup.publish(text(1_499));
    let run = setup.run(["sync"]);
    run.succeeds();
    assert!(
        !run.stdout.contains("drift") && run.stdout.contains("user-1499"),
        "{}",
        run.stdout
    );
    std::fs::remove_file(setup.file()).unwrap();
    std::fs::create_dir(setup.file()).unwrap();
    setup
        .run(["status", "--keys"])
        .fails(1, &[&["cannot be listed", "directory"]]);
}

//! Signed documents, from stock `ssh-keygen -Y sign` to an account's file, by the built program.

use std::fs;
use std::path::PathBuf;

use authkeys_testing::signing::{sign, sign_with};
use authkeys_testing::{Key, Run, Service, Setup, eventually, me};
use serde_json::Value;

struct Node {
    setup: Setup,
    ops: Key,
    login: Key,
}

impl Node {
    /// One account that takes only what `ops@acme` signed.
    fn new() -> Self {
        let mut setup = Setup::new();
        let file = setup.path("keys");
        setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
        let signers = setup.path("allowed_signers");
        let setup = setup.tables(&format!(
            "[trust]\nallowed_signers = \"{}\"\n",
            signers.display()
        ));
        let node = Self {
            setup,
            ops: Key::new("ops"),
            login: Key::new("login"),
        };
        node.allow(&[("ops@acme", "", &node.ops)]);
        node
    }

    fn allow(&self, signers: &[(&str, &str, &Key)]) {
        let line =
            |(who, options, key): &(&str, &str, &Key)| format!("{who} {options} {}\n", key.bare());
        self.write_signers(&signers.iter().map(line).collect::<String>());
    }

    fn write_signers(&self, text: &str) {
        fs::write(self.setup.path("allowed_signers"), text).unwrap();
    }

    fn document(&self, serial: u32, key: &Key) -> String {
        format!(
            "{{\"version\": 1, \"serial\": {serial},\n \"keys\": [{{\"public_key\": \"{}\"}}]}}\n",
            key.line
        )
    }

    fn file(&self) -> PathBuf {
        self.setup.path("keys")
    }

    fn keys(&self) -> String {
        fs::read_to_string(self.file()).unwrap_or_default()
    }

    fn source(&self, run: &Run) -> Value {
        serde_json::from_str::<Value>(&run.stdout)
            .unwrap_or_else(|fault| panic!("{fault}: {run:?}"))["sources"][0]
            .clone()
    }
}

#[test]
fn only_what_an_allowed_signer_signed_is_installed() {
    let node = Node::new();
    let good = node.document(1, &node.login);
    let stranger = Key::new("stranger");
    let without_serial = good.replace("\"serial\": 1,", "");
    let altered = sign(&good, &node.ops).replace(&node.login.line, &stranger.line);
    for (document, words) in [
        (good.clone(), "it is not signed"),
        (altered, "its signature does not fit"),
        (
            sign(&good, &stranger),
            "that signed it is not in [trust] allowed_signers",
        ),
        (
            sign_with(&good, &node.ops, "file", "sha512"),
            "is for the namespace \"file\"",
        ),
        (
            sign(&without_serial, &node.ops),
            "it is signed but has no serial",
        ),
        (
            format!("{}\n", node.login.line),
            "authorized_keys text cannot be signed",
        ),
        (
            sign(
                &format!("{{\"PublicKey\": \"{}\"}}\n", node.login.line),
                &node.ops,
            ),
            "a rotation secret cannot be signed",
        ),
        (
            sign(&good, &node.ops) + "more\n",
            "something follows its END line",
        ),
        (
            sign(good.trim_end(), &node.ops),
            "its BEGIN line does not start a line",
        ),
    ] {
        node.setup.publish(&document);
        let run = node.setup.run(["sync"]);
        run.fails(1, &[&[words]]);
        assert_eq!(run.stderr.matches(words).count(), 1, "told once: {run:?}");
        assert!(!node.file().exists(), "{words}");
    }
    node.setup.publish(sign(&good, &node.ops));
    let run = node.setup.run(["sync", "--json"]);
    run.succeeds();
    assert_eq!(node.source(&run)["signer"], "ops@acme");
    assert!(node.keys().contains(&node.login.line));
    node.setup
        .publish(sign(&node.document(2, &node.login), &node.ops));
    let run = node.setup.run(["sync"]);
    assert!(
        run.stdout
            .lines()
            .next()
            .unwrap()
            .ends_with(", signed by ops@acme"),
        "{run:?}"
    );
}

#[test]
fn f38_a_signed_document_that_is_older_is_refused_after_a_restart_too() {
    let node = Node::new();
    let (first, second) = (node.document(1, &node.ops), node.document(2, &node.login));
    node.setup.publish(sign(&first, &node.ops));
    node.setup.run(["sync"]).succeeds();
    node.setup.publish(sign(&second, &node.ops));
    node.setup.run(["sync"]).succeeds();
    node.setup.publish(sign(&first, &node.ops));
    node.setup
        .run(["sync"])
        .fails(1, &[&["its serial 1 is lower than 2"]]);
    assert!(node.keys().contains(&node.login.line));
    // The same document, signed anew by the next signer, is the same document.
    let next = Key::new("next");
    node.allow(&[("next@acme", "namespaces=\"authkeysd\"", &next)]);
    node.setup.publish(sign(&second, &next));
    let run = node.setup.run(["sync", "--json"]);
    run.succeeds();
    assert_eq!(node.source(&run)["signer"], "next@acme");
}

#[test]
fn f38_a_state_directory_that_was_lost_is_told_by_the_file_and_by_the_status() {
    let mut node = Node::new();
    for mode in ["block", "exclusive"] {
        node.setup.accounts[0].extra =
            format!("file = \"{}\"\nmode = \"{mode}\"", node.file().display());
        let _ = fs::remove_file(node.file());
        for directory in [node.setup.state_dir(), node.setup.runtime_dir()] {
            let _ = fs::remove_dir_all(directory);
        }
        node.setup
            .publish(sign(&node.document(17, &node.login), &node.ops));
        node.setup.run(["sync"]).succeeds();
        fs::remove_dir_all(node.setup.state_dir()).unwrap();
        // It cannot be known that it is old, only that something was forgotten.
        node.setup
            .publish(sign(&node.document(16, &node.ops), &node.ops));
        let file = node.file().display().to_string();
        let by_file: &[&str] = &[
            &file,
            "holds keys that authkeysd wrote",
            "lost, emptied or moved",
        ];
        let by_status: &[&str] = &[
            &file,
            "followed a document with serial 17",
            "compare the serial",
        ];
        let faults = if mode == "block" {
            vec![by_file, by_status]
        } else {
            vec![by_status]
        };
        node.setup.run(["sync"]).fails(1, &faults);
        node.setup.run(["sync"]).succeeds();
        // After a boot the status is gone too.
        for directory in [node.setup.state_dir(), node.setup.runtime_dir()] {
            fs::remove_dir_all(directory).unwrap();
        }
        let run = node.setup.run(["sync"]);
        if mode == "block" {
            run.fails(1, &[by_file])
        } else {
            run.succeeds()
        }
    }
}

#[test]
fn a_signer_who_is_taken_out_takes_no_key_away_and_it_is_told() {
    let node = Node::new();
    node.setup
        .publish(sign(&node.document(1, &node.login), &node.ops));
    node.setup.run(["sync"]).succeeds();
    let next = Key::new("next");
    for (signers, words) in [
        (
            vec![("next@acme", "", &next)],
            "is not in [trust] allowed_signers",
        ),
        (
            vec![("ops@acme", "valid-before=\"20260101\"", &node.ops)],
            "was valid until 2026-01-01T00:00:00Z",
        ),
        (
            vec![
                ("ops@acme", "namespaces=\"git\"", &node.ops),
                ("next@acme", "", &next),
            ],
            "may not sign for the namespace",
        ),
    ] {
        node.allow(&signers);
        // Drift is repaired all the same: the keys are still the last good ones.
        fs::write(node.file(), "").unwrap();
        let run = node.setup.run(["sync", "--json"]);
        let rival: &[&[&str]] = if words.starts_with("may not") {
            &[&["3 repairs in a row"]]
        } else {
            &[]
        };
        run.fails(
            1,
            &[rival, &[&["trusted no more, its keys stay", words]]].concat(),
        );
        let source = node.source(&run);
        assert_eq!(
            (&source["status"], &source["problem"], &source["signer"]),
            (&"stale".into(), &"untrusted".into(), &Value::Null)
        );
        assert_eq!(source["serial"], 1);
        assert!(node.keys().contains(&node.login.line));
    }
    node.setup.publish(sign(&node.document(2, &next), &next));
    node.allow(&[("next@acme", "", &next)]);
    node.setup.run(["sync"]).succeeds();
    assert!(node.keys().contains(&next.line) && !node.keys().contains(&node.login.line));
}

#[test]
fn a_document_that_was_taken_unsigned_stays_when_signatures_are_asked_for() {
    let mut node = Node::new();
    let tables = std::mem::take(&mut node.setup.tables);
    node.setup.publish(node.document(1, &node.login));
    node.setup.run(["sync"]).succeeds();
    node.setup.tables = tables;
    node.setup.run(["sync"]).fails(
        1,
        &[&["trusted no more, its keys stay", "it is not signed"]],
    );
    assert!(node.keys().contains(&node.login.line));
    node.setup
        .publish(sign(&node.document(1, &node.login), &node.ops));
    node.setup.run(["sync"]).succeeds();
}

#[test]
fn a_signature_that_nobody_asks_for_is_set_aside() {
    let mut node = Node::new();
    node.setup.tables.clear();
    node.setup
        .publish(sign(&node.document(1, &node.login), &Key::new("anybody")));
    let run = node.setup.run(["sync", "--json"]);
    run.succeeds();
    assert_eq!(node.source(&run)["signer"], Value::Null);
}

#[test]
fn principals_narrow_the_file() {
    let mut node = Node::new();
    let (jo, kim) = (Key::new("jo"), Key::new("kim"));
    node.allow(&[("*@ops.acme", "", &jo), ("kim@acme", "", &kim)]);
    node.setup
        .tables
        .push_str("principals = [\"jo@ops.acme\", \"gone@acme\"]\n");
    node.setup
        .publish(sign(&node.document(1, &node.login), &kim));
    node.setup.run(["sync"]).fails(
        1,
        &[&["its signer kim@acme is not among [trust] principals"]],
    );
    node.setup
        .publish(sign(&node.document(1, &node.login), &jo));
    let run = node.setup.run(["sync", "--json"]);
    run.succeeds();
    assert_eq!(node.source(&run)["signer"], "jo@ops.acme");
    let run = node.setup.run(["check"]);
    assert!(run.stdout.contains("nobody in it is gone@acme"), "{run:?}");
}

#[test]
fn every_fault_of_the_signers_file_is_a_configuration_error() {
    let node = Node::new();
    node.setup
        .publish(sign(&node.document(1, &node.login), &node.ops));
    let key = node.ops.bare();
    node.write_signers(&format!(
        "ops@acme {key}\n\nx@acme cert-authority {key}\ny@acme valid-befor=\"20270101\" {key}\n"
    ));
    let file = node.setup.path("allowed_signers").display().to_string();
    let (third, fourth) = (format!("{file}:3: "), format!("{file}:4: "));
    let faults: [&[&str]; 2] = [
        &[&third, "cert-authority is not supported"],
        &[&fourth, "\"valid-befor\" is not known"],
    ];
    for arguments in [["sync"], ["check"], ["run"]] {
        node.setup.run(arguments).fails(78, &faults);
    }
    let run = node.setup.run(["check", "--json"]);
    assert!(
        run.status == 78 && run.stdout.contains("\"signers\"") && run.stdout.contains(&third),
        "{run:?}"
    );
    node.write_signers("");
    node.setup
        .run(["sync"])
        .fails(78, &[&[&file, "it names no signer"]]);
    fs::remove_file(&file).unwrap();
    node.setup
        .run(["sync"])
        .fails(78, &[&[&file, "no such file"]]);
    node.allow(&[("ops@acme", "", &node.ops)]);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(&file, open).unwrap();
    node.setup
        .run(["sync"])
        .fails(78, &[&[&file, "others can write it"]]);
    assert!(!node.file().exists());
}

#[test]
fn a_running_service_reads_the_signers_at_every_cycle_and_stands_still_while_they_are_faulty() {
    let mut node = Node::new();
    node.setup.top = "schedule = \"1s\"".to_owned();
    node.setup
        .publish(sign(&node.document(1, &node.login), &node.ops));
    let service = Service::start(&node.setup, |_| {});
    let source = || {
        let text =
            fs::read_to_string(node.setup.runtime_dir().join("status.json")).unwrap_or_default();
        serde_json::from_str::<Value>(&text)
            .map_or(Value::Null, |status| status["sources"][0].clone())
    };
    eventually("the first document", || {
        node.keys().contains(&node.login.line)
    });
    node.write_signers(&format!(
        "ops@acme {}\nops@acme frob {}\n",
        node.ops.bare(),
        node.ops.bare()
    ));
    eventually("the fault", || source()["problem"] == "untrusted");
    let detail = source()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("/allowed_signers:2: option \"frob\" is not known"),
        "{detail}"
    );
    let next = Key::new("next");
    node.setup.publish(sign(&node.document(2, &next), &next));
    fs::write(node.file(), "").unwrap();
    eventually("the repair", || node.keys().contains(&node.login.line));
    node.allow(&[("next@acme", "", &next)]);
    eventually("the next document", || {
        node.keys().contains(&next.line) && source()["signer"] == "next@acme"
    });
    assert!(!node.keys().contains(&node.login.line));
    let log = service.log();
    assert_eq!(
        log.matches("document refused, the last good key set stays")
            .count(),
        1,
        "{log}"
    );
    service.end(nix::sys::signal::Signal::SIGTERM);
}

#[test]
fn the_doctor_lists_the_signers_and_warns_of_those_whose_time_ends() {
    let node = Node::new();
    let day = |days: i64| {
        let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
        day.strftime("%Y%m%d").to_string()
    };
    let (old, soon, later) = (Key::new("old"), Key::new("soon"), Key::new("later"));
    node.allow(&[
        ("ops@acme", "", &node.ops),
        ("old@acme", &format!("valid-before=\"{}Z\"", day(-1)), &old),
        (
            "soon@acme",
            &format!("valid-before=\"{}Z\"", day(20)),
            &soon,
        ),
        (
            "later@acme",
            &format!("valid-after=\"{}Z\",valid-before=\"{}Z\"", day(2), day(60)),
            &later,
        ),
    ]);
    node.setup
        .publish(sign(&node.document(1, &node.login), &node.ops));
    let run = node.setup.run(["check", "--online"]);
    let line = |who: &str| {
        run.stdout
            .lines()
            .find(|line| line.contains(who))
            .unwrap_or_else(|| panic!("{run:?}"))
    };
    assert!(
        line("ops@acme,").starts_with("ok ") && line("ops@acme,").contains(&node.ops.fingerprint())
    );
    assert!(line("old@acme").starts_with("warning ") && line("old@acme").contains("expired"));
    assert!(
        line("soon@acme").starts_with("warning ")
            && line("soon@acme").contains("expires in 19 days")
    );
    assert!(line("later@acme").starts_with("ok ") && line("later@acme").contains("not valid yet"));
    assert!(line("source ").ends_with("signed by ops@acme"), "{run:?}");
    node.setup.publish(node.document(1, &node.login));
    let run = node.setup.run(["check", "--online"]);
    assert!(
        run.status == 1 && run.stdout.contains("it is not signed"),
        "{run:?}"
    );
}

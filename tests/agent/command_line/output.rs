//! What the commands print: JSON, colour, and text that nobody can break.

use std::process::Stdio;

use authkeys_testing::{Key, Run, Setup, clean_command, me, outcome_of, tree};
use serde_json::Value;

#[test]
fn a_dry_run_writes_nothing_and_tells_by_its_exit_status_whether_there_is_anything_to_do() {
    let setup = Setup::with_file();
    let (one, two) = (Key::new("one"), Key::new("two"));
    setup.publish_keys(&[&one]);
    setup.write_config();
    std::fs::create_dir(setup.path("keys")).unwrap();
    // What a killed run left behind is the next real run's to sweep.
    std::fs::write(
        setup
            .path("keys")
            .join(format!(".{}.authkeysd-0123456789abcdef", me())),
        "half",
    )
    .unwrap();
    let root = setup.path("");
    let look = |expected: i32, words: &[&str]| {
        let before = tree(&root);
        let run = outcome_of(
            clean_command()
                .arg("--config")
                .arg(setup.config())
                .args(["sync", "--dry-run"]),
        );
        assert_eq!((run.status, run.stderr.as_str()), (expected, ""), "{run:?}");
        words
            .iter()
            .for_each(|word| assert!(run.stdout.contains(word), "{word}: {}", run.stdout));
        assert_eq!(tree(&root), before, "a dry run writes nothing");
    };
    let sync = || {
        outcome_of(
            clean_command()
                .arg("--config")
                .arg(setup.config())
                .arg("sync"),
        )
        .succeeds()
    };
    look(
        3,
        &[
            "would be changed",
            &format!("+ {}", one.fingerprint()),
            "nothing was written; 1 account would change\n",
        ],
    );
    sync();
    look(
        0,
        &[
            "unchanged, 1 key in force",
            "nothing was written; 0 accounts would change\n",
        ],
    );
    setup.publish_keys(&[&two]);
    look(
        3,
        &[
            &format!("- {}", one.fingerprint()),
            &format!("+ {}", two.fingerprint()),
        ],
    );
    sync();
    look(0, &["unchanged"]);
    // A state directory that is not there is not made either.
    std::fs::remove_dir_all(setup.state_dir()).unwrap();
    let before = tree(&root);
    let run = outcome_of(
        clean_command()
            .arg("--config")
            .arg(setup.config())
            .args(["sync", "--dry-run"]),
    );
    run.fails(
        1,
        &[&["holds keys that authkeysd wrote", "lost, emptied or moved"]],
    );
    assert!(
        run.stdout.contains("unchanged") && tree(&root) == before,
        "{run:?}"
    );
}

#[test]
fn json_has_the_shape_of_the_contract() {
    let setup = Setup::with_file();
    let (one, two) = (Key::new("one"), Key::new("two"));
    let document = |serial: u32, key: &Key| {
        format!(
            "{{\"version\": 1, \"name\": \"w-1\", \"serial\": {serial}, \"keys\": [\n{{\"public_key\": \"{}\"}},\n\
             {{\"public_key\": \"ssh-dss {}\"}}]}}",
            key.line,
            key.base64()
        )
    };
    setup.publish(document(1, &one));
    assert_eq!(setup.run(["sync"]).status, 1);
    setup.publish(document(2, &two));
    let run = setup.run(["sync", "--json"]);
    run.fails(1, &[&["line 3 was left out", "DSA"]]);
    let found: Value = serde_json::from_str(&run.stdout).unwrap();

    assert_eq!(found["schema"], 1);
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(found["status"], "degraded");
    assert!(
        found["detail"]
            .as_str()
            .unwrap()
            .contains("line 3 was left out"),
        "{found:#}"
    );
    assert!(
        ["instance_id", "last_success", "next_cycle"]
            .iter()
            .all(|field| found[field].is_null()),
        "{found:#}"
    );
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time(&found["started"]) <= time(&found["finished"]));

    let source = &found["sources"][0];
    assert_eq!(found["sources"].as_array().unwrap().len(), 1);
    assert_eq!(source["source"], setup.source.as_str());
    assert_eq!(
        (&source["status"], &source["detail"]),
        (&Value::from("ok"), &Value::from(""))
    );
    assert_eq!(
        (&source["name"], &source["serial"]),
        (&Value::from("w-1"), &Value::from(2))
    );
    let digest = source["digest"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    assert!(
        digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()),
        "{digest}"
    );
    assert!(source["version"].is_string() && source["signer"].is_null());
    time(&source["fetched"]);

    let account = &found["accounts"][0];
    assert_eq!(found["accounts"].as_array().unwrap().len(), 1);
    assert_eq!(account["user"], me().as_str());
    assert_eq!(account["file"], setup.file().to_str().unwrap());
    assert_eq!(
        (&account["status"], &account["changed"]),
        (&Value::from("degraded"), &Value::from(true))
    );
    assert!(account["detail"].as_str().unwrap().contains("left out"));
    let shown = |key: &Key| {
        let comment = key.line.split(' ').nth(2).unwrap();
        serde_json::json!([{"fingerprint": key.fingerprint(), "type": "ssh-ed25519", "comment": comment}])
    };
    assert_eq!(
        (&account["in_force"], &account["added"]),
        (&shown(&two), &shown(&two))
    );
    assert_eq!(account["removed"], shown(&one));
    assert_eq!(account["left_out"][0]["line"], 3);
    assert!(
        account["left_out"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("DSA")
    );
    for (object, known) in [
        (
            &found,
            "schema version status detail instance_id started finished last_success next_cycle \
             sources accounts",
        ),
        (
            source,
            "source status detail name serial digest version fetched signer",
        ),
        (
            account,
            "user file status detail changed in_force added removed left_out",
        ),
    ] {
        known
            .split(' ')
            .for_each(|field| assert!(object.get(field).is_some(), "{field}"));
    }

    setup.publish(document(3, &two).replace(
        &format!(",\n{{\"public_key\": \"ssh-dss {}\"}}", two.base64()),
        "",
    ));
    let run = setup.run(["sync", "--json"]);
    run.succeeds();
    let found: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&found["status"], &found["last_success"]),
        (&Value::from("ok"), &found["finished"])
    );
    setup.publish("");
    let found: Value = serde_json::from_str(&setup.run(["sync", "--json"]).stdout).unwrap();
    assert_eq!(
        (&found["status"], &found["sources"][0]["status"]),
        (&Value::from("stale"), &Value::from("stale"))
    );
    assert_eq!(
        found["sources"][0]["serial"], 3,
        "of the document that is in force"
    );
    std::fs::remove_dir_all(setup.state_dir()).unwrap();
    let found: Value = serde_json::from_str(&setup.run(["sync", "--json"]).stdout).unwrap();
    assert_eq!(
        (&found["status"], &found["sources"][0]["status"]),
        (&Value::from("failed"), &Value::from("failed"))
    );
    assert!(found["sources"][0]["digest"].is_null());
}

#[test]
fn no_words_of_a_document_break_out_of_their_line() {
    let setup = Setup::with_file();
    let key = Key::new("k");
    // A comment costs no key; what stands before a key does.
    let hostile = [
        (true, format!("{} \u{1b}[31mred", key.bare())),
        (true, format!("{} two\u{85}lines", key.bare())),
        (true, format!("{} \u{202e}reversed", key.bare())),
        (false, format!("\u{1b}]0;title\u{7} {}", key.bare())),
        (false, format!("no-such-\u{1b}[2Joption {}", key.bare())),
    ];
    let escaped = |text: &str| {
        text.chars()
            .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}')
    };
    let judge = |run: &Run, lines: usize| {
        assert_eq!(run.stderr.lines().count(), lines, "{run:#?}");
        assert!(escaped(&run.stderr) && escaped(&run.stdout), "{run:?}");
    };
    for (is_key, bad) in &hostile {
        setup.publish(format!("{}\n{bad}\n", key.line));
        judge(&setup.run(["sync"]), 1);
        judge(&setup.run(["sync", "--json"]), 1);
        // Refused; and the document that stays in force has a key that was left out.
        setup.publish(format!("{bad}\n"));
        judge(&setup.run(["sync"]), if *is_key { 1 } else { 2 });
    }
    setup.publish_keys(&[&key]);
    setup.run(["sync"]).succeeds();
    // What stands in a comment costs no key.
    setup.publish(format!(
        "{{\"version\": 1, \"keys\": [{{\"public_key\": \"{} a\\nb\\u001b[31m\\u202e\"}}]}}",
        key.bare()
    ));
    judge(&setup.run(["sync"]), 1);
    setup.publish_keys(&[&key]);
    setup.run(["sync"]).succeeds();
    for (at, json) in [
        "{\"version\": 1, \"keys\": [], \"a\\u001b[31m\\nb\": 1}".to_owned(),
        "{\"version\": 1, \"keys\": [], \"name\": \"a\\u001b[31m\\nb\"}".to_owned(),
        "{\"version\": 1, \"keys\": [], \"revoked\": [\"\\u001b[31m\\n\\u202e\"]}".to_owned(),
        "{\"version\": 1, \"keys\": [], \"expires\": \"\\u001b[31m\\n\\u202e\"}".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        setup.publish(json);
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 1, "{at}: {run:?}");
        judge(&run, 1);
        judge(&setup.run(["check", "--online"]), 0);
    }
    // A hostile comment in the user's own file, of a key that goes.
    setup.publish_keys(&[&key]);
    std::fs::write(
        setup.file(),
        format!("{} \u{1b}[31m\u{202e}\u{85}\n", key.bare()),
    )
    .unwrap();
    judge(&setup.run(["sync"]), 0);
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let setup = Setup::with_file();
    setup.publish_keys(&[&Key::new("k")]);
    assert!(!setup.run(["sync", "--dry-run"]).stdout.contains('\u{1b}'));
    if !std::path::Path::new("/usr/bin/script").exists() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "nothing may be skipped in CI: no terminal without script(1)"
        );
        return;
    }
    let on_terminal = |no_color: &str| {
        let command = format!(
            "{} --config {} sync --dry-run",
            authkeys_testing::program("authkeysd").display(),
            setup.config().display()
        );
        let mut script = std::process::Command::new("script");
        script
            .args(["-qec", &command, "/dev/null"])
            .env("NO_COLOR", no_color)
            .stdin(Stdio::null());
        outcome_of(&mut script).stdout
    };
    assert!(
        on_terminal("").contains("\u{1b}[32m"),
        "{:?}",
        on_terminal("")
    );
    assert!(!on_terminal("1").contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let setup = Setup::with_file();
    let keys: Vec<_> = (0..3)
        .map(|at| Key::new(&format!("k{at}")).line + "\n")
        .collect();
    setup.publish(keys.concat());
    for arguments in [
        &["sync", "--dry-run"][..],
        &["check"],
        &["--help"],
        &["sync", "--json"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = outcome_of(setup.command().args(arguments).stdout(writer));
        assert!(!run.stderr.contains("panicked"), "{arguments:?}: {run:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = setup
            .command()
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(writer)
            .status()
            .unwrap();
        assert!(
            status.code().is_some_and(|code| code != 101),
            "{arguments:?}: {status:?}"
        );
    }
    assert!(setup.file().exists());
}

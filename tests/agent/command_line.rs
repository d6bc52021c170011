//! The program as a person or a script meets it: exit codes, streams, output that nobody can break,
//! two at once.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use authkeys_testing::s3_stub::{Answer, Stub};
use authkeys_testing::{
    Key, Run, Setup, authkeysd, authorized_keys, clean_command, contents, lab, login, me,
    outcome_of, somebody_else, tree,
};
use serde_json::Value;

#[test]
fn help_and_version_are_data_and_a_wrong_command_line_is_one_line_and_64() {
    let help = authkeysd(["--help"]);
    help.succeeds();
    for word in [
        "sync",
        "check",
        "--config",
        "AUTHKEYSD_CONFIG",
        "75",
        "78, 77, 75, 1, 3",
    ] {
        assert!(help.stdout.contains(word), "{word}: {}", help.stdout);
    }
    let version = authkeysd(["--version"]);
    version.succeeds();
    assert_eq!(
        version.stdout,
        format!("authkeysd {}\n", env!("CARGO_PKG_VERSION"))
    );
    for (arguments, word) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["frobnicate"], "frobnicate"),
        (&["sync", "--josn"], "--josn"),
        (&["sync", "too", "many"], "too"),
        (&["check", "--dry-run"], "--dry-run"),
        (&["--config"], "--config"),
        (&["sync", "--json=yes"], "--json"),
    ] {
        let run = outcome_of(clean_command().args(arguments));
        run.fails(64, &[&[word, "authkeysd --help"]]);
        assert_eq!(run.stdout, "");
    }
    let nothing = authkeysd([]);
    assert_eq!((nothing.status, nothing.stdout.as_str()), (64, ""));
    assert!(nothing.stderr.contains("Usage:"), "{}", nothing.stderr);
}

#[test]
fn every_fault_of_a_configuration_is_told_at_once_with_file_line_and_key() {
    let mut setup = Setup::with_file();
    setup.top = "schedul = \"60s\"\nstate_dir = \"relative\"\n".to_owned();
    setup.accounts[0].extra = "mode = \"blok\"\nfile = \"keys\"".to_owned();
    setup = setup.tables("[policy]\nmin_keys = -1\n");
    // The helper writes state_dir, too: a key that is given twice is no TOML at all.
    let run = setup.run(["sync"]);
    run.fails(78, &[&["config.toml:5: ", "not TOML"]]);
    setup.top = "schedul = \"60s\"\n".to_owned();
    let config = setup.config().display().to_string();
    for command in [["sync"], ["check"]] {
        let run = setup.run(command);
        let place = |line: usize, key: &str| format!("{config}:{line}: {key}: ");
        let places = [
            place(4, "schedul"),
            place(9, "account.mode"),
            place(10, "account.file"),
            place(12, "policy.min_keys"),
        ];
        assert_eq!(places.len(), run.stderr.lines().count(), "{}", run.stderr);
        run.fails(
            78,
            &places
                .each_ref()
                .map(|place| vec![place.as_str()])
                .each_ref()
                .map(Vec::as_slice),
        );
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn a_source_that_is_wrong_is_told_once() {
    let mut setup = Setup::with_file();
    let good = std::mem::replace(&mut setup.source, "ftp://x".to_owned());
    setup
        .run(["sync"])
        .fails(78, &[&["config.toml:1: source: "]]);
    setup.source = good;
    setup.accounts[0].extra.push_str("\nsource = \"ftp://x\"");
    setup
        .run(["sync"])
        .fails(78, &[&["account.source: ", "ftp://x"]]);
}

#[test]
fn a_configuration_that_is_missing_or_open_to_others_is_refused() {
    let setup = Setup::with_file();
    let key = Key::new("k");
    setup.publish_keys(&[&key]);
    let run = authkeysd(["sync", "--config", "/nonexistent/config.toml"]);
    run.fails(78, &[&["/nonexistent/config.toml", "--config"]]);
    outcome_of(
        clean_command()
            .env("AUTHKEYSD_CONFIG", "/nonexistent/other.toml")
            .arg("sync"),
    )
    .fails(78, &[&["/nonexistent/other.toml"]]);
    authkeysd(["sync"]).fails(78, &[&["/etc/authkeysd/config.toml"]]);
    // An empty variable is as good as none; an empty option is a slip.
    outcome_of(clean_command().env("AUTHKEYSD_CONFIG", "").arg("sync"))
        .fails(78, &[&["/etc/authkeysd/config.toml"]]);
    authkeysd(["sync", "--config", ""]).fails(64, &[&["--config"]]);
    setup.write_config();
    let path = setup.config();
    for mode in [0o666, 0o664, 0o602] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let run = outcome_of(clean_command().arg("sync").arg("--config").arg(&path));
        run.fails(78, &[&["config.toml", "others can write it", "chmod"]]);
    }
    let directory = setup.path("");
    let directory = directory.to_str().unwrap();
    let run = authkeysd(["sync", "--config", directory]);
    run.fails(78, &[&["it is a directory, not a regular file"]]);
    assert_eq!(run.stderr.matches(directory).count(), 1, "{}", run.stderr);
    assert!(!setup.file().exists());
}

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
            "schema version status detail instance_id started finished last_success next_cycle sources accounts",
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
fn of_several_faults_the_gravest_decides_and_each_has_its_line() {
    let one = |body: &str| Answer::whole("200 OK", &["ETag: \"1\""], body);
    let slow = Answer::error("503 Slow Down", "SlowDown", "no", &[]);
    let two = |text: &str| {
        let parameter =
            serde_json::json!({ "Parameter": { "Name": "/two", "Value": text, "Version": 1 } });
        Answer::json(&parameter.to_string())
    };
    let denied = Answer::json_error("400 Bad Request", "AccessDeniedException", "no");
    for (answers, status, faults) in [
        (
            (one(""), denied.clone()),
            77,
            [&["empty"][..], &["AccessDenied"]],
        ),
        (
            (slow.clone(), denied),
            77,
            [&["SlowDown"], &["AccessDenied"]],
        ),
        (
            (slow.clone(), two("nothing")),
            75,
            [&["SlowDown"], &["no valid key"]],
        ),
    ] {
        let setup = two_sources([&Stub::start([answers.0]), &Stub::start([answers.1])]);
        setup.run(["sync"]).fails(status, &faults);
        setup.run(["sync", "--dry-run"]).fails(status, &faults);
    }
    let key = format!("{}\n", Key::new("k").line);
    let mut setup = two_sources([&Stub::start([one(&key), slow]), &Stub::start([two(&key)])]);
    setup.run(["sync"]).succeeds();
    std::fs::remove_file(setup.path("keys").join(me())).unwrap();
    let run = setup.run(["sync", "--dry-run"]);
    assert_eq!(
        (run.status, run.stderr.lines().count()),
        (75, 1),
        "75 goes before 3: {run:?}"
    );
    setup.top = "nonsense = 1\n".to_owned();
    assert_eq!(setup.run(["sync"]).status, 78);
}

fn two_sources([one, two]: [&Stub; 2]) -> Setup {
    let mut setup = Setup::new();
    let file = format!("file = \"{}/%u\"", setup.path("keys").display());
    setup = setup.account(&me(), &format!("{file}\nsource = \"s3://b/one\""));
    setup = setup.account(somebody_else(), &format!("{file}\nsource = \"ssm:/two\""));
    setup.use_s3_at(&one.endpoint());
    setup
        .environment
        .push(("AWS_ENDPOINT_URL_SSM".to_owned(), two.endpoint()));
    setup
}

#[test]
fn one_bad_key_for_two_accounts_is_one_fault() {
    let setup = Setup::with_file();
    let file = setup.accounts[0].extra.clone();
    let setup = setup.account(somebody_else(), &file);
    let key = Key::new("k");
    setup.publish(format!("{}\nssh-dss {}\n", key.line, key.base64()));
    setup.run(["sync"]).fails(1, &[&["line 2 was left out"]]);
}

#[test]
fn a_private_key_that_is_allowed_is_warned_of_at_every_start() {
    let mut setup = Setup::with_file();
    setup.top = "allow_private_key = true\n".to_owned();
    let key = Key::new("k");
    setup.publish(
        serde_json::json!({ "PublicKey": key.line, "PrivateKey": "-----BEGIN" }).to_string(),
    );
    for _ in 0..2 {
        setup.run(["sync"]).fails(
            0,
            &[&[
                "warning: file:",
                "allow_private_key",
                "publish the public half alone",
            ]],
        );
    }
    assert!(
        std::fs::read_to_string(setup.file())
            .unwrap()
            .contains(&key.line)
    );
}

#[test]
fn two_syncs_at_once_both_end_well() {
    let setup = Setup::with_file();
    let key = Key::new("k");
    let mut keys = format!("{}\n", key.line);
    (0..20).for_each(|at| keys.push_str(&format!("# filler {at}\n")));
    setup.publish(keys);
    setup.write_config();
    let start = || {
        let mut command = clean_command();
        command
            .arg("--config")
            .arg(setup.config())
            .arg("sync")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let runs: Vec<_> = (0..6).map(|_| start()).collect();
    let outputs: Vec<_> = runs
        .into_iter()
        .map(|run| run.wait_with_output().unwrap())
        .collect();
    for output in &outputs {
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
    let changed = outputs
        .iter()
        .filter(|output| String::from_utf8_lossy(&output.stdout).contains(": changed, "));
    assert_eq!(changed.count(), 1, "one writes, the others find it done");
}

#[test]
fn a_sync_waits_for_the_one_that_runs() {
    let setup = Setup::with_file();
    setup.publish_keys(&[&Key::new("k")]);
    setup.run(["sync"]).succeeds();
    let lock = std::fs::File::options()
        .write(true)
        .open(setup.state_dir().join("lock"))
        .unwrap();
    lock.lock().unwrap();
    let begun = Instant::now();
    let mut run = setup
        .command()
        .arg("sync")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert!(run.try_wait().unwrap().is_none(), "it waits");
    assert_eq!(
        setup.run(["sync", "--dry-run"]).status,
        0,
        "a dry run waits for nobody"
    );
    drop(lock);
    assert!(run.wait().unwrap().success() && begun.elapsed() < Duration::from_secs(20));
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

#[test]
fn without_root_ones_own_account_is_served_and_no_other() {
    lab(|| {
        let key = Key::new("k");
        // `user` absent: whoever runs it.
        let directory = PathBuf::from("/home/alice/agent");
        std::fs::create_dir(&directory).unwrap();
        let config = |accounts: &str| {
            let text = format!(
                "source = \"file:/home/alice/agent/published\"\nstate_dir = \"/home/alice/agent/state\"\n{accounts}"
            );
            std::fs::write(directory.join("config.toml"), text).unwrap();
        };
        std::fs::write(directory.join("published"), format!("{}\n", key.line)).unwrap();
        let as_alice = |command: &str| {
            let mut alice = std::process::Command::new("setpriv");
            alice
                .args(["--reuid=alice", "--regid=alice", "--clear-groups"])
                .arg(authkeys_testing::program_for_all());
            alice
                .args(["--config", "/home/alice/agent/config.toml"])
                .args(command.split(' '))
                .current_dir("/");
            outcome_of(alice.env_clear().stdin(Stdio::null()))
        };
        config("[[account]]\n");
        assert!(
            std::process::Command::new("chown")
                .args(["-R", "alice:", "/home/alice/agent"])
                .status()
                .unwrap()
                .success()
        );
        as_alice("sync").succeeds();
        assert!(login("alice", &key));
        config("[[account]]\n[[account]]\nuser = \"bob\"\n");
        std::fs::remove_file(authorized_keys("alice")).unwrap();
        let before = tree(&PathBuf::from("/home/bob"));
        as_alice("sync").fails(77, &[&["bob", "run authkeysd as root"]]);
        assert_eq!(as_alice("check").status, 77);
        assert!(
            login("alice", &key) && !login("bob", &key),
            "her own is served all the same"
        );
        assert_eq!(tree(&PathBuf::from("/home/bob")), before);

        config("[[account]]\n");
        std::fs::write("/home/alice/agent/published", "").unwrap();
        let closed = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions("/home/alice/agent/published", closed.clone()).unwrap();
        as_alice("sync").fails(
            77,
            &[&[
                "/home/alice/agent/published",
                "let authkeysd's user read it",
            ]],
        );
        std::fs::set_permissions("/home/alice/agent/config.toml", closed).unwrap();
        assert!(
            std::process::Command::new("chown")
                .args(["root:", "/home/alice/agent/config.toml"])
                .status()
                .unwrap()
                .success()
        );
        as_alice("sync").fails(78, &[&["config.toml"]]);
    });
}

#[test]
fn a_state_directory_that_cannot_be_used_is_one_line_with_its_remedy() {
    lab(|| {
        let key = Key::new("k");
        let text = |state: &str| {
            format!(
                "source = \"file:/home/alice/published\"\nstate_dir = \"{state}\"\n[[account]]\n"
            )
        };
        std::fs::write("/home/alice/published", format!("{}\n", key.line)).unwrap();
        let before = contents(&PathBuf::from("/home/alice/.ssh"));
        let as_alice = || {
            let mut alice = std::process::Command::new("setpriv");
            alice
                .args(["--reuid=alice", "--regid=alice", "--clear-groups"])
                .arg(authkeys_testing::program_for_all());
            alice
                .args(["--config", "/home/alice/config.toml", "sync"])
                .current_dir("/");
            outcome_of(alice.env_clear().stdin(Stdio::null()))
        };
        std::fs::write("/home/alice/config.toml", text("/var/lib/authkeysd")).unwrap();
        as_alice().fails(
            77,
            &[&["/var/lib/authkeysd", "run as root, or set state_dir"]],
        );
        std::fs::create_dir("/var/lib/authkeysd").unwrap();
        as_alice().fails(
            77,
            &[&["/var/lib/authkeysd", "run as root, or set state_dir"]],
        );
        std::fs::write("/home/alice/config.toml", text("/usr/none/authkeysd")).unwrap();
        let run = as_alice();
        assert!(
            run.stderr.lines().count() == 1 && run.stderr.contains("/usr/none/authkeysd"),
            "{run:?}"
        );
        // Open to others: whoever writes there could bring a revoked key back.
        std::fs::create_dir("/home/alice/state").unwrap();
        std::fs::set_permissions("/home/alice/state", std::fs::Permissions::from_mode(0o777))
            .unwrap();
        std::fs::write("/home/alice/config.toml", text("/home/alice/state")).unwrap();
        as_alice().fails(
            1,
            &[&["/home/alice/state", "can be written by others", "chmod"]],
        );
        assert_eq!(
            contents(&PathBuf::from("/home/alice/.ssh")),
            before,
            "nothing was begun"
        );
    });
}

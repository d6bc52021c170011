//! `authkeysctl lint` as a person or a script meets it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use authkeys_testing::{Key, Run, Setup, authkeysctl, clean_ctl, me, outcome_of};
use serde_json::Value;
use tempfile::TempDir;

const OUTPUT: &str = include_str!("../../../../docs/output.md");

fn written(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    fs::write(&path, text).unwrap();
    (directory, path)
}

fn lint(path: &Path) -> Run {
    outcome_of(clean_ctl().arg("lint").arg(path))
}

fn lint_stdin(bytes: &[u8], arguments: &[&str]) -> Run {
    let mut command = clean_ctl();
    command
        .args(["lint", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may stop reading before the end.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    let output = child.wait_with_output().unwrap();
    Run {
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn help_and_version_are_data_and_a_wrong_command_line_is_one_line_and_64() {
    let help = authkeysctl(["--help"]);
    help.succeeds();
    for word in ["lint", "Exit codes:", "64", "75", "77", "78", "AWS_PROFILE"] {
        assert!(help.stdout.contains(word), "{word}: {}", help.stdout);
    }
    let version = authkeysctl(["--version"]);
    assert_eq!(
        version.stdout,
        format!("authkeysctl {}\n", env!("CARGO_PKG_VERSION"))
    );
    for (arguments, word) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["frobnicate"], "frobnicate"),
        (&["lint"], "<DOC|SOURCE>"),
        (&["lint", "a", "b"], "'b'"),
        (&["lint", "--audience", "no name", "a"], "is not a name"),
        (&["lint", "--json=yes", "a"], "--json"),
    ] {
        let run = outcome_of(clean_ctl().args(arguments));
        run.fails(64, &[&[word, "authkeysctl --help"]]);
        assert_eq!(run.stdout, "");
    }
    let nothing = authkeysctl([]);
    assert_eq!((nothing.status, nothing.stdout.as_str()), (64, ""));
    assert!(nothing.stderr.contains("Usage:"), "{}", nothing.stderr);
}

#[test]
fn a_good_document_is_shown_key_by_key_and_exits_0() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let text = serde_json::json!({
        "version": 1, "name": "workers", "serial": 17, "audience": "prod", "expires": "2999-01-01T00:00:00Z",
        "keys": [
            {"public_key": one.line, "options": ["restrict", "from=\"10.0.0.0/8\""], "accounts": ["ubuntu"]},
            {"public_key": two.line, "accounts": ["ubuntu"], "not_before": "2998-01-01T00:00:00Z"},
        ],
        "revoked": ["SHA256:2PZ7Q0k0PlAUG4h6cB1Yy3m3mT0cZ3m0b0p2xqv0lXk"],
    });
    let (_directory, path) = written(text.to_string());
    let run = lint(&path);
    run.succeeds();
    for words in [
        &format!("{}: good", path.display()),
        "serial    17",
        "audience  prod",
        &format!("+ {} ssh-ed25519 one", one.fingerprint()),
        "in force; for ubuntu; options restrict,from=\"10.0.0.0/8\"",
        &format!(". {} ssh-ed25519 two", two.fingerprint()),
        "not yet in force; from 2998-01-01T00:00:00Z (in ",
        "- SHA256:2PZ7Q0k0PlAUG4h6cB1Yy3m3mT0cZ3m0b0p2xqv0lXk",
    ] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert!(!run.stdout.contains('\u{1b}'), "colour is for terminals");

    let json: Value =
        serde_json::from_str(&lint_stdin(text.to_string().as_bytes(), &["--json"]).stdout).unwrap();
    assert_eq!(
        (&json["status"], &json["form"], &json["document"]),
        (&"ok".into(), &"json".into(), &"standard input".into())
    );
    assert_eq!(json["keys"][0]["fingerprint"], one.fingerprint());
    assert_eq!(
        (&json["keys"][0]["state"], &json["keys"][1]["state"]),
        (&"in-force".into(), &"not-yet".into())
    );
    for field in json
        .as_object()
        .unwrap()
        .keys()
        .chain(json["keys"][0].as_object().unwrap().keys())
    {
        assert!(
            OUTPUT.contains(&format!("{field}`")) || OUTPUT.contains(&format!("{field}[]`")),
            "{field}"
        );
    }
}

#[test]
fn what_nodes_leave_out_or_refuse_is_named_and_exits_1() {
    let key = Key::new("k");
    let (_directory, path) = written(format!("{}\nssh-dss {}\n", key.line, key.base64()));
    let run = lint(&path);
    run.fails(
        1,
        &[&[&path.display().to_string(), "line 2 is left out", "DSA"]],
    );
    assert!(
        run.stdout.contains("nodes leave keys out") && run.stdout.contains("! line 2 left out"),
        "{run:?}"
    );

    for (bytes, word) in [
        (String::new(), "it is empty"),
        ("<html>\n".to_owned(), "web page"),
        (fs::read_to_string(key.private()).unwrap(), "private key"),
        (
            "{\"version\": 1, \"keys\": []}".to_owned(),
            "0 keys in force",
        ),
        ("{\"version\": 1, \"kyes\": []}".to_owned(), "kyes"),
        (key.line.get(..60).unwrap().to_owned(), "cut off"),
    ] {
        let run = lint_stdin(bytes.as_bytes(), &[]);
        assert_eq!(run.status, 1, "{run:?}");
        assert!(
            run.stderr.lines().next().unwrap().contains(word),
            "{word}: {run:?}"
        );
        assert!(
            run.stdout.starts_with("standard input: nodes refuse it\n"),
            "{run:?}"
        );
        let json: Value =
            serde_json::from_str(&lint_stdin(bytes.as_bytes(), &["--json"]).stdout).unwrap();
        assert_eq!(json["status"], "refused");
        assert!(json["faults"][0].as_str().unwrap().contains(word));
    }
}

#[test]
fn of_an_expired_document_it_says_what_nodes_do_with_it() {
    let key = Key::new("k");
    let (_directory, path) = written(format!(
        "{{\"version\": 1, \"serial\": 1, \"expires\": \"2001-01-01T00:00:00Z\", \"keys\": [{{\"public_key\": \"{}\"}}]}}",
        key.line
    ));
    let run = lint(&path);
    run.fails(1, &[&["it expired at 2001", "nodes would call it stale"]]);
    assert!(
        run.stdout.contains(": nodes take it and are stale\n"),
        "{run:?}"
    );
}

#[test]
fn a_warning_is_told_and_does_not_change_the_exit_status() {
    let key = Key::new("k");
    let (_directory, path) = written(format!(
        "{{\"version\": 1, \"keys\": [{{\"public_key\": \"{}\"}}]}}",
        key.line
    ));
    lint(&path).fails(
        0,
        &[&["warning: ", "it has no serial", "authkeysctl publish"]],
    );
}

#[test]
fn an_audience_and_a_configuration_make_it_judge_as_that_node_would() {
    let key = Key::new("k");
    let document = |audience: &str| {
        format!(
            "{{\"version\": 1, \"serial\": 1, {audience}\"keys\": [{{\"public_key\": \"{}\", \"options\": [\"environment=\\\"A=b\\\"\"]}}]}}",
            key.line
        )
    };
    let (directory, path) = written(document("\"audience\": \"prod\", "));
    lint(&path).fails(1, &[&["no valid key", "environment", "allow_options"]]);
    let config = directory.path().join("config.toml");
    let text = "source = \"s3://b/k\"\n[[account]]\n[trust]\naudience = \"prod\"\n[policy]\nallow_options = [\"environment\"]\n";
    fs::write(&config, text).unwrap();
    // Who lints on a workstation may well share the directory.
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let with = |more: &[&str]| {
        outcome_of(
            clean_ctl()
                .arg("lint")
                .arg(&path)
                .arg("--config")
                .arg(&config)
                .args(more),
        )
    };
    with(&[]).succeeds();
    with(&["--audience", "staging"]).fails(1, &[&["its audience is prod", "staging"]]);
    fs::write(&path, document("")).unwrap();
    with(&[]).fails(1, &[&["its audience is not set"]]);
    fs::write(&config, format!("{text}min_keys = 2\nmin_rsa_bit = 1\n")).unwrap();
    with(&[]).fails(78, &[&["config.toml:8: policy.min_rsa_bit"]]);
    fs::write(&config, format!("{text}min_keys = 2\n")).unwrap();
    assert!(
        with(&["--audience", "prod"])
            .stderr
            .contains("min_keys asks for 2")
    );
    fs::remove_file(&config).unwrap();
    with(&[]).fails(78, &[&["config.toml", "no such file"]]);
}

#[test]
fn what_lint_calls_good_a_node_takes_and_what_it_refuses_a_node_refuses() {
    let key = Key::new("k");
    let setup = Setup::new();
    let file = format!("file = \"{}/%u\"", setup.path("keys").display());
    let setup = setup.account(&me(), &file);
    for document in [
        format!("{}\n", key.line),
        format!("{}\nssh-dss AAAA\n", key.line),
        String::new(),
        format!("no-such-option {}\n", key.line),
        format!(
            "{{\"version\": 1, \"serial\": 3, \"keys\": [{{\"public_key\": \"{}\"}}]}}",
            key.line
        ),
        "{\"version\": 1, \"serial\": 4, \"keys\": []}".to_owned(),
        format!("{{\"PublicKey\": \"{}\"}}", key.line),
        format!("{{\"PublicKey\": \"{}\", \"PrivateKey\": \"x\"}}", key.line),
    ] {
        for directory in [setup.state_dir(), setup.runtime_dir(), setup.path("keys")] {
            let _ = fs::remove_dir_all(directory);
        }
        setup.publish(&document);
        let node = outcome_of(setup.command().arg("sync").stdin(Stdio::null()));
        assert_eq!(
            lint_stdin(document.as_bytes(), &[]).status,
            node.status,
            "{document}: {node:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_one_line() {
    lint(Path::new("/nonexistent/keys")).fails(
        1,
        &[&["cannot read /nonexistent/keys", "name the document's file"]],
    );
    lint(Path::new("/")).fails(1, &[&["cannot read /", "directory"]]);
    lint(Path::new("/dev/zero")).fails(1, &[&["/dev/zero has more than 1 MiB"]]);
    lint_stdin(&vec![b'#'; 2 << 20], &[]).fails(1, &[&["standard input has more than 1 MiB"]]);
}

#[test]
fn no_words_of_a_document_break_out_of_their_line() {
    let key = Key::new("k");
    for hostile in [
        format!("{} \u{1b}[31mred\n", key.bare()),
        "{\"version\": 1, \"keys\": [], \"a\\u001b[31m\\nb\": 1}".to_owned(),
        format!(
            "{{\"version\": 1, \"keys\": [{{\"public_key\": \"{} a\\u202eb\"}}]}}",
            key.bare()
        ),
    ] {
        let run = lint_stdin(hostile.as_bytes(), &[]);
        let plain = |text: &str| {
            text.chars()
                .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}')
        };
        assert!(plain(&run.stdout) && plain(&run.stderr), "{run:?}");
    }
}

#[test]
fn names_that_deceive_reach_no_output() {
    let key = Key::new("k");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in\u{202e}nosj\u{9b}.\u{200b}json");
    let accounts = r#""admin\u202e", "a\u200bb", "\ufeffjo", "zero\u2060width", "tag\udb40\udc41""#;
    let document = format!(
        r#"{{"version": 1, "keys": [{{"public_key": "{}", "accounts": [{accounts}]}}]}}"#,
        key.line
    );
    std::fs::write(&path, document).unwrap();
    for more in [&["--json"][..], &[]] {
        let run = authkeys_testing::outcome_of(
            authkeys_testing::clean_ctl()
                .arg("lint")
                .args(more)
                .arg(&path),
        );
        let shown = format!("{}{}", run.stdout, run.stderr);
        assert!(shown.contains("admin"), "{shown}");
        for c in shown.chars().filter(|c| !c.is_ascii() || c.is_control()) {
            assert!(c == '\n', "{c:?} in {shown:?}");
        }
        if let Ok(json) = serde_json::from_str::<serde_json::Value>(&run.stdout) {
            // A program reads what was written.
            assert_eq!(json["keys"][0]["accounts"].as_array().unwrap().len(), 5);
            assert!(
                run.stdout.contains("admin\\u202e") && run.stdout.contains("nosj\\u009b"),
                "{}",
                run.stdout
            );
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let key = Key::new("k");
    let (_directory, path) = written(format!("{}\n", key.line));
    for arguments in [&["lint"][..], &["lint", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = outcome_of(clean_ctl().args(arguments).arg(&path).stdout(writer));
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{arguments:?}");
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    outcome_of(clean_ctl().arg("lint").arg(&path).stdout(full)).fails(1, &[&["standard output"]]);
}

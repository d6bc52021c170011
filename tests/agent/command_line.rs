//! The program as a person or a script meets it: exit codes, streams, output that nobody can break,
//! two at once.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{
    Key, Setup, authkeysd, authorized_keys, clean_command, contents, lab, login, me, outcome_of,
    somebody_else, tree,
};

mod output;

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
fn of_several_faults_the_gravest_decides_and_each_has_its_line() {
    let one = |body: &str| StubAnswer::whole("200 OK", &["ETag: \"1\""], body);
    let slow = StubAnswer::error("503 Slow Down", "SlowDown", "no", &[]);
    let two = |text: &str| {
        let parameter =
            serde_json::json!({ "Parameter": { "Name": "/two", "Value": text, "Version": 1 } });
        StubAnswer::json(&parameter.to_string())
    };
    let denied = StubAnswer::json_error("400 Bad Request", "AccessDeniedException", "no");
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

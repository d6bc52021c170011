//! What `check` calls FAILED is refused by sshd, and what it calls ok gets in.

mod keys;

mod settings;

use std::process::{Command, Stdio};

use authkeys_testing::{Key, Setup, lab, sshd_log, sshd_version};

use super::{GOOD_FILES, SSHD, good_node, sshd};

fn sh(script: &str) {
    assert!(
        Command::new("sh")
            .args(["-ec", script])
            .status()
            .unwrap()
            .success(),
        "{script}"
    );
}

/// Gives sshd these lines before all others, and has it read them.
fn serve(lines: &str) {
    let lines = in_its_words(lines);
    let marked: Vec<String> = lines.lines().map(|line| format!("{line} # test")).collect();
    let (matches, plain): (Vec<_>, Vec<_>) = marked
        .into_iter()
        .partition(|line| line.starts_with([' ', 'M']));
    sshd(&format!("{GOOD_FILES}\n{}", plain.join("\n")));
    reread(&matches.join("\n"));
}

/// With the keyword's name of before OpenSSH 8.5 for an older sshd.
pub(super) fn in_its_words(lines: &str) -> String {
    if sshd_version() >= (8, 5) {
        lines.to_owned()
    } else {
        lines.replace("PubkeyAcceptedAlgorithms", "PubkeyAcceptedKeyTypes")
    }
}

fn reread(at_the_end: &str) {
    let text = std::fs::read_to_string(SSHD).unwrap();
    std::fs::write(SSHD, format!("{text}{at_the_end}\n")).unwrap();
    let listening = || sshd_log().matches("Server listening").count();
    let before = listening();
    sh("sshd -t && kill -HUP $(cat /run/lab/sshd.pid)");
    for _ in 0..100 {
        if listening() > before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("sshd does not listen again: {}", sshd_log());
}

/// Whether sshd takes the key and runs a command.
fn gets_in(user: &str, key: &Key) -> bool {
    let ssh = std::env::var("LAB_SSH").unwrap();
    let mut words = ssh.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .arg("-i")
        .arg(key.private())
        .arg(format!("{user}@127.0.0.1"))
        .arg("true");
    let status = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    status.code() != Some(255)
}

/// What `check` says of logins, by level and text, of the account alone.
fn said(setup: &Setup, user: &str) -> Vec<(String, String)> {
    let run = setup.run(["check", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let about = findings.filter(|one| one["level"] != "ok" && one["subject"] == user);
    let text = |one: &serde_json::Value, field: &str| one[field].as_str().unwrap().to_owned();
    about
        .map(|one| (text(one, "level"), text(one, "message")))
        .collect()
}

#[track_caller]
fn agrees(setup: &Setup, user: &str, key: &Key, case: &str, level: &str, words: &str) {
    let said = said(setup, user);
    let worst = ["failed", "warning"]
        .into_iter()
        .find(|level| said.iter().any(|(is, _)| is == level))
        .unwrap_or("ok");
    assert_eq!(worst, level, "{case}: {said:#?}");
    assert!(
        words.is_empty() || said.iter().any(|(_, text)| text.contains(words)),
        "{case}: {words}: {said:#?}"
    );
    assert_eq!(
        gets_in(user, key),
        level != "failed",
        "{case}: {}",
        sshd_log()
    );
}

#[test]
fn f52_states_of_an_account_that_shut_it_out_are_failures() {
    lab(|| {
        let key = Key::new("k");
        let setup = good_node();
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        serve("");
        let edit = |file: &str, line: &str| {
            sh(&format!(
                "sed 's|^alice:.*|{line}|' {file} >/run/lab/edited; cat /run/lab/edited >{file}"
            ));
        };
        let shell = |path: &str| format!("alice:x:60001:60001::/home/alice:{path}");
        sh("cp /bin/true /run/lab/not-executable; chmod 644 /run/lab/not-executable");
        for (path, level, words) in [
            (
                "/bin/none",
                "failed",
                "login shell /bin/none does not exist",
            ),
            (
                "/run/lab/not-executable",
                "failed",
                "not an executable file",
            ),
            ("/etc", "failed", "not an executable file"),
            ("/bin/sh -l", "failed", "does not exist"),
            ("sh", "failed", "sh does not exist"),
            ("/usr/sbin/nologin", "warning", "ends each session"),
            ("", "ok", ""),
        ] {
            edit("/etc/passwd", &shell(path));
            agrees(&setup, "alice", &key, path, level, words);
        }
        edit("/etc/passwd", &shell("/bin/sh"));
        for (entry, level, words) in [
            ("alice:!:19000::::::", "failed", "is locked"),
            ("alice:!*:19000::::::", "failed", "is locked"),
            ("alice:*:19000:::::1:", "failed", "account has expired"),
            ("alice:*:19000:::::99999:", "ok", ""),
            ("alice:*:1:0:1:1:1::", "ok", ""),
        ] {
            edit("/etc/shadow", entry);
            agrees(&setup, "alice", &key, entry, level, words);
        }
    });
}

#[test]
fn f52_roots_logins_are_judged_by_their_own_rule() {
    lab(|| {
        let [plain, forced] = ["plain", "forced"].map(Key::new);
        let setup = Setup::for_user("root");
        setup.publish(format!(
            "{}\ncommand=\"true\" {}\n",
            plain.line, forced.line
        ));
        serve("");
        setup.run(["sync"]).succeeds();
        serve("PermitRootLogin no");
        agrees(&setup, "root", &plain, "no", "failed", "PermitRootLogin no");
        serve("PermitRootLogin prohibit-password");
        agrees(&setup, "root", &plain, "prohibit-password", "ok", "");
        serve("PermitRootLogin forced-commands-only");
        agrees(
            &setup,
            "root",
            &forced,
            "forced-commands-only",
            "warning",
            "no command=",
        );
        assert!(!gets_in("root", &plain));
        setup.publish_keys(&[&plain]);
        setup.run(["sync"]).succeeds();
        agrees(
            &setup,
            "root",
            &plain,
            "forced-commands-only",
            "failed",
            "no command=",
        );
    });
}

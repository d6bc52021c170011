//! docs/secrets.md holds what it says.

use std::fs;
use std::process::{Command, Stdio};

use authkeys_testing::{Key, outcome_of};

use crate::repository::read;

/// The lines of docs/secrets.md, with a stand-in for the AWS CLI and for the login.
#[test]
fn a_private_key_from_a_secret_reaches_the_agent_by_a_pipe() {
    let key = Key::new("rotation-17");
    let dir = tempfile::tempdir().unwrap();
    let secret = serde_json::json!({"PrivateKey": fs::read_to_string(key.private()).unwrap(), "PublicKey": key.line});
    fs::write(dir.path().join("secret"), secret.to_string()).unwrap();
    for (name, script) in [("aws", "cat \"$SECRET\""), ("ssh", "ssh-add -L")] {
        fs::write(dir.path().join(name), format!("#!/bin/sh\nexec {script}\n")).unwrap();
        assert!(
            Command::new("chmod")
                .arg("+x")
                .arg(dir.path().join(name))
                .status()
                .unwrap()
                .success()
        );
    }
    let guide = read("docs/secrets.md");
    let lines = authkeys_testing::blocks(&guide, "sh").next().unwrap();
    assert!(lines.contains("ssh-add -t 300 -"));
    let path = format!(
        "{}:{}",
        dir.path().display(),
        std::env::var("PATH").unwrap()
    );
    let mut shell = Command::new("bash");
    shell
        .args(["-euc", &lines])
        .env("PATH", path)
        .env("SECRET", dir.path().join("secret"))
        .stdin(Stdio::null());
    let run = outcome_of(&mut shell);
    assert!(
        run.status == 0 && run.stdout.contains(key.line.split(' ').nth(1).unwrap()),
        "{run:?}"
    );
}

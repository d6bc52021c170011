//! Signatures need no program of anybody else's (row 31 of docs/failures.md).

use std::fs;
use std::process::Command;

use authkeys_testing::{Key, Setup, outcome_of};

/// Row 31: a signature needs no program of anybody else's.
#[test]
fn f31_signatures_are_checked_where_there_is_no_ssh_keygen() {
    let (signer, login) = (Key::new("signer"), Key::new("login"));
    let setup = Setup::with_file();
    let allowed = setup.path("allowed_signers");
    fs::write(&allowed, format!("ops {}\n", signer.line)).unwrap();
    let setup = setup.tables(&format!(
        "\n[trust]\nallowed_signers = \"{}\"\n",
        allowed.display()
    ));
    let document = setup.path("document.json");
    let text = format!(
        "{{\"version\": 1, \"serial\": 1, \"keys\": [{{\"public_key\": \"{}\"}}]}}\n",
        login.line
    );
    fs::write(&document, &text).unwrap();
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", "authkeysd", "-f"])
        .arg(signer.private())
        .arg(&document);
    assert!(sign.status().unwrap().success());
    let signature = fs::read_to_string(setup.path("document.json.sig")).unwrap();
    let sync = || outcome_of(setup.command().env("PATH", "/nonexistent").args(["sync"]));
    setup.publish(text.replace("login", "other") + &signature);
    let run = sync();
    assert!(
        run.status == 1 && run.stderr.contains("signature"),
        "the signature is of another text: {run:?}"
    );
    assert!(!setup.file().exists());
    setup.publish(text + &signature);
    let run = sync();
    assert!(run.stdout.contains("signed by ops"), "{run:?}");
    assert!(
        fs::read_to_string(setup.file())
            .unwrap()
            .contains(&login.line)
    );
}

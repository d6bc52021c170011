//! `authkeysctl sign`: byte for byte what the stock `ssh-keygen -Y sign` and `cat` make, or a
//! refusal.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use authkeys_testing::{Key, KeyType, Run, clean_ctl, outcome_of};
use tempfile::TempDir;

fn document(key: &Key, serial: u64) -> String {
    format!(
        "{{\n  \"version\": 1,\n  \"serial\": {serial},\n  \"keys\": [{{\"public_key\": \"{}\"}}]\n}}\n",
        key.line
    )
}

fn written(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    fs::write(&path, text).unwrap();
    (directory, path)
}

fn sign(key: &Path, document: &Path) -> Run {
    outcome_of(clean_ctl().arg("sign").arg("--key").arg(key).arg(document))
}

/// As docs/operate.md shows how to do it by hand.
fn by_hand(key: &Path, path: &Path) -> String {
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-Y", "sign", "-n", "authkeysd", "-f"])
        .arg(key)
        .arg(path)
        .stdin(Stdio::null());
    assert!(keygen.status().unwrap().success());
    let signature = path.with_extension("json.sig");
    let both = fs::read_to_string(path).unwrap() + &fs::read_to_string(&signature).unwrap();
    fs::remove_file(signature).unwrap();
    both
}

/// What the stock program says of a signed document.
fn stock_verdict(signed: &str, key: &Key) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let at = signed.find("-----BEGIN SSH SIGNATURE-----").unwrap();
    let (allowed, signature) = (
        directory.path().join("allowed"),
        directory.path().join("sig"),
    );
    fs::write(&allowed, format!("ops@acme {}\n", key.bare())).unwrap();
    fs::write(&signature, &signed.as_bytes()[at..]).unwrap();
    let mut verify = Command::new("ssh-keygen");
    verify
        .args(["-Y", "verify", "-n", "authkeysd", "-I", "ops@acme", "-f"])
        .arg(&allowed)
        .arg("-s")
        .arg(&signature);
    let mut child = verify
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&signed.as_bytes()[..at])
        .unwrap();
    child.wait().unwrap().success()
}

#[test]
fn a_signed_document_is_what_ssh_keygen_and_cat_make_of_it() {
    let signer = Key::new("ops");
    let (_directory, path) = written(document(&Key::new("k"), 17));
    let run = sign(&signer.private(), &path);
    run.succeeds();
    assert_eq!(
        run.stdout,
        by_hand(&signer.private(), &path),
        "Ed25519 signs alike each time"
    );
    assert!(stock_verdict(&run.stdout, &signer));

    // A signature that is there already is replaced, not signed over.
    let (_again, signed) = written(&run.stdout);
    assert_eq!(sign(&signer.private(), &signed).stdout, run.stdout);
    let other = Key::new("other");
    let replaced = sign(&other.private(), &signed).stdout;
    assert!(stock_verdict(&replaced, &other) && !stock_verdict(&replaced, &signer));
}

#[test]
fn every_type_of_key_signs_and_stock_ssh_keygen_takes_it() {
    let (_directory, path) = written(document(&Key::new("k"), 17));
    for key_type in KeyType::ALL {
        let signer = Key::of_type(key_type, "ops");
        let run = sign(&signer.private(), &path);
        run.succeeds();
        assert!(stock_verdict(&run.stdout, &signer), "{key_type:?}");
    }
}

#[test]
fn the_output_goes_where_it_is_asked_for_whole_or_not_at_all() {
    let signer = Key::new("ops");
    let (directory, path) = written(document(&Key::new("k"), 17));
    let signed = sign(&signer.private(), &path).stdout;
    let to = |output: &Path| {
        outcome_of(
            clean_ctl()
                .args(["sign", "--key"])
                .arg(signer.private())
                .arg(&path)
                .arg("-o")
                .arg(output),
        )
    };
    let output = directory.path().join("signed.json");
    let run = to(&output);
    run.succeeds();
    assert_eq!(
        (run.stdout.as_str(), fs::read_to_string(&output).unwrap()),
        ("", signed.clone())
    );
    let mode = fs::metadata(&output).unwrap().mode() & 0o777;
    assert_eq!(
        mode & 0o600,
        0o600,
        "by the umask, as any program's output: {mode:o}"
    );

    let link = directory.path().join("link.json");
    std::os::unix::fs::symlink("signed.json", &link).unwrap();
    fs::write(&output, "old").unwrap();
    to(&link).succeeds();
    assert!(link.is_symlink() && fs::read_to_string(&output).unwrap() == signed);
    // Over the document itself.
    to(&path).succeeds();
    assert_eq!(fs::read_to_string(&path).unwrap(), signed);
    to(Path::new("/dev/null")).fails(1, &[&["/dev/null", "not a regular file"]]);
    to(Path::new("/nonexistent/signed")).fails(1, &[&["cannot write /nonexistent/signed"]]);
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        3,
        "nothing is left behind"
    );
}

#[test]
fn a_document_on_standard_input_is_signed_too() {
    let signer = Key::new("ops");
    let text = document(&Key::new("k"), 17);
    let (_directory, path) = written(&text);
    let run = outcome_of(
        clean_ctl()
            .args(["sign", "-", "--key"])
            .arg(signer.private())
            .stdin(fs::File::open(&path).unwrap()),
    );
    run.succeeds();
    assert_eq!(run.stdout, by_hand(&signer.private(), &path));
}

#[test]
fn what_nodes_would_refuse_is_not_signed() {
    let (signer, key) = (Key::new("ops"), Key::new("k"));
    let refused = |text: &str, faults: &[&[&str]]| {
        let (_directory, path) = written(text);
        let run = sign(&signer.private(), &path);
        run.fails(1, faults);
        assert_eq!(run.stdout, "");
    };
    refused(
        "{\"version\": 1, \"serial\": 1, \"keys\": []}\n",
        &[
            &["0 keys in force"],
            &["is not signed: nodes would refuse it"],
        ],
    );
    refused(
        "{\"version\": 1, \"serial\": 1, \"kyes\": []}\n",
        &[&["kyes"], &["is not signed"]],
    );
    refused(
        &fs::read_to_string(key.private()).unwrap(),
        &[&["private key"], &["is not signed"]],
    );
    refused(
        document(&key, 1).trim_end(),
        &[&["does not end in a line feed"]],
    );
    refused(
        &format!("{}\n", key.line),
        &[&["only JSON documents can be signed"]],
    );
    refused(
        &format!("{{\"PublicKey\": \"{}\"}}\n", key.line),
        &[&["only JSON documents can be signed"]],
    );
    let without = document(&key, 1).replace("\"serial\": 1,", "");
    refused(
        &without,
        &[
            &["warning", "no serial"],
            &["it has no serial", "add `\"serial\": 1`"],
        ],
    );
}

#[test]
fn a_key_that_cannot_sign_is_named_and_nothing_waits() {
    let (_directory, path) = written(document(&Key::new("k"), 17));
    sign(Path::new("/nonexistent/key"), &path)
        .fails(1, &[&["cannot read the key /nonexistent/key", "ssh-agent"]]);
    sign(&path, &path).fails(1, &[&["keys.json", "ssh-keygen did not sign"]]);

    let open = Key::new("open");
    fs::set_permissions(open.private(), fs::Permissions::from_mode(0o644)).unwrap();
    sign(&open.private(), &path).fails(1, &[&["ssh-keygen did not sign", "Permissions 0644"]]);

    let locked = Key::new("locked");
    let lock = Command::new("ssh-keygen")
        .args(["-q", "-p", "-N", "secret", "-f"])
        .arg(locked.private())
        .status();
    assert!(lock.unwrap().success());
    // Without a terminal there is nobody to ask.
    let mut command = Command::new("setsid");
    command
        .arg("--wait")
        .arg(authkeys_testing::program("authkeysctl"))
        .args(["sign", "--key"])
        .arg(locked.private())
        .arg(&path);
    let run = outcome_of(command.stdin(Stdio::null()));
    run.fails(1, &[&["has a passphrase", "ssh-add"]]);

    let mut command = clean_ctl();
    command
        .args(["sign", "--key"])
        .arg(open.private())
        .arg(&path)
        .env("PATH", "/nonexistent");
    outcome_of(&mut command).fails(1, &[&["cannot run ssh-keygen", "OpenSSH client"]]);
}

//! `authkeysctl verify` and `lint --allowed-signers`: the verdict of the stock `ssh-keygen -Y
//! verify`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use authkeys_testing::{Key, KeyType, Run, Setup, clean_ctl, me, outcome_of};
use serde_json::Value;
use tempfile::TempDir;

struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A document signed for a namespace by the stock program.
    fn signed(&self, signer: &Key, namespace: &str) -> String {
        let text = format!(
            "{{\"version\": 1, \"serial\": 17, \"keys\": [{{\"public_key\": \"{}\"}}]}}\n",
            signer.line
        );
        let path = self.file("payload", &text);
        let _ = fs::remove_file(path.with_extension("sig"));
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
            .arg(signer.private())
            .arg(&path);
        assert!(keygen.stdin(Stdio::null()).status().unwrap().success());
        text + &fs::read_to_string(path.with_extension("sig")).unwrap()
    }
}

fn verify(allowed: &Path, document: &Path) -> Run {
    outcome_of(
        clean_ctl()
            .arg("verify")
            .arg("--allowed-signers")
            .arg(allowed)
            .arg(document),
    )
}

/// `find-principals` and `verify`, as a script would do it by hand.
fn stock(allowed: &Path, document: &Path, desk: &Desk) -> bool {
    let bytes = fs::read(document).unwrap();
    let marker = b"-----BEGIN SSH SIGNATURE-----";
    let Some(at) = bytes
        .windows(marker.len())
        .position(|window| window == marker)
    else {
        return false;
    };
    let (payload, signature) = (desk.file("p", &bytes[..at]), desk.file("s", &bytes[at..]));
    let mut find = Command::new("ssh-keygen");
    find.args(["-Y", "find-principals", "-f"])
        .arg(allowed)
        .arg("-s")
        .arg(&signature)
        .stdin(Stdio::null());
    let found = find.output().unwrap();
    let principal = String::from_utf8(found.stdout).unwrap();
    let Some(principal) = principal.lines().next().filter(|_| found.status.success()) else {
        return false;
    };
    let mut check = Command::new("ssh-keygen");
    check
        .args(["-Y", "verify", "-n", "authkeysd", "-I", principal, "-f"])
        .arg(allowed)
        .arg("-s")
        .arg(&signature);
    check
        .stdin(fs::File::open(payload).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
fn the_verdict_is_the_stock_programs() {
    let desk = Desk::new();
    let (ops, other) = (Key::new("ops"), Key::new("other"));
    let good = desk.signed(&ops, "authkeysd");
    let names = |options: &str, key: &Key| {
        desk.file("allowed", format!("ops@acme {options}{}\n", key.bare()))
    };
    let (mut takes, mut refuses) = (0, 0);
    for options in [
        "",
        "namespaces=\"authkeysd\" ",
        "namespaces=\"git,authkeysd\" ",
        "valid-after=\"20200101Z\" ",
        "valid-before=\"20200101Z\" ",
    ] {
        for key in [&ops, &other] {
            for document in [
                good.clone(),
                good.clone() + "\n \n",
                good.replacen("17", "18", 1),
                good.replacen("{", " {", 1),
                desk.signed(&ops, "file"),
                good.replacen("U1NIU0lH", "U1NIU0lI", 1),
            ] {
                let (allowed, path) = (names(options, key), desk.file("keys.json", &document));
                let (ours, theirs) = (verify(&allowed, &path), stock(&allowed, &path, &desk));
                assert_eq!(ours.status == 0, theirs, "{options}: {document}: {ours:?}");
                if theirs { takes += 1 } else { refuses += 1 }
            }
        }
    }
    assert_eq!((takes, refuses), (8, 52));
}

#[test]
fn who_signed_is_told_for_every_type_of_key() {
    let desk = Desk::new();
    for key_type in KeyType::ALL {
        let ops = Key::of_type(key_type, "ops");
        let path = desk.file("keys.json", desk.signed(&ops, "authkeysd"));
        let run = verify(
            &desk.file("allowed", format!("ops@acme {}\n", ops.bare())),
            &path,
        );
        run.succeeds();
        let told = format!(
            "{}: good signature by ops@acme, {} {}\n",
            path.display(),
            ops.type_word(),
            ops.fingerprint()
        );
        assert_eq!(run.stdout, told);
    }
}

#[test]
fn what_is_not_signed_or_by_a_stranger_is_one_line_and_1_and_a_bad_list_is_78() {
    let desk = Desk::new();
    let (ops, other) = (Key::new("ops"), Key::new("other"));
    let allowed = desk.file("allowed", format!("ops@acme {}\n", ops.bare()));
    let unsigned = format!(
        "{{\"version\": 1, \"serial\": 1, \"keys\": [{{\"public_key\": \"{}\"}}]}}\n",
        ops.line
    );
    verify(&allowed, &desk.file("a", unsigned))
        .fails(1, &[&["it is not signed", "authkeysctl sign"]]);
    verify(&allowed, &desk.file("a", format!("{}\n", ops.line)))
        .fails(1, &[&["not signed; only JSON"]]);
    verify(&allowed, &desk.file("a", desk.signed(&other, "authkeysd")))
        .fails(1, &[&[&other.fingerprint()]]);
    verify(&allowed, &desk.file("a", desk.signed(&ops, "file"))).fails(1, &[&["namespace"]]);
    let cut = desk
        .signed(&ops, "authkeysd")
        .replace("-----END SSH SIGNATURE-----", "");
    verify(&allowed, &desk.file("a", cut)).fails(1, &[&["END line is missing"]]);

    let good = desk.file("a", desk.signed(&ops, "authkeysd"));
    verify(Path::new("/nonexistent/allowed"), &good)
        .fails(78, &[&["/nonexistent/allowed", "no such file"]]);
    let bad = desk.file(
        "bad",
        format!(
            "ops@acme {}\nops@acme cert-authority {}\n",
            ops.bare(),
            ops.bare()
        ),
    );
    verify(&bad, &good).fails(78, &[&["bad:2: ", "cert-authority"]]);
    verify(&desk.file("bad", ""), &good).fails(78, &[&["it names no signer"]]);
    outcome_of(clean_ctl().arg("verify").arg(&good)).fails(64, &[&["--allowed-signers"]]);
}

#[test]
fn lint_tells_who_signed_and_asks_for_it_where_signers_are_named() {
    let desk = Desk::new();
    let (ops, other) = (Key::new("ops"), Key::new("other"));
    let lint = |document: &str, more: &[&str]| {
        let path = desk.file("keys.json", document);
        outcome_of(clean_ctl().arg("lint").arg(path).args(more))
    };
    let signed = desk.signed(&ops, "authkeysd");
    let allowed = desk.file("allowed", format!("ops@acme {}\n", ops.bare()));
    let allowed = allowed.to_str().unwrap();
    let plain = lint(&signed, &[]);
    assert!(
        plain.status == 0
            && plain
                .stdout
                .contains(&format!("signed    by {}; whose", ops.fingerprint())),
        "{plain:?}"
    );
    let json: Value =
        serde_json::from_str(&lint(&signed, &["--json", "--allowed-signers", allowed]).stdout)
            .unwrap();
    assert_eq!(
        (&json["signer"], &json["signing_key"]),
        (&"ops@acme".into(), &ops.fingerprint().into())
    );
    // Everybody sees a signature that does not fit; whose it is counts only where it is asked for.
    let changed = lint(&signed.replacen("17", "18", 1), &[]);
    assert!(
        changed.status == 1 && changed.stderr.contains("not one byte may change"),
        "{changed:?}"
    );
    let stranger = desk.signed(&other, "authkeysd");
    assert_eq!(lint(&stranger, &[]).status, 0);
    let run = lint(&stranger, &["--allowed-signers", allowed]);
    assert!(
        run.status == 1 && run.stderr.contains(&other.fingerprint()),
        "{run:?}"
    );
    let unsigned = signed.split("-----BEGIN").next().unwrap();
    let run = lint(unsigned, &["--allowed-signers", allowed]);
    run.fails(1, &[&["it is not signed"]]);
}

#[test]
fn lint_with_a_nodes_configuration_says_of_signatures_what_that_node_says() {
    let desk = Desk::new();
    let (ops, other, weak) = (
        Key::new("ops"),
        Key::new("other"),
        Key::of_type(KeyType::Rsa2048, "weak"),
    );
    let setup = Setup::new();
    let file = format!("file = \"{}/%u\"", setup.path("keys").display());
    let allowed = setup.path("allowed");
    let line = |who: &str, key: &Key| format!("{who} {}\n", key.bare());
    let lines = line("ops@acme", &ops) + &line("other@acme", &other);
    std::fs::write(&allowed, &lines).unwrap();
    let trust = format!(
        "[trust]\nallowed_signers = \"{}\"\nprincipals = [\"ops@acme\"]\n[policy]\nmin_rsa_bits = 2049\n",
        allowed.display()
    );
    let setup = setup.account(&me(), &file).tables(&trust);
    let lint = |document: &Path, more: &[&str]| {
        outcome_of(
            clean_ctl()
                .arg("lint")
                .arg(document)
                .arg("--config")
                .arg(setup.config())
                .args(more),
        )
    };
    let signed = desk.signed(&ops, "authkeysd");
    let unsigned = signed.split("-----BEGIN").next().unwrap().to_owned();
    let strange = desk.signed(&Key::new("stranger"), "authkeysd");
    for (good, document, words) in [
        (true, signed.clone(), ""),
        (
            false,
            unsigned.clone(),
            "it is not signed, and [trust] allowed_signers asks for a signature",
        ),
        (
            false,
            format!("{}\n", ops.line),
            "authorized_keys text cannot be signed",
        ),
        (
            false,
            signed.replacen("17", "18", 1),
            "not one byte may change",
        ),
        (false, strange, "is not in [trust] allowed_signers"),
        (false, desk.signed(&other, "authkeysd"), "other@acme"),
    ] {
        for directory in [setup.state_dir(), setup.runtime_dir()] {
            let _ = std::fs::remove_dir_all(directory);
        }
        setup.publish(&document);
        let node = setup.run(["sync"]);
        let run = lint(&desk.file("keys.json", &document), &[]);
        assert_eq!(
            (node.status == 0, run.status == 0),
            (good, good),
            "{words}: {node:?} {run:?}"
        );
        assert!(
            node.stderr.contains(words) && run.stderr.contains(words),
            "{words}: {node:?} {run:?}"
        );
    }
    assert!(
        lint(&desk.file("keys.json", &signed), &[])
            .stdout
            .contains("signed    by ops@acme, ")
    );

    // The configuration's limits count for a copy of the file too; and what it names may be absent
    // here.
    std::fs::remove_file(&allowed).unwrap();
    let keys = desk.file("keys.json", &signed);
    lint(&keys, &[]).fails(
        78,
        &[&[
            allowed.to_str().unwrap(),
            "no such file; --allowed-signers names one",
        ]],
    );
    let copy = desk.file("copy", lines.clone() + &line("weak@acme", &weak));
    let with_copy = ["--allowed-signers", copy.to_str().unwrap()];
    lint(&keys, &with_copy).fails(78, &[&["copy:3: ", "2049"]]);
    desk.file("copy", &lines);
    lint(&keys, &with_copy).fails(0, &[&["warning: ", "no `expires`"]]);
    let others = desk.file("keys.json", desk.signed(&other, "authkeysd"));
    assert_eq!(lint(&others, &with_copy).status, 1, "principals");
    // A document that is yet to be signed is no fault of `sign`.
    let payload = desk.file("keys.json", &unsigned);
    let sign = outcome_of(
        clean_ctl()
            .args(["sign", "--key"])
            .arg(ops.private())
            .arg(&payload)
            .arg("--config")
            .arg(setup.config()),
    );
    assert!(
        sign.status == 0 && sign.stdout.starts_with(&unsigned),
        "{sign:?}"
    );
}

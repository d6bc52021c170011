//! From a published key set to a login that sshd accepts, and back: the built program, a real sshd,
//! no cloud.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use authkeys_testing::{Key, Setup, authorized_keys, install, lab, login, login_and_run};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha512};

#[test]
fn a_published_key_logs_in_and_a_revoked_one_no_more() {
    lab(|| {
        let (old, new, own) = (Key::new("old"), Key::new("new"), Key::new("own"));
        install("alice", format!("{}\n{}\n", own.line, old.line).as_bytes());
        let setup = Setup::for_user("alice").account("bob", "layout = \"system\"");

        setup.publish(document(1, &old, &[]));
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 0, "{run:?}");
        assert!(login("alice", &old) && login("alice", &own) && login("bob", &old));
        assert!(!login("alice", &new) && !login("bob", &own));

        setup.publish(document(2, &new, &[&old]));
        let run = setup.run(["sync", "--dry-run"]);
        assert_eq!(run.status, 3, "{run:?}");
        assert!(login("alice", &old), "a dry run changes nothing");
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 0, "{run:?}");
        assert!(login("alice", &new) && login("alice", &own) && login("bob", &new));
        assert!(!login("alice", &old) && !login("bob", &old));
        let text = std::fs::read_to_string(authorized_keys("alice")).unwrap();
        assert!(!text.contains(old.base64()), "{text}");

        let run = setup.run(["sync"]);
        assert_eq!(
            (
                run.status,
                std::fs::read_to_string(authorized_keys("alice")).unwrap()
            ),
            (0, text),
            "{}",
            run.stderr
        );
    });
}

#[test]
fn f46_a_key_on_several_lines_logs_in_by_the_one_that_matches() {
    lab(|| {
        let (key, other) = (Key::new("k"), Key::new("other"));
        let office = format!("from=\"10.0.0.0/8\",command=\"echo office\" {}", key.line);
        let local = format!("from=\"127.0.0.0/8\",command=\"echo local\" {}", key.line);
        install("alice", format!("{office}\n{local}\n").as_bytes());
        assert!(login("alice", &key), "as it was before authkeysd came");
        let setup = Setup::for_user("alice").account("bob", "layout = \"system\"");
        let json = |until: &str| {
            let entry = |options: &str, end: &str| {
                format!(
                    r#"{{"public_key":"{}","options":[{options}]{end}}}"#,
                    key.line
                )
            };
            let office = entry(r#""from=\"10.0.0.0/8\"""#, "");
            let local = entry(r#""from=\"127.0.0.0/8\"","command=\"echo local\"""#, until);
            format!(
                r#"{{"version":1,"keys":[{office},{local},{{"public_key":"{}"}}]}}"#,
                other.line
            )
        };
        for document in [format!("{office}\n{local}\n{office}\n"), json("")] {
            setup.publish(document);
            setup.run(["sync"]).succeeds();
            for user in ["alice", "bob"] {
                assert_eq!(
                    login_and_run(user, &key, "true").as_deref(),
                    Some("local\n"),
                    "{user}"
                );
            }
            let text = std::fs::read_to_string(authorized_keys("alice")).unwrap();
            assert_eq!(
                text.matches(key.base64()).count(),
                2,
                "the same line once: {text}"
            );
            assert_eq!(
                setup.run(["sync", "--dry-run"]).status,
                0,
                "nothing is left to do"
            );
        }
        let run = setup.run(["sync", "--json"]);
        let outcome: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(
            outcome["accounts"][0]["in_force"].as_array().unwrap().len(),
            2,
            "keys, not lines: {outcome}"
        );
        // Each line has a window of its own.
        setup.publish(json(r#","not_after":"2020-01-01T00:00:00Z""#));
        setup.run(["sync"]).succeeds();
        assert!(!login("alice", &key) && login("alice", &other));
        let text = std::fs::read_to_string(authorized_keys("alice")).unwrap();
        assert_eq!(text.matches(key.base64()).count(), 1, "{text}");
    });
}

#[test]
fn an_empty_document_locks_nobody_out() {
    lab(|| {
        let key = Key::new("k");
        let setup = Setup::for_user("alice");
        setup.publish_keys(&[&key]);
        assert_eq!(setup.run(["sync"]).status, 0);
        for nothing in ["", "\n", "<html><body>Sign in</body></html>\n"] {
            setup.publish(nothing);
            let run = setup.run(["sync"]);
            assert_eq!(run.status, 1, "{nothing:?}: {run:?}");
            assert!(login("alice", &key), "{nothing:?}");
        }
    });
}

/// What an agent without any private key signs.
#[derive(Clone, Copy)]
enum Forged {
    /// The identity times any number is the identity: R is the identity, S is 0.
    Ed25519,
    /// The message to the power of 1 is the message.
    RsaExponentOne,
}

#[test]
fn f44_nobody_logs_in_without_a_private_key() {
    lab(|| {
        let mut identity = [0; 32];
        identity[0] = 1;
        // Any large odd number will do; this one is a real key's.
        let modulus = modulus_of(&Key::rsa(2_048, "rsa"));
        for (forged, blob) in [
            (Forged::Ed25519, wire(&[b"ssh-ed25519", &identity])),
            (Forged::RsaExponentOne, wire(&[b"ssh-rsa", &[1], &modulus])),
        ] {
            let kind = if matches!(forged, Forged::Ed25519) {
                "ssh-ed25519"
            } else {
                "ssh-rsa"
            };
            let weak = format!("{kind} {} weak", STANDARD.encode(&blob));
            let directory = tempfile::tempdir().unwrap();
            let socket = directory.path().join("agent");
            let listener = UnixListener::bind(&socket).unwrap();
            std::thread::spawn(move || {
                for client in listener.incoming() {
                    answer(&mut client.unwrap(), forged, &blob);
                }
            });
            std::fs::write(directory.path().join("weak.pub"), format!("{weak}\n")).unwrap();

            // sshd itself has nothing against such a key.
            install("alice", format!("{weak}\n").as_bytes());
            assert!(
                forged_login("alice", directory.path()),
                "{weak}: the real sshd is the oracle"
            );

            let good = Key::new("good");
            install("alice", b"");
            let setup = Setup::for_user("alice");
            setup.publish(format!("{}\n{weak}\n", good.line));
            let run = setup.run(["sync"]);
            assert_eq!(run.status, 1, "{run:?}");
            assert!(
                run.stderr.contains("line 2 was left out: the key is weak"),
                "{run:?}"
            );
            assert!(
                login("alice", &good) && !forged_login("alice", directory.path()),
                "{weak}"
            );

            // One that somebody has put beside ours goes when it is revoked.
            install("alice", format!("{weak}\n").as_bytes());
            assert!(forged_login("alice", directory.path()));
            let weak = fingerprint(&weak);
            setup.publish(format!(
                r#"{{"version": 1, "serial": 1, "keys": [{{"public_key": "{}\n"}}], "revoked": ["{weak}"]}}"#,
                good.line
            ));
            let run = setup.run(["sync"]);
            assert_eq!(run.status, 0, "{run:?}");
            assert!(
                login("alice", &good) && !forged_login("alice", directory.path()),
                "{weak}"
            );
        }
    });
}

#[test]
fn f45_a_key_that_this_sshd_cannot_read_replaces_none_that_works() {
    lab(|| {
        let (good, other) = (Key::new("good"), Key::new("other"));
        let setup = Setup::for_user("alice");
        setup.publish_keys(&[&good]);
        assert_eq!(setup.run(["sync"]).status, 0);
        let kind = "ssh-mldsa44-ed25519@openssh.com";
        let random: Vec<u8> = (0..41_u8)
            .flat_map(|number| Sha512::digest([number]).to_vec())
            .take(1_312)
            .collect();
        let ed25519 = STANDARD.decode(other.base64()).unwrap().split_off(19);
        let blob = wire(&[kind.as_bytes(), &[random, ed25519].concat()]);
        setup.publish(format!("{kind} {} new\n", STANDARD.encode(blob)));
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 1, "{run:?}");
        assert!(
            run.stderr
                .contains("need OpenSSH 10.4, and the sshd installed here is "),
            "{run:?}"
        );
        assert!(run.stderr.contains("min_keys"), "{run:?}");
        assert!(login("alice", &good));
    });
}

#[test]
fn f48_f56_neither_a_comment_nor_a_line_end_costs_a_login() {
    lab(|| {
        let (first, second) = (Key::new("first"), Key::new("second"));
        let setup = Setup::for_user("alice");
        for comment in [&b"J\xfcrgen"[..], b"tab\there", b"\x1b[2J", b"\xff\xfe\x00"] {
            setup.publish([first.bare().as_bytes(), b" ", comment, b"\n"].concat());
            let run = setup.run(["sync"]);
            assert_eq!(run.status, 0, "{run:?}");
            let warned = setup.run(["status"]).stdout;
            assert!(warned.contains("the comment in line 1 "), "{warned}");
            assert!(login("alice", &first), "{comment:?}");
        }
        setup.publish(format!(
            r#"{{"version": 1, "serial": 1, "keys": [{{"public_key": "{}\r\n"}}]}}"#,
            second.line
        ));
        let run = setup.run(["sync"]);
        assert_eq!(run.status, 0, "{run:?}");
        assert!(login("alice", &second) && !login("alice", &first));
    });
}

fn fingerprint(line: &str) -> String {
    authkeys_core::key::identify(line.as_bytes())
        .unwrap()
        .key
        .fingerprint()
        .to_string()
}

fn forged_login(user: &str, directory: &Path) -> bool {
    let ssh = std::env::var("LAB_SSH")
        .unwrap()
        .replace("IdentityAgent=none", "IdentityAgent=SSH_AUTH_SOCK");
    let mut words = ssh.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .arg("-i")
        .arg(directory.join("weak.pub"))
        .arg(format!("{user}@127.0.0.1"))
        .arg("true")
        .env("SSH_AUTH_SOCK", directory.join("agent"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || stderr.contains("Permission denied"),
        "{stderr}"
    );
    output.status.success()
}

/// The agent protocol, as far as ssh needs it: the list of keys, and signatures.
fn answer(client: &mut UnixStream, forged: Forged, blob: &[u8]) {
    let mut length = [0; 4];
    while client.read_exact(&mut length).is_ok() {
        let mut request = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        client.read_exact(&mut request).unwrap();
        let reply = match request.first() {
            Some(11) => [&[12, 0, 0, 0, 1][..], &wire(&[blob, b"weak"])].concat(),
            Some(13) => [&[14][..], &wire(&[&sign(forged, &request)])].concat(),
            _ => vec![5],
        };
        let frame = wire(&[&reply]);
        client.write_all(&frame).unwrap();
    }
}

/// A signature of what a request asks for: byte 13, the key, the data, the flags.
fn sign(forged: Forged, request: &[u8]) -> Vec<u8> {
    let key = take(request.get(1..).unwrap());
    let data = take(request.get(5 + key.len()..).unwrap());
    match forged {
        Forged::Ed25519 => {
            let mut signature = [0; 64];
            signature[0] = 1;
            wire(&[b"ssh-ed25519", &signature])
        }
        Forged::RsaExponentOne => {
            let prefix =
                b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40";
            let hash = Sha512::digest(data);
            let padding = vec![0xff; 256 - 3 - prefix.len() - hash.len()];
            wire(&[
                b"rsa-sha2-512",
                &[&[0, 1][..], &padding, &[0], prefix, &hash].concat(),
            ])
        }
    }
}

fn take(bytes: &[u8]) -> &[u8] {
    let length = usize::try_from(u32::from_be_bytes(*bytes.first_chunk().unwrap())).unwrap();
    bytes.get(4..4 + length).unwrap()
}

fn wire(strings: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for string in strings {
        bytes.extend_from_slice(&u32::try_from(string.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(string);
    }
    bytes
}

/// The third string of an RSA key's blob.
fn modulus_of(key: &Key) -> Vec<u8> {
    let blob = STANDARD.decode(key.base64()).unwrap();
    let mut rest = blob.as_slice();
    for _kind_and_exponent in 0..2 {
        rest = rest.get(4 + take(rest).len()..).unwrap();
    }
    take(rest).to_vec()
}

fn document(serial: u32, key: &Key, revoked: &[&Key]) -> String {
    let revoked: Vec<String> = revoked
        .iter()
        .map(|key| format!("\"{}\"", key.fingerprint()))
        .collect();
    format!(
        r#"{{"version": 1, "name": "test", "serial": {serial}, "keys": [{{"public_key": "{}"}}], "revoked": [{}]}}"#,
        key.line,
        revoked.join(", ")
    )
}

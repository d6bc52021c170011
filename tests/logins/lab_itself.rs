//! The laboratory works: what the other tests lean on.

use authkeys_testing::{Key, KeyType, authorized_keys, install, lab, login};

#[test]
fn alice_logs_in_with_a_key_placed_by_hand_and_nobody_else_does() {
    lab(|| {
        let (good, other) = (Key::new("good"), Key::new("other"));
        install("alice", format!("{}\n", good.line).as_bytes());
        assert!(login("alice", &good));
        assert!(!login("alice", &other), "a key that is in no file");
        assert!(!login("bob", &good), "another account");
    });
}

#[test]
fn every_key_type_logs_in() {
    lab(|| {
        for key_type in KeyType::ALL {
            let key = Key::of_type(key_type, "k");
            install("alice", key.line.as_bytes());
            assert!(login("alice", &key), "{key_type:?}");
            assert!(key.fingerprint().starts_with("SHA256:"), "{key_type:?}");
        }
    });
}

#[test]
fn the_system_layout_is_read_and_strict_modes_hold() {
    lab(|| {
        let key = Key::new("system");
        std::fs::write("/etc/ssh/authorized_keys.d/bob", &key.line).unwrap();
        assert!(login("bob", &key));
        install("alice", key.line.as_bytes());
        let status = std::process::Command::new("chmod")
            .arg("0666")
            .arg(authorized_keys("alice"))
            .status()
            .unwrap();
        assert!(status.success());
        assert!(!login("alice", &key), "a file that everybody can write");
    });
}

#[test]
fn sshd_tells_the_truth_about_itself() {
    lab(|| {
        let output = std::process::Command::new("/usr/sbin/sshd")
            .arg("-T")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("port 2222\n"), "{text}");
        let files = ".ssh/authorized_keys .ssh/authorized_keys2 /etc/ssh/authorized_keys.d/%u";
        assert!(
            text.contains(&format!("authorizedkeysfile {files}\n")),
            "{text}"
        );
    });
}

#[test]
fn the_host_stays_untouched() {
    let before = host();
    lab(|| {
        install("alice", b"# left in the lab\n");
        assert!(
            std::fs::write("/usr/authkeysd-lab", "x").is_err(),
            "the host's files are read-only"
        );
        assert!(std::fs::write("/etc/ssh/lab-was-here", "x").is_ok());
    });
    if !authkeys_testing::inside() {
        assert_eq!(host(), before);
        assert!(!std::path::Path::new("/home/alice/.ssh").exists());
        assert!(!std::path::Path::new("/etc/ssh/lab-was-here").exists());
    }
}

#[test]
fn the_checkout_stays_visible_and_writable_wherever_it_lies() {
    if !nix::unistd::geteuid().is_root() {
        return; // `lab` says in the other tests that they are skipped.
    }
    for below in ["/home", "/run", "/tmp", "/var/lib"] {
        let Ok(checkout) = tempfile::tempdir_in(below) else {
            continue;
        };
        let (scripts, written) = (
            checkout.path().join("tests/lab"),
            checkout.path().join("written"),
        );
        std::fs::create_dir_all(&scripts).unwrap();
        std::fs::copy(
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/enter.sh"),
            scripts.join("enter.sh"),
        )
        .unwrap();
        let output = std::process::Command::new(scripts.join("enter.sh"))
            .arg("touch")
            .arg(&written)
            .output()
            .unwrap();
        let skipped =
            output.status.code() == Some(77) && std::env::var("CI").as_deref() != Ok("true");
        if !skipped {
            assert!(
                output.status.success() && written.exists(),
                "{below}: {output:?}"
            );
        }
    }
}

/// What a leak out of the lab would change.
fn host() -> [String; 2] {
    let [passwd, mounts] =
        ["/etc/passwd", "/proc/self/mounts"].map(|path| std::fs::read_to_string(path).unwrap());
    [
        passwd,
        mounts
            .lines()
            .filter(|line| line.contains("/etc") || line.contains("/run/lab"))
            .collect(),
    ]
}

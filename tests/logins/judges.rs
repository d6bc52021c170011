//! The sshds of three Debians as judges, each on a private machine of its own: every table of lines,
//! and from a published key set to a login, whatever depends on sshd's version.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use authkeys_core::plan::{RECENT_OPTIONS, since};
use authkeys_testing::numbered::{modulus, on_curve, p256_point, wire};
use authkeys_testing::{
    Key, Setup, authorized_keys, eventually, install, lab_with_sshd_of, login, login_and_run, run,
    sshd_log, sshd_version,
};
use jiff::{SignedDuration, Timestamp};

use crate::{sshd_tables, windows};

#[test]
fn the_sshd_of_debian_11_reads_each_line_as_expected() {
    lab_with_sshd_of("bullseye", || every_table((8, 4)));
}

#[test]
fn the_sshd_of_debian_12_reads_each_line_as_expected() {
    lab_with_sshd_of("bookworm", || every_table((9, 2)));
}

#[test]
fn the_sshd_of_debian_13_reads_each_line_as_expected() {
    lab_with_sshd_of("trixie", || every_table((10, 0)));
}

#[test]
fn f27_f45_what_is_installed_for_the_sshd_of_debian_11_is_what_it_reads() {
    lab_with_sshd_of("bullseye", || from_key_set_to_login((8, 4)));
}

#[test]
fn f27_f45_what_is_installed_for_the_sshd_of_debian_12_is_what_it_reads() {
    lab_with_sshd_of("bookworm", || from_key_set_to_login((9, 2)));
}

#[test]
fn f27_f45_what_is_installed_for_the_sshd_of_debian_13_is_what_it_reads() {
    lab_with_sshd_of("trixie", || from_key_set_to_login((10, 0)));
}

fn every_table(version: (u32, u32)) {
    assert_eq!(sshd_version(), version);
    sshd_tables::accepted_lines();
    sshd_tables::refused_lines();
    sshd_tables::blobs::types_and_blobs();
    sshd_tables::white_space_and_control_bytes();
    sshd_tables::options::option_lists();
    sshd_tables::options::from_and_expiry_time();
    // Last, because it spoils alice's home.
    sshd_tables::files();
}

fn from_key_set_to_login(version: (u32, u32)) {
    assert_eq!(sshd_version(), version);
    for check in [
        one_program_or_several,
        options_are_known_or_left_out,
        types_are_known_or_left_out,
        a_key_ends_in_the_form_that_this_sshd_reads,
        patterns_are_files_or_patterns,
    ] {
        // Each has a state of its own, which knows nothing of what the one before wrote.
        let _ = fs::remove_file(authorized_keys("alice"));
        check();
    }
}

/// From 9.8 on a login is served by sshd-session, and from 10.0 on checked by sshd-auth.
fn one_program_or_several() {
    for (program, since) in [("sshd-session", (9, 8)), ("sshd-auth", (10, 0))] {
        let path = Path::new("/usr/lib/openssh").join(program);
        assert_eq!(path.exists(), sshd_version() >= since, "{program}");
    }
    let key = Key::new("k");
    let setup = Setup::for_user("alice");
    setup.publish_keys(&[&key]);
    setup.run(["sync"]).succeeds();
    setup.run(["check"]).succeeds();
    let name = if sshd_version() >= (9, 8) {
        "sshd-session\n"
    } else {
        "sshd\n"
    };
    assert_eq!(
        login_and_run("alice", &key, "cat /proc/$PPID/comm").as_deref(),
        Some(name)
    );
}

fn options_are_known_or_left_out() {
    let [plain, other] = ["plain", "other"].map(Key::new);
    let setup = every_option_allowed();
    for (option, since) in RECENT_OPTIONS {
        let option = match option {
            "permitlisten" => "permitlisten=\"localhost:8080\"",
            flag => flag,
        };
        let line = format!("{option} {}", other.line);
        let is_read = sshd_version() >= since;
        setup.publish(format!("{}\n{line}\n", plain.line));
        let sync = setup.run(["sync"]);
        assert_eq!(sync.status, i32::from(!is_read), "{option}: {sync:?}");
        assert_eq!(login("alice", &other), is_read, "{option}");
        assert!(login("alice", &plain));
    }
}

fn every_option_allowed() -> Setup {
    let mut setup = Setup::for_user("alice");
    setup.tables = "[policy]\nallow_options = [\"permitlisten\", \"touch-required\", \
                    \"no-touch-required\", \"verify-required\", \"no-*\"]\n"
        .to_owned();
    setup
}

/// Key types without a private half here: `ssh-keygen` of the same source says whether sshd can
/// read them, and of those that the client knows too, sshd itself.
fn types_are_known_or_left_out() {
    let plain = Key::new("plain");
    for (kind, fields) in types() {
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let line = format!("{kind} {}", wire(&fields));
        let expected = since(kind).is_none_or(|since| sshd_version() >= since);
        assert_eq!(listed(&line), expected, "{kind}");
        if expected {
            assert!(offered_is_accepted(&line), "{kind}");
        }
        let _ = fs::remove_file(authorized_keys("alice"));
        let setup = Setup::for_user("alice");
        setup.publish_keys(&[&plain]);
        setup.run(["sync"]).succeeds();
        setup.publish(format!("# alone\n{line}\n"));
        let sync = setup.run(["sync"]);
        assert_eq!(sync.status, i32::from(!expected), "{kind}: {sync:?}");
        assert_eq!(login("alice", &plain), !expected, "{kind}");
        let told = sync.stderr.contains("min_keys") && sync.stderr.contains("need OpenSSH");
        assert_eq!(told, !expected, "{kind}: {sync:?}");
    }
}

fn types() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let composite = [
        modulus(1_312 * 8 - 1, 7).as_slice(),
        on_curve([9; 32]).as_slice(),
    ]
    .concat();
    let sk = (on_curve([9; 32]).to_vec(), b"ssh:".to_vec());
    [
        ("sk-ssh-ed25519@openssh.com", vec![sk.0, sk.1.clone()]),
        (
            "sk-ecdsa-sha2-nistp256@openssh.com",
            vec![b"nistp256".to_vec(), p256_point(5).to_vec(), sk.1],
        ),
        ("ssh-mldsa44-ed25519@openssh.com", vec![composite.clone()]),
        ("ssh-mldsa44-ed25519", vec![composite]),
    ]
    .into_iter()
    .map(|(kind, fields)| {
        let all = [vec![kind.as_bytes().to_vec()], fields].concat();
        (kind, all)
    })
    .collect()
}

fn listed(line: &str) -> bool {
    let file = "/run/lab/listed";
    fs::write(file, line).unwrap();
    let output = Command::new("/run/lab/ssh-keygen")
        .args(["-l", "-f", file])
        .stdin(Stdio::null())
        .output()
        .expect("the judge's ssh-keygen runs");
    output.status.success()
}

/// Whether sshd says of a public key that it would accept its signature. No private half is needed.
fn offered_is_accepted(line: &str) -> bool {
    install("alice", line.as_bytes());
    let public = "/run/lab/offered.pub";
    fs::write(public, line).unwrap();
    let ssh = std::env::var("LAB_SSH").unwrap();
    let mut words = ssh.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .arg("-v") // Of several levels of logging the first counts.
        .args(words)
        .args(["-i", public, "alice@127.0.0.1", "true"])
        .stdin(Stdio::null())
        .output()
        .expect("ssh runs");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("Offering public key"), "{log}");
    log.contains("Server accepts key")
}

/// Since 10.0 a file of AuthorizedKeysFile may be a pattern. Before, it is the name of a file.
fn patterns_are_files_or_patterns() {
    let key = Key::new("k");
    let setup = Setup::new().account("alice", "layout = \"coreos\"");
    setup.publish_keys(&[&key]);
    setup.run(["sync"]).succeeds();
    let is_pattern = sshd_version() >= (10, 0);
    let mut settings = "AuthorizedKeysFile .ssh/authorized_keys.d/*\n".to_owned();
    for line in fs::read_to_string("/etc/ssh/sshd_config").unwrap().lines() {
        if !line.starts_with("AuthorizedKeysFile") {
            settings += &format!("{line}\n");
        }
    }
    fs::write("/etc/ssh/sshd_config", settings).unwrap();
    let listening = || sshd_log().matches("Server listening").count();
    let before = listening();
    run("sh", &["-c", "kill -HUP $(cat /run/lab/sshd.pid)"]);
    eventually("sshd reads its configuration", || listening() > before);
    assert_eq!(login("alice", &key), is_pattern);
    let check = setup.run(["check"]);
    assert_eq!(check.status, i32::from(!is_pattern), "{check:?}");
    let words = "sshd reads /home/alice/.ssh/authorized_keys.d/*, not ";
    assert_eq!(check.stdout.contains(words), !is_pattern, "{check:?}");
}

fn a_key_ends_in_the_form_that_this_sshd_reads() {
    windows::set_zone("Australia/Sydney");
    let setup = Setup::for_user("alice");
    let is_utc = sshd_version() >= (9, 1);
    windows::at_some_pace(|lead| {
        let (always, key) = (Key::new("always"), Key::new("ends"));
        let until = windows::in_seconds(lead);
        let window = format!(", \"not_after\": \"{until}\"");
        let keys = [windows::entry(&always, ""), windows::entry(&key, &window)];
        windows::publish(&setup, &keys);
        setup.run(["sync"]).succeeds();
        let logged_in = login("alice", &key);
        if Timestamp::now() >= until {
            return false;
        }
        let line = windows::line_of(&key).unwrap();
        assert!(line.starts_with("expiry-time=\"20"), "{line}");
        assert_eq!(line.contains("Z\" "), is_utc, "{line}");
        assert!(logged_in, "{line}");
        windows::wait_until(until + SignedDuration::from_millis(1_100));
        assert!(!login("alice", &key), "{line}");
        assert!(login("alice", &always));
        true
    });
}

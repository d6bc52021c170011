//! SELinux, as far as a machine without it can tell: the kernel's word and the tools are stand-ins,
//! the labels are real extended attributes. What a policy then permits is not proven here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use authkeys_testing::{Key, Setup, lab, login};
use rustix::fs::{XattrFlags, setxattr};
use serde_json::Value;

/// What the stand-ins have said and done.
const LOG: &str = "/run/lab/selinux.log";

/// A machine that claims to have SELinux, with tools that write down how they are called.
fn selinux(enforcing: &str) {
    for directory in ["/sys/fs", "/usr/local/sbin"] {
        let mount = ["-t", "tmpfs", "-o", "mode=0755", "tmpfs", directory];
        assert!(
            Command::new("mount")
                .args(mount)
                .status()
                .unwrap()
                .success()
        );
    }
    fs::create_dir("/sys/fs/selinux").unwrap();
    fs::write("/sys/fs/selinux/enforce", enforcing).unwrap();
    fs::write(LOG, "").unwrap();
    fs::set_permissions(LOG, fs::Permissions::from_mode(0o666)).unwrap();
    tool(
        "restorecon",
        &format!("echo \"$(id -u) $*\" >> {LOG}; [ -z \"$(cat)\" ]"),
    );
    tool(
        "matchpathcon",
        "case $2 in */.ssh*) echo system_u:object_r:ssh_home_t:s0;; *) echo \
         system_u:object_r:etc_t:s0;; esac",
    );
}

fn tool(name: &str, script: &str) {
    let path = format!("/usr/local/sbin/{name}");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn label(path: &str, label: &str) {
    setxattr(
        path,
        "security.selinux",
        format!("{label}\0").as_bytes(),
        XattrFlags::empty(),
    )
    .unwrap();
}

/// The findings about alice's label.
fn findings(setup: &Setup) -> Vec<[String; 2]> {
    let report: Value = serde_json::from_str(&setup.run(["check", "--json"]).stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let about =
        findings.filter(|finding| finding["check"] == "selinux" && finding["subject"] == "alice");
    about
        .map(|finding| {
            ["level", "message"].map(|field| finding[field].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn f25_a_directory_that_we_make_gets_the_label_of_its_path_once() {
    lab(|| {
        selinux("1");
        let key = Key::new("k");
        fs::remove_dir("/home/alice/.ssh").unwrap();
        fs::remove_dir("/etc/ssh/authorized_keys.d").unwrap();
        let setup = Setup::for_user("alice").account("bob", "layout = \"system\"");
        setup.publish_keys(&[&key]);
        for _ in 0..2 {
            setup.run(["sync"]).succeeds();
            assert!(login("alice", &key) && login("bob", &key));
            // As the account in its home, as root outside; nothing for a directory that was there.
            let log = fs::read_to_string(LOG).unwrap();
            let mut lines: Vec<&str> = log.lines().collect();
            lines.sort_unstable();
            assert_eq!(
                lines,
                [
                    "0 -F /etc/ssh/authorized_keys.d",
                    "60001 -F /home/alice/.ssh"
                ]
            );
        }
    });
}

#[test]
fn f25_a_label_that_cannot_be_set_is_an_error_at_every_cycle_until_it_can() {
    lab(|| {
        selinux("1");
        let key = Key::new("k");
        fs::remove_dir("/home/alice/.ssh").unwrap();
        let setup = Setup::for_alice_and_bob(&[&key]);
        for (script, words) in [
            (
                "echo relabelto denied >&2; exit 1",
                "relabelto denied (exit status: 1)",
            ),
            ("sleep 4711", "did not end within 3s and was killed"),
        ] {
            tool("restorecon", script);
            for _ in 0..2 {
                setup
                    .run(["sync"])
                    .fails(1, &[&["restorecon failed for /home/alice/.ssh", words]]);
                assert!(login("bob", &key) && !fs::exists("/home/alice/.ssh").unwrap());
            }
        }
        tool("restorecon", "exit 0");
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &key));
    });
}

#[test]
fn f25_the_doctor_compares_labels_and_a_denial_points_to_the_audit_log() {
    lab(|| {
        selinux("1");
        let setup = Setup::for_alice_and_bob(&[&Key::new("k")]);
        setup.run(["sync"]).succeeds();
        let file = "/home/alice/.ssh/authorized_keys";
        assert!(
            findings(&setup)[0][1].contains("has no label"),
            "{:?}",
            findings(&setup)
        );
        label(file, "unconfined_u:object_r:ssh_home_t:s0");
        assert_eq!(
            findings(&setup),
            [["ok".to_owned(), format!("{file} has the label of its path")]]
        );
        label(file, "unconfined_u:object_r:user_home_t:s0");
        let message = format!("{file} is user_home_t, not ssh_home_t: `restorecon -RFv {file}`");
        assert_eq!(findings(&setup), [["failed".to_owned(), message.clone()]]);
        fs::write("/sys/fs/selinux/enforce", "0").unwrap();
        assert_eq!(findings(&setup), [["warning".to_owned(), message]]);
        fs::remove_file("/usr/local/sbin/matchpathcon").unwrap();
        assert!(findings(&setup)[0][1].contains("matchpathcon is not installed"));

        // A denial looks like any other; where SELinux enforces, the message says where to look.
        fs::set_permissions("/home/alice/.ssh", fs::Permissions::from_mode(0o500)).unwrap();
        setup.publish_keys(&[&Key::new("other")]);
        let run = setup.run(["sync"]);
        assert!(
            run.status == 1 && !run.stderr.contains("ausearch"),
            "{run:?}"
        );
        fs::write("/sys/fs/selinux/enforce", "1").unwrap();
        setup.run(["sync"]).fails(
            1,
            &[&[
                "/home/alice/.ssh",
                "Permission denied",
                "`ausearch -m avc -ts recent`",
            ]],
        );
        // A machine without SELinux is not asked about it.
        fs::remove_file("/sys/fs/selinux/enforce").unwrap();
        assert_eq!(findings(&setup), Vec::<[String; 2]>::new());
    });
}

//! Whether sshd reads the managed file: other files, drop-ins, StrictModes, the system layout, and
//! ways in beside it.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use authkeys_testing::{Key, Setup, install, lab};

use super::{GOOD_FILES, SSHD, good_node, sshd, troubles};

fn mode(path: &str, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Exactly one trouble, of alice, with these words; bob is well.
#[track_caller]
fn only_trouble(setup: &Setup, status: i32, level: &str, check: &str, words: &[&str]) {
    let found = troubles(setup, status);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(
        [&found[0][0], &found[0][1], &found[0][2]],
        [level, check, "alice"],
        "{found:#?}"
    );
    words
        .iter()
        .for_each(|word| assert!(found[0][3].contains(word), "{word}: {found:#?}"));
}

#[test]
fn f23_an_sshd_that_reads_another_file_is_named() {
    lab(|| {
        let setup = good_node();
        sshd("AuthorizedKeysFile /etc/ssh/keys/%u");
        let found = troubles(&setup, 1);
        assert_eq!(found.len(), 2, "{found:#?}");
        for (trouble, user) in found.iter().zip(["alice", "bob"]) {
            assert_eq!(
                [&trouble[0], &trouble[1], &trouble[2]],
                ["failed", "sshd", user]
            );
            let read = format!("reads /etc/ssh/keys/{user}, not /home/{user}/.ssh/authorized_keys");
            assert!(
                trouble[3].contains(&read) && trouble[3].contains("drop-in that sorts first"),
                "{trouble:?}"
            );
        }
        let run = setup.run(["check"]);
        assert_eq!(
            (run.status, run.stdout.matches("FAILED").count()),
            (1, 2),
            "{run:?}"
        );
        sshd("AuthorizedKeysFile none");
        assert!(troubles(&setup, 1)[0][3].contains("reads no file"));
    });
}

#[test]
fn an_sshd_that_would_not_start_again_is_a_failure_and_one_that_cannot_be_asked_is_none() {
    lab(|| {
        let setup = good_node();
        sshd(&format!("{GOOD_FILES}\nBogusOption yes # test"));
        let found = troubles(&setup, 1);
        assert_eq!(found.len(), 2, "of both accounts: {found:#?}");
        assert_eq!(
            [&found[0][0], &found[0][1], &found[0][2]],
            ["failed", "sshd", "alice"]
        );
        assert!(
            found[0][3].contains("Bad configuration option: BogusOption"),
            "{found:#?}"
        );
        assert!(found[0][3].contains("would not start again"), "{found:#?}");
        sshd(GOOD_FILES);
        assert_eq!(troubles(&setup, 0), Vec::<[String; 4]>::new());
        std::fs::remove_dir("/run/sshd").unwrap();
        let found = troubles(&setup, 0);
        assert_eq!(
            [&found[0][0], &found[0][1]],
            ["warning", "sshd"],
            "{found:#?}"
        );
        std::fs::create_dir("/run/sshd").unwrap();
    });
}

#[test]
fn f23_of_two_drop_ins_the_first_one_counts() {
    lab(|| {
        let setup = good_node();
        std::fs::create_dir("/etc/ssh/sshd_config.d").unwrap();
        sshd("Include /etc/ssh/sshd_config.d/*.conf");
        std::fs::write(
            "/etc/ssh/sshd_config.d/50-authkeysd.conf",
            format!("{GOOD_FILES}\n"),
        )
        .unwrap();
        assert_eq!(troubles(&setup, 0).len(), 0);
        // What a cloud image brings along sorts first and wins.
        std::fs::write(
            "/etc/ssh/sshd_config.d/10-cloud.conf",
            "AuthorizedKeysFile /etc/ssh/cloud/%u\n",
        )
        .unwrap();
        assert_eq!(troubles(&setup, 1).len(), 2);
        std::fs::remove_file("/etc/ssh/sshd_config.d/10-cloud.conf").unwrap();
        // Only alice's logins are affected by a Match block.
        let text = std::fs::read_to_string(SSHD).unwrap();
        std::fs::write(
            SSHD,
            format!("{text}Match User alice\nAuthorizedKeysFile /etc/ssh/alice\n"),
        )
        .unwrap();
        std::fs::remove_file("/etc/ssh/sshd_config.d/50-authkeysd.conf").unwrap();
        only_trouble(
            &setup,
            1,
            "failed",
            "sshd",
            &["reads /etc/ssh/alice, not /home/alice/.ssh/authorized_keys"],
        );
    });
}

#[test]
fn f19_what_strict_modes_would_refuse_is_named_with_its_repair() {
    lab(|| {
        let setup = good_node();
        setup.run(["sync"]).succeeds();
        mode("/home/alice", 0o757);
        only_trouble(
            &setup,
            1,
            "failed",
            "strict_modes",
            &["/home/alice ", "written by others", "chmod go-w"],
        );
        mode("/home/alice", 0o775);
        if Path::new("/etc/debian_version").exists() {
            only_trouble(
                &setup,
                0,
                "warning",
                "strict_modes",
                &["/home/alice ", "private group", "chmod g-w"],
            );
        }
        chown("/home/alice", None, Some(60_002)).unwrap();
        only_trouble(
            &setup,
            1,
            "failed",
            "strict_modes",
            &["/home/alice ", "chmod go-w"],
        );
        mode("/home/alice", 0o755);
        assert_eq!(troubles(&setup, 0).len(), 0);
        chown("/home/alice/.ssh", Some(60_002), None).unwrap();
        let found = troubles(&setup, 1);
        assert!(found.iter().any(|f| f[1] == "strict_modes"
            && f[3].contains("uid 60002: sshd refuses it; chown it to alice")));
        assert!(
            found.iter().any(
                |f| f[1] == "account" && f[3].contains("/home/alice/.ssh belongs to uid 60002")
            ),
            "{found:#?}"
        );
        chown("/home/alice/.ssh", Some(60_001), None).unwrap();
        mode("/home/alice/.ssh/authorized_keys", 0o622);
        only_trouble(
            &setup,
            1,
            "failed",
            "strict_modes",
            &["authorized_keys can be written", "chmod go-w"],
        );
        let text = std::fs::read_to_string(SSHD).unwrap();
        std::fs::write(SSHD, format!("StrictModes no\n{text}")).unwrap();
        assert_eq!(
            troubles(&setup, 0).len(),
            0,
            "an sshd that does not ask is not told to"
        );
    });
}

#[test]
fn ways_in_beside_the_managed_file_are_named() {
    lab(|| {
        let setup = good_node();
        sshd("AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2");
        assert_eq!(troubles(&setup, 0).len(), 0, "a second file without keys");
        let second = "/home/alice/.ssh/authorized_keys2";
        let line = Key::new("old").line;
        std::fs::write(
            second,
            format!("{line}\n# comment\nfrom=\"10.0.0.0/8\" {line}\n"),
        )
        .unwrap();
        only_trouble(&setup, 0, "warning", "bypass", &[second, "2 keys"]);
        std::fs::remove_file(second).unwrap();
        sshd(&format!(
            "{GOOD_FILES}\nAuthorizedKeysCommand /usr/bin/ask # test\nAuthorizedKeysCommandUser nobody # test"
        ));
        let found = troubles(&setup, 0);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(
            found
                .iter()
                .all(|f| f[1] == "bypass" && f[3].contains("AuthorizedKeysCommand /usr/bin/ask")),
            "{found:#?}"
        );
        std::fs::write("/etc/ssh/ca.pub", format!("{line}\n")).unwrap();
        sshd(&format!(
            "{GOOD_FILES}\nTrustedUserCAKeys /etc/ssh/ca.pub # test"
        ));
        let found = troubles(&setup, 0);
        assert!(
            found.len() == 2
                && found
                    .iter()
                    .all(|f| f[3].contains("TrustedUserCAKeys /etc/ssh/ca.pub")),
            "{found:#?}"
        );
        sshd(&format!("{GOOD_FILES}\nPubkeyAuthentication no # test"));
        let found = troubles(&setup, 1);
        assert!(
            found.len() == 2
                && found
                    .iter()
                    .all(|f| f[0] == "failed" && f[3].contains("no key can log in")),
            "{found:#?}"
        );
    });
}

#[test]
fn the_system_layout_is_good_where_sshd_is_told_so() {
    lab(|| {
        let setup = Setup::new()
            .account("alice", "layout = \"system\"")
            .account("bob", "layout = \"system\"");
        setup.publish_keys(&[&Key::new("k")]);
        sshd("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u");
        assert_eq!(troubles(&setup, 0).len(), 0, "before the first sync");
        setup.run(["sync"]).succeeds();
        assert_eq!(troubles(&setup, 0).len(), 0);
        // The home's file is then a bypass, if sshd still reads it.
        sshd("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u .ssh/authorized_keys");
        install("alice", format!("{}\n", Key::new("own").line).as_bytes());
        only_trouble(
            &setup,
            0,
            "warning",
            "bypass",
            &["/home/alice/.ssh/authorized_keys", "1 key "],
        );
        sshd(GOOD_FILES);
        assert_eq!(
            troubles(&setup, 1).len(),
            2 + 1,
            "not read, twice, and the bypass"
        );
        mode("/etc/ssh/authorized_keys.d", 0o777);
        sshd("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u");
        let found = troubles(&setup, 1);
        assert!(
            found
                .iter()
                .all(|f| ["account", "strict_modes"].contains(&f[1].as_str())
                    && f[3].contains("/etc/ssh/authorized_keys.d ")),
            "{found:#?}"
        );
    });
}

#[test]
fn the_drop_ins_of_the_guide_make_the_system_layout_good() {
    lab(|| {
        let key = Key::new("k");
        let setup = Setup::new()
            .account("alice", "layout = \"system\"")
            .account("bob", "");
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        std::fs::create_dir("/etc/ssh/sshd_config.d").unwrap();
        sshd(&format!(
            "Include /etc/ssh/sshd_config.d/*.conf\n{GOOD_FILES}"
        ));
        only_trouble(
            &setup,
            1,
            "failed",
            "sshd",
            &["not /etc/ssh/authorized_keys.d/alice"],
        );
        let drop_ins: Vec<String> =
            authkeys_testing::blocks(include_str!("../../../docs/operate.md"), "sshd_config")
                .collect();
        assert_eq!(drop_ins.len(), 2);
        for lines in drop_ins {
            std::fs::write(
                "/etc/ssh/sshd_config.d/10-authkeysd.conf",
                lines.replace("deploy", "alice"),
            )
            .unwrap();
            assert_eq!(troubles(&setup, 0).len(), 0, "{lines}");
        }
    });
}

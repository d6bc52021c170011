//! Settings of sshd that shut an account out, and the file that it reads.

use authkeys_testing::{Key, Setup, lab, sshd_version};

use super::super::{good_node, sshd, troubles};
use super::{agrees, gets_in, reread, serve, sh};

#[test]
fn f52_settings_that_shut_an_account_out_are_failures() {
    lab(|| {
        let key = Key::new("k");
        let setup = good_node();
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        agrees(&setup, "alice", &key, "nothing", "ok", "");
        std::fs::write("/etc/ssh/revoked", format!("# gone\n{}\n", key.line)).unwrap();
        std::fs::write("/run/lab/spec", format!("hash: {}\n", key.fingerprint())).unwrap();
        std::fs::write(
            "/run/lab/other.pub",
            format!("{}\n", Key::new("other").line),
        )
        .unwrap();
        std::fs::write("/run/lab/key.pub", format!("{}\n", key.line)).unwrap();
        sh(
            "ssh-keygen -q -k -f /etc/ssh/krl /run/lab/key.pub; ssh-keygen -q -k -f \
             /etc/ssh/krl-other /run/lab/other.pub",
        );
        sh(
            "ssh-keygen -q -k -f /etc/ssh/krl-hash /run/lab/spec; head -c 60 /etc/ssh/krl \
             >/etc/ssh/krl-cut",
        );
        for (lines, level, words) in [
            ("AllowUsers bob", "failed", "AllowUsers bob: add alice"),
            ("AllowUsers !bob", "failed", "AllowUsers !bob"),
            ("AllowUsers bob al*", "ok", ""),
            (
                "AllowUsers alice@127.0.0.1",
                "warning",
                "from some hosts only",
            ),
            ("DenyUsers a?ice", "failed", "DenyUsers a?ice"),
            ("DenyUsers alice@10.1.2.3", "warning", "from some hosts"),
            ("AllowGroups bob", "failed", "AllowGroups bob"),
            ("AllowGroups bob alice", "ok", ""),
            ("DenyGroups alice", "failed", "DenyGroups alice"),
            ("PubkeyAuthentication no", "failed", "no key can log in"),
            (
                "Match User alice\n PubkeyAuthentication no",
                "failed",
                "PubkeyAuthentication no",
            ),
            (
                "Match Group alice\n AuthenticationMethods password\n PasswordAuthentication yes",
                "failed",
                "AuthenticationMethods",
            ),
            (
                "Match LocalPort 2222\n PubkeyAuthentication no",
                "failed",
                "PubkeyAuthentication no",
            ),
            (
                "Match Address 192.0.2.0/24\n PubkeyAuthentication no",
                "warning",
                "from other machines",
            ),
            (
                "Match Address *,!10.0.0.0/8\n AllowUsers bob",
                "failed",
                "AllowUsers bob",
            ),
            (
                "PasswordAuthentication yes\nAuthenticationMethods publickey,password publickey",
                "ok",
                "",
            ),
            (
                "AuthenticationMethods publickey,publickey",
                "failed",
                "AuthenticationMethods publickey,publickey",
            ),
            (
                "PubkeyAcceptedAlgorithms rsa-sha2-512,ecdsa-sha2-*",
                "failed",
                "does not have ssh-ed25519",
            ),
            (
                "PubkeyAcceptedAlgorithms -ssh-ed25519",
                "failed",
                "does not have ssh-ed25519",
            ),
            ("PubkeyAcceptedAlgorithms ssh-ed25519", "ok", ""),
            (
                "RevokedKeys /etc/ssh/revoked",
                "failed",
                "RevokedKeys /etc/ssh/revoked has it",
            ),
            (
                "RevokedKeys /etc/ssh/krl",
                "failed",
                "RevokedKeys /etc/ssh/krl has it",
            ),
            (
                "RevokedKeys /etc/ssh/krl-hash",
                "failed",
                "RevokedKeys /etc/ssh/krl-hash has it",
            ),
            ("RevokedKeys /etc/ssh/krl-other", "ok", ""),
            (
                "RevokedKeys /etc/ssh/krl-cut",
                "failed",
                "refuses every key",
            ),
            (
                "RevokedKeys /etc/ssh/none-there",
                "failed",
                "refuses every key",
            ),
            ("MaxAuthTries 0", "failed", "MaxAuthTries 0"),
            (
                "ChrootDirectory /home/alice\nForceCommand internal-sftp",
                "failed",
                "chown root /home/alice",
            ),
            ("ChrootDirectory /home/none", "failed", "does not exist"),
        ] {
            serve(lines);
            agrees(&setup, "alice", &key, lines, level, words);
        }
    });
}

#[test]
fn f52_groups_patterns_and_match_blocks_are_read_as_sshd_reads_them() {
    lab(|| {
        let key = Key::new("k");
        let setup = good_node();
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        sh("echo 'ops:x:60100:bob,alice' >>/etc/group; echo 'night:x:60101:alice' >>/etc/group");
        for (lines, level, words) in [
            ("AllowGroups ops", "ok", ""),
            ("AllowGroups nobody-is-in-it n?ght", "ok", ""),
            ("AllowGroups 60100", "failed", "AllowGroups 60100"),
            ("DenyGroups night", "failed", "DenyGroups night"),
            ("DenyGroups !night", "ok", ""),
            ("DenyGroups *,!ops", "ok", ""),
            ("AllowUsers 60001", "failed", "AllowUsers 60001"),
            ("AllowUsers ALICE", "failed", "AllowUsers ALICE"),
            ("AllowUsers al[i]ce", "failed", "AllowUsers al[i]ce"),
            ("AllowUsers bob\nAllowUsers alice", "ok", ""),
            (
                "AllowUsers alice\nAllowGroups bob",
                "failed",
                "AllowGroups bob",
            ),
            (
                "AllowUsers alice\nDenyUsers ali*",
                "failed",
                "DenyUsers ali*",
            ),
            (
                "Match User alice\n AllowUsers bob",
                "failed",
                "AllowUsers bob",
            ),
            ("Match User bob\n AllowUsers bob", "ok", ""),
            (
                "Match Group ops,night\n DenyGroups ops",
                "failed",
                "DenyGroups ops",
            ),
            ("Match User *,!alice\n PubkeyAuthentication no", "ok", ""),
            ("Match all\n MaxAuthTries 0", "failed", "MaxAuthTries 0"),
        ] {
            serve(lines);
            agrees(&setup, "alice", &key, lines, level, words);
        }
    });
}

#[test]
fn an_authorized_keys_file_with_blanks_quotes_and_tokens_is_read_as_sshd_reads_it() {
    lab(|| {
        let key = Key::new("k");
        sh("mkdir '/etc/ssh/my keys' '/etc/ssh/100%' '/etc/ssh/m\u{fc}ll  er'");
        // Before 8.7 sshd knew double quotes alone.
        let escapes = sshd_version() >= (8, 7);
        for (file, value, read) in [
            ("/etc/ssh/my keys/%u", "\"/etc/ssh/my keys/%u\"", true),
            (
                "/etc/ssh/my keys/%u",
                ".ssh/authorized_keys \"/etc/ssh/my keys/%u\"",
                true,
            ),
            (
                "/etc/ssh/my keys/%u",
                "/etc/ssh/my\\ keys/%u .ssh/a",
                escapes,
            ),
            ("/etc/ssh/my keys/%u", "/etc/ssh/my keys/%u", false),
            ("/etc/ssh/my keys/%U", "'/etc/ssh/my keys/%U'", escapes),
            ("/etc/ssh/100%%/%u", "/etc/ssh/100%%/%u", true),
            ("/etc/ssh/100%%/%u", "/etc/ssh/100%%/%%u", false),
            (
                "/etc/ssh/m\u{fc}ll  er/%u",
                "\"/etc/ssh/m\u{fc}ll  er/%u\" x",
                true,
            ),
        ] {
            let setup = Setup::new().account("alice", &format!("file = \"{file}\""));
            setup.publish_keys(&[&key]);
            setup.run(["sync"]).succeeds();
            sshd(&format!("AuthorizedKeysFile {value}"));
            reread("");
            let found = troubles(&setup, i32::from(!read));
            assert_eq!(found.is_empty(), read, "{value}: {found:#?}");
            assert_eq!(gets_in("alice", &key), read, "{value}");
            sh("rm -f /etc/ssh/*/alice /etc/ssh/*/60001");
        }
        sshd("");
        reread(
            "Match User alice\n AuthorizedKeysFile \"/etc/ssh/my keys/%u\" \"/etc/ssh/o t\" # test\n",
        );
        let setup = Setup::new().account("alice", "file = \"/etc/ssh/my keys/%u\"");
        setup.publish_keys(&[&key]);
        setup.run(["sync"]).succeeds();
        assert!(troubles(&setup, 0).is_empty() && gets_in("alice", &key));
    });
}

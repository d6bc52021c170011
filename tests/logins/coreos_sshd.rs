//! Whether and how sshd comes to the fragments of `layout = "coreos"`, and what the service says at
//! its start when it reads other files.

use std::fs;
use std::process::Command;

use authkeys_testing::{
    Key, SSH_KEY_DIR, Service, Setup, Tool, UPDATE_SSH_KEYS, eventually, install, lab, login,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;

const SSHD: &str = "/etc/ssh/sshd_config";

/// Gives sshd these lines instead of its AuthorizedKeysFile.
fn sshd(lines: &str) {
    let text = fs::read_to_string(SSHD).unwrap();
    let kept: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with("AuthorizedKeys"))
        .collect();
    fs::write(SSHD, format!("{lines}\n{}\n", kept.join("\n"))).unwrap();
    let pid = fs::read_to_string("/run/lab/sshd.pid").unwrap();
    assert!(
        Command::new("kill")
            .args(["-HUP", pid.trim()])
            .status()
            .unwrap()
            .success()
    );
    eventually("sshd reads its configuration", || {
        fs::exists("/run/lab/sshd.pid").unwrap()
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
}

fn with(tool: Tool, name: &str) {
    let mount = ["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/usr/local/bin"];
    assert!(
        Command::new("mount")
            .args(mount)
            .status()
            .unwrap()
            .success()
    );
    fs::copy(tool.path(), format!("/usr/local/bin/{name}")).unwrap();
}

fn setup(keys: &[&Key]) -> Setup {
    let setup = Setup::new().account("alice", "layout = \"coreos\"");
    setup.publish_keys(keys);
    setup
}

#[test]
fn without_update_ssh_keys_the_fragment_is_enough_where_ssh_key_dir_prints_it() {
    if !SSH_KEY_DIR.prepare() {
        return;
    }
    lab(|| {
        with(SSH_KEY_DIR, "ssh-key-dir");
        let [old, new] = ["old", "new"].map(Key::new);
        install("alice", format!("{}\n", old.line).as_bytes());
        let setup = setup(&[&new]);
        sshd("AuthorizedKeysFile .ssh/authorized_keys");
        setup.run(["sync"]).succeeds();
        assert!(
            !login("alice", &new) && login("alice", &old),
            "nobody is locked out where nothing is read"
        );
        let run = setup.run(["check"]);
        assert_eq!(run.status, 1);
        let named = "sshd reads /home/alice/.ssh/authorized_keys, not \
                     /home/alice/.ssh/authorized_keys.d/authkeysd: install";
        assert!(run.stdout.contains(named), "{}", run.stdout);

        let command =
            "AuthorizedKeysCommand /usr/local/bin/ssh-key-dir %u\nAuthorizedKeysCommandUser root";
        sshd(&format!(
            "AuthorizedKeysFile .ssh/authorized_keys\n{command}"
        ));
        assert!(login("alice", &new));
        let run = setup.run(["check"]);
        run.succeeds();
        let asks =
            "asks /usr/local/bin/ssh-key-dir for /home/alice/.ssh/authorized_keys.d/authkeysd";
        assert!(
            run.stdout.contains(asks) && !run.stdout.contains("warning"),
            "{}",
            run.stdout
        );
        // What an old puller left in the file itself is revoked as well.
        setup.publish(format!(
            "{{\"version\": 1, \"keys\": [{{\"public_key\": \"{}\"}}], \"revoked\": [\"{}\"]}}",
            new.line,
            old.fingerprint()
        ));
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &new) && !login("alice", &old));
        assert_eq!(
            fs::read_dir("/home/alice").unwrap().count(),
            1,
            "no lock of a program that is not there"
        );
    });
}

#[test]
fn the_doctor_knows_who_makes_the_file_and_a_security_key_is_named() {
    if !UPDATE_SSH_KEYS.prepare() {
        return;
    }
    lab(|| {
        with(UPDATE_SSH_KEYS, "update-ssh-keys");
        let key = Key::new("k");
        let setup = setup(&[&key]);
        setup.run(["sync"]).succeeds();
        sshd("AuthorizedKeysFile .ssh/authorized_keys");
        let run = setup.run(["check"]);
        run.succeeds();
        let made = "reads /home/alice/.ssh/authorized_keys, which update-ssh-keys makes of \
                    /home/alice/.ssh/authorized_keys.d";
        assert!(
            run.stdout.contains(made) && !run.stdout.contains("warning"),
            "{}",
            run.stdout
        );

        let kind = "sk-ssh-ed25519@openssh.com";
        let field = |bytes: &[u8]| {
            [
                &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..],
                bytes,
            ]
            .concat()
        };
        let blob =
            STANDARD.encode([field(kind.as_bytes()), field(&[9; 32]), field(b"ssh:")].concat());
        setup.publish(format!("{}\n{kind} {blob} token\n", key.line));
        for changed in ["changed, 2 keys", "unchanged, 2 keys"] {
            let run = setup.run(["sync"]);
            run.fails(
                1,
                &[&[
                    "update-ssh-keys leaves out SHA256:",
                    kind,
                    "publish a key of another type",
                ]],
            );
            assert!(run.stdout.contains(changed), "{}", run.stdout);
            let made = fs::read_to_string("/home/alice/.ssh/authorized_keys").unwrap();
            assert!(
                made.contains(&format!(
                    "# BEGIN authkeysd\n{kind} {blob} token\n# END authkeysd\n"
                )),
                "{made}"
            );
            assert!(login("alice", &key));
        }
    });
}

#[test]
fn f23_the_service_warns_once_at_its_start_and_waits_for_no_answer() {
    lab(|| {
        let key = Key::new("k");
        let mut setup = Setup::for_alice_and_bob(&[&key]);
        setup.top = "schedule = \"1s\"".to_owned();
        let text = fs::read_to_string(SSHD).unwrap();
        fs::write(
            SSHD,
            format!("{text}Match User alice\nAuthorizedKeysFile /etc/ssh/elsewhere/%u\n"),
        )
        .unwrap();
        let service = Service::start(&setup, |_| {});
        eventually("the warning", || service.log().contains("not read by sshd"));
        let words = "not read by sshd: alice: sshd reads /etc/ssh/elsewhere/alice, not \
                     /home/alice/.ssh/authorized_keys: ";
        assert!(service.log().contains(words), "{}", service.log());
        eventually("the first cycle", || login("bob", &key));
        setup.publish_keys(&[&key, &Key::new("other")]);
        eventually("another cycle", || {
            service.log().matches("key added").count() >= 4
        });
        let log = service.log();
        assert_eq!(log.matches("not read by sshd").count(), 1, "{log}");
        // A reload may bring an account of which that is so.
        service.signal(Signal::SIGHUP);
        eventually("the warning again", || {
            service.log().matches("not read by sshd").count() == 2
        });
        assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
    });
}

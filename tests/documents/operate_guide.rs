//! The page of docs/operate.md that is read in an emergency tells the truth: its commands are ones
//! that the programs take, and what it says of revocations, of the way in and of open sessions is
//! so.

use std::fs::OpenOptions;
use std::io::Write as _;

use authkeys_testing::{
    Key, Setup, authorized_keys, blocks, booted, clean_command, clean_ctl, lab, login, outcome_of,
};

const GUIDE: &str = include_str!("../../docs/operate.md");

fn page() -> &'static str {
    GUIDE
        .split("\n## In an emergency\n")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap()
}

#[test]
fn each_command_of_the_emergency_page_is_one_that_the_programs_take() {
    let shown: Vec<String> = blocks(page(), "sh").collect();
    let lines = shown
        .iter()
        .flat_map(|block| block.lines())
        .map(|line| line.split('#').next().unwrap().trim());
    let (mut node, mut desk) = (0, 0);
    for line in lines {
        let mut command = match line.split(' ').next().unwrap() {
            "authkeysd" => {
                node += 1;
                clean_command()
            }
            "authkeysctl" => {
                desk += 1;
                clean_ctl()
            }
            _ => continue,
        };
        // An option that there is not is told before the help is given.
        outcome_of(command.args(line.split(' ').skip(1)).arg("--help")).succeeds();
    }
    assert!(node >= 2 && desk >= 2, "{shown:?}");
}

fn document(serial: u32, keys: &[&Key], revoked: &[&Key]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| serde_json::json!({"public_key": key.line}))
        .collect();
    let revoked: Vec<_> = revoked.iter().map(|key| key.fingerprint()).collect();
    serde_json::json!({"version": 1, "serial": serial, "keys": keys, "revoked": revoked})
        .to_string()
}

#[test]
fn the_last_key_stays_until_a_replacement_comes_with_its_revocation() {
    lab(|| {
        assert!(
            page().contains("**The last key of an account stays** with the default `min_keys = 1`")
        );
        let (stolen, next, pulled) = (Key::new("stolen"), Key::new("next"), Key::new("pulled"));
        let mut setup = Setup::for_user("alice");
        setup.publish(document(1, &[&stolen], &[]));
        setup.run(["sync"]).succeeds();
        // Left out, or listed and revoked: it is the same.
        for (serial, keys) in [(2, vec![]), (3, vec![&stolen])] {
            setup.publish(document(serial, &keys, &[&stolen]));
            setup
                .run(["sync"])
                .fails(1, &[&["account alice", "[policy] min_keys asks for 1"]]);
            assert!(login("alice", &stolen));
        }
        setup.publish(document(4, &[&next], &[&stolen]));
        setup.run(["sync"]).succeeds();
        assert!(!login("alice", &stolen) && login("alice", &next));

        // An account that uses the source for nothing but `revoked`.
        let line = format!("{}\n", pulled.line);
        authkeys_testing::install("bob", line.as_bytes());
        setup.accounts[0].user = "bob".to_owned();
        setup.publish(document(5, &[], &[&pulled]));
        setup
            .run(["sync"])
            .fails(1, &[&["account bob", "[policy] min_keys asks for 1"]]);
        assert!(login("bob", &pulled));
        let setup = setup.tables("\n[policy]\nmin_keys = 0\n");
        setup.run(["sync"]).succeeds();
        assert!(!login("bob", &pulled));
    });
}

#[test]
fn somebody_is_let_in_as_the_page_says_also_without_the_source() {
    lab(|| {
        let (old, next, helper) = (Key::new("old"), Key::new("next"), Key::new("helper"));
        let by_hand = |key: &Key| {
            let mut file = OpenOptions::new()
                .append(true)
                .open(authorized_keys("alice"))
                .unwrap();
            writeln!(file, "{}", key.line).unwrap();
        };
        let mut setup = Setup::for_user("alice");
        setup.publish(document(1, &[&old, &next], &[]));
        setup.run(["sync"]).succeeds();
        setup.publish(document(2, &[&next], &[]));
        setup.run(["sync"]).succeeds();
        by_hand(&helper);
        by_hand(&old);
        setup.run(["sync"]).repairs();
        assert!(
            login("alice", &helper) && !login("alice", &old),
            "the one was once installed"
        );

        std::fs::remove_file(setup.path("published")).unwrap();
        let pinned = setup.path("pinned_keys");
        std::fs::write(&pinned, format!("{}\n", old.line)).unwrap();
        setup.top = format!("pinned_keys = \"{}\"", pinned.display());
        setup.run(["sync"]).fails(1, &[&["cannot stat"]]);
        assert!(login("alice", &old));
        setup.publish(document(3, &[&next], &[&old]));
        setup.run(["sync"]).succeeds();
        assert!(login("alice", &old), "no document revokes a pinned key");
        // A service that still runs without the line takes it away: hence the reload.
        setup.top.clear();
        setup.run(["sync"]).succeeds();
        assert!(!login("alice", &old) && login("alice", &helper));
    });
}

/// What the page says of systemd, journald and logind, where they are.
#[test]
fn a_stolen_key_is_found_revoked_and_its_session_ended_on_a_booted_node() {
    booted("bookworm", |machine| {
        let (stolen, next) = (Key::new("stolen"), Key::new("next"));
        machine.install_authkeysd();
        machine.add_user("alice");
        machine.write("/srv/keys", document(1, &[&stolen], &[]));
        let config =
            "source = \"file:/srv/keys\"\nschedule = \"1h\"\n[[account]]\nuser = \"alice\"\n";
        machine.write("/etc/authkeysd/config.toml", config);
        machine.run("systemctl start authkeysd");
        machine.write("/root/key", std::fs::read(stolen.private()).unwrap());
        machine.run(
            "chmod 600 /root/key && systemd-run --quiet --collect ssh -i /root/key -o \
             StrictHostKeyChecking=no alice@127.0.0.1 'touch open; sleep 600'",
        );
        machine.eventually("test -e /home/alice/open");

        // Refused, for nothing takes its place; and told.
        machine.write("/srv/keys", document(2, &[], &[&stolen]));
        machine.run("systemctl reload authkeysd");
        let look: Vec<String> = blocks(page(), "sh")
            .next()
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        machine.eventually("authkeysd status | grep -q '^stale'");
        for (line, words) in look.iter().zip([
            "min_keys asks for 1",
            "min_keys asks for 1",
            "min_keys asks for 1",
        ]) {
            let (said, _) = machine.tries(line);
            assert!(said.contains(words), "{line}: {said}");
        }
        assert_eq!(look.len(), 3);
        assert!(machine.login("alice", &stolen));

        machine.write("/srv/keys", document(3, &[&next], &[&stolen]));
        machine.run("systemctl reload authkeysd");
        machine.eventually("authkeysd status");
        assert!(!machine.login("alice", &stolen) && machine.login("alice", &next));
        // No revocation ends a session.
        machine.run("pgrep -u alice sleep");
        let shown = |start: &str| {
            page()
                .split('`')
                .find(|code| code.starts_with(start))
                .unwrap()
        };
        let found =
            machine.run(&shown("journalctl -t").replace("SHA256:...", &stolen.fingerprint()));
        assert!(found.contains("Accepted publickey for alice"), "{found}");
        machine.run(&shown("loginctl ").replace("USER", "alice"));
        machine.eventually("! pgrep -u alice sleep");

        // Frozen: what is published changes nothing any more.
        machine.run(shown("systemctl stop "));
        machine.write("/srv/keys", document(4, &[&stolen], &[]));
        assert!(machine.login("alice", &next) && !machine.login("alice", &stolen));
    });
}

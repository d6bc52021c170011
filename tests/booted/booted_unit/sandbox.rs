//! The unit's sandbox (row 26 of docs/failures.md): what the service can do in it, and what it
//! cannot see.

use authkeys_testing::{Key, UPDATE_SSH_KEYS, blocks, booted};

use super::{SUITE, account, configure, installed, is_refused, logs_in, publish};

#[test]
fn f26_the_sandbox_is_tight_and_lets_the_service_do_its_whole_job() {
    booted(SUITE, |machine| {
        installed(machine);
        // Exit status 0: the exposure is at most that many tenths.
        machine.run("systemd-analyze security --threshold=15 authkeysd");
        machine.run("systemd-analyze security --threshold=15 authkeysd-fetch");
        assert_eq!(
            machine.run(
                "systemd-analyze verify --man=no authkeysd.service authkeysd-fetch.service \
                 authkeysd-fetch.socket 2>&1"
            ),
            ""
        );

        // Not configured: not started, and not a failure.
        machine.run("systemctl start authkeysd");
        assert_eq!(machine.property("authkeysd", "ActiveState"), "inactive");
        assert_eq!(machine.property("authkeysd", "ConditionResult"), "no");

        let [key, next] = [(); 2].map(|()| Key::new("published"));
        publish(machine, &[&key]);
        machine.write(
            "/etc/ssh/sshd_config.d/10-authkeysd.conf",
            "Match User bob\n  AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n",
        );
        machine.run("systemctl reload ssh");
        machine.run(
            "useradd --home-dir /srv/homes/carol --create-home --base-dir /srv/homes carol && \
             usermod --password '*' carol",
        );
        configure(
            machine,
            &[
                account("alice", ""),
                account("root", ""),
                account("bob", "layout = \"system\""),
                account("carol", ""),
            ]
            .concat(),
        );
        // A home elsewhere, by the drop-in of the guide.
        let guide =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate.md"))
                .unwrap();
        let drop_in = blocks(&guide, "ini").next().unwrap();
        machine.write(
            "/etc/systemd/system/authkeysd.service.d/homes.conf",
            drop_in,
        );
        machine.run("systemctl daemon-reload && systemctl start authkeysd");
        for user in ["alice", "root", "bob", "carol"] {
            logs_in(machine, user, &key);
        }
        assert_eq!(
            machine.run("authkeysd status | head -n 1 | cut -d, -f1"),
            "ok"
        );
        assert!(
            machine
                .property("authkeysd", "StatusText")
                .starts_with("ok, 4 accounts")
        );
        publish(machine, &[&next]);
        for user in ["alice", "root", "bob", "carol"] {
            logs_in(machine, user, &next);
            is_refused(machine, user, &key);
        }

        // What its process sees and may do, as the kernel has it.
        let pid = machine.main_pid("authkeysd");
        let status = machine.run(&format!("cat /proc/{pid}/status"));
        let line = |name: &str| {
            status
                .lines()
                .find(|l| l.starts_with(name))
                .unwrap()
                .split_whitespace()
                .last()
                .unwrap()
        };
        assert_eq!(line("CapBnd:"), "00000000000000c0", "setgid and setuid");
        assert_eq!(line("CapEff:"), "00000000000000c0");
        assert_eq!((line("NoNewPrivs:"), line("Seccomp:")), ("1", "2"));
        let inside =
            |command: &str| machine.tries(&format!("nsenter -t {pid} -m sh -c '{command}'"));
        for place in [
            "/etc",
            "/usr",
            "/var/lib",
            "/boot",
            "/opt",
            "/var/spool/cron",
            "/etc/ssh",
        ] {
            let (text, wrote) = inside(&format!("mkdir -p {place} && touch {place}/x"));
            assert!(!wrote, "{place} can be written: {text}");
        }
        for place in [
            "/home/alice/.ssh",
            "~root/.ssh",
            "/srv/homes/carol/.ssh",
            "/etc/ssh/authorized_keys.d",
            "/var/lib/authkeysd",
        ] {
            assert!(
                inside(&format!("touch {place}/x && rm {place}/x")).1,
                "{place} cannot be written"
            );
        }

        machine.run("mkdir -p /run/user/4242");
        assert_eq!(
            inside("ls /run/user").0,
            "",
            "other people's runtime directories are out of sight"
        );

        // A home that is mounted later is seen, too.
        machine.run(
            "mkdir /home/dora && mount -t tmpfs -o mode=0755 tmpfs /home/dora && useradd \
             --no-create-home dora && usermod --password '*' --shell /bin/sh dora && chown dora: \
             /home/dora",
        );
        configure(
            machine,
            &[account("alice", ""), account("dora", "")].concat(),
        );
        machine.run("systemctl reload authkeysd");
        logs_in(machine, "dora", &next);
    });
}

#[test]
fn f26_the_sandbox_lets_update_ssh_keys_run_as_the_account_and_sshd_be_asked() {
    if !UPDATE_SSH_KEYS.prepare() {
        return;
    }
    booted(SUITE, |machine| {
        installed(machine);
        std::fs::copy(
            UPDATE_SSH_KEYS.path(),
            machine.path("/usr/bin/update-ssh-keys"),
        )
        .unwrap();
        let [key, old] = [(); 2].map(|()| Key::new("test"));
        machine.run("install -d -o alice -g alice -m 0700 /home/alice/.ssh");
        machine.write(
            "/home/alice/.ssh/authorized_keys",
            format!("{}\n", old.line),
        );
        machine.run(
            "chown alice: /home/alice/.ssh/authorized_keys && chmod 0600 \
             /home/alice/.ssh/authorized_keys",
        );
        publish(machine, &[&key]);
        // bob's file is one that this sshd does not read: that is told once, at the start.
        configure(
            machine,
            &[
                account("alice", "layout = \"coreos\""),
                account("bob", "layout = \"system\""),
            ]
            .concat(),
        );
        machine.run("systemctl start authkeysd");
        logs_in(machine, "alice", &key);
        machine.eventually("authkeysd status | head -n 1 | grep -q ^ok");
        let made = machine.run(
            "head -n 1 /home/alice/.ssh/authorized_keys; ls /home/alice/.ssh/authorized_keys.d",
        );
        assert!(
            made.starts_with("# auto-generated by update-ssh-keys\n") && made.contains("authkeysd"),
            "{made}"
        );
        machine.eventually("journalctl -u authkeysd -o cat | grep -q 'not read by sshd: bob'");
        let journal = machine.run("journalctl -u authkeysd -o cat");
        let told = journal
            .lines()
            .filter(|line| line.starts_with("not read by sshd: "))
            .count();
        assert_eq!(told, 1, "{journal}");
    });
}

#[test]
fn f41_roots_home_is_in_the_sandbox_only_where_root_is_an_account() {
    booted(SUITE, |machine| {
        installed(machine);
        let key = Key::new("published");
        publish(machine, &[&key]);
        let sees = || {
            let pid = machine.main_pid("authkeysd");
            machine
                .tries(&format!("nsenter -t {pid} -m ls /root/.profile"))
                .1
        };
        let system = "layout = \"system\"";
        for (accounts, seen) in [
            (account("alice", ""), false),
            (account("alice", "") + &account("root", ""), true),
            (account("alice", "") + &account("root", system), false),
            (account("alice", "") + "[[account]]\n", true),
            (account("alice", "") + &account("toor", ""), true),
        ] {
            machine.run(
                "id toor >/dev/null 2>&1 || useradd --non-unique --uid 0 --home-dir /root \
                 --no-create-home toor",
            );
            configure(machine, &accounts);
            machine.run("systemctl restart authkeysd");
            assert_eq!(sees(), seen, "{accounts}");
        }
        // Added while the service runs: nothing is written where sshd does not read, and the remedy
        // is named.
        configure(machine, &account("alice", ""));
        machine.run("systemctl restart authkeysd");
        configure(machine, &(account("alice", "") + &account("root", "")));
        machine.run("systemctl reload authkeysd");
        machine.eventually(
            "authkeysd status 2>&1; journalctl -u authkeysd -o cat | grep -q '/root is not in the \
             .*systemctl restart authkeysd'",
        );
        machine.run("systemctl restart authkeysd");
        logs_in(machine, "root", &key);
    });
}

#[test]
fn f49_an_account_that_forks_below_update_ssh_keys_holds_up_nobody_else() {
    booted(SUITE, |machine| {
        installed(machine);
        let [first, second] = [(); 2].map(|()| Key::new("test"));
        publish(machine, &[&first]);
        let script = r#"#!/usr/bin/perl
use POSIX; my $n = 0;
while ($n < 5000) { my $p = fork; last unless defined $p; if (!$p) { setsid; sleep 600; exit } $n++ }
open my $f, ">", "$ENV{HOME}/forks"; print $f "$n\n"; close $f; sleep 60;
"#;
        machine.write("/usr/bin/update-ssh-keys", script);
        machine.run("chmod 755 /usr/bin/update-ssh-keys");
        configure(
            machine,
            &(account("alice", "layout = \"coreos\"") + &account("bob", "")),
        );
        machine.run("systemctl start authkeysd");
        machine.eventually("test -s /home/alice/forks");
        let forks: u32 = machine.run("cat /home/alice/forks").parse().unwrap();
        assert!(forks < 600, "{forks} of the service's 1536 tasks");
        publish(machine, &[&second]);
        logs_in(machine, "bob", &second);
        is_refused(machine, "bob", &first);
        // Between two of its runs there is nothing of it.
        machine.eventually("! pgrep -u alice");
        assert_eq!(machine.property("authkeysd", "NRestarts"), "0");
        machine.eventually(
            "journalctl -u authkeysd -o cat | grep -q 'account degraded: alice.*update-ssh-keys \
             failed'",
        );
    });
}

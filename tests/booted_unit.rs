//! The unit as it is shipped, in force in a booted system (FAILURES 26): what the service can do there, what it cannot,
//! and what systemd does with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(clippy::disallowed_methods, reason = "throw-away files need no durability")]

mod support;

use std::time::{Duration, Instant};

use support::{Key, Machine, UPDATE_SSH_KEYS, blocks, booted};

const SUITE: &str = "bookworm";
const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/authkeysd.service");

/// The program and its unit in place, with the users alice and bob; nothing configured yet.
fn installed(machine: &Machine) {
    std::fs::copy(env!("CARGO_BIN_EXE_authkeysd"), machine.path("/usr/bin/authkeysd")).unwrap();
    machine.write("/etc/systemd/system/authkeysd.service", std::fs::read(UNIT).unwrap());
    machine.add_user("alice");
    machine.add_user("bob");
    machine.run("systemctl daemon-reload && systemctl enable --quiet authkeysd");
}

/// Publishes these keys in the file that `config` names.
fn publish(machine: &Machine, keys: &[&Key]) {
    let lines: String = keys.iter().map(|key| format!("{}\n", key.line)).collect();
    machine.write("/srv/keys.new", lines);
    machine.run("mv /srv/keys.new /srv/keys");
}

/// Writes the configuration: every second, from the file, these accounts.
fn configure(machine: &Machine, accounts: &str) {
    machine.write("/etc/authkeysd/config.toml", format!("source = \"file:/srv/keys\"\nschedule = \"1s\"\n{accounts}"));
}

fn account(user: &str, extra: &str) -> String {
    format!("[[account]]\nuser = \"{user}\"\n{extra}\n")
}

/// Waits for the login that a published key must bring.
#[track_caller]
fn logs_in(machine: &Machine, user: &str, key: &Key) {
    let begun = Instant::now();
    while !machine.login(user, key) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{user} is never let in");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for the refusal that a key's end must bring.
#[track_caller]
fn is_refused(machine: &Machine, user: &str, key: &Key) {
    let begun = Instant::now();
    while machine.login(user, key) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{user} is never refused");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn f26_the_sandbox_is_tight_and_lets_the_service_do_its_whole_job() {
    booted(SUITE, |machine| {
        installed(machine);
        // Exit status 0: the exposure is at most that many tenths.
        machine.run("systemd-analyze security --threshold=19 authkeysd");
        assert_eq!(machine.run("systemd-analyze verify --man=no authkeysd.service 2>&1"), "");

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
        machine.run("useradd --home-dir /srv/homes/carol --create-home --base-dir /srv/homes carol && usermod --password '*' carol");
        configure(
            machine,
            &[account("alice", ""), account("root", ""), account("bob", "layout = \"system\""), account("carol", "")]
                .concat(),
        );
        // A home elsewhere, by the drop-in of the guide.
        let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operate.md")).unwrap();
        let drop_in = blocks(&guide, "ini").next().unwrap();
        machine.write("/etc/systemd/system/authkeysd.service.d/homes.conf", drop_in);
        machine.run("systemctl daemon-reload && systemctl start authkeysd");
        for user in ["alice", "root", "bob", "carol"] {
            logs_in(machine, user, &key);
        }
        assert_eq!(machine.run("authkeysd status | head -n 1 | cut -d, -f1"), "ok");
        assert!(machine.property("authkeysd", "StatusText").starts_with("ok, 4 accounts"));
        publish(machine, &[&next]);
        for user in ["alice", "root", "bob", "carol"] {
            logs_in(machine, user, &next);
            is_refused(machine, user, &key);
        }

        // What its process sees and may do, as the kernel has it.
        let pid = machine.main_pid("authkeysd");
        let status = machine.run(&format!("cat /proc/{pid}/status"));
        let line =
            |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap().split_whitespace().last().unwrap();
        assert_eq!(line("CapBnd:"), "00000000000000c0", "setgid and setuid");
        assert_eq!(line("CapEff:"), "00000000000000c0");
        assert_eq!((line("NoNewPrivs:"), line("Seccomp:")), ("1", "2"));
        let inside = |command: &str| machine.tries(&format!("nsenter -t {pid} -m sh -c '{command}'"));
        for place in ["/etc", "/usr", "/var/lib", "/boot", "/opt", "/var/spool/cron", "/etc/ssh"] {
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
            assert!(inside(&format!("touch {place}/x && rm {place}/x")).1, "{place} cannot be written");
        }

        machine.run("mkdir -p /run/user/4242");
        assert_eq!(inside("ls /run/user").0, "", "other people's runtime directories are out of sight");

        // A home that is mounted later is seen, too.
        machine.run("mkdir /home/dora && mount -t tmpfs -o mode=0755 tmpfs /home/dora && useradd --no-create-home dora && usermod --password '*' --shell /bin/sh dora && chown dora: /home/dora");
        configure(machine, &[account("alice", ""), account("dora", "")].concat());
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
        std::fs::copy(UPDATE_SSH_KEYS.path(), machine.path("/usr/bin/update-ssh-keys")).unwrap();
        let [key, old] = [(); 2].map(|()| Key::new("test"));
        machine.run("install -d -o alice -g alice -m 0700 /home/alice/.ssh");
        machine.write("/home/alice/.ssh/authorized_keys", format!("{}\n", old.line));
        machine.run("chown alice: /home/alice/.ssh/authorized_keys && chmod 0600 /home/alice/.ssh/authorized_keys");
        publish(machine, &[&key]);
        // bob's file is one that this sshd does not read: that is told once, at the start.
        configure(machine, &[account("alice", "layout = \"coreos\""), account("bob", "layout = \"system\"")].concat());
        machine.run("systemctl start authkeysd");
        logs_in(machine, "alice", &key);
        machine.eventually("authkeysd status | head -n 1 | grep -q ^ok");
        let made = machine.run("head -n 1 /home/alice/.ssh/authorized_keys; ls /home/alice/.ssh/authorized_keys.d");
        assert!(made.starts_with("# auto-generated by update-ssh-keys\n") && made.contains("authkeysd"), "{made}");
        machine.eventually("journalctl -u authkeysd -o cat | grep -q 'bob.*/etc/ssh/authorized_keys.d/bob'");
        let journal = machine.run("journalctl -u authkeysd -o cat");
        let told = journal.lines().filter(|line| line.starts_with("not read by sshd: ")).count();
        assert_eq!(told, 1, "{journal}");
    });
}

#[test]
fn a_configuration_error_stops_it_once_and_a_bad_reload_changes_nothing() {
    booted(SUITE, |machine| {
        installed(machine);
        let key = Key::new("published");
        publish(machine, &[&key]);
        configure(machine, &account("alice", "moed = \"block\""));
        assert!(!machine.tries("systemctl start authkeysd").1);
        machine.eventually("test \"$(systemctl show -P SubState authkeysd)\" = failed");
        assert_eq!(machine.property("authkeysd", "ExecMainStatus"), "78");
        assert_eq!(machine.property("authkeysd", "NRestarts"), "0");
        let journal = machine.run("journalctl -u authkeysd -o cat");
        assert!(journal.contains("/etc/authkeysd/config.toml:5: account.moed: "), "{journal}");

        configure(machine, &account("alice", ""));
        machine.run("systemctl start authkeysd");
        logs_in(machine, "alice", &key);
        configure(machine, "[[account]\n");
        machine.run("systemctl reload authkeysd");
        machine.eventually(
            "systemctl show -P StatusText authkeysd | grep -q '^configuration refused, the old one stays in force'",
        );
        assert_eq!(machine.property("authkeysd", "ActiveState"), "active");
        let other = Key::new("other");
        publish(machine, &[&other]);
        logs_in(machine, "alice", &other);
        configure(machine, &account("alice", ""));
        machine.run("systemctl reload authkeysd");
        machine.eventually("systemctl show -P StatusText authkeysd | grep -q '^ok, 1 account'");
    });
}

#[test]
fn it_comes_back_from_a_kill_a_hang_a_reboot_and_a_power_cut_and_stops_within_two_seconds() {
    booted(SUITE, |machine| {
        installed(machine);
        let [key, foreign] = [(); 2].map(|()| Key::new("test"));
        publish(machine, &[&key]);
        configure(machine, &account("alice", "mode = \"exclusive\""));
        machine.write(
            "/etc/systemd/system/authkeysd.service.d/fast.conf",
            "[Service]\nWatchdogSec=1s\nRestartSec=100ms\n",
        );
        machine.run("systemctl daemon-reload && systemctl start authkeysd");
        logs_in(machine, "alice", &key);

        let pid = machine.main_pid("authkeysd");
        machine.run(&format!("kill -KILL {pid}"));
        machine.eventually(&format!("p=$(systemctl show -P MainPID authkeysd); test \"$p\" != 0 -a \"$p\" != {pid} && systemctl is-active authkeysd"));
        let pid = machine.main_pid("authkeysd");
        machine.run(&format!("kill -STOP {pid}"));
        machine.eventually(&format!("p=$(systemctl show -P MainPID authkeysd); test \"$p\" != 0 -a \"$p\" != {pid} && systemctl is-active authkeysd"));
        assert!(machine.run("journalctl -u authkeysd").contains("Watchdog timeout"), "the watchdog ended it");
        assert_eq!(machine.property("authkeysd", "NRestarts"), "2");
        // A watchdog that is answered ends nothing.
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(machine.property("authkeysd", "NRestarts"), "2");

        let begun = Instant::now();
        machine.run("systemctl stop authkeysd");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(machine.property("authkeysd", "Result"), "success");
        machine.run("test -s /run/authkeysd/status.json");
        assert!(machine.login("alice", &key), "the keys stay");

        // While it is down somebody adds a key and the source goes away: the last good document is put in force at boot.
        machine.write("/home/alice/.ssh/authorized_keys", format!("{}\n", foreign.line));
        machine.run("rm /srv/keys");
        machine.reboot();
        logs_in(machine, "alice", &key);
        assert!(!machine.login("alice", &foreign));
        assert!(machine.property("authkeysd", "StatusText").starts_with("stale"));
        machine.cut();
        logs_in(machine, "alice", &key);
        assert_eq!(machine.run("find /home/alice/.ssh -mindepth 1 -not -name authorized_keys"), "");
    });
}

#[test]
fn nothing_waits_for_it_at_boot_and_the_journal_tells_who_could_log_in() {
    booted(SUITE, |machine| {
        installed(machine);
        let key = Key::new("night-shift");
        publish(machine, &[&key]);
        configure(machine, &account("alice", ""));
        machine.reboot();
        assert_eq!(machine.run("systemctl is-system-running --wait"), "running");
        for unit in ["ssh", "network-online.target", "systemd-user-sessions", "getty@tty1"] {
            assert!(!machine.property(unit, "After").contains("authkeysd"), "{unit} waits for us");
        }
        assert!(!machine.property("authkeysd", "After").contains("network-online.target"));
        logs_in(machine, "alice", &key);

        // The query of docs/journal.md.
        let query = "journalctl MESSAGE_ID=7bfefc2f3191453682f32f4d59db3b32 ACCOUNT=alice -n 1 -o verbose --output-fields=KEYS,DOCUMENT,SERIAL";
        let told = machine.run(query);
        assert!(told.contains(&key.fingerprint()) && told.contains("night-shift"), "{told}");
        // Every entry is ours, has its id and its unit, and nothing is said twice.
        let fields = machine.run("journalctl -b -u authkeysd _COMM=authkeysd -o json | tr -d '\\n'");
        assert!(
            fields.matches("\"MESSAGE_ID\"").count() >= 4 && fields.contains("\"SYSLOG_IDENTIFIER\":\"authkeysd\""),
            "{fields}"
        );
        std::thread::sleep(Duration::from_secs(3));
        let count = || machine.run("journalctl -b -u authkeysd _COMM=authkeysd -o cat | wc -l");
        let before = count();
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(count(), before, "an unchanged state is not told again");
    });
}

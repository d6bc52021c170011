//! The unit as it is shipped, in force in a booted system: what systemd does with it, at boot, on
//! errors, kills and power cuts.

mod sandbox;

mod taken_over;

use std::time::{Duration, Instant};

use authkeys_testing::{Key, Machine, booted};

const SUITE: &str = "bookworm";

/// The program and its unit in place, with the users alice and bob; nothing configured yet.
fn installed(machine: &Machine) {
    machine.install_authkeysd();
    machine.add_user("alice");
    machine.add_user("bob");
    machine.run("systemctl enable --quiet authkeysd");
}

/// Publishes these keys in the file that `config` names.
fn publish(machine: &Machine, keys: &[&Key]) {
    let lines: String = keys.iter().map(|key| format!("{}\n", key.line)).collect();
    machine.write("/srv/keys.new", lines);
    machine.run("mv /srv/keys.new /srv/keys");
}

/// Writes the configuration: every second, from the file, these accounts.
fn configure(machine: &Machine, accounts: &str) {
    machine.write(
        "/etc/authkeysd/config.toml",
        format!("source = \"file:/srv/keys\"\nschedule = \"1s\"\n{accounts}"),
    );
}

fn account(user: &str, extra: &str) -> String {
    format!("[[account]]\nuser = \"{user}\"\n{extra}\n")
}

/// Waits for the login that a published key must bring.
#[track_caller]
fn logs_in(machine: &Machine, user: &str, key: &Key) {
    let begun = Instant::now();
    while !machine.login(user, key) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{user} is never let in"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for the refusal that a key's end must bring.
#[track_caller]
fn is_refused(machine: &Machine, user: &str, key: &Key) {
    let begun = Instant::now();
    while machine.login(user, key) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{user} is never refused"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
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
        assert!(
            journal.contains("/etc/authkeysd/config.toml:5: account.moed: "),
            "{journal}"
        );

        configure(machine, &account("alice", ""));
        machine.run("systemctl start authkeysd");
        logs_in(machine, "alice", &key);
        configure(machine, "[[account]\n");
        machine.run("systemctl reload authkeysd");
        machine.eventually(
            "systemctl show -P StatusText authkeysd | grep -q '^configuration refused, the old one \
             stays in force'",
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
            "[Service]\nWatchdogSec=6s\nRestartSec=100ms\n",
        );
        machine.run("systemctl daemon-reload && systemctl start authkeysd");
        logs_in(machine, "alice", &key);

        let pid = machine.main_pid("authkeysd");
        machine.run(&format!("kill -KILL {pid}"));
        machine.eventually(&format!(
            "p=$(systemctl show -P MainPID authkeysd); test \"$p\" != 0 -a \"$p\" != {pid} && \
             systemctl is-active authkeysd"
        ));
        let pid = machine.main_pid("authkeysd");
        machine.run(&format!("kill -STOP {pid}"));
        machine.eventually(&format!(
            "p=$(systemctl show -P MainPID authkeysd); test \"$p\" != 0 -a \"$p\" != {pid} && \
             systemctl is-active authkeysd"
        ));
        assert!(
            machine
                .run("journalctl -u authkeysd")
                .contains("Watchdog timeout"),
            "the watchdog ended it"
        );
        assert_eq!(machine.property("authkeysd", "NRestarts"), "2");
        // A watchdog that is answered ends nothing.
        std::thread::sleep(Duration::from_secs(10));
        assert_eq!(machine.property("authkeysd", "NRestarts"), "2");

        let begun = Instant::now();
        machine.run("systemctl stop authkeysd");
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(machine.property("authkeysd", "Result"), "success");
        machine.run("test -s /run/authkeysd/status.json");
        assert!(machine.login("alice", &key), "the keys stay");

        // While it is down somebody adds a key and the source goes away: the last good document is
        // put in force at boot.
        machine.write(
            "/home/alice/.ssh/authorized_keys",
            format!("{}\n", foreign.line),
        );
        machine.run("rm /srv/keys");
        machine.reboot();
        logs_in(machine, "alice", &key);
        assert!(!machine.login("alice", &foreign));
        machine.eventually("systemctl show -P StatusText authkeysd | grep -q '^stale'");
        machine.cut();
        logs_in(machine, "alice", &key);
        assert_eq!(
            machine.run("find /home/alice/.ssh -mindepth 1 -not -name authorized_keys"),
            ""
        );
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
        for unit in [
            "ssh",
            "network-online.target",
            "systemd-user-sessions",
            "getty@tty1",
        ] {
            assert!(
                !machine.property(unit, "After").contains("authkeysd"),
                "{unit} waits for us"
            );
        }
        assert!(
            !machine
                .property("authkeysd", "After")
                .contains("network-online.target")
        );
        logs_in(machine, "alice", &key);

        // The query of docs/journal.md.
        let query = "journalctl MESSAGE_ID=7bfefc2f3191453682f32f4d59db3b32 ACCOUNT=alice -n 1 -o \
                     verbose --output-fields=KEYS,DOCUMENT,SERIAL";
        let told = machine.run(query);
        assert!(
            told.contains(&key.fingerprint()) && told.contains("night-shift"),
            "{told}"
        );
        // Every entry is ours, has its id and its unit, and nothing is said twice.
        let fields =
            machine.run("journalctl -b -u authkeysd _COMM=authkeysd -o json | tr -d '\\n'");
        assert!(
            fields.matches("\"MESSAGE_ID\"").count() >= 4
                && fields.contains("\"SYSLOG_IDENTIFIER\":\"authkeysd\""),
            "{fields}"
        );
        std::thread::sleep(Duration::from_secs(10));
        let count = || machine.run("journalctl -b -u authkeysd _COMM=authkeysd -o cat | wc -l");
        let before = count();
        std::thread::sleep(Duration::from_secs(10));
        assert_eq!(count(), before, "an unchanged state is not told again");
    });
}

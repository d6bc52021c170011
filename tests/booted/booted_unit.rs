//! The unit as it is shipped, in force in a booted system (row 26 of docs/failures.md): what the
//! service can do there, what it cannot, and what systemd does with it.

use std::time::{Duration, Instant};

use authkeys_testing::{Key, Machine, UPDATE_SSH_KEYS, blocks, booted};

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

/// What somebody tries who has taken the service over, each a shell command that succeeds when the
/// attack does.
const ATTACKS: &[&str] = &[
    // A program outside the sandbox, by systemd's own sockets, D-Bus, or the old FIFO.
    "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
     org.freedesktop.systemd1.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' x.service fail 1 \
     ExecStart 'a(sasb)' 1 /bin/touch 2 /bin/touch /srv/owned false 0",
    "systemd-run touch /srv/owned",
    "systemctl start owned.service",
    "timeout 2 sh -c 'echo x >/run/initctl'",
    "test -S /run/dbus/system_bus_socket -o -S /run/systemd/private",
    "test -S /run/systemd/userdb/io.systemd.DynamicUser",
    // Secrets.
    "cat /etc/shadow || cat /etc/shadow- || cat /etc/gshadow",
    "cat /etc/ssh/ssh_host_ed25519_key",
    "cat /etc/sudoers",
    "cat /etc/ssl/private/key.pem",
    "cat /var/backups/shadow.bak",
    "ls /root/.ssh",
    // What root would run, or be let in by.
    "mkdir -p /root/.ssh && touch /root/.ssh/authorized_keys",
    "mkdir -p /etc/cron.d && touch /etc/cron.d/x",
    "mkdir -p /var/spool/cron/crontabs && touch /var/spool/cron/crontabs/root",
    "touch /etc/x || touch /etc/ssh/x || touch /etc/sudoers.d/x || touch /etc/authkeysd/x",
    "touch /usr/x || touch /usr/bin/x || touch /opt/x || touch /boot/x || touch /srv/x || touch \
     /var/lib/x",
    "touch /run/systemd/system/x || touch /run/x || touch /etc/systemd/system/x || touch \
     /dev/shm/x",
    "echo /bin/sh >/proc/sys/kernel/core_pattern",
    "echo 1 >/sys/fs/cgroup/cgroup.procs",
    "echo 1 >/sys/fs/cgroup/cgroup.freeze || echo 1 >/sys/fs/cgroup/system.slice/cgroup.kill || \
     mkdir /sys/fs/cgroup/x",
    "echo /tmp/x >/sys/fs/cgroup/release_agent || echo /tmp/x >/sys/kernel/uevent_helper",
    "echo 1 >/proc/sysrq-trigger || echo 2 >/proc/sys/kernel/randomize_va_space || echo /x \
     >/proc/sys/kernel/modprobe",
    "echo x >>/etc/passwd || echo x >>/etc/group || mv /etc/passwd /etc/passwd.x || rm /etc/passwd",
    "mkdir -p /var/spool/at && touch /var/spool/at/a1 || touch /var/spool/cron/atjobs/a1 || touch \
     /etc/crontab",
    "touch /var/run/x || ln -s /tmp /var/run/x || touch /run/sshd/x || touch /run/systemd/x",
    "touch /etc/polkit-1/rules.d/x || touch /etc/profile.d/x || touch /etc/ld.so.preload || touch \
     /etc/systemd/network/x",
    "ls /tmp/.X11-unix /tmp/tmux-1000 || test -e /tmp/of-another-program",
    // The kernel: mounts, namespaces, devices, modules, tracing, raw packets.
    "mount -t tmpfs tmpfs /tmp || mount -o remount,rw /",
    "umount /run || umount /root",
    "unshare --user true || unshare --mount true",
    "nsenter --target 1 --mount true",
    "mknod /tmp/disk b 8 0",
    "ls /dev | grep -E '^(sd|vd|nvme|loop|mem|kmsg|uinput|fuse)'",
    "perl -e 'exit(syscall(313, 0, 0, 0) == 0 || $!{ENOEXEC} || $!{EBADF} ? 0 : 1)'",
    "perl -e 'exit(syscall(101, 16, 1, 0, 0) == 0 ? 0 : 1)'",
    // io_uring, userfaultfd, performance counters, BPF, keys of others, a process's memory, file
    // handles.
    "perl -e 'my $p = chr(0) x 256; exit(syscall(425, 4, $p) >= 0 ? 0 : 1)'",
    "perl -e 'exit(syscall(323, 0) >= 0 ? 0 : 1)'",
    "perl -e 'my $p = chr(0) x 128; exit(syscall(298, $p, 0, -1, -1, 0) >= 0 ? 0 : 1)'",
    "perl -e 'my $p = chr(0) x 128; exit(syscall(321, 0, $p, 72) >= 0 ? 0 : 1)'",
    "perl -e 'exit(syscall(438, syscall(434, 1, 0), 0, 0) >= 0 ? 0 : 1)'",
    "head -c 1 /proc/1/mem || head -c 1 /proc/1/environ",
    "perl -e 'use Socket; exit(socket(my $s, AF_INET, SOCK_RAW, 1) || socket($s, 16, SOCK_RAW, 0) \
     ? 0 : 1)'",
];

/// Sockets that others listen on, of which root gets a root shell, and one of nobody's.
const SOCKETS: [&str; 8] = [
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/snapd.socket",
    "/run/libvirt/libvirt-sock",
    "/var/lib/incus/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/run/of-some-vendor/control",
];

#[test]
fn f41_who_takes_the_service_over_gets_no_program_run_outside_of_its_sandbox() {
    booted(SUITE, |machine| {
        installed(machine);
        let key = Key::new("published");
        publish(machine, &[&key]);
        configure(machine, &account("alice", ""));
        machine.write(
            "/etc/systemd/system/owned.service",
            "[Service]\nType=oneshot\nExecStart=touch /srv/owned\n",
        );
        let listen: String = SOCKETS
            .iter()
            .map(|path| format!("ListenStream={path}\n"))
            .collect();
        machine.write(
            "/etc/systemd/system/vendor.socket",
            format!("[Socket]\nAccept=yes\n{listen}"),
        );
        machine.write(
            "/etc/systemd/system/vendor@.service",
            "[Service]\nExecStart=touch /srv/owned\n",
        );
        machine.run(
            "systemctl daemon-reload; mkdir -p /root/.ssh /etc/sudoers.d /etc/ssl/private \
             /var/backups && touch /etc/sudoers /etc/ssl/private/key.pem /var/backups/shadow.bak \
             /etc/shadow-",
        );
        // The tools for the attacks are there, and outside of the sandbox they succeed.
        for attack in [ATTACKS[1], ATTACKS[5], ATTACKS[6], ATTACKS[7], ATTACKS[11]] {
            machine.run(attack);
        }
        machine.run(
            "systemctl start vendor.socket && touch /tmp/of-another-program && rm -f /srv/owned",
        );

        // A shell in place of the program. It writes down which attacks succeeded where the service
        // may write.
        let connect = |path: &&str| {
            format!(
                "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0); exit(connect(S, \
                 sockaddr_un(\"{path}\")) ? 0 : 1)'"
            )
        };
        let attacks: Vec<String> = ATTACKS
            .iter()
            .map(ToString::to_string)
            .chain(SOCKETS.iter().map(connect))
            .collect();
        for (number, attack) in attacks.iter().enumerate() {
            machine.write(&format!("/srv/attacks/{number}"), attack);
        }
        machine.write(
            "/srv/taken-over",
            "cd /srv/attacks && for attack in *; do\n\
             if timeout 5 sh $attack >/var/lib/authkeysd/$attack.log 2>&1; then echo $attack; fi\n\
             done >/var/lib/authkeysd/succeeded\n\
             find / -path /proc -prune -o -type s -print >/var/lib/authkeysd/sockets 2>/dev/null\n\
             perl -MPOSIX -e 'setuid(scalar getpwnam(q(alice))); open(F, q(>), q(/home/alice/as-alice))'\n\
             touch /var/lib/authkeysd/finished\nexec sleep 1000\n",
        );
        machine.write(
            "/etc/systemd/system/authkeysd.service.d/taken-over.conf",
            "[Service]\nType=exec\nExecStart=\nExecStart=/bin/sh /srv/taken-over\n",
        );
        machine.run("rm -f /srv/owned; systemctl daemon-reload && systemctl restart authkeysd");
        machine.eventually("test -e /var/lib/authkeysd/finished");
        let succeeded = machine.run("cat /var/lib/authkeysd/succeeded");
        let succeeded: Vec<&String> = succeeded
            .lines()
            .map(|number| &attacks[number.parse::<usize>().unwrap()])
            .collect();
        assert!(succeeded.is_empty(), "{succeeded:#?}");
        machine.run("test ! -e /srv/owned -a ! -e /root/.ssh/authorized_keys");
        let sockets = machine.run("cat /var/lib/authkeysd/sockets");
        let harmless = |path: &str| {
            ["/run/systemd/notify", "/run/authkeysd-fetch/socket"].contains(&path)
                || path.starts_with("/run/systemd/journal/")
        };
        assert!(sockets.lines().all(harmless), "{sockets}");
        // What is left, and docs/threats.md says so: it acts as any account in the homes that it
        // can see.
        machine.run("test -e /home/alice/as-alice");
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
            "[Service]\nWatchdogSec=1s\nRestartSec=100ms\n",
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
        std::thread::sleep(Duration::from_secs(3));
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
        assert!(
            machine
                .property("authkeysd", "StatusText")
                .starts_with("stale")
        );
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
        std::thread::sleep(Duration::from_secs(3));
        let count = || machine.run("journalctl -b -u authkeysd _COMM=authkeysd -o cat | wc -l");
        let before = count();
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(count(), before, "an unchanged state is not told again");
    });
}

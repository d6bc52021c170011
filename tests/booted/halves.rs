//! The two halves under systemd: what neither can do even if it is taken over, and what the end of
//! one costs the other.

use std::time::{Duration, Instant};

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Machine, booted};

const SUITE: &str = "bookworm";

/// What somebody tries who has taken the fetcher over: shell commands that succeed when the attack
/// does.
const ON_THE_FETCHER: &[&str] = &[
    "cat /etc/authkeysd/config.toml",
    "ls /var/lib/authkeysd/",
    "ls /var/lib/private/",
    "ls /home/alice",
    "ls /root",
    "cat /etc/ssh/sshd_config",
    "cat /etc/shadow",
    "touch /etc/x || touch /usr/x || touch /var/lib/x || touch /run/x",
    "test -e /run/dbus/system_bus_socket -o -e /run/systemd/private -o -e \
     /run/authkeysd/status.json",
    "perl -e '$< = $> = 0; exit($> == 0 ? 0 : 1)'",
    "perl -MPOSIX -e 'setuid(0) and exit(0); setuid(1000) and exit(0); setgid(0) and exit(0); \
     exit(1)'",
    "perl -MSocket -e 'exit(socket(S, AF_INET, SOCK_RAW, 1) ? 0 : 1)'",
    "kill -0 $(cat /opt/installer)",
    "unshare -U true",
    "mount -t tmpfs tmpfs /tmp",
];

/// The same on the installer: it reaches nobody over a network, its own machine's included.
const ON_THE_INSTALLER: &[&str] = &[
    "perl -MSocket -e 'exit(socket(S, AF_INET, SOCK_STREAM, 0) ? 0 : 1)'",
    "perl -MSocket -e 'exit(socket(S, AF_INET6, SOCK_DGRAM, 0) ? 0 : 1)'",
    "perl -e 'exit(socket(S, 16, 3, 0) ? 0 : 1)'",
    "bash -c 'exec 3<>/dev/tcp/127.0.0.1/22'",
];

/// The programs, accounts, a published key, and an S3 endpoint inside of the machine.
fn served(machine: &Machine, accounts: &[&str], key: &Key) -> Moto {
    machine.install_authkeysd();
    for account in accounts {
        machine.add_user(account);
    }
    let moto = Moto::start();
    moto.make_bucket("keys");
    moto.put_object("keys", "workers", format!("{}\n", key.line).as_bytes());
    let environment = format!(
        "AWS_ENDPOINT_URL_S3={}\nAWS_REGION=eu-west-1\nAWS_ACCESS_KEY_ID=id\nAWS_SECRET_ACCESS_KEY=secret\n\
         AWS_EC2_METADATA_DISABLED=true\n",
        moto.endpoint()
    );
    machine.write("/etc/default/authkeysd", environment);
    let accounts: String = accounts
        .iter()
        .map(|user| format!("[[account]]\nuser = \"{user}\"\n"))
        .collect();
    machine.write(
        "/etc/authkeysd/config.toml",
        format!("source = \"s3://keys/workers\"\nschedule = \"1s\"\n{accounts}"),
    );
    moto
}

/// Waits until the login is as it must be.
#[track_caller]
fn login_becomes(machine: &Machine, key: &Key, wanted: bool) {
    let begun = Instant::now();
    while machine.login("alice", key) != wanted {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "the login never becomes {wanted}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs attacks with a shell in the place of the unit's program; the ones that succeeded.
fn attacked<'a>(machine: &Machine, unit: &str, attacks: &[&'a str]) -> Vec<&'a str> {
    let mut script = String::new();
    for (number, attack) in attacks.iter().enumerate() {
        machine.write(&format!("/opt/attacks/{number}"), attack);
        script += &format!(
            "timeout 5 sh /opt/attacks/{number} >/dev/null 2>&1 && echo succeeded:{number}\n"
        );
    }
    machine.write(
        "/opt/taken-over",
        script + "echo tried:all\nexec sleep 1000\n",
    );
    let drop_in = "[Service]\nType=exec\nExecStart=\nExecStart=/bin/bash /opt/taken-over\n";
    machine.write(
        &format!("/etc/systemd/system/{unit}.service.d/taken-over.conf"),
        drop_in,
    );
    machine.run(&format!(
        "systemctl daemon-reload && systemctl restart {unit}"
    ));
    machine.eventually(&format!(
        "journalctl -u {unit} -o cat | grep -q '^tried:all$'"
    ));
    let journal = machine.run(&format!("journalctl -u {unit} -o cat"));
    let succeeded = journal
        .lines()
        .filter_map(|line| line.strip_prefix("succeeded:")?.parse::<usize>().ok());
    succeeded.map(|number| attacks[number]).collect()
}

#[test]
fn neither_half_can_do_the_others_work() {
    booted(SUITE, |machine| {
        if !Moto::prepare() {
            return;
        }
        let key = Key::new("published");
        let _moto = served(machine, &["alice"], &key);
        machine.run("systemctl start authkeysd");
        login_becomes(machine, &key, true);

        // Who they are.
        let fetcher = machine.main_pid("authkeysd-fetch");
        let status = machine.run(&format!("cat /proc/{fetcher}/status"));
        let line = |name: &str| {
            status
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap()
                .to_owned()
        };
        let uid: u32 = line("Uid:")
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        assert!((61_184..=65_519).contains(&uid), "a dynamic user: {uid}");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert!(line(set).ends_with("\t0000000000000000"), "{}", line(set));
        }
        let installer = machine.main_pid("authkeysd");
        let interfaces = machine.run(&format!("nsenter -t {installer} -n ip -brief link"));
        assert!(
            interfaces.lines().all(|line| line.starts_with("lo ")),
            "{interfaces}"
        );
        let mode = machine.run("stat -c '%U %a' /run/authkeysd-fetch/socket");
        assert_eq!(mode, "root 600");

        machine.write("/opt/installer", installer.to_string());
        // The attacks' tools are there: outside of the sandbox they succeed.
        for attack in [
            ON_THE_FETCHER[0],
            ON_THE_FETCHER[3],
            ON_THE_FETCHER[10],
            ON_THE_INSTALLER[0],
            ON_THE_INSTALLER[3],
        ] {
            machine.run(&format!(
                "sh -c \"{}\"",
                attack
                    .replace('\\', "\\\\")
                    .replace('$', "\\$")
                    .replace('"', "\\\"")
            ));
        }
        assert_eq!(
            attacked(machine, "authkeysd-fetch", ON_THE_FETCHER),
            [""; 0]
        );
        assert_eq!(attacked(machine, "authkeysd", ON_THE_INSTALLER), [""; 0]);
    });
}

#[test]
fn a_fetcher_that_is_killed_again_and_again_costs_no_key_and_no_login() {
    booted(SUITE, |machine| {
        if !Moto::prepare() {
            return;
        }
        let [first, second] = ["first", "second"].map(Key::new);
        let moto = served(machine, &["alice"], &first);
        machine.run("systemctl start authkeysd");
        login_becomes(machine, &first, true);
        let installer = machine.main_pid("authkeysd");
        for _ in 0..20 {
            machine.tries("systemctl kill --signal=KILL authkeysd-fetch");
            assert!(machine.login("alice", &first), "a key was lost");
            std::thread::sleep(Duration::from_secs(2));
        }
        moto.put_object("keys", "workers", format!("{}\n", second.line).as_bytes());
        login_becomes(machine, &second, true);
        login_becomes(machine, &first, false);
        machine.eventually("authkeysd status");
        assert_eq!(
            machine.main_pid("authkeysd"),
            installer,
            "the installer was never restarted"
        );
        let restarts = machine.property("authkeysd-fetch", "NRestarts");
        assert!(
            restarts.parse::<u32>().unwrap() >= 10,
            "it was killed: {restarts}"
        );
        // A restart is for both halves, and leaves the environment's changes in force.
        let fetcher = machine.main_pid("authkeysd-fetch");
        machine.run("systemctl restart authkeysd");
        machine.eventually(&format!(
            "test $(systemctl show -P MainPID authkeysd-fetch) -gt 0 -a $(systemctl show -P \
             MainPID authkeysd-fetch) != {fetcher}"
        ));
        machine.run("systemctl stop authkeysd");
        assert_eq!(
            machine.property("authkeysd-fetch", "ActiveState"),
            "inactive"
        );
        assert!(machine.login("alice", &second), "the keys stay");
    });
}

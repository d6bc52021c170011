//! The Debian package on each booted Debian, judged by logins: a node's life from the installation
//! through every fault, with S3 and the metadata service of its own network (row 26 of
//! docs/failures.md).

mod image;
mod units;
mod upgrade;

use std::time::{Duration, Instant};

use authkeys_testing::imds::Imds;
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Machine, booted};

use crate::built::{Kind, built, document, put};
use crate::suites::{DEBIAN_11, DEBIAN_12, DEBIAN_13, Suite};

const METADATA: &str = "169.254.169.254";
/// The accounts whose homes are spoilt.
const SPOILT: [&str; 3] = ["full", "readonly", "immutable"];

/// S3 and the metadata service in the machine's network; credentials and region come from the
/// latter.
struct Aws {
    moto: Moto,
    imds: Imds,
}

impl Aws {
    fn start(machine: &Machine) -> Self {
        machine.run(&format!("ip address add {METADATA}/32 dev lo"));
        let aws = Self {
            moto: Moto::start(),
            imds: Imds::start_at(&format!("{METADATA}:80"), "i-0e2e0000000000002"),
        };
        aws.moto.make_bucket("keys");
        machine.write(
            "/etc/default/authkeysd",
            format!("AWS_ENDPOINT_URL_S3={}\n", aws.moto.endpoint()),
        );
        aws
    }

    fn publish(&self, serial: u32, keys: &[&Key], revoked: &[&Key]) {
        self.moto.put_object(
            "keys",
            "prod/workers.json",
            document(serial, keys, revoked).as_bytes(),
        );
    }
}

/// Every second, these accounts.
fn configure(machine: &Machine, accounts: &[&str]) {
    let accounts: String = accounts
        .iter()
        .map(|user| format!("[[account]]\nuser = \"{user}\"\n"))
        .collect();
    let text = format!("source = \"s3://keys/prod/workers.json\"\nschedule = \"1s\"\n{accounts}");
    machine.write("/etc/authkeysd/config.toml", text);
}

/// Waits until the login with a key is what it must be.
#[track_caller]
pub(crate) fn login_becomes(machine: &Machine, user: &str, key: &Key, wanted: bool) {
    let begun = Instant::now();
    while machine.login(user, key) != wanted {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{user} is never {}",
            if wanted { "let in" } else { "refused" }
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A home of its own on a small disk, which can be filled, made read-only, or hold a file that
/// nobody may change.
fn small_home(machine: &Machine, user: &str) {
    machine.run(&format!(
        "mkdir /home/{user} && mount -t tmpfs -o size=256k,mode=0755 tmpfs /home/{user} && useradd \
         --no-create-home --shell /bin/sh {user} && usermod --password '*' {user} && chown {user}: \
         /home/{user}"
    ));
}

#[test]
fn f26_debian_11_is_served_from_the_installation_through_every_fault_to_a_boot_without_network() {
    serves_a_node(&DEBIAN_11);
}

#[test]
fn f26_debian_12_is_served_from_the_installation_through_every_fault_to_a_boot_without_network() {
    serves_a_node(&DEBIAN_12);
}

#[test]
fn f26_debian_13_is_served_from_the_installation_through_every_fault_to_a_boot_without_network() {
    serves_a_node(&DEBIAN_13);
}

fn serves_a_node(suite: &Suite) {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    if !Moto::prepare() {
        return;
    }
    booted(suite.name, |machine| {
        machine.add_user("alice");
        machine.add_user("bob");
        put(machine, &package, "/root/authkeysd.deb");
        machine.run("dpkg -i /root/authkeysd.deb");
        // Nothing is started before it is configured, and that is no failure; the service is
        // enabled.
        assert_eq!(machine.property("authkeysd", "ActiveState"), "inactive");
        assert_eq!(machine.run("systemctl is-enabled authkeysd"), "enabled");
        assert_eq!(machine.run("systemctl is-system-running --wait"), "running");

        let aws = Aws::start(machine);
        let [first, second, third, copied] = [(); 4].map(|()| Key::new("worker"));
        aws.publish(1, &[&first], &[]);
        configure(machine, &["alice"]);
        machine.run("authkeysd check --online >/dev/null; systemctl start authkeysd");
        login_becomes(machine, "alice", &first, true);
        assert!(
            aws.imds
                .requests()
                .iter()
                .any(|path| path.contains("security-credentials/agent")),
            "by its role"
        );

        // Rotated, and revoked also where somebody had put a copy by hand.
        let file = "/home/alice/.ssh/authorized_keys";
        machine.run(&format!(
            "printf '%s\\n' '{}' '{}' >>{file}",
            copied.line, first.line
        ));
        assert!(machine.login("alice", &copied));
        aws.publish(2, &[&second], &[&first, &copied]);
        login_becomes(machine, "alice", &second, true);
        for key in [&first, &copied] {
            login_becomes(machine, "alice", key, false);
        }

        // A reload brings another account.
        configure(machine, &["alice", "bob"]);
        machine.run("systemctl reload authkeysd");
        login_becomes(machine, "bob", &second, true);

        // What only its new owner may read is repaired within what the sandbox permits.
        for owner in ["root", "bob"] {
            machine.run(&format!("chown {owner} {file}"));
            login_becomes(machine, "alice", &second, true);
            assert_eq!(machine.run(&format!("stat -c '%U %a' {file}")), "alice 600");
        }

        the_service_comes_back(machine);
        every_fault_stays_with_its_account(machine, &aws, &second, &third);

        // Up to date before the first login after a boot; then a boot without network and without
        // the source.
        aws.publish(4, &[&second, &third], &[]);
        machine.reboot();
        login_becomes(machine, "alice", &second, true);
        drop(aws);
        machine.run(&format!(
            "ip address del {METADATA}/32 dev lo; ip link set lo down; ip link set lo up"
        ));
        machine.write(file, format!("{}\n", copied.line));
        machine.reboot();
        login_becomes(machine, "alice", &third, true);
        machine.eventually("systemctl show -P StatusText authkeysd | grep -q '^stale'");
    });
}

/// Both halves killed, and the one that writes keys hung, with the package's own unit but for
/// shorter times.
fn the_service_comes_back(machine: &Machine) {
    let drop_in = "/etc/systemd/system/authkeysd.service.d/fast.conf";
    machine.write(drop_in, "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n");
    machine.run("systemctl daemon-reload && systemctl restart authkeysd");
    for (unit, signal) in [
        ("authkeysd-fetch", "KILL"),
        ("authkeysd", "KILL"),
        ("authkeysd", "STOP"),
    ] {
        machine.eventually(&format!("test $(systemctl show -P MainPID {unit}) != 0"));
        let pid = machine.main_pid(unit);
        machine.run(&format!("kill -{signal} {pid}"));
        machine.eventually(&format!(
            "p=$(systemctl show -P MainPID {unit}); test \"$p\" != 0 -a \"$p\" != {pid} && \
             systemctl is-active {unit}"
        ));
    }
    machine.run(&format!(
        "rm {drop_in} && systemctl daemon-reload && systemctl restart authkeysd"
    ));
}

/// A full disk, a read-only home and an immutable file: the old file stays, the others go on, and
/// it heals.
fn every_fault_stays_with_its_account(machine: &Machine, aws: &Aws, old: &Key, new: &Key) {
    for user in SPOILT {
        small_home(machine, user);
    }
    configure(machine, &["alice", "full", "readonly", "immutable", "bob"]);
    machine.run("systemctl reload authkeysd");
    for user in SPOILT {
        login_becomes(machine, user, old, true);
    }
    machine.run("head -c 1M /dev/zero >/home/full/fill || true");
    machine.run("mount -o remount,ro /home/readonly");
    machine.run("chattr +i /home/immutable/.ssh/authorized_keys");
    aws.publish(3, &[new], &[]);
    for user in ["alice", "bob"] {
        login_becomes(machine, user, new, true);
        login_becomes(machine, user, old, false);
    }
    for user in SPOILT {
        assert!(machine.login(user, old), "{user} keeps his file");
        assert!(!machine.login(user, new), "{user} has the old file");
    }
    machine.eventually("systemctl show -P StatusText authkeysd | grep -q '^degraded'");
    let (told, _) = machine.tries("authkeysd status --json");
    for word in ["the disk is full", "mounted read-only", "chattr -i"] {
        assert!(told.contains(word), "{word:?}: {told}");
    }
    machine.run("rm /home/full/fill && mount -o remount,rw /home/readonly");
    machine.run("chattr -i /home/immutable/.ssh/authorized_keys");
    for user in SPOILT {
        login_becomes(machine, user, new, true);
        login_becomes(machine, user, old, false);
    }
    machine.eventually("systemctl show -P StatusText authkeysd | grep -q '^ok'");
    configure(machine, &["alice", "bob"]);
}

//! The Debian package in a booted system, judged by logins: a node's life from the installation
//! through every fault, with S3 and the metadata service of its own network (row 26 of
//! docs/failures.md).

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use authkeys_testing::imds::Imds;
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Machine, booted};
use serde_json::Value;

use crate::built::{Kind, built, document, put};

const SUITE: &str = "bookworm";
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
fn login_becomes(machine: &Machine, user: &str, key: &Key, wanted: bool) {
    let begun = Instant::now();
    while machine.login(user, key) != wanted {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
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
        "mkdir /home/{user} && mount -t tmpfs -o size=256k,mode=0755 tmpfs /home/{user} && useradd --no-create-home \
         --shell /bin/sh {user} && usermod --password '*' {user} && chown {user}: /home/{user}"
    ));
}

#[test]
fn f26_the_package_serves_a_node_from_the_installation_through_every_fault_to_a_boot_without_network()
 {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    if !Moto::prepare() {
        return;
    }
    booted(SUITE, |machine| {
        machine.add_user("alice");
        machine.add_user("bob");
        put(machine, &package, "/root/authkeysd.deb");
        machine.run("dpkg -i /root/authkeysd.deb");
        // Nothing is started before it is configured, and that is no failure; the service is
        // enabled.
        assert_eq!(machine.property("authkeysd", "ActiveState"), "inactive");
        assert_eq!(
            machine.property("authkeysd", "ProtectHome"),
            "tmpfs",
            "the generator leaves systemd 252 alone"
        );
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
        assert!(
            machine
                .property("authkeysd", "StatusText")
                .starts_with("stale"),
            "{}",
            machine.property("authkeysd", "StatusText")
        );
    });
}

/// Killed and hung, with the package's own unit but for shorter times.
fn the_service_comes_back(machine: &Machine) {
    let drop_in = "/etc/systemd/system/authkeysd.service.d/fast.conf";
    machine.write(drop_in, "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n");
    machine.run("systemctl daemon-reload && systemctl restart authkeysd");
    for signal in ["KILL", "STOP"] {
        let pid = machine.main_pid("authkeysd");
        machine.run(&format!("kill -{signal} {pid}"));
        machine.eventually(&format!(
            "p=$(systemctl show -P MainPID authkeysd); test \"$p\" != 0 -a \"$p\" != {pid} && systemctl is-active authkeysd"
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

/// Boots again and logs in as soon as sshd answers, which must be a yes (but for PAM's word that
/// the system is booting): how long that took from the start of PID 1 on.
fn boot_to_first_login(machine: &Machine, user: &str, key: &Key) -> Duration {
    // Or the old boot's sshd would be the one that answers.
    machine.run("systemctl stop ssh");
    let begun = Instant::now();
    let at = std::thread::scope(|scope| {
        // A namespace is a thread's own and a child's: the boot finds the machine's network by its
        // name.
        let boot = scope.spawn(|| machine.reboot());
        let at = loop {
            let answer = machine.ssh(user, key);
            if answer.status.success() {
                break SystemTime::now();
            }
            let said = String::from_utf8_lossy(&answer.stderr);
            let early = [
                "Connection refused",
                "Connection closed",
                "Connection reset",
                "booting up",
            ];
            assert!(
                early.iter().any(|word| said.contains(word)),
                "the first answer was a refusal: {said}"
            );
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {said}");
        };
        boot.join().unwrap();
        at
    });
    // When PID 1 was started: hundredths of a second after the start of the kernel.
    let times = machine.run("date +%s.%N; cut -d' ' -f1 /proc/uptime; cut -d' ' -f22 /proc/1/stat");
    let times: Vec<f64> = times
        .lines()
        .map(|number| number.parse().unwrap())
        .collect();
    let started = times[0] - (times[1] - times[2] / 100.0);
    Duration::from_secs_f64(
        at.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
            - started,
    )
}

/// What a machine made of an image does at its first boot where cloud-init would: it adds an
/// account.
const FIRST_BOOT: &str = "[Unit]
ConditionPathExists=!/home/late
Before=ssh.service
[Service]
Type=oneshot
ExecStart=useradd --create-home --shell /bin/sh late
ExecStart=usermod --password * late
[Install]
WantedBy=multi-user.target
";

#[test]
fn an_image_in_which_sync_ran_lets_the_baked_key_in_at_the_first_answer_of_its_first_boot_without_network()
 {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    if !Moto::prepare() {
        return;
    }
    booted(SUITE, |machine| {
        // The image is built: as examples/image/node.pkr.hcl does it.
        machine.add_user("alice");
        put(machine, &package, "/root/authkeysd.deb");
        machine.run("dpkg -i /root/authkeysd.deb");
        let aws = Aws::start(machine);
        let [baked, next, old] = [(); 3].map(|()| Key::new("worker"));
        aws.publish(5, &[&baked], &[]);
        configure(machine, &["alice"]);
        let with =
            |command: &str| machine.tries(&format!("set -a; . /etc/default/authkeysd; {command}"));
        let (told, good) = with("authkeysd check --online && authkeysd sync");
        assert!(good, "{told}");
        // An account that the image lacks fails the build; the others are baked all the same.
        configure(machine, &["alice", "late"]);
        let (told, good) = with("authkeysd sync");
        assert!(!good && told.contains("late"), "{told}");
        machine.write("/etc/systemd/system/first-boot.service", FIRST_BOOT);
        let builder =
            machine.run("systemctl enable --quiet first-boot; cat /etc/machine-id; hostname");
        for own in builder.lines().chain(["i-0e2e0000000000002"]) {
            let kept =
                format!("grep -rFl -e '{own}' /var/lib/authkeysd /etc/authkeysd /home/alice/.ssh");
            assert_eq!(
                machine.tries(&kept).0,
                "",
                "{own} of the machine that built it is in the image"
            );
        }
        machine.run("rm -rf /var/log/journal/* && : >/etc/machine-id");

        // Another machine, from which AWS and its metadata cannot be reached. That it is an
        // instance its firmware would say.
        machine.run(&format!(
            "echo AWS_EC2_METADATA_SERVICE_ENDPOINT=http://{METADATA} >>/etc/default/authkeysd"
        ));
        let Aws { moto, imds } = aws;
        let ports = [
            moto.endpoint().rsplit(':').next().unwrap().to_owned(),
            "80".to_owned(),
        ];
        machine.run("ip rule add pref 10 lookup local && ip rule delete pref 0");
        for port in &ports {
            machine.run(&format!(
                "ip rule add pref 5 ipproto 6 dport {port} unreachable"
            ));
        }
        let took = boot_to_first_login(machine, "alice", &baked);
        std::io::stderr()
            .write_all(format!("boot to first login: {took:.1?}\n").as_bytes())
            .unwrap();
        assert!(took < Duration::from_secs(30), "{took:?}");
        let first_boot = machine.run("cat /etc/machine-id");
        assert!(
            first_boot.len() == 32 && !builder.contains(&first_boot),
            "{builder} {first_boot}"
        );
        machine.eventually("systemctl show -P StatusText authkeysd | grep -q '^stale'");
        let told = machine.tries("authkeysd status --json 2>/dev/null").0;
        let status: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(
            (&status["instance_id"], &status["sources"][0]["serial"]),
            (&Value::Null, &5.into()),
            "{told}"
        );
        // The account that first boot made has the baked keys too, as soon as the service looks
        // again.
        login_becomes(machine, "late", &baked, true);

        // The network comes, with this machine's own metadata: the newer document is in force, an
        // older one is refused.
        imds.change(|manner| manner.instance = "i-0c10e00000000003".to_owned());
        let publish = |serial, key| {
            moto.put_object(
                "keys",
                "prod/workers.json",
                document(serial, &[key], &[]).as_bytes(),
            )
        };
        machine.run("ip rule delete pref 5 && ip rule delete pref 5");
        publish(6, &next);
        for user in ["alice", "late"] {
            login_becomes(machine, user, &next, true);
            login_becomes(machine, user, &baked, false);
        }
        machine.eventually("authkeysd status --json | grep -q i-0c10e00000000003");
        publish(5, &old);
        machine.eventually("authkeysd status 2>&1 | grep -q 'highest accepted'");
        assert!(machine.login("alice", &next) && !machine.login("alice", &old));
    });
}

/// Debian 13: systemd 257, in which ProtectHome=tmpfs makes homes read-only, and an OpenSSH whose
/// sshd is of several programs.
#[test]
fn f26_the_units_sandbox_leaves_the_homes_writable_on_the_newest_debian() {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    booted("trixie", |machine| {
        machine.add_user("alice");
        machine.add_user("bob");
        put(machine, &package, "/root/authkeysd.deb");
        machine.run("dpkg -i /root/authkeysd.deb");
        assert_eq!(
            machine.run("systemd-analyze verify --man=no authkeysd.service 2>&1"),
            ""
        );
        assert_eq!(
            machine.property("authkeysd", "ProtectHome"),
            "no",
            "by the generator"
        );
        let [first, second] = [(); 2].map(|()| Key::new("worker"));
        machine.write("/srv/keys.json", document(1, &[&first], &[]));
        machine.write(
            "/etc/authkeysd/config.toml",
            "source = \"file:/srv/keys.json\"\nschedule = \"1s\"\n[[account]]\nuser = \"alice\"\n[[account]]\nuser = \"root\"\n\
             [[account]]\nuser = \"bob\"\nlayout = \"system\"\n",
        );
        machine.write(
            "/etc/ssh/sshd_config.d/10-authkeysd.conf",
            "Match User bob\nAuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n",
        );
        machine.run("systemctl reload ssh && systemctl start authkeysd");
        machine.eventually("authkeysd status");
        machine.write("/srv/keys.json", document(2, &[&second], &[]));
        for user in ["alice", "root", "bob"] {
            login_becomes(machine, user, &second, true);
            assert!(!machine.login(user, &first), "{user}");
        }
        let complaints =
            "journalctl --boot --unit=authkeysd --priority=warning --output=cat --no-pager";
        assert_eq!(machine.run(complaints).replace("-- No entries --", ""), "");
    });
}

/// The same package under another version.
fn repacked(package: &Path, version: &str, into: &Path) -> std::path::PathBuf {
    let (tree, file) = (into.join("tree"), into.join("older.deb"));
    crate::built::output(
        std::process::Command::new("dpkg-deb")
            .arg("-R")
            .arg(package)
            .arg(&tree),
    );
    let control = tree.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control).unwrap();
    let own = format!("Version: {}-1\n", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&own));
    std::fs::write(
        &control,
        text.replace(&own, &format!("Version: {version}\n")),
    )
    .unwrap();
    crate::built::output(
        std::process::Command::new("dpkg-deb")
            .args(["--root-owner-group", "-b"])
            .args([&tree, &file]),
    );
    file
}

#[test]
fn an_upgrade_leaves_no_gap_a_removal_the_keys_and_a_purge_nothing_of_ours() {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let older = repacked(&package, "0.0.9-1", dir.path());
    booted(SUITE, |machine| {
        machine.add_user("alice");
        machine.add_user("bob");
        put(machine, &older, "/root/older.deb");
        put(machine, &package, "/root/newer.deb");
        let [key, other] = [(); 2].map(|()| Key::new("worker"));
        let publish = |serial, keys: &[&Key]| {
            machine.write("/srv/keys.new", document(serial, keys, &[]));
            machine.run("mv /srv/keys.new /srv/keys.json");
        };
        publish(7, &[&key]);
        let accounts =
            "[[account]]\nuser = \"alice\"\n[[account]]\nuser = \"bob\"\nlayout = \"system\"\n";
        machine.write(
            "/etc/authkeysd/config.toml",
            format!("source = \"file:/srv/keys.json\"\nschedule = \"1s\"\n{accounts}"),
        );
        // A configuration that was there before: started by the installation.
        machine.run("dpkg -i /root/older.deb");
        login_becomes(machine, "alice", &key, true);
        let state =
            || machine.run("cat /home/alice/.ssh/authorized_keys /etc/ssh/authorized_keys.d/bob");
        let (keys, pid) = (state(), machine.main_pid("authkeysd"));

        // Logins while it is upgraded: each is let in.
        let logins = std::thread::scope(|scope| {
            let upgrade = scope.spawn(|| machine.run("dpkg -i /root/newer.deb"));
            let mut logins = 0;
            while !upgrade.is_finished() || logins == 0 {
                assert!(
                    machine.login("alice", &key),
                    "locked out in the middle of an upgrade"
                );
                logins += 1;
            }
            logins
        });
        assert!(logins > 0);
        assert_eq!(machine.property("authkeysd", "ActiveState"), "active");
        assert_ne!(machine.main_pid("authkeysd"), pid, "the new program runs");
        assert_eq!(machine.property("authkeysd", "NRestarts"), "0");
        // What it knew it still knows: an older document is refused.
        publish(6, &[&other]);
        machine.eventually("authkeysd status 2>&1 | grep -q 'highest accepted'");
        assert!(!machine.login("alice", &other));
        assert_eq!(state(), keys);
        publish(7, &[&key]);

        // What an administrator stopped or disabled is not started by an upgrade.
        machine.run("systemctl disable --quiet --now authkeysd && dpkg -i /root/older.deb && dpkg -i /root/newer.deb");
        assert_eq!(machine.property("authkeysd", "ActiveState"), "inactive");
        assert_eq!(
            machine.tries("systemctl is-enabled authkeysd").0,
            "disabled"
        );
        machine.run("systemctl enable --quiet --now authkeysd");

        machine.run("dpkg -r authkeysd");
        assert_eq!(machine.property("authkeysd", "ActiveState"), "inactive");
        assert_eq!(state(), keys);
        assert!(machine.login("alice", &key));
        machine.run("test -e /etc/authkeysd/config.toml -a -e /var/lib/authkeysd/state.json");
        // Installed again it serves as before, after a removal too.
        machine.run("dpkg -i /root/newer.deb");
        assert_eq!(machine.property("authkeysd", "ActiveState"), "active");
        assert_eq!(machine.run("systemctl is-enabled authkeysd"), "enabled");

        machine.run("dpkg -P authkeysd");
        assert_eq!(state(), keys, "the users' files are theirs");
        assert!(machine.login("alice", &key));
        let left = "find /etc /usr /var /run -xdev -name '*authkeysd*' -not -path '/var/log/*' -not -path '/run/systemd/*'";
        assert_eq!(machine.run(left), "");
        assert_eq!(
            machine
                .tries("dpkg --audit; systemctl list-unit-files --no-legend 'authkeysd*'")
                .0,
            ""
        );
    });
}

#[test]
fn the_rpm_enables_by_preset_restarts_at_an_upgrade_and_leaves_keys_and_configuration() {
    let Some([package, _]) = built(Kind::Rpm) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let older = crate::built::older_rpm(dir.path());
    booted(SUITE, |machine| {
        machine.add_user("alice");
        put(machine, &older, "/root/older.rpm");
        put(machine, &package, "/root/newer.rpm");
        // As on Fedora and what follows it: what no preset names is disabled.
        machine.write(
            "/usr/lib/systemd/system-preset/99-default-disable.preset",
            "disable *\n",
        );
        let rpm =
            |arguments: &str| machine.run(&format!("rpm --force-debian --nodeps {arguments} 2>&1"));
        let key = Key::new("worker");
        machine.write("/srv/keys.json", document(1, &[&key], &[]));
        rpm("--install /root/older.rpm");
        assert_eq!(machine.run("systemctl is-enabled authkeysd"), "enabled");
        assert_eq!(machine.property("authkeysd", "ActiveState"), "inactive");

        let config =
            "source = \"file:/srv/keys.json\"\nschedule = \"1s\"\n[[account]]\nuser = \"alice\"\n";
        machine.write("/etc/authkeysd/config.toml", config);
        machine.write("/etc/sysconfig/authkeysd", "AWS_REGION=eu-west-1\n");
        machine.reboot();
        login_becomes(machine, "alice", &key, true);
        let pid = machine.main_pid("authkeysd");
        rpm("--upgrade /root/newer.rpm");
        assert_eq!(machine.property("authkeysd", "ActiveState"), "active");
        assert_ne!(machine.main_pid("authkeysd"), pid, "the new program runs");
        assert_eq!(
            machine.run("cat /etc/sysconfig/authkeysd"),
            "AWS_REGION=eu-west-1"
        );
        assert!(machine.login("alice", &key));

        let file = machine.run("cat /home/alice/.ssh/authorized_keys");
        rpm("--erase authkeysd");
        assert_eq!(machine.property("authkeysd", "ActiveState"), "inactive");
        assert_eq!(machine.run("cat /home/alice/.ssh/authorized_keys"), file);
        machine.run("test -e /etc/authkeysd/config.toml -a -e /var/lib/authkeysd/state.json");
        assert_eq!(
            machine.run("find /etc/systemd/system -name 'authkeysd*'; rpm --query --all"),
            ""
        );
    });
}

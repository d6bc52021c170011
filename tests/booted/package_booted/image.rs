//! An image that is built with `authkeysd sync` in it, at its first boot on another machine.

use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Machine, booted};
use serde_json::Value;

use super::{Aws, METADATA, configure, login_becomes};
use crate::built::{Kind, built, document, put};
use crate::suites::{DEBIAN_11, DEBIAN_12, DEBIAN_13, Suite};

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
fn an_image_of_debian_11_with_baked_keys_lets_them_in_at_the_first_answer_of_its_first_boot_without_network()
 {
    lets_the_baked_key_in(&DEBIAN_11);
}

#[test]
fn an_image_of_debian_12_with_baked_keys_lets_them_in_at_the_first_answer_of_its_first_boot_without_network()
 {
    lets_the_baked_key_in(&DEBIAN_12);
}

#[test]
fn an_image_of_debian_13_with_baked_keys_lets_them_in_at_the_first_answer_of_its_first_boot_without_network()
 {
    lets_the_baked_key_in(&DEBIAN_13);
}

fn lets_the_baked_key_in(suite: &Suite) {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    if !Moto::prepare() {
        return;
    }
    booted(suite.name, |machine| {
        // The image is built: as examples/image/node.pkr.hcl does it. Base64 could contain a short
        // name by chance.
        machine.write("/etc/hostname", "image-builder\n");
        machine.reboot();
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
            .write_all(format!("boot to first login, {}: {took:.1?}\n", suite.name).as_bytes())
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

//! The rpm: by dnf on a booted system that looks like Amazon Linux 2023 (tests/lab/al2023.sh), and
//! by rpm alone. dnf resolves what the package requires with stand-ins, which are empty packages of
//! the names and versions that Amazon Linux has.

use authkeys_testing::{Key, Machine, booted};

use crate::built::{Kind, built, document, older_rpm, put};
use crate::package_booted::login_becomes;

/// Name, version, and what it provides beside its name.
const STAND_INS: [(&str, &str, &str); 5] = [
    ("bash", "5.2.15", "Provides: /bin/sh"),
    ("glibc", "2.34", ""),
    ("systemd", "252.23", ""),
    ("ca-certificates", "2023.2.68", ""),
    ("openssh-server", "8.7p1", ""),
];
const FILE: &str = "/home/ec2-user/.ssh/authorized_keys";
const VARIABLES: &str = "/etc/sysconfig/authkeysd";

/// Builds a stand-in into the machine's repository.
fn stand_in(machine: &Machine, name: &str, version: &str, provides: &str) {
    machine.write(
        "/srv/stand-in.spec",
        format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: Stand-in\nLicense: MIT\n{provides}\n\
             %description\nStand-in.\n%files\n"
        ),
    );
    machine.run(
        "rpmbuild --quiet -bb --define '_rpmdir /srv/repo' --define '_build_name_fmt \
         %%{NAME}-%%{VERSION}.rpm' /srv/stand-in.spec && createrepo_c --quiet /srv/repo",
    );
}

/// Runs dnf without questions; its output.
#[track_caller]
fn dnf(machine: &Machine, arguments: &str) -> String {
    machine.run(&format!("dnf --assumeyes --refresh {arguments} 2>&1"))
}

#[test]
fn dnf_installs_upgrades_removes_and_installs_again_on_what_looks_like_amazon_linux_2023() {
    let Some([package, operators]) = built(Kind::Rpm) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let older = older_rpm(dir.path(), "# Variables of an older version.\n");
    booted("al2023", |machine| {
        machine.write(
            "/etc/yum.repos.d/lab.repo",
            "[lab]\nname=lab\nbaseurl=file:///srv/repo\ngpgcheck=0\nmetadata_expire=0\n",
        );
        machine.run("mkdir -p /srv/repo");
        put(machine, &older, "/srv/repo/older.rpm");
        put(machine, &operators, "/srv/repo/operators.rpm");
        // A C library that is too old is named, and nothing is installed.
        for (name, version, provides) in STAND_INS {
            let version = if name == "glibc" { "2.17" } else { version };
            stand_in(machine, name, version, provides);
        }
        let (said, installed) = machine.tries("dnf --assumeyes install authkeysd 2>&1");
        assert!(!installed && said.contains("glibc >= 2.26"), "{said}");
        stand_in(machine, "glibc", "2.34", "");
        // dnf brings what authkeysd needs, also systemd before its scripts run.
        dnf(machine, "install authkeysd authkeysctl");
        machine.run("rpm --query ca-certificates openssh-server systemd && authkeysctl --version");
        // The preset enables it over the distribution's `disable *`; nothing is started.
        assert_eq!(machine.run("systemctl is-enabled authkeysd"), "enabled");
        assert_eq!(machine.property("authkeysd", "ActiveState"), "inactive");
        assert_eq!(machine.run("systemctl is-system-running --wait"), "running");
        assert_eq!(machine.run("rpm --verify authkeysd authkeysctl"), "");

        // The key pair of the instance is there from its first boot on, and stays.
        let [instance, key, next] = [(); 3].map(|()| Key::new("worker"));
        machine.run("install -d -o ec2-user -g ec2-user -m 0700 /home/ec2-user/.ssh");
        machine.write(FILE, format!("{}\n", instance.line));
        machine.run(&format!("chown ec2-user: {FILE} && chmod 0600 {FILE}"));
        let publish = |serial, key: &Key| {
            machine.write("/srv/keys.new", document(serial, &[key], &[]));
            machine.run("mv /srv/keys.new /srv/keys.json");
        };
        publish(1, &key);
        machine.write(
            "/etc/authkeysd/config.toml",
            "source = \"file:/srv/keys.json\"\nschedule = \"1s\"\n[[account]]\nuser = \"ec2-user\"\n",
        );
        machine.write(VARIABLES, "AWS_REGION=eu-west-1\n");
        machine.run("systemctl start authkeysd");
        login_becomes(machine, "ec2-user", &key, true);
        assert!(machine.login("ec2-user", &instance));
        let pid = machine.main_pid("authkeysd");
        machine.run(&format!(
            "tr '\\0' '\\n' </proc/{pid}/environ | grep -qx AWS_REGION=eu-west-1"
        ));

        // Logins while it is upgraded: each is let in.
        put(machine, &package, "/srv/repo/newer.rpm");
        machine.run("createrepo_c --quiet /srv/repo");
        std::thread::scope(|scope| {
            let upgrade = scope.spawn(|| dnf(machine, "upgrade"));
            let mut logins = 0;
            while !upgrade.is_finished() || logins == 0 {
                assert!(machine.login("ec2-user", &key), "locked out by an upgrade");
                logins += 1;
            }
            let said = upgrade.join().unwrap();
            assert!(!said.contains("a drop-in"), "{said}");
        });
        assert_eq!(machine.property("authkeysd", "ActiveState"), "active");
        assert_ne!(machine.main_pid("authkeysd"), pid, "the new program runs");
        assert_eq!(machine.property("authkeysd", "NRestarts"), "0");
        assert_eq!(
            machine.run(&format!("cat {VARIABLES}")),
            "AWS_REGION=eu-west-1"
        );
        assert_eq!(
            machine.run(&format!("cat {VARIABLES}.rpmnew")),
            include_str!("../../systemd/environment").trim_end()
        );
        publish(2, &next);
        machine.reboot();
        login_becomes(machine, "ec2-user", &next, true);
        assert!(!machine.login("ec2-user", &key));

        // What an administrator disabled stays so. A drop-in that was made for one process is
        // named.
        machine.run("systemctl disable --quiet --now authkeysd");
        machine.write(
            "/etc/systemd/system/authkeysd.service.d/override.conf",
            "[Service]\nEnvironment=\"HTTPS_PROXY=http://proxy:3128\"\nReadWritePaths=/run/metrics\n",
        );
        let said = dnf(machine, "reinstall authkeysd");
        for words in [
            "move them to /etc/sysconfig/authkeysd",
            "write BindPaths= instead",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        machine.run("rm -r /etc/systemd/system/authkeysd.service.d && systemctl daemon-reload");
        assert_eq!(machine.property("authkeysd", "ActiveState"), "inactive");
        assert_eq!(
            machine.tries("systemctl is-enabled authkeysd").0,
            "disabled"
        );
        machine.run("systemctl enable --quiet --now authkeysd");

        let keys = machine.run(&format!("cat {FILE}"));
        dnf(machine, "remove authkeysd authkeysctl");
        assert_eq!(machine.run(&format!("cat {FILE}")), keys);
        assert!(machine.login("ec2-user", &next) && machine.login("ec2-user", &instance));
        machine.run("test -e /etc/authkeysd/config.toml -a -e /var/lib/authkeysd/state.json");
        machine.run(
            "test ! -e /usr/libexec/authkeysd -a ! -e /usr/share/doc/authkeysd -a ! -e \
             /usr/share/licenses/authkeysd -a ! -e /usr/share/licenses/authkeysctl -a -e \
             /etc/sysconfig/authkeysd.rpmsave -a ! -e /etc/default",
        );
        assert_eq!(machine.property("authkeysd", "LoadState"), "not-found");
        assert_eq!(
            machine.run(
                "systemctl list-unit-files --no-legend 'authkeysd*'; find /etc/systemd -name \
                 'authkeysd*'; pgrep authkeysd || true"
            ),
            ""
        );

        // By the line of docs/install.md, and it serves as before.
        put(machine, &package, "/root/authkeysd-newer.rpm");
        dnf(machine, "install /root/authkeysd-*.rpm");
        assert_eq!(machine.run("systemctl is-enabled authkeysd"), "enabled");
        publish(3, &key);
        machine.run("systemctl start authkeysd");
        login_becomes(machine, "ec2-user", &key, true);
        machine.eventually("authkeysd status");
    });
}

#[test]
fn the_rpm_enables_by_preset_restarts_at_an_upgrade_and_leaves_keys_and_configuration() {
    let Some([package, _]) = built(Kind::Rpm) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let older = older_rpm(dir.path(), "# Variables.\n");
    booted("bookworm", |machine| {
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

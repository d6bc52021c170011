//! The rpm.

use authkeys_testing::{Key, booted};

use crate::built::{Kind, built, document, put};
use crate::package_booted::login_becomes;

#[test]
fn the_rpm_enables_by_preset_restarts_at_an_upgrade_and_leaves_keys_and_configuration() {
    let Some([package, _]) = built(Kind::Rpm) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let older = crate::built::older_rpm(dir.path());
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

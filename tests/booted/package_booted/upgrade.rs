//! What an upgrade, a removal and a purge leave.

use std::path::{Path, PathBuf};
use std::process::Command;

use authkeys_testing::{Key, booted};

use super::login_becomes;
use crate::built::{Kind, built, document, output, put};
use crate::suites::{DEBIAN_11, DEBIAN_12, DEBIAN_13, Suite};

/// The same package under another version.
fn repacked(package: &Path, version: &str, into: &Path) -> PathBuf {
    let (tree, file) = (into.join("tree"), into.join("older.deb"));
    output(Command::new("dpkg-deb").arg("-R").arg(package).arg(&tree));
    let control = tree.join("DEBIAN/control");
    let text = std::fs::read_to_string(&control).unwrap();
    let own = format!("Version: {}-1\n", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&own));
    std::fs::write(
        &control,
        text.replace(&own, &format!("Version: {version}\n")),
    )
    .unwrap();
    output(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-b"])
            .args([&tree, &file]),
    );
    file
}

#[test]
fn on_debian_11_an_upgrade_leaves_no_gap_a_removal_the_keys_and_a_purge_nothing_of_ours() {
    is_upgraded_removed_and_purged(&DEBIAN_11);
}

#[test]
fn on_debian_12_an_upgrade_leaves_no_gap_a_removal_the_keys_and_a_purge_nothing_of_ours() {
    is_upgraded_removed_and_purged(&DEBIAN_12);
}

#[test]
fn on_debian_13_an_upgrade_leaves_no_gap_a_removal_the_keys_and_a_purge_nothing_of_ours() {
    is_upgraded_removed_and_purged(&DEBIAN_13);
}

fn is_upgraded_removed_and_purged(suite: &Suite) {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let older = repacked(&package, "0.0.9-1", dir.path());
    booted(suite.name, |machine| {
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
        machine.run(
            "systemctl disable --quiet --now authkeysd && dpkg -i /root/older.deb && dpkg -i \
             /root/newer.deb",
        );
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
        let left = "find /etc /usr /var /run -xdev -name '*authkeysd*' -not -path '/var/log/*' \
                    -not -path '/run/systemd/*'";
        assert_eq!(machine.run(left), "");
        assert_eq!(
            machine
                .tries("dpkg --audit; systemctl list-unit-files --no-legend 'authkeysd*'")
                .0,
            ""
        );
    });
}

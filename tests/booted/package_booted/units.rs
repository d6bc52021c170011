//! The packaged units as each systemd reads them: what it does not know, how tight it finds them,
//! and that the homes stay writable.

use authkeys_testing::{Key, Machine, booted};

use super::login_becomes;
use crate::built::{Kind, built, document, put};
use crate::suites::{DEBIAN_11, DEBIAN_12, DEBIAN_13, Suite};

const UNITS: [&str; 3] = [
    "authkeysd.service",
    "authkeysd-fetch.service",
    "authkeysd-fetch.socket",
];
/// The goal for each of both services, in tenths.
const GOAL: u32 = 15;

#[test]
fn f26_debian_11_knows_or_ignores_each_directive_and_the_sandbox_leaves_the_homes_writable() {
    understands_the_units(&DEBIAN_11);
}

#[test]
fn f26_debian_12_knows_each_directive_and_the_sandbox_leaves_the_homes_writable() {
    understands_the_units(&DEBIAN_12);
}

#[test]
fn f26_debian_13_knows_each_directive_and_the_sandbox_leaves_the_homes_writable() {
    understands_the_units(&DEBIAN_13);
}

/// The exposure of a unit in tenths, as this systemd computes it.
fn exposure(machine: &Machine, unit: &str) -> u32 {
    let report = machine.run(&format!("systemd-analyze security --no-pager {unit}"));
    let last = report.lines().last().unwrap_or_default();
    let tenths = last
        .split_once(&format!("exposure level for {unit}: "))
        .and_then(|(_, rest)| rest.split(' ').next())
        .map(|score| score.replace('.', ""));
    tenths
        .and_then(|tenths| tenths.parse().ok())
        .unwrap_or_else(|| panic!("no exposure of {unit} in: {last}"))
}

/// The directives of our units that a text of systemd's calls unknown. Each line of it that names
/// one of our units must be such a warning.
fn unknown_in(text: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    for line in text
        .lines()
        .filter(|line| UNITS.iter().any(|unit| line.contains(&format!("{unit}:"))))
    {
        let name = line
            .split_once("Unknown key name '")
            .filter(|_| line.contains("ignoring"))
            .and_then(|(_, rest)| rest.split('\'').next())
            .unwrap_or_else(|| panic!("more than a warning of a directive: {line}"));
        unknown.push(name.to_owned());
    }
    unknown.sort();
    unknown.dedup();
    unknown
}

fn understands_the_units(suite: &Suite) {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    booted(suite.name, |machine| {
        let version = machine.run("systemctl --version | head -n 1");
        assert!(
            version.starts_with(&format!("systemd {} ", suite.systemd)),
            "{version}"
        );
        machine.add_user("alice");
        machine.add_user("bob");
        put(machine, &package, "/root/authkeysd.deb");
        machine.run("dpkg -i /root/authkeysd.deb");

        // By its checker and by its journal: nothing but warnings of directives.
        let verified = machine.run(&format!(
            "systemd-analyze verify --man=no {} 2>&1",
            UNITS.join(" ")
        ));
        let read = machine.run("journalctl --boot --output=cat --no-pager _PID=1");
        for text in [&verified, &read] {
            assert_eq!(unknown_in(text), suite.unknown, "{text}");
        }
        for unit in UNITS {
            assert_eq!(machine.property(unit, "LoadState"), "loaded", "{unit}");
        }
        assert_eq!(
            machine.property("authkeysd", "ProtectHome"),
            suite.protect_home
        );
        let scores =
            ["authkeysd.service", "authkeysd-fetch.service"].map(|unit| exposure(machine, unit));
        assert_eq!(scores, suite.exposure);
        assert!(scores.iter().all(|score| *score < GOAL), "{scores:?}");

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
        // Neither the program nor systemd complains of anything else.
        let complaints = machine.run(
            "journalctl --boot --unit='authkeysd*' --priority=warning --output=cat --no-pager",
        );
        let complaints: Vec<&str> = complaints
            .lines()
            .filter(|line| *line != "-- No entries --" && !line.contains("Unknown key name"))
            .collect();
        assert_eq!(complaints, [""; 0]);
    });
}

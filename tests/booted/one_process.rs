//! The upgrade from the last version that was one process, by that version's own packages
//! (tests/lab/one_process.sh). To build them takes as long as to build today's, so .ci/nightly
//! builds them and runs these tests; `make test` leaves them out by name (tests/all.sh).

use std::path::PathBuf;
use std::process::Command;

use authkeys_testing::gate::Gate;
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Machine, booted, eventually, scratch, stand_in};

use crate::built::{Kind, built, document, output, put};
use crate::package_booted::login_becomes;
use crate::suites::DEBIAN_12;

const ACCOUNTS: [&str; 3] = ["alice", "bob", "root"];
const KEYS_OF_ALICE: &str = "/home/alice/.ssh/authorized_keys";
const KEYS: &str = "/home/alice/.ssh/authorized_keys /etc/ssh/authorized_keys.d/bob \
                    /root/.ssh/authorized_keys";
/// Everything that authkeysd writes into, or that a writer could leave a temporary file in.
const PLACES: &str = "/etc /home /root /srv /tmp /var/tmp /var/lib/authkeysd";

/// authkeysd's and authkeysctl's packages, of the old version and of today.
struct Packages {
    old: [PathBuf; 2],
    new: [PathBuf; 2],
}

/// `None`, with a loud word, where they were not built; in CI that is a failure.
fn packages() -> Option<Packages> {
    let old = ["authkeysd", "authkeysctl"]
        .map(|name| scratch().join("one_process").join(format!("{name}.deb")));
    if !old.iter().all(|package| package.is_file()) {
        authkeys_testing::skipped(&format!(
            "there is no {}: run tests/lab/one_process.sh",
            old[0].display()
        ));
        return None;
    }
    let new = built(Kind::Deb)?;
    Moto::prepare().then_some(Packages { old, new })
}

impl Packages {
    /// Installs the old ones, and prepares the installation of the new ones.
    fn install_old(&self, machine: &Machine) {
        for (age, packages) in [("old", &self.old), ("new", &self.new)] {
            machine.run(&format!("mkdir /srv/{age}"));
            put(machine, &packages[0], &format!("/srv/{age}/authkeysd.deb"));
            put(
                machine,
                &packages[1],
                &format!("/srv/{age}/authkeysctl.deb"),
            );
        }
        machine.run("dpkg -i /srv/old/*.deb");
        machine.run("test -x /usr/bin/authkeysd -a ! -e /usr/libexec/authkeysd");
    }

    /// The old version's example of a configuration, which has every key that it knew.
    fn old_example(&self) -> String {
        let read = "dpkg-deb --fsys-tarfile \"$1\" | \
                    tar --extract --to-stdout ./usr/share/doc/authkeysd/examples/config.toml";
        let mut command = Command::new("sh");
        output(command.args(["-c", read, "sh"]).arg(&self.old[0]))
    }
}

/// S3 in the machine's network, whose answers can be held back.
struct Source {
    moto: Moto,
    gate: Gate,
}

impl Source {
    fn start() -> Self {
        let moto = Moto::start();
        moto.make_bucket("keys");
        let gate = Gate::before(&moto.endpoint());
        Self { moto, gate }
    }

    fn publish(&self, serial: u32, keys: &[&Key]) {
        let text = document(serial, keys, &[]);
        self.moto
            .put_object("keys", "workers.json", text.as_bytes());
    }

    /// Holds the answers back, and waits until the service waits for one.
    fn hold(&self) {
        let held = self.gate.held();
        self.gate.shut();
        eventually("a fetch is under way", || self.gate.held() > held);
    }
}

/// Three accounts, one of them root's and one with its file outside of its home; sshd looks in
/// both places.
fn configure(machine: &Machine, settings: &str) {
    for user in ["alice", "bob"] {
        machine.add_user(user);
    }
    machine.write(
        "/etc/ssh/sshd_config.d/authkeysd.conf",
        "AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u\n",
    );
    machine.run("systemctl reload ssh");
    let accounts = ACCOUNTS.map(|user| format!("[[account]]\nuser = \"{user}\"\n"));
    let accounts = accounts
        .concat()
        .replace("\"bob\"\n", "\"bob\"\nlayout = \"system\"\n");
    machine.write(
        "/etc/authkeysd/config.toml",
        format!("source = \"s3://keys/workers.json\"\nschedule = \"1s\"\n{settings}{accounts}"),
    );
}

#[track_caller]
fn logins_become(machine: &Machine, key: &Key, wanted: bool) {
    for user in ACCOUNTS {
        login_becomes(machine, user, key, wanted);
    }
}

/// Installs today's packages while all accounts log in again and again; each is let in. Returns
/// what dpkg said.
fn upgrade(machine: &Machine, key: &Key) -> String {
    std::thread::scope(|scope| {
        let installation = scope.spawn(|| machine.run("dpkg -i /srv/new/*.deb"));
        let mut rounds = 0;
        while !installation.is_finished() || rounds == 0 {
            for user in ACCOUNTS {
                let is_let_in = machine.login(user, key);
                assert!(is_let_in, "{user} is locked out in the middle of it");
            }
            rounds += 1;
        }
        installation.join().unwrap()
    })
}

/// The keys files, with owners, modes, times and inodes, and the names of all files around.
fn what_is_there(machine: &Machine) -> [String; 2] {
    [
        machine.run(&format!("stat -c '%n %i %U:%G %a %y' {KEYS} && cat {KEYS}")),
        machine.run(&format!(
            "find {PLACES} -xdev -not -path '*/systemd-private-*' | sort"
        )),
    ]
}

/// Both halves run, each as who it is meant to be, and nothing of dpkg's is left.
#[track_caller]
fn two_processes_run(machine: &Machine) {
    let fetcher = "/usr/libexec/authkeysd/authkeysd-fetch";
    for (unit, program) in [
        ("authkeysd", "/usr/bin/authkeysd"),
        ("authkeysd-fetch", fetcher),
    ] {
        assert_eq!(machine.property(unit, "ActiveState"), "active");
        assert_eq!(machine.property(unit, "NRestarts"), "0");
        let pid = machine.main_pid(unit);
        assert_eq!(machine.run(&format!("readlink /proc/{pid}/exe")), program);
        let owner = machine.run(&format!("stat -c %u /proc/{pid}"));
        assert_eq!(owner == "0", unit == "authkeysd", "{unit} runs as {owner}");
    }
    assert_eq!(machine.run("systemctl is-system-running"), "running");
    // Of what was installed only the file of variables was changed; this Debian has no documents.
    let changed = machine
        .tries("dpkg --verify authkeysd authkeysctl | grep -v /usr/share/doc/")
        .0;
    assert_eq!(changed, "??5?????? c /etc/default/authkeysd");
    let left = "find / -xdev -name '*.dpkg-*'; ls /run/authkeysd.installed 2>/dev/null";
    assert_eq!(machine.tries(left).0, "");
}

#[test]
fn an_upgrade_from_one_process_during_a_fetch_locks_nobody_out_and_forgets_nothing() {
    let Some(packages) = packages() else {
        return;
    };
    booted(DEBIAN_12.name, |machine| {
        let source = Source::start();
        let [own, gone, kept, older, newer] = [(); 5].map(|()| Key::new("worker"));
        packages.install_old(machine);
        machine.write("/srv/old/example.toml", packages.old_example());
        configure(machine, "");
        let variables = stand_in(&source.gate.endpoint());
        let variables = variables.map(|(name, value)| format!("{name}={value}\n"));
        machine.write("/etc/default/authkeysd", variables.concat());
        source.publish(6, &[&gone]);
        machine.run("systemctl start authkeysd");
        logins_become(machine, &gone, true);
        machine.run(&format!("echo '{}' >>{KEYS_OF_ALICE}", own.line));
        source.publish(7, &[&kept]);
        logins_become(machine, &kept, true);
        logins_become(machine, &gone, false);
        let (help, knows_rotate) = machine.tries("authkeysctl rotate --help");
        assert!(!knows_rotate, "an old authkeysctl: {help}");
        machine.run("dpkg -L authkeysd authkeysctl | sort >/srv/old/files");

        source.hold();
        let (before, held) = (what_is_there(machine), source.gate.held());
        let old = machine.main_pid("authkeysd");
        let said = upgrade(machine, &kept);
        assert!(!said.contains("authkeysd: "), "nothing to warn of: {said}");
        assert_ne!(machine.main_pid("authkeysd"), old);
        let journal = machine.run(&format!("journalctl --boot _PID={old}"));
        let was_fetching = journal.contains("stopping") && !journal.contains("source failed");
        assert!(was_fetching, "the fetch had ended before: {journal}");
        assert!(source.gate.held() > held, "the new program fetches");
        two_processes_run(machine);
        assert_eq!(what_is_there(machine), before);
        machine.run("authkeysctl rotate --help");
        let dropped = "dpkg -L authkeysd authkeysctl | sort | comm -13 - /srv/old/files";
        let left = machine.tries(&format!("{dropped} | xargs -r ls -d 2>/dev/null"));
        assert_eq!(left.0, "", "of the old packages");
        let example = machine.tries("authkeysd check --config /srv/old/example.toml");
        assert!(
            example.0.contains("4 accounts") && !example.0.contains("[AK001]"),
            "{}",
            example.0
        );

        // The document in force is the published one: nothing is written.
        source.gate.open();
        machine.eventually("systemctl show -P StatusText authkeysd | grep -q '^ok'");
        let status = machine.run("authkeysd status");
        let unchanged = status.matches("unchanged, 1 key in force").count();
        assert!(status.contains("workers/7") && unchanged == 3, "{status}");
        assert_eq!(what_is_there(machine), before);

        // An older document is refused, and a key that was once ours leaves every line.
        source.publish(6, &[&older]);
        machine.eventually("authkeysd status 2>&1 | grep -q 'highest accepted'");
        assert_eq!(what_is_there(machine), before);
        source.publish(7, &[&kept]);
        machine.run(&format!("echo '{}' >>{KEYS_OF_ALICE}", gone.line));
        login_becomes(machine, "alice", &gone, false);
        assert!(!machine.login("alice", &older));

        source.publish(8, &[&newer]);
        logins_become(machine, &newer, true);
        logins_become(machine, &kept, false);
        assert!(machine.login("alice", &own), "a line of alice's own");
    });
}

#[test]
fn settings_that_only_one_process_could_use_are_named_by_the_upgrade_and_no_key_is_lost() {
    let Some(packages) = packages() else {
        return;
    };
    booted(DEBIAN_12.name, |machine| {
        let source = Source::start();
        let [kept, newer] = [(); 2].map(|()| Key::new("worker"));
        packages.install_old(machine);
        machine.run("mkdir /run/metrics");
        let metrics = "[report]\nprometheus = \"/run/metrics/authkeysd.prom\"\n";
        configure(machine, metrics);
        // A drop-in, and a profile in root's home, as the old version's documents have it.
        let [endpoint, region, id, secret] = stand_in(&source.gate.endpoint());
        let variables = [endpoint, region].map(|(name, value)| format!("{name}={value}"));
        let credentials = "AWS_SHARED_CREDENTIALS_FILE=/root/.aws/credentials";
        let drop_in = "/etc/systemd/system/authkeysd.service.d/override.conf";
        machine.write(
            drop_in,
            format!(
                "[Service]\nEnvironment={}\nEnvironment={credentials}\nReadWritePaths=/run/metrics\n",
                variables.join(" ")
            ),
        );
        machine.write(
            "/root/.aws/credentials",
            format!(
                "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                id.1, secret.1
            ),
        );
        machine.run("chmod 0700 /root/.aws && chmod 0600 /root/.aws/credentials");
        source.publish(7, &[&kept]);
        machine.run("systemctl daemon-reload && systemctl start authkeysd");
        logins_become(machine, &kept, true);
        machine.eventually("test -e /run/metrics/authkeysd.prom");

        // What the old program, which waits for an answer, will not see any more.
        source.hold();
        source.publish(8, &[&newer]);
        let before = what_is_there(machine);
        let said = upgrade(machine, &kept);
        for words in [
            "the service did not start",
            "move them to /etc/default/authkeysd",
            "write BindPaths= instead",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        source.gate.open();
        assert_eq!(what_is_there(machine), before);

        // One remedy after the other. Until the last the keys stay.
        machine.run(&format!(
            "sed -i s/ReadWritePaths=/BindPaths=/ {drop_in} && rm /run/metrics/* && systemctl \
             daemon-reload && systemctl restart authkeysd"
        ));
        machine.eventually("test -e /run/metrics/authkeysd.prom");
        machine.eventually("authkeysd status 2>&1 | grep -F 'no region is known'");
        machine.write(
            "/etc/default/authkeysd",
            format!("{}\n{credentials}\n", variables.join("\n")),
        );
        machine.run(&format!(
            "sed -i /^Environment=/d {drop_in} && systemctl daemon-reload && systemctl restart \
             authkeysd"
        ));
        machine
            .eventually("authkeysd status 2>&1 | grep -F 'CREDENTIALS_FILE names cannot be read'");
        logins_become(machine, &kept, true);
        machine.run(
            "mv /root/.aws /etc/authkeysd/aws && chmod 0755 /etc/authkeysd/aws && chmod 0644 \
             /etc/authkeysd/aws/credentials && sed -i s:/root/.aws/:/etc/authkeysd/aws/: \
             /etc/default/authkeysd && systemctl restart authkeysd",
        );
        logins_become(machine, &newer, true);
        logins_become(machine, &kept, false);
        two_processes_run(machine);
    });
}

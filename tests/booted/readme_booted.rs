//! A bare booted system becomes a node by the lines of the README and nothing else; and the package
//! is purged where an administrator had moved its directories.

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, blocks, booted};

use crate::built::{Kind, built, put};

const README: &str = include_str!("../../README.md");
const SUITE: &str = "bookworm";
/// Where the README's lines find the package.
const WORK: &str = "/root/authkeysd";

/// The lines of the README's shell blocks that begin so.
fn lines(starts: &[&str]) -> Vec<String> {
    let lines =
        blocks(README, "sh").flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    let lines = lines.map(|line| line.split(" #").next().unwrap().trim().to_owned());
    lines
        .filter(|line| starts.iter().any(|start| line.starts_with(start)))
        .collect()
}

#[test]
fn the_lines_of_the_readme_lead_from_a_bare_system_to_a_login_with_a_published_key() {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    if !Moto::prepare() {
        return;
    }
    booted(SUITE, |machine| {
        machine.add_user("ubuntu");
        machine.add_user("deploy");
        let name = package.file_name().unwrap().to_str().unwrap();
        machine.run(&format!("mkdir -p {WORK}/target/packages"));
        put(machine, &package, &format!("{WORK}/target/packages/{name}"));
        let install = lines(&["sudo apt-get install"]);
        assert_eq!(install.len(), 1, "{install:?}");
        machine.run(&format!(
            "cd {WORK} && {}",
            install[0]
                .trim_start_matches("sudo ")
                .replace("install", "install --yes")
        ));

        // The first configuration, and the lines below it.
        let [first, key] = ["first", "rotation-17"].map(Key::new);
        let configs: Vec<String> = blocks(README, "toml").collect();
        let [begin, fleet] = configs.as_slice() else {
            panic!("{configs:?}")
        };
        let moto = Moto::start();
        let aws = format!(
            "AWS_ENDPOINT_URL_S3={}\nAWS_REGION=eu-central-1\nAWS_EC2_METADATA_DISABLED=true\nAWS_ACCESS_KEY_ID=k\n\
             AWS_SECRET_ACCESS_KEY=s\n",
            moto.endpoint()
        );
        machine.write("/etc/default/authkeysd", aws);
        machine.write("/etc/authkeysd/config.toml", begin);
        machine.write("/etc/authkeysd/keys", format!("{}\n", first.line));
        assert!(!machine.login("ubuntu", &first));
        let lines = lines(&[
            "authkeysd check",
            "authkeysd sync",
            "systemctl start authkeysd",
            "authkeysd status",
        ]);
        assert_eq!(lines.len(), 5);
        for line in lines {
            let (said, good) = machine.tries(&line);
            assert!(good || line.ends_with("--dry-run"), "{line}: {said}");
        }
        assert!(machine.login("ubuntu", &first));

        // The one for a fleet: what it says to publish, with a key of ours, and with its bucket in
        // the stand-in.
        let document = blocks(README, "json").next().unwrap();
        let shown = document
            .split("\"public_key\": \"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let document = document
            .replace(shown, &key.line)
            .replace("2026-12-21", "2099-12-21");
        moto.make_bucket("acme-ssh-keys");
        moto.put_object("acme-ssh-keys", "prod/workers.json", document.as_bytes());
        machine.write("/etc/authkeysd/config.toml", fleet);
        machine.write("/etc/authkeysd/deploy.keys", format!("{}\n", key.line));
        let told = machine.run("set -a; . /etc/default/authkeysd; authkeysd sync");
        assert!(
            told.contains("deploy") && told.contains(&key.fingerprint()),
            "{told}"
        );
        machine.run("systemctl reload authkeysd");
        assert!(machine.login("ubuntu", &key) && !machine.login("ubuntu", &first));
    });
}

#[test]
fn a_purge_follows_no_link_and_deletes_nothing_outside() {
    let Some([package, _]) = built(Kind::Deb) else {
        return;
    };
    booted(SUITE, |machine| {
        machine.add_user("alice");
        put(machine, &package, "/root/authkeysd.deb");
        machine.run("dpkg -i /root/authkeysd.deb");
        let key = Key::new("k");
        machine.write("/srv/keys", format!("{}\n", key.line));
        let config = "source = \"file:/srv/keys\"\nstate_dir = \"/home/alice/state\"\n[[account]]\nuser = \"alice\"\n";
        machine.write("/etc/authkeysd/config.toml", config);
        // The administrator moved directories, and a state_dir lies where a user could have put
        // things.
        machine.run(
            "mkdir -m 0700 /home/alice/state && authkeysd sync && mkdir -p /var/lib/authkeysd \
             /srv/moved && touch /var/lib/authkeysd/state.json && mv /var/lib/authkeysd \
             /srv/moved/state && mv /etc/authkeysd /srv/moved/etc && ln -s /srv/moved/state \
             /var/lib/authkeysd && ln -s /srv/moved/etc /etc/authkeysd",
        );
        machine.run("dpkg -i /root/authkeysd.deb && dpkg -P authkeysd");
        machine.run(
            "test -e /srv/moved/state/state.json -a -e /srv/moved/etc/config.toml -a -e \
             /home/alice/state/state.json -a ! -L /var/lib/authkeysd -a ! -L /etc/authkeysd",
        );
        assert!(machine.login("alice", &key));
    });
}

#[test]
fn a_purge_deletes_nothing_of_what_is_mounted_in_its_way() {
    booted(SUITE, |machine| {
        machine.write("/srv/postrm", include_str!("../../deb/authkeysd/postrm"));
        let purge = || machine.run("sh /srv/postrm purge 2>&1");
        let fill = "mkdir -p /etc/authkeysd /var/lib/authkeysd/documents /run/authkeysd \
                    /run/authkeysd-fetch && mkdir -m 0 /run/authkeysd-root && touch \
                    /etc/authkeysd/config.toml /var/lib/authkeysd/state.json \
                    /run/authkeysd/status.json";
        let gone = "test ! -e /etc/authkeysd -a ! -e /run/authkeysd -a ! -e /run/authkeysd-fetch \
                    -a ! -e /run/authkeysd-root";
        machine.run("mkdir -p /srv/precious && touch /srv/precious/data");
        // The same file system, which rm cannot tell; another one; one that is the state directory
        // itself.
        for mount in [
            "mount --bind /srv/precious /var/lib/authkeysd/documents",
            "mount -t tmpfs tmpfs /var/lib/authkeysd/documents && touch \
             /var/lib/authkeysd/documents/data",
            "mount --bind /srv/precious /var/lib/authkeysd",
        ] {
            machine.run(&format!("{fill} && {mount}"));
            let said = purge();
            assert!(
                said.contains("/var/lib/authkeysd is left as it is"),
                "{said}"
            );
            machine.run(gone);
            machine.run(
                "test -e /srv/precious/data && find /var/lib/authkeysd -name data | grep -q data",
            );
            machine.run(
                "umount /var/lib/authkeysd/documents 2>/dev/null || umount /var/lib/authkeysd",
            );
        }
        // By a link above it, the mount has another name.
        machine.run(&format!(
            "mkdir /srv/lib && cp -a /var/lib/. /srv/lib && {fill}"
        ));
        machine.run(
            "mv /var/lib /var/lib.old && ln -s /srv/lib /var/lib && mkdir -p \
             /srv/lib/authkeysd/documents && mount --bind /srv/precious \
             /srv/lib/authkeysd/documents",
        );
        assert!(purge().contains("/var/lib/authkeysd is left as it is"));
        machine.run("test -e /srv/precious/data && umount /srv/lib/authkeysd/documents");
        // Without a mount all of it goes; a link of the administrator's goes, and what it leads to
        // stays.
        machine.run(fill);
        machine.run("rm -r /etc/authkeysd && ln -s /srv/precious /etc/authkeysd");
        assert!(!purge().contains("left as it is"));
        machine.run(&format!(
            "{gone} -a ! -L /etc/authkeysd -a ! -e /var/lib/authkeysd -a -e /srv/precious/data"
        ));
    });
}

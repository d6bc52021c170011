//! What journald is sent, on a private machine with a socket in its place; and docs/journal.md
//! beside the program.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use authkeys_core::report::kind::Kind;
use authkeys_testing::{Key, Service, Setup, authorized_keys, eventually, lab};

const DOCUMENT: &str = include_str!("../../docs/journal.md");

type Fields = BTreeMap<String, String>;

/// journald's native protocol: `NAME=value`, or `NAME`, the length in 8 bytes, and the value; each
/// ends in a line feed.
fn parse(mut bytes: &[u8]) -> Fields {
    let mut fields = Fields::new();
    while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 1..];
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let length =
                    usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
                let value = String::from_utf8_lossy(&bytes[8..8 + length]).into_owned();
                bytes = &bytes[8 + length + 1..];
                (line, value)
            }
        };
        assert_eq!(
            fields.insert(name.clone(), value),
            None,
            "{name} is given twice"
        );
    }
    fields
}

fn entries(journald: &UnixDatagram) -> Vec<Fields> {
    let mut entries = Vec::new();
    let mut bytes = vec![0; 1 << 16];
    while let Ok(length) = journald.recv(&mut bytes) {
        entries.extend((length > 0).then(|| parse(&bytes[..length])));
    }
    entries
}

#[test]
fn the_journal_gets_every_field_and_the_message_id() {
    lab(|| {
        std::fs::create_dir_all("/run/systemd/journal").unwrap();
        let journald = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
        journald
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let setup = Setup::for_user("alice");
        let key = Key::new("ops@acme");
        let publish = |serial: u8, key: &Key| {
            let line = &key.line;
            setup.publish(format!(
                r#"{{"version":1,"name":"workers","serial":{serial},"keys":[{{"public_key":"{line}"}}]}}"#
            ));
        };
        publish(7, &key);
        let log = setup.path("stderr");
        let sync = |stream: bool| {
            let stderr = File::create(&log).unwrap();
            let found = stderr.metadata().unwrap();
            let mut command = setup.command();
            command.arg("sync").stderr(stderr);
            let inode = if stream { found.ino() } else { 1 };
            command.env("JOURNAL_STREAM", format!("{}:{inode}", found.dev()));
            assert!(
                command.status().unwrap().success(),
                "{}",
                std::fs::read_to_string(&log).unwrap()
            );
        };
        sync(true);
        let told = entries(&journald);
        let ids: Vec<_> = told
            .iter()
            .map(|entry| entry["MESSAGE_ID"].as_str())
            .collect();
        assert_eq!(
            ids,
            [Kind::DocumentAccepted, Kind::KeyAdded, Kind::KeysInForce].map(Kind::message_id)
        );
        let expected = [
            ("ACCOUNT", "alice"),
            ("PATH", "/home/alice/.ssh/authorized_keys"),
            ("FINGERPRINT", &key.fingerprint()),
            ("KEY_TYPE", "ssh-ed25519"),
            ("COMMENT", "ops@acme"),
            ("DOCUMENT", "workers"),
            ("SERIAL", "7"),
            ("SYSLOG_IDENTIFIER", "authkeysd"),
            ("PRIORITY", "6"),
        ];
        for (name, value) in expected {
            assert_eq!(
                told[1].get(name).map(String::as_str),
                Some(value),
                "{name} of {:?}",
                told[1]
            );
        }
        assert!(
            told[1]["MESSAGE"].starts_with("key added: alice /home/alice/"),
            "{}",
            told[1]["MESSAGE"]
        );
        assert!(told[2]["KEYS"].starts_with(&key.fingerprint()));
        // Each field that an entry may have is documented.
        for name in told
            .iter()
            .flat_map(Fields::keys)
            .filter(|name| !name.starts_with("CODE_") && *name != "TARGET")
        {
            assert!(
                DOCUMENT.contains(&format!("`{name}`")),
                "docs/journal.md does not name {name}"
            );
        }
        sync(true);
        assert!(
            entries(&journald).is_empty(),
            "an unchanged state is no news"
        );
        publish(8, &Key::new("next"));
        sync(false);
        assert!(
            entries(&journald).is_empty(),
            "stderr does not go to the journal"
        );

        let log = File::create(&log).unwrap();
        let found = log.metadata().unwrap();
        let service = Service::start(&setup, |command| {
            command
                .stderr(log)
                .env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()));
        });
        let told = entries(&journald);
        let ids: Vec<_> = told
            .iter()
            .map(|entry| entry["MESSAGE_ID"].as_str())
            .collect();
        assert_eq!(
            ids,
            [Kind::Started, Kind::KeysInForce].map(Kind::message_id),
            "{told:?}"
        );
        drop(service);
    });
}

#[test]
fn f54_a_journal_that_is_alive_and_does_not_read_holds_up_neither_keys_nor_a_stop() {
    lab(|| {
        std::fs::create_dir_all("/run/systemd/journal").unwrap();
        let journald = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
        journald.set_nonblocking(true).unwrap();
        let setup = Setup::for_user("alice");
        let keys: Vec<Key> = (0..40)
            .map(|number| Key::new(&format!("k{number}")))
            .collect();
        setup.publish_keys(&keys.iter().collect::<Vec<_>>());
        let log = File::create(setup.path("stderr")).unwrap();
        let found = log.metadata().unwrap();
        let service = Service::start(&setup, |command| {
            command
                .stderr(log)
                .env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()));
        });
        eventually("the status", || {
            setup.runtime_dir().join("status.json").exists()
        });
        let text = std::fs::read_to_string(authorized_keys("alice")).unwrap();
        assert!(text.contains(keys[39].base64()));
        let (code, took) = service.end(nix::sys::signal::Signal::SIGTERM);
        assert!(
            code == Some(0) && took < Duration::from_secs(9),
            "{code:?} after {took:?}"
        );
    });
}

#[test]
fn every_kind_of_entry_is_documented_with_its_id_and_a_query() {
    let mut ids: Vec<_> = Kind::ALL.iter().map(|kind| kind.message_id()).collect();
    for kind in Kind::ALL {
        let id = kind.message_id();
        let row = DOCUMENT
            .lines()
            .find(|line| line.starts_with('|') && line.contains(&format!("`{id}`")));
        let row = row.unwrap_or_else(|| panic!("docs/journal.md has no row for {kind:?}, {id}"));
        assert!(row.contains(kind.words()), "{row}");
        assert!(
            DOCUMENT.contains(&format!("MESSAGE_ID={id}")),
            "docs/journal.md has no query for {kind:?}"
        );
        assert!(
            id.len() == 32
                && id
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        );
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), Kind::ALL.len());
}

//! The service against an S3 that keeps state: publish, change, revoke, outage, recovery.

use std::path::Path;
use std::time::Duration;

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Service, Setup, eventually, me};
use nix::sys::signal::Signal;

fn holds(file: &Path, key: &Key) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.contains(key.base64())
}

fn document(serial: u8, keys: &[&Key], revoked: &[&Key]) -> Vec<u8> {
    let keys: Vec<String> = keys
        .iter()
        .map(|key| format!(r#"{{"public_key":"{}"}}"#, key.bare()))
        .collect();
    let revoked: Vec<String> = revoked
        .iter()
        .map(|key| format!("\"{}\"", key.fingerprint()))
        .collect();
    format!(
        r#"{{"version":1,"name":"set","serial":{serial},"keys":[{}],"revoked":[{}]}}"#,
        keys.join(","),
        revoked.join(",")
    )
    .into_bytes()
}

#[test]
fn publish_change_revoke_outage_recovery_and_stop() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    moto.make_bucket("keys");
    let mut setup = Setup::new();
    setup.top = "schedule = \"1s\"".to_owned();
    setup.source = "s3://keys/prod.json?region=us-east-1".to_owned();
    let file = setup.path("authorized_keys");
    let setup = setup.account(&me(), &format!("file = \"{}\"", file.display()));
    let service = Service::start(&setup, |command| {
        command
            .env("AWS_ENDPOINT_URL", moto.endpoint())
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "not-a-secret");
    });
    let word = |text: &str| setup.run(["status"]).stdout.starts_with(text);
    eventually("it knows that nothing is published", || word("failed"));
    assert!(!file.exists(), "and writes nothing");

    let [one, two, by_hand] = [(); 3].map(|()| Key::new("test"));
    moto.put_object("keys", "prod.json", &document(1, &[&one], &[]));
    eventually("the first key", || holds(&file, &one));
    eventually("all is well", || word("ok"));
    moto.put_object("keys", "prod.json", &document(2, &[&one, &two], &[]));
    eventually("the second key", || holds(&file, &two));

    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{}\n{}\n{text}", by_hand.bare(), one.bare())).unwrap();
    moto.put_object("keys", "prod.json", &document(3, &[&two], &[&by_hand]));
    eventually("both are gone", || {
        !holds(&file, &one) && !holds(&file, &by_hand)
    });
    assert!(holds(&file, &two));

    // An old document is put back.
    moto.put_object("keys", "prod.json", &document(2, &[&one, &two], &[]));
    eventually("it is refused", || word("stale"));
    assert!(!holds(&file, &one));
    moto.put_object("keys", "prod.json", &document(4, &[&two], &[&by_hand]));
    eventually("all is well again", || word("ok"));

    drop(moto);
    eventually("the source is away", || word("stale"));
    std::fs::write(&file, "").unwrap();
    eventually("repairs go on", || holds(&file, &two));
    std::thread::sleep(Duration::from_secs(3));
    let log = service.log();
    assert_eq!(
        log.matches("source failed").count(),
        2,
        "not found, then away: {log}"
    );
    assert_eq!(log.matches("document refused").count(), 1, "{log}");
    assert!(
        log.contains("drift repaired") && log.contains("key removed"),
        "{log}"
    );
    assert_eq!(service.end(Signal::SIGTERM).0, Some(0));
}

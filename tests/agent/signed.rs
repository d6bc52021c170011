//! Cycles that ask for signatures: whom to trust is read each time, and no change of it takes a key
//! away.

use std::path::PathBuf;

use authkeys_core::origin::Class;
use authkeys_core::outcome::{Outcome, Problem, Status};
use authkeys_testing::numbered::ed;
use jiff::Timestamp;
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use super::cycles::block;
use crate::world::{A, World};

/// A world whose one account takes only what the signers in a file signed.
struct Trusting {
    world: World,
    signers: tempfile::TempDir,
}

fn signer(number: u8) -> PrivateKey {
    PrivateKey::new(
        KeypairData::Ed25519(Ed25519Keypair::from_seed(&[number; 32])),
        "",
    )
    .unwrap()
}

fn public(number: u8) -> String {
    signer(number).public_key().to_openssh().unwrap()
}

/// A document with one key, signed; its key's window is as given.
fn signed(by: u8, serial: u8, key: u16, window: &str) -> String {
    let json = format!(
        "{{\"version\":1,\"serial\":{serial},\"keys\":[{{\"public_key\":\"{}\"{window}}}]}}\n",
        ed(key)
    );
    let signature = signer(by)
        .sign("authkeysd", HashAlg::Sha512, json.as_bytes())
        .unwrap();
    json + &signature.to_pem(LineEnding::LF).unwrap()
}

impl Trusting {
    fn new() -> Self {
        let signers = tempfile::tempdir().unwrap();
        let path = signers.path().join("signers");
        let config = format!(
            "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n[trust]\nallowed_signers = \"{}\"\n",
            path.display()
        );
        let one = Self {
            world: World::new(&config),
            signers,
        };
        one.allow(&format!("ops@acme {}\n", public(1)));
        one
    }

    fn path(&self) -> PathBuf {
        self.signers.path().join("signers")
    }

    fn allow(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }

    fn publish(&self, version: &str, document: &str) {
        self.world.publish("file:/k", version, document);
    }

    fn at(&self, now: &str) -> Outcome {
        *self.world.now.borrow_mut() = now.parse().unwrap();
        self.world.cycle()
    }

    #[track_caller]
    fn stands(&self, outcome: &Outcome, status: Status, problem: Option<Problem>, keys: &[u16]) {
        let source = &outcome.sources[0];
        assert_eq!(
            (outcome.status, source.problem),
            (status, problem),
            "{}",
            outcome.detail
        );
        let keys: Vec<String> = keys.iter().map(|key| ed(*key)).collect();
        assert_eq!(
            self.world.host.text(A),
            block(&keys.iter().map(String::as_str).collect::<Vec<_>>())
        );
    }
}

#[test]
fn a_fault_in_the_signers_file_changes_nothing_until_it_is_mended() {
    let one = Trusting::new();
    one.publish("1", &signed(1, 1, 1, ""));
    one.stands(&one.world.cycle(), Status::Ok, None, &[1]);
    one.publish("2", &signed(1, 2, 2, ""));
    let good = std::fs::read(one.path()).unwrap();
    for (text, words) in [
        (
            format!("ops@acme {}\nops@acme frob {}\n", public(1), public(1)),
            ":2: option \"frob\" is not known",
        ),
        (String::new(), "it names no signer"),
    ] {
        one.allow(&text);
        one.world.host.set(A, "");
        let outcome = one.world.cycle();
        one.stands(&outcome, Status::Stale, Some(Problem::Untrusted), &[1]);
        assert!(
            outcome.detail.contains(words) && outcome.detail.contains("signers"),
            "{}",
            outcome.detail
        );
    }
    std::fs::remove_file(one.path()).unwrap();
    one.stands(
        &one.world.cycle(),
        Status::Stale,
        Some(Problem::Untrusted),
        &[1],
    );
    std::fs::write(one.path(), good).unwrap();
    one.stands(&one.world.cycle(), Status::Ok, None, &[2]);
}

#[test]
fn without_a_signers_file_a_new_node_installs_nothing() {
    let one = Trusting::new();
    one.publish("1", &signed(1, 1, 1, ""));
    one.allow("nonsense\n");
    let outcome = one.world.cycle();
    assert_eq!(
        (outcome.status, outcome.sources[0].problem),
        (Status::Failed, Some(Problem::Untrusted))
    );
    assert_eq!(one.world.host.text(A), "");
}

#[test]
fn a_signers_time_is_judged_by_the_clock_of_each_cycle() {
    let one = Trusting::new();
    one.allow(&format!(
        "ops@acme valid-before=\"20261123Z\" {}\n",
        public(1)
    ));
    one.publish("1", &signed(1, 1, 1, ""));
    one.stands(&one.at("2026-11-22T00:00:00Z"), Status::Ok, None, &[1]);
    one.publish("2", &signed(1, 2, 2, ""));
    let outcome = one.at("2026-11-23T00:00:01Z");
    one.stands(&outcome, Status::Stale, Some(Problem::Refused), &[1]);
    assert!(
        outcome
            .faults
            .iter()
            .any(|fault| fault.text.contains("trusted no more, its keys stay"))
    );
    one.publish("1", &signed(1, 1, 1, ""));
    one.stands(
        &one.at("2026-11-23T00:00:02Z"),
        Status::Stale,
        Some(Problem::Untrusted),
        &[1],
    );
    // A clock that was set back does not bring him back: the time that was recorded counts.
    let outcome = one.at("1970-01-01T00:00:00Z");
    assert_eq!(outcome.sources[0].problem, Some(Problem::Untrusted));
    one.allow(&format!("ops@acme {}\n", public(1)));
    one.stands(&one.at("2026-11-23T00:00:03Z"), Status::Ok, None, &[1]);
}

#[test]
fn f39_a_signer_whose_time_a_wrong_clock_cannot_tell_brings_nothing_new() {
    let one = Trusting::new();
    one.publish("1", &signed(1, 1, 1, ""));
    one.stands(&one.at("2027-01-01T00:00:00Z"), Status::Ok, None, &[1]);
    for (serial, bound) in [
        (2, "valid-after=\"20261201Z\""),
        (3, "valid-before=\"20261201Z\""),
    ] {
        one.allow(&format!("ops@acme {bound} {}\n", public(1)));
        one.publish(&serial.to_string(), &signed(1, serial, 2, ""));
        let outcome = one.at("2026-11-22T00:00:00Z");
        assert_eq!(
            outcome.sources[0].problem,
            Some(Problem::Refused),
            "{bound}: {:?}",
            outcome.faults
        );
        one.stands(&outcome, Status::Stale, Some(Problem::Refused), &[1]);
    }
}

#[test]
fn windows_go_on_whoever_is_trusted() {
    let mut one = Trusting::new();
    one.world.config.push_str("[policy]\nmin_keys = 0\n");
    one.publish(
        "1",
        &signed(1, 1, 1, ",\"not_before\":\"2026-11-22T10:00:00Z\""),
    );
    let first = one.at("2026-11-22T00:00:00Z");
    assert_eq!(
        (first.status, one.world.host.text(A)),
        (Status::Ok, String::new())
    );
    one.allow(&format!("next@acme {}\n", public(2)));
    let opens: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
    let outcome = one.world.cycle_kept(&first, opens);
    one.stands(&outcome, Status::Stale, Some(Problem::Untrusted), &[1]);
    assert_eq!(outcome.sources[0].signer, None);
    one.allow("nonsense\n");
    one.stands(
        &one.world.cycle_kept(&outcome, opens),
        Status::Stale,
        Some(Problem::Untrusted),
        &[1],
    );
    // It is looked at again, not repeated.
    one.allow(&format!("ops@acme {}\n", public(1)));
    let outcome = one.world.cycle_kept(&outcome, opens);
    one.stands(&outcome, Status::Ok, None, &[1]);
    assert_eq!(outcome.sources[0].signer.as_deref(), Some("ops@acme"));
}

#[test]
fn a_source_that_is_away_and_a_signer_who_is_out_are_both_told() {
    let one = Trusting::new();
    one.publish("1", &signed(1, 1, 1, ""));
    one.world.cycle();
    one.allow(&format!("next@acme {}\n", public(2)));
    one.world.fail("file:/k", Class::Transient);
    let outcome = one.world.cycle();
    one.stands(&outcome, Status::Stale, Some(Problem::Unreachable), &[1]);
    assert_eq!(outcome.faults.len(), 2, "{:?}", outcome.faults);
    // The same content, signed by one who may, is taken although its serial is no news.
    one.publish("2", &signed(2, 1, 1, ""));
    let outcome = one.world.cycle();
    one.stands(&outcome, Status::Ok, None, &[1]);
    assert_eq!(outcome.sources[0].signer.as_deref(), Some("next@acme"));
}

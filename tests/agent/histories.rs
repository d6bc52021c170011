//! What many cycles in a row mean, and what of it reaches the journal: months on a fake clock.

use authkeys_core::config::Config;
use authkeys_core::history::History;
use authkeys_core::origin::Class;
use authkeys_core::outcome::{Fault, FaultCode, Outcome, Status, Subject};
use authkeys_core::report::entries::{Entry, entries};
use authkeys_core::report::kind::Kind;
use authkeys_core::report::summary::Summary;
use authkeys_testing::numbered::{ed, print};
use authkeysd::agent::Intent;
use authkeysd::state::Store;
use jiff::SignedDuration;

use super::cycles::{TWO, block};
use crate::world::{A, World};

mod rivals;
mod time;

const ONE: &str = "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n";
#[test]
fn after_a_first_cycle_that_could_not_save_nobody_says_that_a_state_was_lost() {
    for config in [
        ONE.to_owned(),
        ONE.replace("[[", "[policy]\nmin_keys = 0\n[["),
    ] {
        let world = World::new(&config);
        let keys = if config == ONE {
            format!("{{\"public_key\":\"{}\"}}", ed(1))
        } else {
            String::new()
        };
        world.publish(
            "file:/k",
            "1",
            &format!("{{\"version\":1,\"serial\":3,\"keys\":[{keys}]}}"),
        );
        let mut history = History::default();
        for _ in 0..2 {
            let mut store = Store::open(world.state.path()).unwrap();
            std::fs::remove_dir_all(world.state.path()).unwrap();
            let outcome = history.complete(world.cycle_in(&mut store, Intent::default()), None);
            assert!(
                outcome
                    .faults
                    .iter()
                    .any(|fault| fault.text.contains("cannot write to the state directory")),
                "{outcome:#?}"
            );
            assert!(
                !outcome
                    .faults
                    .iter()
                    .any(|fault| fault.text.contains("it was lost")),
                "{outcome:#?}"
            );
            // By way of the status file, as after a restart.
            let written = serde_json::to_string(&outcome).unwrap();
            history = History::new(Some(serde_json::from_str(&written).unwrap()));
        }
        let outcome = history.complete(world.cycle(), None);
        assert_eq!(
            (outcome.status, outcome.faults.len()),
            (Status::Ok, 0),
            "{outcome:#?}"
        );
        history.remember(outcome);
        // A state that was there, and is gone, is told of.
        std::fs::remove_dir_all(world.state.path()).unwrap();
        let outcome = history.complete(world.cycle(), None);
        assert!(
            outcome
                .faults
                .iter()
                .any(|fault| fault.text.contains("it was lost")),
            "{outcome:#?}"
        );
    }
}

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// A service without its loop: cycles with a history, and what they tell.
struct Running {
    world: World,
    history: History,
    begun: bool,
}

impl Running {
    fn new(config: &str) -> Self {
        Self {
            world: World::new(config),
            history: History::default(),
            begun: false,
        }
    }

    fn pass(&self, time: SignedDuration) {
        let later = *self.world.now.borrow() + time;
        *self.world.now.borrow_mut() = later;
    }

    fn cycle(&mut self) -> (Outcome, Vec<Entry>) {
        let max_stale = Config::parse(&self.world.config).unwrap().max_stale;
        let outcome = self.history.complete(self.world.cycle(), max_stale);
        let told = entries(self.history.last(), &outcome, !self.begun);
        self.begun = true;
        self.history.remember(outcome.clone());
        (outcome, told)
    }

    /// A cycle, a minute later, and the kinds of what it told.
    fn next(&mut self) -> (Outcome, Vec<Kind>) {
        self.pass(MINUTE);
        let (outcome, told) = self.cycle();
        (outcome, told.iter().map(|entry| entry.kind).collect())
    }
}

#[test]
fn each_key_is_told_with_account_path_fingerprint_comment_document_and_serial() {
    let mut node = Running::new(ONE);
    let json = format!(
        r#"{{"version":1,"name":"set","serial":3,"keys":[{{"public_key":"{} ops"}}]}}"#,
        ed(1)
    );
    node.world.publish("file:/k", "1", &json);
    let (_, told) = node.cycle();
    assert_eq!(
        told.iter().map(|e| e.kind).collect::<Vec<_>>(),
        [Kind::DocumentAccepted, Kind::KeyAdded, Kind::KeysInForce]
    );
    let key = &told[1];
    assert_eq!(
        (key.account.as_deref(), key.path.as_deref()),
        (Some("a"), Some(A))
    );
    assert_eq!(
        (key.fingerprint.clone(), key.comment.as_deref()),
        (Some(print(&ed(1))), Some("ops"))
    );
    assert_eq!(
        (key.document.as_deref(), key.serial.as_deref()),
        (Some("set"), Some("3"))
    );
    assert_eq!(
        told[2].keys,
        Some(format!("{} ssh-ed25519 ops", print(&ed(1))))
    );
    assert!(
        told.iter()
            .all(|entry| entry.message.starts_with(entry.kind.words())),
        "{told:?}"
    );
}

#[test]
fn f32_a_state_that_lasts_is_told_once_whatever_it_is() {
    let mut node = Running::new(TWO);
    assert_eq!(
        node.next().1,
        [Kind::SourceFailed, Kind::AccountFailed, Kind::AccountFailed]
    );
    let quiet = |node: &mut Running| (0..50).all(|_| node.next().1.is_empty());
    assert!(quiet(&mut node));
    node.world
        .publish("file:/k", "1", &format!("{}\nssh-dss AAAA bad\n", ed(1)));
    assert!(node.next().1.contains(&Kind::KeyAdded));
    assert!(quiet(&mut node));
    node.world.fail("file:/k", Class::Transient);
    assert_eq!(node.next().1, [Kind::SourceFailed]);
    assert!(quiet(&mut node));
    node.world.publish("file:/k", "2", "<html>");
    assert_eq!(node.next().1, [Kind::DocumentRefused]);
    assert!(quiet(&mut node));
    node.world.host.broken.borrow_mut().push(A.into());
    assert_eq!(node.next().1, [Kind::AccountFailed]);
    assert!(quiet(&mut node));
    node.world.host.broken.borrow_mut().clear();
    node.world.publish("file:/k", "3", &format!("{}\n", ed(2)));
    let (outcome, told) = node.next();
    assert_eq!(outcome.status, Status::Ok);
    for kind in [
        Kind::SourceRecovered,
        Kind::DocumentAccepted,
        Kind::KeyAdded,
        Kind::KeyRemoved,
        Kind::AccountRecovered,
    ] {
        assert!(told.contains(&kind), "{kind:?} of {told:?}");
    }
    assert!(quiet(&mut node));
}

#[test]
fn what_an_outcome_told_before_a_restart_is_not_told_again_but_who_can_log_in_is() {
    let mut node = Running::new(ONE);
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let (outcome, _) = node.cycle();
    let written = serde_json::to_string(&outcome).unwrap();
    node.history = History::new(Some(serde_json::from_str(&written).unwrap()));
    node.begun = false;
    assert_eq!(node.next().1, [Kind::KeysInForce]);
}

#[test]
fn f39_a_time_that_a_wrong_clock_recorded_does_not_put_max_stale_off() {
    let mut node = Running::new(&format!("{ONE}[policy]\nmax_stale = \"24h\"\n"));
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let right = *node.world.now.borrow();
    node.pass(SignedDuration::from_hours(365 * 24));
    node.cycle();
    *node.world.now.borrow_mut() = right;
    let (outcome, _) = node.cycle();
    assert_eq!(outcome.status, Status::Degraded, "the clock is behind");
    // What an operator is told to do.
    node.world.cycle_as(Intent {
        accept_rollback: true,
        ..Intent::default()
    });
    node.world.fail("file:/k", Class::Transient);
    for (hours, status) in [(1, Status::Stale), (24, Status::Failed)] {
        node.pass(SignedDuration::from_hours(hours));
        let (outcome, _) = node.cycle();
        let found = (outcome.status, outcome.sources[0].fetched);
        assert_eq!(found, (status, Some(right)), "{}", outcome.detail);
    }
}

#[test]
fn a_stale_node_fails_after_max_stale_and_its_keys_stay() {
    let mut node = Running::new(&format!("{ONE}[policy]\nmax_stale = \"24h\"\n"));
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    node.cycle();
    // Found unchanged for a month: the age of the bytes does not count.
    for _ in 0..30 * 24 {
        node.pass(SignedDuration::from_hours(1));
        assert_eq!(node.cycle().0.status, Status::Ok);
    }
    let good = *node.world.now.borrow();
    node.world.fail("file:/k", Class::Transient);
    for hour in 1..48 {
        node.pass(SignedDuration::from_hours(1));
        // Also for a process that just started, without a status file.
        if hour == 30 {
            node.history = History::default();
        }
        let (outcome, told) = node.cycle();
        let expected = if hour <= 24 {
            Status::Stale
        } else {
            Status::Failed
        };
        assert_eq!(
            (outcome.status, outcome.sources[0].fetched),
            (expected, Some(good)),
            "hour {hour}"
        );
        let words =
            ["injected", "for longer than max_stale"].map(|words| outcome.detail.contains(words));
        assert_eq!(words, [true, hour > 24], "hour {hour}: {}", outcome.detail);
        assert_eq!(outcome.faults.len(), 1, "{:?}", outcome.faults);
        let again = node.world.cycle_kept(&outcome, *node.world.now.borrow());
        let again = node
            .history
            .complete(again, Some(SignedDuration::from_hours(24)));
        assert_eq!(
            (again.status, &again.detail),
            (outcome.status, &outcome.detail),
            "hour {hour}: said once"
        );
        assert_eq!(
            told.is_empty(),
            ![1, 25, 30].contains(&hour),
            "hour {hour}: {told:?}"
        );
        assert_eq!(outcome.last_success.is_some(), hour < 30);
    }
    assert_eq!(node.world.host.text(A), block(&[&ed(1)]));
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    assert_eq!(node.next().0.status, Status::Ok);
}

#[test]
fn an_account_to_which_nothing_could_be_applied_tells_what_it_still_follows() {
    let mut node = Running::new(&format!("{ONE}[[account]]\nuser = \"b\"\n"));
    let json = |serial: u32, key: &str| {
        format!(r#"{{"version":1,"name":"w","serial":{serial},"keys":[{{"public_key":"{key}"}}]}}"#)
    };
    let follows = |outcome: &Outcome, at: usize| {
        let account = &outcome.accounts[at];
        let keys: Vec<String> = account
            .in_force
            .iter()
            .map(|key| key.fingerprint.to_string())
            .collect();
        (
            account.document.serial.map(|serial| serial.to_string()),
            keys,
        )
    };
    let print = |key: &str| vec![print(key)];
    node.world.publish("file:/k", "1", &json(1, &ed(1)));
    node.cycle();
    node.world.host.broken.borrow_mut().push(A.into());
    node.world.publish("file:/k", "2", &json(2, &ed(2)));
    for _ in 0..2 {
        node.pass(MINUTE);
        let outcome = node.cycle().0;
        assert_eq!(follows(&outcome, 0), (Some("1".to_owned()), print(&ed(1))));
        assert_eq!(follows(&outcome, 1), (Some("2".to_owned()), print(&ed(2))));
        assert_eq!(Summary::of(&outcome).unwrap().keyset, "w/1");
    }
    node.history = History::default();
    assert_eq!(
        follows(&node.cycle().0, 0),
        (None, vec![]),
        "whoever does not know says nothing"
    );
    node.world.host.broken.borrow_mut().clear();
    assert_eq!(
        follows(&node.cycle().0, 0),
        (Some("2".to_owned()), print(&ed(2)))
    );
}

#[test]
fn a_node_does_not_claim_a_document_that_is_held_for_one_of_its_accounts() {
    let mut node = Running::new(TWO);
    let json = |serial: u32, accounts: &str| {
        let key = ed(u16::try_from(serial).unwrap());
        format!(
            r#"{{"version":1,"name":"w","serial":{serial},"keys":[{{"public_key":"{key}","accounts":{accounts}}}]}}"#
        )
    };
    node.world.publish("file:/k", "1", &json(1, r#"["a","b"]"#));
    assert_eq!(Summary::of(&node.cycle().0).unwrap().keyset, "w/1");
    node.world.publish("file:/k", "2", &json(2, r#"["a"]"#));
    let held = (0..3).map(|_| node.cycle().0).last().unwrap();
    assert_eq!(
        (
            held.accounts[0].document.serial.is_some(),
            held.accounts[1].status
        ),
        (true, Status::Stale)
    );
    assert_eq!(
        Summary::of(&held).unwrap().keyset,
        "w/1",
        "bob still has the keys of the old one"
    );
    node.world.publish("file:/k", "3", &json(3, r#"["a","b"]"#));
    assert_eq!(Summary::of(&node.cycle().0).unwrap().keyset, "w/3");
}

#[test]
fn another_query_of_the_same_source_forgets_nothing_before_something_of_it_is_accepted() {
    let (plain, other) = ("s3://b/k", "s3://b/k?region=eu-west-1");
    let config = |url: &str| TWO.replace("file:/k", url);
    let mut world = World::new(&config(plain));
    for (before, after, key) in [(plain, other, 1), (other, plain, 2)] {
        world.config = config(before);
        world.publish(before, "1", &format!("{}\n", ed(key)));
        assert_eq!(
            (world.cycle().status, world.host.text(A)),
            (Status::Ok, block(&[&ed(key)]))
        );
        world.config = config(after);
        world.fail(after, Class::Transient);
        for _ in 0..2 {
            world.host.set(A, "");
            let outcome = world.cycle();
            assert_eq!(
                (outcome.status, world.host.text(A)),
                (Status::Stale, block(&[&ed(key)])),
                "{after}"
            );
            let again = world.cycle_kept(&outcome, *world.now.borrow());
            assert_eq!((again.status, again.changed()), (Status::Stale, false));
        }
        // Of the same version, as far as its name tells: it is fetched all the same.
        world.publish(after, "1", &format!("{}\n", ed(key + 1)));
        assert_eq!(
            (world.cycle().status, world.host.text(A)),
            (Status::Ok, block(&[&ed(key + 1)]))
        );
        let store = Store::open(world.state.path()).unwrap();
        assert_eq!(store.state().sources.keys().collect::<Vec<_>>(), [after]);
    }
    world.config = config("s3://b/another");
    assert_eq!(
        world.cycle().sources[0].status,
        Status::Failed,
        "another object is another source"
    );
}

#[test]
fn a_cycle_that_cannot_begin_keeps_what_was_known_of_the_accounts() {
    let mut node = Running::new(ONE);
    node.world.publish("file:/k", "1", &format!("{}\n", ed(1)));
    let (good, _) = node.cycle();
    let gone = Fault::new(FaultCode::StateUnusable, Subject::State, "the disk is gone");
    let outcome = node.history.not_begun(gone, good.finished, good.finished);
    assert_eq!(
        (
            outcome.status,
            outcome.accounts[0].in_force.len(),
            outcome.changed()
        ),
        (Status::Failed, 1, false)
    );
    let told = entries(node.history.last(), &outcome, false);
    assert_eq!(
        told.iter().map(|entry| entry.kind).collect::<Vec<_>>(),
        [Kind::Fault]
    );
    node.history.remember(outcome.clone());
    assert!(entries(node.history.last(), &outcome, false).is_empty());
}

#[test]
fn a_file_that_is_filled_with_lines_does_not_fill_the_journal_too() {
    let mut node = Running::new(&ONE.replace("user = \"a\"", "user = \"a\"\nmode = \"exclusive\""));
    let two = format!("{}\n{}\n", ed(1), ed(2));
    node.world.publish("file:/k", "1", &two);
    node.cycle();
    let count = |told: &[Kind], kind| told.iter().filter(|other| **other == kind).count();
    for (lines, named, more) in [(100, 100, 0), (101, 100, 1), (1_000, 100, 1)] {
        let fill: String = (1..=lines)
            .map(|at| format!("{} {at}\n", ed(10 + at)))
            .collect();
        node.world.host.set(A, &(two.clone() + &fill));
        let (outcome, told) = node.next();
        assert_eq!(
            (
                count(&told, Kind::KeyRemoved),
                count(&told, Kind::KeysRemoved)
            ),
            (named, more),
            "{lines}"
        );
        assert_eq!(
            outcome.accounts[0].removed.len(),
            usize::from(lines),
            "the outcome has them all"
        );
    }
    // What was in force is named in any flood, also behind it.
    node.world.publish("file:/k", "2", &format!("{}\n", ed(1)));
    let fill: String = (1..=1_000).map(|at| format!("{}\n", ed(10 + at))).collect();
    node.world.host.set(A, &(fill + &two));
    node.pass(MINUTE);
    let (_, told) = node.cycle();
    let gone = print(&ed(2));
    assert!(
        told.iter()
            .any(|e| e.kind == Kind::KeyRemoved && e.fingerprint.as_ref() == Some(&gone))
    );
    let more: Vec<&str> = told
        .iter()
        .filter(|e| e.kind == Kind::KeysRemoved)
        .map(|e| e.message.as_str())
        .collect();
    assert!(
        more.len() == 1 && more[0].contains(": 900 that were never ours"),
        "{more:?}"
    );
}

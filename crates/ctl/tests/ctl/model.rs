//! Three publishers at once, who grant, revoke, roll back and publish at random: every version is
//! what one of them meant to make of the version before it, no publication is lost unseen, serials
//! grow one by one, and a node installs what a model says. There are many short sequences, each of
//! an object of its own with a random past.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::desk::{Desk, document as text_of};
use authkeys_core::document::{self, Rules};
use authkeys_core::plan::{ExpiryForm, Moment, desired};
use authkeys_core::user::UserName;
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Setup, clean_ctl, me, stand_in};
use jiff::Timestamp;
use jiff::tz::TimeZone;

const PUBLISHERS: usize = 3;
const SEQUENCES: usize = 200;
/// Of every other sequence there is a second round. In each round every publisher takes a step at
/// the same time.
const ROUNDS: [usize; 2] = [1, 2];
/// So many versions are there before, made by the model alone.
const PAST: usize = 4;
/// So many sequences run at the same time: while one waits another goes on.
const AT_ONCE: usize = 4;
/// After every so many sequences a real node installs what was published last.
const NODE_EACH: usize = 20;

/// What a key set says: keys and revoked ones, by their places among all keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Model {
    serial: u64,
    keys: BTreeSet<usize>,
    revoked: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
enum Step {
    Grant(usize),
    Revoke(usize),
    RollBack(usize),
    Publish(BTreeSet<usize>),
}

/// A step of which only the versions tell whether it published, and the serial where it was told.
type Unclear = (Option<u64>, Step);

/// Numbers that are the same at each run with the same seed.
struct Random(u64);

impl Random {
    fn of_sequence(sequence: usize) -> Self {
        let mut random = Self(
            0x9e37_79b9_7f4a_7c15
                ^ u64::try_from(sequence)
                    .unwrap()
                    .wrapping_mul(0xbf58_476d_1ce4_e5b9),
        );
        // Neighbours differ in few bits at first.
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn step(&mut self, keys: usize, versions: usize) -> Step {
        match self.below(8) {
            0..=2 => Step::Grant(self.below(keys)),
            3..=4 => Step::Revoke(self.below(keys)),
            5..=6 => Step::RollBack(self.below(versions)),
            _ => Step::Publish((0..keys).filter(|_| self.below(2) == 0).collect()),
        }
    }
}

impl Model {
    /// What a step makes of this version; `None` when it is refused, or there is nothing to grant
    /// or revoke. `past` are all versions so far, this one the last.
    fn after(&self, step: &Step, past: &[Self]) -> Option<Self> {
        let mut next = self.clone();
        next.serial += 1;
        match step {
            Step::Grant(key) => {
                if self.revoked.contains(key) || !next.keys.insert(*key) {
                    return None;
                }
            }
            Step::Revoke(key) => {
                if self.revoked.contains(key) && !self.keys.contains(key)
                    || !next.revoked.insert(*key) && !next.keys.contains(key)
                {
                    return None;
                }
                next.keys.remove(key);
            }
            Step::RollBack(at) => {
                let old = &past[*at];
                let mut since: BTreeSet<usize> = past[at + 1..]
                    .iter()
                    .flat_map(|version| version.revoked.clone())
                    .collect();
                since.retain(|key| !self.keys.contains(key) || self.revoked.contains(key));
                next.keys = old.keys.difference(&since).copied().collect();
                next.revoked = old.revoked.union(&since).copied().collect();
            }
            Step::Publish(keys) => {
                next.keys.clone_from(keys);
                next.revoked.clear();
            }
        }
        // The same keys in another order, or laid out otherwise, are another text.
        Some(next)
    }
}

struct World {
    moto: Moto,
    desk: Desk,
    keys: Vec<Key>,
    prints: Vec<String>,
    /// Nodes that take a key set without keys.
    config: PathBuf,
}

/// How the publications of a sequence ended.
#[derive(Default)]
struct Count {
    published: AtomicUsize,
    lost: AtomicUsize,
    same: AtomicUsize,
    unanswered: AtomicUsize,
}

impl World {
    fn command(&self, step: &Step, object: &str, versions: &[String], publisher: usize) -> Command {
        let mut command = clean_ctl();
        command.envs(stand_in(&self.moto.endpoint()));
        let target = format!("s3://keys/{object}");
        match step {
            Step::Grant(key) => command.args(["grant", &target, &self.keys[*key].line]),
            Step::Revoke(key) => {
                command.args(["revoke", &target, "--unlisted", &self.prints[*key]])
            }
            Step::RollBack(at) => command.args(["rollback", &target, "--to", &versions[*at]]),
            Step::Publish(keys) => {
                let keys: Vec<&Key> = keys.iter().map(|key| &self.keys[*key]).collect();
                let file = self
                    .desk
                    .file(&format!("{object}-{publisher}"), text_of(None, &keys));
                command.arg("publish").arg(file).arg(&target)
            }
        };
        command.arg("--yes").arg("--config").arg(&self.config);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A document that says what the model says.
    fn text(&self, model: &Model) -> String {
        let keys: Vec<&Key> = model.keys.iter().map(|key| &self.keys[*key]).collect();
        let text = text_of(Some(model.serial), &keys);
        let revoked: Vec<String> = model
            .revoked
            .iter()
            .map(|key| format!("\"{}\"", self.prints[*key]))
            .collect();
        text.replacen(
            "\n  ]\n}",
            &format!("\n  ],\n  \"revoked\": [{}]\n}}", revoked.join(", ")),
            1,
        )
    }

    fn read(&self, text: &str) -> Model {
        let read: serde_json::Value =
            serde_json::from_str(text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
        let list = |name: &str| read[name].as_array().cloned().unwrap_or_default();
        let by_line = |entry: &serde_json::Value| {
            self.keys
                .iter()
                .position(|key| entry["public_key"] == key.line.as_str())
                .unwrap()
        };
        let by_print = |entry: &serde_json::Value| {
            self.prints
                .iter()
                .position(|print| entry == print.as_str())
                .unwrap()
        };
        Model {
            serial: read["serial"].as_u64().unwrap(),
            keys: list("keys").iter().map(by_line).collect(),
            revoked: list("revoked").iter().map(by_print).collect(),
        }
    }

    /// All versions, the oldest first: their ids, and what they say. Some are of the same second:
    /// serials tell their order.
    fn history(&self, object: &str) -> (Vec<String>, Vec<Model>) {
        let mut versions: Vec<(u64, String, Model)> = Vec::new();
        for id in self.moto.versions("keys", object) {
            let text = self
                .moto
                .object("keys", &format!("{object}?versionId={id}"));
            let model = self.read(&text);
            assert_eq!(self.installed(&text), self.wanted(&model), "{text}");
            versions.push((model.serial, id, model));
        }
        versions.sort_by_key(|(serial, ..)| *serial);
        versions
            .into_iter()
            .map(|(_, id, model)| (id, model))
            .unzip()
    }

    /// What a node's plan installs.
    fn installed(&self, text: &str) -> BTreeSet<usize> {
        let document = document::parse(text.as_bytes(), &Rules::default()).unwrap();
        let moment = Moment {
            now: Timestamp::now(),
            zone: TimeZone::UTC,
            standing: None,
        };
        let user = UserName::parse("jo").unwrap();
        let desired = desired(
            &[(&document).into()],
            &[],
            &[&user],
            &moment,
            ExpiryForm::Utc,
        );
        let prints: Vec<String> = desired
            .entries
            .iter()
            .map(|entry| entry.key.fingerprint().to_string())
            .collect();
        (0..self.keys.len())
            .filter(|at| prints.contains(&self.prints[*at]))
            .collect()
    }

    /// What it should be by the model.
    fn wanted(&self, model: &Model) -> BTreeSet<usize> {
        model.keys.difference(&model.revoked).copied().collect()
    }

    fn sequence(&self, at: usize, count: &Count) {
        let object = format!("workers-{at:03}.json");
        let mut random = Random::of_sequence(at);
        let mut past = vec![Model {
            serial: 1,
            keys: BTreeSet::from([0]),
            ..Model::default()
        }];
        while past.len() < PAST {
            let step = random.step(self.keys.len(), past.len());
            past.extend(past.last().unwrap().after(&step, &past));
        }
        for model in &past {
            self.moto
                .put_object("keys", &object, self.text(model).as_bytes());
        }
        let (mut ids, read) = self.history(&object);
        assert_eq!(read, past);
        for round in 0..ROUNDS[at % 2] {
            let steps: Vec<Step> = (0..PUBLISHERS)
                .map(|_| random.step(self.keys.len(), past.len()))
                .collect();
            let (mut won, unclear) = self.at_once(&steps, &object, &ids, count);
            let (now_ids, now) = self.history(&object);
            let place = format!("sequence {at}, round {round}");
            self.claim(&now[past.len()..], &mut won, unclear, count);
            won.sort_by_key(|(serial, _)| *serial);
            assert_eq!(
                now.len(),
                past.len() + won.len(),
                "{place}: as many versions as publishers were told"
            );
            for (serial, step) in won {
                let before = past.last().unwrap().clone();
                let wanted = before
                    .after(&step, &past)
                    .unwrap_or_else(|| panic!("{place}: {step:?} of {before:?}"));
                assert_eq!(wanted.serial, serial, "{place}");
                assert_eq!(now[past.len()], wanted, "{place}: {step:?} of {before:?}");
                past.push(wanted);
            }
            ids = now_ids;
        }
        if at.is_multiple_of(NODE_EACH) {
            self.a_node_installs(&object, past.last().unwrap());
        }
    }

    /// A version that nobody was told of belongs to somebody whose answer was lost. What is left
    /// found its own bytes, written by another.
    fn claim(
        &self,
        new: &[Model],
        won: &mut Vec<(u64, Step)>,
        mut unclear: Vec<Unclear>,
        count: &Count,
    ) {
        for version in new {
            if won.iter().any(|(serial, _)| *serial == version.serial) {
                continue;
            }
            let is_it =
                |(serial, _): &Unclear| serial.is_none_or(|serial| serial == version.serial);
            if let Some(at) = unclear.iter().position(is_it) {
                let (_, step) = unclear.remove(at);
                count.unanswered.fetch_add(1, Ordering::Relaxed);
                won.push((version.serial, step));
            }
        }
        for (serial, _) in unclear {
            let counter = match serial {
                Some(_) => &count.same,
                None => &count.lost,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes steps at the same time: those that published, with their serials, and those of whom
    /// only the versions tell whether they did.
    fn at_once(
        &self,
        steps: &[Step],
        object: &str,
        ids: &[String],
        count: &Count,
    ) -> (Vec<(u64, Step)>, Vec<Unclear>) {
        let running: Vec<_> = steps
            .iter()
            .enumerate()
            .map(|(at, step)| self.command(step, object, ids, at).spawn().unwrap())
            .collect();
        let (mut won, mut unclear) = (Vec::new(), Vec::new());
        for (step, run) in steps.iter().zip(running) {
            let output = run.wait_with_output().unwrap();
            let (stdout, stderr) = (
                String::from_utf8(output.stdout).unwrap(),
                String::from_utf8(output.stderr).unwrap(),
            );
            let status = output.status.code();
            if stdout.contains("published workers/") {
                assert_eq!(status, Some(0), "{step:?}: {stderr}");
                let told = stdout.split("published workers/").nth(1).unwrap();
                let serial = told.split(' ').next().unwrap();
                let serial = serial.parse::<u64>().unwrap();
                // Without a version of its own it found the very bytes that it would have written,
                // or has written without an answer.
                if told.contains(", version ") {
                    won.push((serial, step.clone()));
                    count.published.fetch_add(1, Ordering::Relaxed);
                } else {
                    unclear.push((Some(serial), step.clone()));
                }
            } else if stderr.contains("an attempt to write got no answer") {
                assert_eq!(status, Some(1), "{step:?}: {stderr}");
                unclear.push((None, step.clone()));
            } else if stderr.contains("somebody else published meanwhile") {
                assert_eq!(status, Some(1), "{step:?}: {stderr}");
                count.lost.fetch_add(1, Ordering::Relaxed);
            } else {
                // Refused, or nothing to do: by one of the versions that it may have seen.
                let refused = stderr.contains("is in `revoked`")
                    || stdout.contains("this is what is published already");
                assert!(refused, "{step:?}: {status:?} {stdout} {stderr}");
            }
        }
        (won, unclear)
    }

    fn a_node_installs(&self, object: &str, model: &Model) {
        let setup = Setup::new();
        let file = setup.path("keys").join(me());
        let account = format!("file = \"{}/%u\"", setup.path("keys").display());
        let mut setup = setup
            .account(&me(), &account)
            .tables("\n[policy]\nmin_keys = 0\n");
        setup.source = format!("s3://keys/{object}");
        setup.use_s3_at(&self.moto.endpoint());
        setup.run(["sync"]).succeeds();
        let installed = std::fs::read_to_string(file).unwrap_or_default();
        let there = (0..self.keys.len()).filter(|at| installed.contains(self.keys[*at].base64()));
        assert_eq!(
            there.collect::<BTreeSet<_>>(),
            self.wanted(model),
            "{installed}"
        );
    }
}

#[test]
fn three_publishers_at_once_lose_nothing_unseen_and_nodes_install_what_the_model_says() {
    if !Moto::prepare() {
        return;
    }
    let moto = Moto::start();
    moto.make_bucket("keys");
    moto.switch_versions_on("keys");
    let desk = Desk::new(&moto.endpoint());
    let keys: Vec<Key> = (0..6).map(|at| Key::new(&format!("k{at}"))).collect();
    let prints = keys.iter().map(Key::fingerprint).collect();
    let config = desk.file(
        "config.toml",
        "source = \"file:/k\"\n[policy]\nmin_keys = 0\n[[account]]\nuser = \"jo\"\n",
    );
    let world = World {
        moto,
        desk,
        keys,
        prints,
        config,
    };
    let (next, count, begun) = (AtomicUsize::new(0), Count::default(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        at if at < SEQUENCES => world.sequence(at, &count),
                        _ => return,
                    }
                }
            });
        }
    });
    let counters = [count.published, count.lost, count.same, count.unanswered];
    let [published, lost, same, unanswered] = counters.map(AtomicUsize::into_inner);
    println!(
        "{SEQUENCES} sequences: {published} publications, {lost} lost races, {same} that found \
         their own bytes, {unanswered} without an answer, in {:?}",
        begun.elapsed()
    );
    assert!(
        published > SEQUENCES && lost > SEQUENCES / 4,
        "{published} {lost}"
    );
}

//! Three publishers at once, who grant, revoke, roll back and publish at random: every version is what one of them meant to
//! make of the version before it, no publication is lost unseen, serials grow one by one, and a node installs what a model
//! says.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::desk::{Desk, document};
use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Setup, clean_ctl, me, outcome_of, stand_in};

const TARGET: &str = "s3://keys/workers.json";
const PUBLISHERS: usize = 3;

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

/// Numbers that are the same at each run with the same seed.
struct Random(u64);

impl Random {
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
    /// What a step makes of this version; `None` when it is refused, or there is nothing to grant or revoke. `past` are all versions so far,
    /// this one the last.
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
                let mut since: BTreeSet<usize> =
                    past[at + 1..].iter().flat_map(|version| version.revoked.clone()).collect();
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

impl World {
    fn command(&self, step: &Step, versions: &[String], publisher: usize) -> Command {
        let mut command = clean_ctl();
        command.envs(stand_in(&self.moto.endpoint()));
        match step {
            Step::Grant(key) => command.args(["grant", TARGET, &self.keys[*key].line]),
            Step::Revoke(key) => command.args(["revoke", TARGET, "--unlisted", &self.prints[*key]]),
            Step::RollBack(at) => command.args(["rollback", TARGET, "--to", &versions[*at]]),
            Step::Publish(keys) => {
                let keys: Vec<&Key> = keys.iter().map(|key| &self.keys[*key]).collect();
                let file = self.desk.file(&format!("document-{publisher}"), document(None, &keys));
                command.arg("publish").arg(file).arg(TARGET)
            }
        };
        command.arg("--yes").arg("--config").arg(&self.config);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn read(&self, text: &str) -> Model {
        let read: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
        let list = |name: &str| read[name].as_array().cloned().unwrap_or_default();
        let by_line = |entry: &serde_json::Value| {
            self.keys.iter().position(|key| entry["public_key"] == key.line.as_str()).unwrap()
        };
        let by_print =
            |entry: &serde_json::Value| self.prints.iter().position(|print| entry == print.as_str()).unwrap();
        Model {
            serial: read["serial"].as_u64().unwrap(),
            keys: list("keys").iter().map(by_line).collect(),
            revoked: list("revoked").iter().map(by_print).collect(),
        }
    }

    /// All versions, the oldest first: their ids, and what they say.
    fn history(&self) -> (Vec<String>, Vec<Model>) {
        let ctl = |arguments: &[&str]| {
            let run = outcome_of(clean_ctl().envs(stand_in(&self.moto.endpoint())).args(arguments));
            assert_eq!(run.status, 0, "{run:?}");
            run.stdout
        };
        let shown: serde_json::Value =
            serde_json::from_str(&ctl(&["history", TARGET, "--limit", "1000", "--json"])).unwrap();
        // Some are of the same second, in which their serials tell their order.
        let mut versions: Vec<(u64, String)> = shown["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| {
                (version["serial"].as_u64().unwrap(), version["stored_version"].as_str().unwrap().to_owned())
            })
            .collect();
        versions.sort();
        let raw = |id: &str| self.moto.object("keys", &format!("workers.json?versionId={id}"));
        let models = versions.iter().map(|(_, id)| self.read(&raw(id))).collect();
        (versions.into_iter().map(|(_, id)| id).collect(), models)
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
    let config = desk.file("config.toml", "source = \"file:/k\"\n[policy]\nmin_keys = 0\n[[account]]\nuser = \"jo\"\n");
    let world = World { moto, desk, keys, prints, config };
    world.desk.file("first", document(None, &[&world.keys[0]]));
    world.desk.publish("first", TARGET, &[]).succeeds();
    let (mut ids, mut past) = world.history();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let rounds: usize = std::env::var("MODEL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    let (mut published, mut lost, mut same) = (0, 0, 0);
    for round in 0..rounds {
        let steps: Vec<Step> = (0..PUBLISHERS).map(|_| random.step(world.keys.len(), past.len())).collect();
        let running: Vec<_> =
            steps.iter().enumerate().map(|(at, step)| world.command(step, &ids, at).spawn().unwrap()).collect();
        let mut won = Vec::new();
        for (step, run) in steps.iter().zip(running) {
            let output = run.wait_with_output().unwrap();
            let (stdout, stderr) =
                (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
            let status = output.status.code();
            if stdout.contains("published workers/") {
                assert_eq!(status, Some(0), "{step:?}: {stderr}");
                let told = stdout.split("published workers/").nth(1).unwrap();
                let serial = told.split(' ').next().unwrap();
                // Without a version of its own it found the very bytes that it would have written.
                if told.contains(", version ") {
                    won.push((serial.parse::<u64>().unwrap(), step.clone()));
                } else {
                    same += 1;
                }
            } else if stderr.contains("somebody else published meanwhile") {
                assert_eq!(status, Some(1), "{step:?}: {stderr}");
                lost += 1;
            } else {
                // Refused, or nothing to do: by one of the versions that it may have seen.
                let refused =
                    stderr.contains("is in `revoked`") || stdout.contains("this is what is published already");
                assert!(refused, "{step:?}: {status:?} {stdout} {stderr}");
            }
        }
        won.sort_by_key(|(serial, _)| *serial);
        let (now_ids, now) = world.history();
        assert_eq!(now.len(), past.len() + won.len(), "round {round}: as many versions as publishers were told");
        for (serial, step) in won {
            let before = past.last().unwrap().clone();
            let wanted = before.after(&step, &past).unwrap_or_else(|| panic!("round {round}: {step:?} of {before:?}"));
            assert_eq!(wanted.serial, serial);
            assert_eq!(now[past.len()], wanted, "round {round}: {step:?} of {before:?}");
            past.push(wanted);
            published += 1;
        }
        ids = now_ids;
    }
    println!("{published} publications, {lost} lost races, {same} that found their own bytes, in {rounds} rounds");
    assert!(published > rounds / 2);

    let setup = Setup::new();
    let file = setup.path("keys").join(me());
    let account = format!("file = \"{}/%u\"", setup.path("keys").display());
    let mut setup = setup.account(&me(), &account).tables("\n[policy]\nmin_keys = 0\n");
    setup.source = TARGET.to_owned();
    setup.use_s3_at(&world.moto.endpoint());
    setup.run(["sync"]).succeeds();
    let installed = std::fs::read_to_string(file).unwrap_or_default();
    for (at, key) in world.keys.iter().enumerate() {
        let model = past.last().unwrap();
        let wanted = model.keys.contains(&at) && !model.revoked.contains(&at);
        assert_eq!(installed.contains(key.base64()), wanted, "{key:?}: {installed}");
    }
}

//! A small world for the engine: a secret, a published key set and nodes that follow it late, with
//! a run killed before or after any of its calls. After every change it is seen that nobody who
//! logs in with the current key is locked out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::engine::{Allowance, Engine, Plan};
use super::login::{Answer, Credential};
use super::proof::Proof;
use super::world::{Arrival, Halt, KeySet, Login, Phase, State, World};
use authkeys_aws::pair_secret::{Outcome, SecretVersion, Stage, Stages};
use authkeys_core::document::{Document, KeyPair, Rules, parse};
use authkeys_core::key::{Fingerprint, KeyLine, LineRules};
use authkeys_core::publishing::edit;
use authkeys_core::publishing::entries::{Edits, edited, fingerprints};
use authkeys_core::publishing::grant::Terms;

const FIRST: &str = "{\n  \"version\": 1,\n  \"name\": \"web\",\n  \"serial\": 1,\n  \"keys\": [\n    {\"public_key\": \
                     \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKYl8mvRsMvb0d2J0q6fS3oR3wqM4kO9J7ZJ5kQm0Z admin\"}\n  ]\n}\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Before(usize),
    After(usize),
}

struct Toy {
    /// The secret's versions and labels; `None` when there is no secret.
    versions: Option<BTreeMap<String, String>>,
    labels: BTreeMap<&'static str, String>,
    payload: Vec<u8>,
    nodes: Vec<ToyNode>,
    now: Timestamp,
    /// Drives when nodes look at the target.
    random: u64,
    calls: usize,
    kill: Option<Kill>,
    /// Who could be locked out by now: there was a current key.
    is_in_use: bool,
}

struct ToyNode {
    document: Document,
    is_down: bool,
}

fn document(payload: &[u8]) -> Document {
    parse(payload, &Rules::default()).unwrap()
}

fn key_of(value: &str) -> Option<Fingerprint> {
    let pair = KeyPair::read(value).unwrap()?;
    let line = KeyLine::parse(pair.public.as_bytes(), &LineRules::default()).unwrap();
    Some(line.key.fingerprint())
}

fn lets_in(document: &Document, key: &Fingerprint, now: Timestamp) -> bool {
    document.keys.iter().any(|entry| {
        entry.line.key.fingerprint() == *key
            && entry.not_before.is_none_or(|from| from <= now)
            && entry.not_after.is_none_or(|until| now < until)
    }) && !document.revoked.contains(key)
}

impl Toy {
    fn new(nodes: usize, random: u64) -> Self {
        let base = edit_first();
        let nodes = (0..nodes).map(|_| ToyNode {
            document: document(&base),
            is_down: false,
        });
        Self {
            versions: Some(BTreeMap::new()),
            labels: BTreeMap::new(),
            nodes: nodes.collect(),
            payload: base,
            now: "2026-11-27T12:00:00Z".parse().unwrap(),
            random,
            calls: 0,
            kill: None,
            is_in_use: false,
        }
    }

    fn draw(&mut self, most: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % most
    }

    fn labelled(&self, label: &'static str) -> Option<SecretVersion> {
        let id = self.labels.get(label)?;
        let value = self.versions.as_ref()?.get(id)?.clone();
        Some(SecretVersion {
            id: id.clone(),
            value: Zeroizing::new(value),
        })
    }

    fn key(&self, label: &'static str) -> Option<Fingerprint> {
        key_of(&self.labelled(label)?.value)
    }

    /// Some nodes take what is published, and the promise is looked at.
    fn pass(&mut self) {
        self.now += SignedDuration::from_millis(100);
        for at in 0..self.nodes.len() {
            if self.draw(4) == 0 {
                self.take(at);
            }
        }
        self.check();
    }

    fn take(&mut self, at: usize) {
        if !self.nodes[at].is_down {
            self.nodes[at].document = document(&self.payload);
        }
    }

    fn check(&mut self) {
        let Some(current) = self.key("AWSCURRENT") else {
            return;
        };
        let reached: Vec<&ToyNode> = self.nodes.iter().filter(|node| !node.is_down).collect();
        self.is_in_use |= !reached.is_empty();
        for node in reached {
            assert!(
                lets_in(&node.document, &current, self.now),
                "a client with the current key {current} is locked out at {}",
                self.now
            );
        }
        assert!(lets_in(&document(&self.payload), &current, self.now));
    }

    fn killed(&mut self, is_before: bool) -> bool {
        match self.kill {
            Some(Kill::Before(call)) => is_before && call == self.calls,
            Some(Kill::After(call)) => !is_before && call == self.calls,
            None => false,
        }
    }
}

fn edit_first() -> Vec<u8> {
    FIRST.as_bytes().to_vec()
}

/// One run's hand in the world.
struct Hand {
    toy: Rc<RefCell<Toy>>,
    read: Vec<u8>,
    told: Vec<(Phase, State)>,
}

impl Hand {
    fn new(toy: &Rc<RefCell<Toy>>) -> Self {
        Self {
            toy: Rc::clone(toy),
            read: Vec::new(),
            told: Vec::new(),
        }
    }

    /// One call, between which others have their turn.
    async fn call<T>(&mut self, effect: impl FnOnce(&mut Toy) -> T) -> Result<T, Halt> {
        let turns = self.toy.borrow_mut().draw(3);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        let mut toy = self.toy.borrow_mut();
        toy.calls += 1;
        let killed = || Halt::failed("killed");
        if toy.killed(true) {
            return Err(killed());
        }
        let effect = effect(&mut toy);
        toy.pass();
        if toy.killed(false) {
            return Err(killed());
        }
        Ok(effect)
    }
}

impl World for Hand {
    async fn stages(&mut self) -> Result<Stages, Halt> {
        self.call(|toy| {
            let mut labels: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (label, id) in &toy.labels {
                labels
                    .entry(id.clone())
                    .or_default()
                    .push((*label).to_owned());
            }
            Stages {
                exists: toy.versions.is_some(),
                is_rotation_enabled: false,
                labels,
                current: toy.labelled("AWSCURRENT"),
                pending: toy.labelled("AWSPENDING"),
                previous: toy.labelled("AWSPREVIOUS"),
            }
        })
        .await
    }

    async fn version_ids(&mut self) -> Result<BTreeSet<String>, Halt> {
        self.call(|toy| {
            toy.versions
                .iter()
                .flat_map(|it| it.keys().cloned())
                .collect()
        })
        .await
    }

    async fn create_secret(&mut self, token: &str) -> Result<Outcome, Halt> {
        let token = token.to_owned();
        self.call(|toy| {
            if toy.versions.is_some() {
                return Outcome::Lost;
            }
            toy.versions = Some(BTreeMap::from([(token.clone(), "{}".to_owned())]));
            toy.labels.insert("AWSCURRENT", token);
            Outcome::Done
        })
        .await
    }

    async fn put(&mut self, token: &str, value: &str, stage: Stage) -> Result<Outcome, Halt> {
        let (token, value) = (token.to_owned(), value.to_owned());
        self.call(|toy| {
            let versions = toy.versions.as_mut().unwrap();
            if versions.get(&token).is_some_and(|there| *there != value) {
                return Outcome::Lost;
            }
            let is_first = versions.is_empty();
            versions.insert(token.clone(), value);
            if is_first || stage == Stage::Current {
                toy.labels.insert("AWSCURRENT", token.clone());
            }
            if stage == Stage::Pending {
                toy.labels.insert("AWSPENDING", token);
            }
            Outcome::Done
        })
        .await
    }

    async fn make_current(&mut self, version: &str, from: Option<&str>) -> Result<Outcome, Halt> {
        let (version, from) = (version.to_owned(), from.map(str::to_owned));
        self.call(|toy| {
            let current = toy.labels.get("AWSCURRENT").cloned();
            if current != from || current.as_ref() == Some(&version) {
                return Outcome::Lost;
            }
            if let Some(old) = current {
                toy.labels.insert("AWSPREVIOUS", old);
            }
            toy.labels.insert("AWSCURRENT", version);
            Outcome::Done
        })
        .await
    }

    async fn drop_pending(&mut self, version: &str) -> Result<Outcome, Halt> {
        let version = version.to_owned();
        self.call(|toy| {
            if toy.labels.get("AWSPENDING") != Some(&version) {
                return Outcome::Lost;
            }
            toy.labels.remove("AWSPENDING");
            Outcome::Done
        })
        .await
    }

    async fn key_set(&mut self) -> Result<KeySet, Halt> {
        let payload = self.call(|toy| toy.payload.clone()).await?;
        self.read.clone_from(&payload);
        Ok(KeySet {
            document: document(&payload),
            places: fingerprints(&payload).unwrap(),
        })
    }

    async fn publish(&mut self, edits: &Edits) -> Result<Document, Halt> {
        let read = std::mem::take(&mut self.read);
        let text = edited(&read, edits).unwrap();
        let serial = document(&read).serial.unwrap().next().unwrap();
        let text = edit::numbered(&text, serial).unwrap();
        let published = document(&text);
        let is_ours = self
            .call(|toy| {
                let is_ours = toy.payload == read;
                if is_ours {
                    toy.payload = text;
                }
                is_ours
            })
            .await?;
        if is_ours {
            Ok(published)
        } else {
            Err(Halt::failed("somebody else published meanwhile"))
        }
    }

    async fn count(&mut self) -> Result<usize, Halt> {
        self.call(|toy| toy.nodes.len()).await
    }

    async fn arrival(&mut self, wanted: &Document) -> Result<Arrival, Halt> {
        let serial = wanted.serial;
        self.call(|toy| {
            let mut arrival = Arrival::default();
            for at in 0..toy.nodes.len() {
                toy.take(at);
                if toy.nodes[at].document.serial >= serial {
                    arrival.with.push(at.to_string());
                } else {
                    arrival.missing.push((at.to_string(), "behind".to_owned()));
                }
            }
            arrival
        })
        .await
    }

    async fn log_in(
        &mut self,
        nodes: &[String],
        credential: &Credential,
    ) -> Result<Vec<Login>, Halt> {
        let line = KeyLine::parse(credential.public.as_bytes(), &LineRules::default()).unwrap();
        let (key, nodes) = (line.key.fingerprint(), nodes.to_vec());
        self.call(|toy| {
            let mut logins = Vec::new();
            for node in nodes {
                let at: usize = node.parse().unwrap();
                let answer = if lets_in(&toy.nodes[at].document, &key, toy.now) {
                    Answer::Accepted
                } else {
                    Answer::Refused
                };
                logins.push(Login {
                    node,
                    address: String::new(),
                    answer,
                });
            }
            logins
        })
        .await
    }

    fn proof(&self, _pem: &str) -> Result<Option<Arc<Proof>>, Halt> {
        Ok(None)
    }

    fn now(&self) -> Timestamp {
        self.toy.borrow().now
    }

    async fn sleep_until(&mut self, time: Timestamp) {
        let mut toy = self.toy.borrow_mut();
        toy.now = toy.now.max(time);
    }

    fn tell(&mut self, phase: Phase, state: State, _detail: &str) {
        self.told.push((phase, state));
    }
}

fn plan() -> Plan {
    Plan {
        secret: "prod/web".to_owned(),
        target: "s3://keys/web.json".to_owned(),
        key_type: None,
        terms: Some(Terms {
            options: vec!["restrict".to_owned()],
            ..Terms::default()
        }),
        grace: SignedDuration::from_mins(10),
        allowance: Allowance::Nodes(0),
        sample: None,
        has_logins: true,
        token: None,
    }
}

async fn rotate(toy: &Rc<RefCell<Toy>>, kill: Option<Kill>) -> (Result<(), Halt>, usize) {
    {
        let mut toy = toy.borrow_mut();
        (toy.calls, toy.kill) = (0, kill);
    }
    let mut hand = Hand::new(toy);
    let ended = Engine::new(&mut hand, &plan()).rotate().await;
    let mut toy = toy.borrow_mut();
    toy.kill = None;
    (ended, toy.calls)
}

async fn abort(toy: &Rc<RefCell<Toy>>) -> Result<(), Halt> {
    let mut hand = Hand::new(toy);
    Engine::new(&mut hand, &plan()).abort().await
}

/// What a rotation that is over leaves: the current key without an end, the one before revoked,
/// nothing pending, the admin's key, and no key of an earlier rotation.
fn is_settled(toy: &Toy) {
    let document = document(&toy.payload);
    let current = toy.key("AWSCURRENT").unwrap();
    assert_eq!(document.keys.len(), 2, "{document:?}");
    assert_eq!(document.keys[1].line.key.fingerprint(), current);
    assert_eq!(document.keys[1].not_after, None);
    assert_eq!(document.keys[1].line.options.each(), ["restrict"]);
    assert!(!toy.labels.contains_key("AWSPENDING"));
    for (id, value) in toy.versions.iter().flatten() {
        let key = key_of(value).filter(|key| *key != current);
        if let Some(key) = key
            && document
                .keys
                .iter()
                .any(|it| it.line.key.fingerprint() == key)
        {
            panic!("version {id} left {key} behind");
        }
    }
    if let Some(old) = toy.key("AWSPREVIOUS") {
        assert!(document.revoked.contains(&old));
    }
}

fn world(nodes: usize, random: u64) -> Rc<RefCell<Toy>> {
    Rc::new(RefCell::new(Toy::new(nodes, random)))
}

fn run<T>(work: impl Future<Output = T>) -> T {
    authkeys_terminal::block_on(work).unwrap()
}

#[test]
fn two_rotations_in_a_row_leave_nothing_behind() {
    for has_secret in [true, false] {
        let toy = world(3, 1);
        if !has_secret {
            toy.borrow_mut().versions = None;
        }
        run(async {
            rotate(&toy, None).await.0.unwrap();
            is_settled(&toy.borrow());
            let first = toy.borrow().key("AWSCURRENT").unwrap();
            rotate(&toy, None).await.0.unwrap();
            is_settled(&toy.borrow());
            assert!(document(&toy.borrow().payload).revoked.contains(&first));
        });
    }
}

#[test]
fn f58_a_run_killed_at_any_call_is_continued_by_the_next_one() {
    run(async {
        let calls = {
            let toy = world(2, 7);
            rotate(&toy, None).await.0.unwrap();
            rotate(&toy, None).await.1
        };
        assert!(calls > 20, "{calls}");
        for call in 1..=calls {
            for kill in [Kill::Before(call), Kill::After(call)] {
                // The first rotation of a secret, and then one with a current key.
                let toy = world(2, 11);
                let (killed, _) = rotate(&toy, Some(kill)).await;
                rotate(&toy, None)
                    .await
                    .0
                    .unwrap_or_else(|halt| panic!("{kill:?}: {halt:?}"));
                is_settled(&toy.borrow());
                let (again, _) = rotate(&toy, Some(kill)).await;
                assert!(
                    killed.is_err() || again.is_err() || call > 20,
                    "{kill:?} killed nothing"
                );
                rotate(&toy, None)
                    .await
                    .0
                    .unwrap_or_else(|halt| panic!("{kill:?}: {halt:?}"));
                is_settled(&toy.borrow());
            }
        }
    });
}

#[test]
fn f58_runs_killed_again_and_again_come_to_their_end() {
    run(async {
        for seed in 0..50 {
            let toy = world(3, seed);
            rotate(&toy, None).await.0.unwrap();
            for _ in 0..4 {
                let call = toy.borrow_mut().draw(30) as usize + 1;
                let kill = if seed % 2 == 0 {
                    Kill::Before(call)
                } else {
                    Kill::After(call)
                };
                let _ = rotate(&toy, Some(kill)).await;
            }
            rotate(&toy, None)
                .await
                .0
                .unwrap_or_else(|halt| panic!("{seed}: {halt:?}"));
            is_settled(&toy.borrow());
        }
    });
}

#[test]
fn a_pending_key_is_aborted_at_any_call_before_it_counts_and_the_next_rotation_works() {
    run(async {
        let mut aborted = 0;
        for call in 1..60 {
            let toy = world(2, 3);
            rotate(&toy, None).await.0.unwrap();
            let before = document(&toy.borrow().payload);
            let _ = rotate(&toy, Some(Kill::After(call))).await;
            let is_pending = toy.borrow().labels.contains_key("AWSPENDING")
                && toy.borrow().labels.get("AWSPENDING") != toy.borrow().labels.get("AWSCURRENT");
            let ended = abort(&toy).await;
            assert_eq!(ended.is_ok(), is_pending, "{call}: {ended:?}");
            if is_pending {
                aborted += 1;
                assert!(!toy.borrow().labels.contains_key("AWSPENDING"));
                assert_eq!(document(&toy.borrow().payload).keys, before.keys);
            }
            rotate(&toy, None)
                .await
                .0
                .unwrap_or_else(|halt| panic!("{call}: {halt:?}"));
            is_settled(&toy.borrow());
        }
        assert!(aborted > 5, "{aborted}");
    });
}

#[test]
fn f58_two_at_once_never_lock_anybody_out_and_a_third_run_ends_it() {
    run(async {
        let (mut stopped, mut with_abort) = (0, 0);
        for seed in 0..90 {
            let toy = world(2, seed);
            rotate(&toy, None).await.0.unwrap();
            let plan = plan();
            let (mut one, mut other) = (Hand::new(&toy), Hand::new(&toy));
            let (mut one, mut other) =
                (Engine::new(&mut one, &plan), Engine::new(&mut other, &plan));
            let (first, second) = if seed % 3 == 0 {
                with_abort += 1;
                tokio::join!(one.rotate(), other.abort())
            } else {
                tokio::join!(one.rotate(), other.rotate())
            };
            let said = format!("{seed}: {first:?} {second:?}");
            stopped += usize::from(first.is_err()) + usize::from(second.is_err());
            for halt in [first, second].into_iter().filter_map(Result::err) {
                assert!(halt.why.is_some_and(|why| why.len() > 10));
            }
            let (third, _) = rotate(&toy, None).await;
            third.unwrap_or_else(|halt| panic!("{said}: {halt:?}"));
            assert_eq!(document(&toy.borrow().payload).keys.len(), 2, "{said}");
            is_settled(&toy.borrow());
        }
        assert!(stopped > 15 && with_abort > 15, "{stopped} {with_abort}");
    });
}

#[test]
fn a_node_that_is_down_keeps_the_new_key_from_being_promoted() {
    run(async {
        let toy = world(3, 5);
        rotate(&toy, None).await.0.unwrap();
        let before = toy.borrow().key("AWSCURRENT");
        toy.borrow_mut().nodes[1].is_down = true;
        let halt = rotate(&toy, None).await.0.unwrap_err();
        let why = halt.why.unwrap();
        assert!(why.contains("2 of 3 nodes have web/"), "{why}");
        assert!(why.contains("missing: 1 (behind)"), "{why}");
        assert_eq!(toy.borrow().key("AWSCURRENT"), before);
        toy.borrow_mut().nodes[1].is_down = false;
        rotate(&toy, None).await.0.unwrap();
        is_settled(&toy.borrow());

        // Unless so many may be missing.
        toy.borrow_mut().nodes[1].is_down = true;
        let plan = Plan {
            allowance: Allowance::Percent(34),
            ..plan()
        };
        let mut hand = Hand::new(&toy);
        Engine::new(&mut hand, &plan).rotate().await.unwrap();
        is_settled(&toy.borrow());
    });
}

#[test]
fn the_function_of_secrets_manager_ends_after_retire_and_its_next_rotation_clears_up() {
    run(async {
        let toy = world(2, 9);
        rotate(&toy, None).await.0.unwrap();
        for token in ["t-1", "t-2", "t-3"] {
            let plan = Plan {
                token: Some(token.to_owned()),
                ..plan()
            };
            let mut hand = Hand::new(&toy);
            // Each step is another invocation, and each may be called twice.
            for step in [0, 0, 1, 1, 2, 2, 3] {
                let mut engine = Engine::new(&mut hand, &plan);
                match step {
                    0 => engine.create().await.unwrap(),
                    1 => engine.set().await.unwrap(),
                    2 => {
                        engine.deploy().await.unwrap();
                        engine.test().await.unwrap();
                    }
                    _ => {
                        engine.finish().await.unwrap();
                        engine.retire(false).await.unwrap();
                    }
                }
            }
            assert_eq!(toy.borrow().labels["AWSCURRENT"], token);
            // Secrets Manager takes its label off.
            toy.borrow_mut().labels.remove("AWSPENDING");
            toy.borrow_mut().now += SignedDuration::from_hours(24);
            let keys = document(&toy.borrow().payload).keys.len();
            assert_eq!(
                keys, 3,
                "the admin's, the current and the old one, which is over"
            );
        }
        rotate(&toy, None).await.0.unwrap();
        is_settled(&toy.borrow());
    });
}

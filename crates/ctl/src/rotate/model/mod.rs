//! A small world for the engine: a secret, a published key set and nodes that follow it late, with
//! a run killed before or after any of its calls. After every change it is checked that nobody who
//! logs in with the current key is locked out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::engine::{Allowance, Engine, RotationPlan};
use super::world::Halt;
use authkeys_aws::pair_secret::SecretVersion;
use authkeys_core::document::{Document, KeyPair, Rules, Serial, parse};
use authkeys_core::key::{Fingerprint, KeyLine, LineRules};
use authkeys_core::publishing::grant::Terms;
use authkeys_core::publishing::rotation::{Window, window};
use hand::Hand;

mod hand;
mod runs;
mod soak;

const FIRST: &str = "{\n  \"version\": 1,\n  \"name\": \"web\",\n  \"serial\": 1,\n  \"keys\": [\n    {\"public_key\": \
                     \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKYl8mvRsMvb0d2J0q6fS3oR3wqM4kO9J7ZJ5kQm0Z admin\"}\n  ]\n}\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Before(usize),
    After(usize),
}

struct Toy {
    /// The secret's versions and labels; `None` if the secret does not exist.
    versions: Option<BTreeMap<String, String>>,
    labels: BTreeMap<&'static str, String>,
    payload: Vec<u8>,
    /// The same, as nodes read it.
    published: Rc<Document>,
    nodes: Vec<ToyNode>,
    now: Timestamp,
    /// Determines when nodes look at the target.
    random: u64,
    calls: usize,
    kill: Option<Kill>,
    /// How many of the next calls are refused, as by an API that throttles.
    throttled: usize,
    /// When each key with an end expires, and with which serial a node learns that.
    ends: BTreeMap<Fingerprint, (Timestamp, Option<Serial>)>,
    /// Whether anyone could be locked out yet: there was a current key.
    is_in_use: bool,
    /// An operator revoked the current key: nobody is meant to use it.
    is_revoked: bool,
}

struct ToyNode {
    document: Rc<Document>,
    is_down: bool,
    /// It gives no answer to a login.
    is_out_of_reach: bool,
    /// How many waits end before it applies what is published.
    late: usize,
}

fn document(payload: &[u8]) -> Document {
    parse(payload, &Rules::default()).unwrap()
}

fn key_of(value: &str) -> Option<Fingerprint> {
    let pair = KeyPair::read(value).unwrap()?;
    let line = KeyLine::parse(pair.public.as_bytes(), &LineRules::default()).unwrap();
    Some(line.key.fingerprint())
}

/// The keys that are accepted now.
fn admitted(document: &Document, now: Timestamp) -> BTreeSet<Fingerprint> {
    let mut admitted = BTreeSet::new();
    for entry in &document.keys {
        let has_begun = entry.not_before.is_none_or(|from| from <= now);
        if has_begun && entry.not_after.is_none_or(|until| now < until) {
            admitted.insert(entry.line.key.fingerprint());
        }
    }
    admitted.difference(&document.revoked).copied().collect()
}

fn lets_in(document: &Document, key: &Fingerprint, now: Timestamp) -> bool {
    admitted(document, now).contains(key)
}

impl Toy {
    fn new(nodes: usize, random: u64) -> Self {
        let base = edit_first();
        let published = Rc::new(document(&base));
        let nodes = (0..nodes).map(|_| ToyNode {
            document: Rc::clone(&published),
            is_down: false,
            is_out_of_reach: false,
            late: 0,
        });
        Self {
            versions: Some(BTreeMap::new()),
            labels: BTreeMap::new(),
            nodes: nodes.collect(),
            published: Rc::clone(&published),
            payload: base,
            now: "2026-11-27T12:00:00Z".parse().unwrap(),
            random,
            calls: 0,
            kill: None,
            throttled: 0,
            ends: BTreeMap::new(),
            is_in_use: false,
            is_revoked: false,
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

    fn publish(&mut self, payload: Vec<u8>) {
        self.published = Rc::new(document(&payload));
        self.payload = payload;
    }

    /// Some nodes apply what is published, and the promise is checked.
    fn pass(&mut self) {
        self.now += SignedDuration::from_millis(100);
        for at in 0..self.nodes.len() {
            if self.draw(4) == 0 && self.nodes[at].late == 0 {
                self.take(at);
            }
        }
        self.check();
    }

    fn take(&mut self, at: usize) {
        if !self.nodes[at].is_down {
            self.nodes[at].document = Rc::clone(&self.published);
        }
    }

    /// Nobody with the current key is locked out, and no old key is accepted after its end by a
    /// node that knows of it.
    fn check(&mut self) {
        self.note_ends();
        for node in &self.nodes {
            for key in admitted(&node.document, self.now) {
                let Some((end, serial)) = self.ends.get(&key) else {
                    continue;
                };
                let knows = node.document.serial >= *serial && self.now >= *end;
                assert!(!knows, "the old key {key} is accepted after {end}");
            }
        }
        let Some(current) = self.key("AWSCURRENT") else {
            return;
        };
        if self.is_revoked && self.published.revoked.contains(&current) {
            return;
        }
        let reached: Vec<&ToyNode> = self.nodes.iter().filter(|node| !node.is_down).collect();
        self.is_in_use |= !reached.is_empty();
        for node in reached {
            assert!(
                lets_in(&node.document, &current, self.now),
                "a client with the current key {current} is locked out at {}",
                self.now
            );
        }
        assert!(lets_in(&self.published, &current, self.now));
    }

    fn note_ends(&mut self) {
        let published = Rc::clone(&self.published);
        for entry in &published.keys {
            let key = entry.line.key.fingerprint();
            if let Window::Ends(end) = window(&published, &key) {
                let serial = published.serial;
                self.ends.entry(key).or_insert((end, serial));
            }
        }
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

fn plan() -> RotationPlan {
    RotationPlan {
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
    rotate_by(toy, kill, &plan()).await
}

async fn rotate_by(
    toy: &Rc<RefCell<Toy>>,
    kill: Option<Kill>,
    plan: &RotationPlan,
) -> (Result<(), Halt>, usize) {
    {
        let mut toy = toy.borrow_mut();
        (toy.calls, toy.kill) = (0, kill);
    }
    let mut hand = Hand::new(toy);
    let ended = Engine::new(&mut hand, plan).rotate().await;
    let mut toy = toy.borrow_mut();
    toy.kill = None;
    (ended, toy.calls)
}

async fn abort(toy: &Rc<RefCell<Toy>>) -> Result<(), Halt> {
    let mut hand = Hand::new(toy);
    Engine::new(&mut hand, &plan()).abort().await
}

/// What a finished rotation leaves: the current key without an end, the previous one revoked,
/// nothing pending, the admin's key, and no key of an earlier rotation.
fn is_settled(toy: &Toy) {
    let document = &toy.published;
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

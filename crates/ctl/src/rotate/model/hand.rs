//! One run's access to the small world: every call of the engine. Between calls, nodes and other
//! runs take their turns.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::login::{LoginKey, LoginResult};
use super::super::proof::Proof;
use super::super::world::{Arrival, Halt, Login, Phase, PhaseState, PublishedKeySet, World};
use super::{Toy, document, lets_in};
use authkeys_aws::pair_secret::{PairStage, PairWrite, Stages};
use authkeys_core::document::Document;
use authkeys_core::key::{KeyLine, LineRules};
use authkeys_core::publishing::edit;
use authkeys_core::publishing::entries::{Edits, edited, fingerprints};
use authkeys_terminal::Exit;

/// One run's access to the world.
pub(super) struct Hand {
    toy: Rc<RefCell<Toy>>,
    read: Vec<u8>,
    phases: Vec<(Phase, PhaseState)>,
}

impl Hand {
    pub(super) fn new(toy: &Rc<RefCell<Toy>>) -> Self {
        Self {
            toy: Rc::clone(toy),
            read: Vec::new(),
            phases: Vec::new(),
        }
    }

    /// One call, between which others take their turns.
    async fn call<T>(&mut self, effect: impl FnOnce(&mut Toy) -> T) -> Result<T, Halt> {
        let turns = self.toy.borrow_mut().draw(3);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        let mut toy = self.toy.borrow_mut();
        toy.calls += 1;
        if toy.throttled > 0 {
            toy.throttled -= 1;
            return Err(Halt {
                exit: Exit::Unreachable,
                why: Some("throttled".to_owned()),
            });
        }
        if toy.killed(true) {
            return Err(Halt::failed("killed"));
        }
        let effect = effect(&mut toy);
        toy.pass();
        if toy.killed(false) {
            return Err(Halt::failed("killed"));
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

    async fn create_secret(&mut self, token: &str) -> Result<PairWrite, Halt> {
        let token = token.to_owned();
        self.call(|toy| {
            if toy.versions.is_some() {
                return PairWrite::Lost;
            }
            toy.versions = Some(BTreeMap::from([(token.clone(), "{}".to_owned())]));
            toy.labels.insert("AWSCURRENT", token);
            PairWrite::Done
        })
        .await
    }

    async fn put(&mut self, token: &str, value: &str, stage: PairStage) -> Result<PairWrite, Halt> {
        let token = token.to_owned();
        let value = value.to_owned();
        self.call(|toy| {
            let versions = toy.versions.as_mut().unwrap();
            if versions.get(&token).is_some_and(|there| *there != value) {
                return PairWrite::Lost;
            }
            let is_first = versions.is_empty();
            versions.insert(token.clone(), value);
            if is_first || stage == PairStage::Current {
                toy.labels.insert("AWSCURRENT", token.clone());
            }
            if stage == PairStage::Pending {
                toy.labels.insert("AWSPENDING", token);
            }
            PairWrite::Done
        })
        .await
    }

    async fn make_current(&mut self, version: &str, from: Option<&str>) -> Result<PairWrite, Halt> {
        let version = version.to_owned();
        let from = from.map(str::to_owned);
        self.call(|toy| {
            let current = toy.labels.get("AWSCURRENT").cloned();
            if current != from || current.as_ref() == Some(&version) {
                return PairWrite::Lost;
            }
            if let Some(old) = current {
                toy.labels.insert("AWSPREVIOUS", old);
            }
            toy.labels.insert("AWSCURRENT", version);
            PairWrite::Done
        })
        .await
    }

    async fn drop_pending(&mut self, version: &str) -> Result<PairWrite, Halt> {
        let version = version.to_owned();
        self.call(|toy| {
            if toy.labels.get("AWSPENDING") != Some(&version) {
                return PairWrite::Lost;
            }
            toy.labels.remove("AWSPENDING");
            PairWrite::Done
        })
        .await
    }

    async fn key_set(&mut self) -> Result<PublishedKeySet, Halt> {
        let read = self.call(|toy| (toy.payload.clone(), Rc::clone(&toy.published)));
        let (payload, published) = read.await?;
        self.read.clone_from(&payload);
        Ok(PublishedKeySet {
            document: Document::clone(&published),
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
                    toy.publish(text);
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
                match toy.nodes[at].late {
                    0 => toy.take(at),
                    late => toy.nodes[at].late = late - 1,
                }
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
        credential: &LoginKey,
    ) -> Result<Vec<Login>, Halt> {
        let line = KeyLine::parse(credential.public.as_bytes(), &LineRules::default()).unwrap();
        let key = line.key.fingerprint();
        let nodes = nodes.to_vec();
        self.call(|toy| {
            let mut logins = Vec::new();
            for node in nodes {
                let at: usize = node.parse().unwrap();
                let answer = if toy.nodes[at].is_out_of_reach {
                    LoginResult::TimedOut
                } else if lets_in(&toy.nodes[at].document, &key, toy.now) {
                    LoginResult::Accepted
                } else {
                    LoginResult::Refused
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

    fn tell(&mut self, phase: Phase, state: PhaseState, _detail: &str) {
        self.phases.push((phase, state));
    }
}

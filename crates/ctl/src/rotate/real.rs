//! The world that a rotation works on: AWS, the published key set, the nodes and their sshd.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::login::{Door, LoginKey, LoginResult, log_in};
use super::proof::Proof;
use super::world::{Arrival, Halt, Login, Phase, PhaseState, PublishedKeySet, World};
use crate::fault::described_fault;
use crate::fleet::{AddressKind, Nodes, Unknown};
use crate::publication::{Before, Editable, Proposal, PublicationEnd, Publisher, TextForm};
use crate::{Exit, print};
use authkeys_aws::pair_secret::{PairSecret, PairStage, PairWrite, Stages};
use authkeys_core::document::{self, Document, Form};
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::publishing::entries::Edits;
use authkeys_terminal::clock;

/// The longest single sleep: the clock may be changed meanwhile.
const NAP: Duration = Duration::from_secs(1);
/// How often the first look at the nodes is tried when AWS throttles.
const LOOKS: u32 = 3;

/// Where the test logins go.
#[derive(Debug, Clone)]
pub(super) struct Doors {
    pub(super) user: String,
    pub(super) port: u16,
    pub(super) kind: AddressKind,
}

/// One phase, as printed by `--json`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PrintedPhase {
    pub(super) phase: Phase,
    pub(super) state: PhaseState,
    pub(super) detail: String,
}

pub(super) struct Real<'a> {
    pub(super) secret: PairSecret,
    pub(super) publisher: Publisher<'a>,
    pub(super) nodes: Nodes<'a>,
    pub(super) doors: Option<Doors>,
    /// How long nodes have to report a document.
    pub(super) timeout: SignedDuration,
    /// Whether nodes are nudged after each publication.
    pub(super) nudges: bool,
    /// Whether each phase is printed as it ends.
    pub(super) prints: bool,
    pub(super) steps: Vec<PrintedPhase>,
    /// What was last read from the target.
    pub(super) before: Option<(Before, Editable)>,
}

fn fault(fault: &FetchError) -> Halt {
    Halt {
        exit: fault.class.into(),
        why: Some(described_fault(fault)),
    }
}

fn unknown(unknown: Unknown) -> Halt {
    match unknown {
        Unknown::Fault(why) => fault(&why),
        Unknown::Nobody(why) | Unknown::Document(why) => Halt::failed(why),
    }
}

/// Whether to repeat the first look at the nodes, after a transient failure; later looks retry by
/// themselves.
fn may_look_again(unknown: &Unknown, looks: u32) -> bool {
    let is_transient = matches!(unknown, Unknown::Fault(fault) if fault.class == Class::Transient);
    is_transient && looks < LOOKS
}

async fn pause(looks: u32) {
    tokio::time::sleep(NAP * looks).await;
}

/// The cause has already been reported.
fn said(exit: Exit) -> Halt {
    Halt { exit, why: None }
}

impl World for Real<'_> {
    async fn stages(&mut self) -> Result<Stages, Halt> {
        self.secret.read().await.map_err(|why| fault(&why))
    }

    async fn version_ids(&mut self) -> Result<BTreeSet<String>, Halt> {
        self.secret.version_ids().await.map_err(|why| fault(&why))
    }

    async fn create_secret(&mut self, token: &str) -> Result<PairWrite, Halt> {
        self.secret.create(token).await.map_err(|why| fault(&why))
    }

    async fn put(&mut self, token: &str, value: &str, stage: PairStage) -> Result<PairWrite, Halt> {
        let put = self.secret.put(token, value, stage).await;
        put.map_err(|why| fault(&why))
    }

    async fn make_current(&mut self, version: &str, from: Option<&str>) -> Result<PairWrite, Halt> {
        let moved = self.secret.make_current(version, from).await;
        moved.map_err(|why| fault(&why))
    }

    async fn drop_pending(&mut self, version: &str) -> Result<PairWrite, Halt> {
        let dropped = self.secret.drop_pending(version).await;
        dropped.map_err(|why| fault(&why))
    }

    async fn key_set(&mut self) -> Result<PublishedKeySet, Halt> {
        let before = self.publisher.look().await.map_err(said)?;
        if let Some(published) = &before.published
            && document::form(&published.bytes) == Form::Text
        {
            let target = &self.publisher.target;
            return Err(Halt::failed(format!(
                "{target}: it is authorized_keys text, in which no key can have an end; convert it \
                 first with `authkeysctl grant {target} KEY --json`"
            )));
        }
        let editable = Editable::published(&self.publisher, &before, TextForm::Refuse);
        let editable = editable.map_err(said)?;
        let key_set = PublishedKeySet {
            document: before.document.clone(),
            places: editable.places.clone(),
        };
        self.before = Some((before, editable));
        Ok(key_set)
    }

    async fn publish(&mut self, edits: &Edits) -> Result<Document, Halt> {
        let Some((before, editable)) = self.before.take() else {
            return Err(Halt::failed("nothing was read at the target"));
        };
        let name = self.publisher.target.to_string();
        let text = editable
            .edited(edits)
            .map_err(|why| Halt::failed(format!("{name}: {why}")))?;
        let proposal = Proposal {
            name,
            text,
            keeps_signature: false,
            concerns: editable.concerns,
        };
        let published = self.publisher.publish(&before, proposal).await;
        match published.map_err(said)? {
            PublicationEnd::Published(document) | PublicationEnd::Already(document) => {
                if self.nudges {
                    self.nodes.nudge(&document).await;
                }
                Ok(document)
            }
            PublicationEnd::Shown => Err(Halt::failed("nothing was written")),
        }
    }

    async fn count(&mut self) -> Result<usize, Halt> {
        let mut looks = 1;
        loop {
            match self.nodes.count().await {
                Err(why) if may_look_again(&why, looks) => pause(looks).await,
                counted => return counted.map_err(unknown),
            }
            looks += 1;
        }
    }

    async fn arrival(&mut self, document: &Document) -> Result<Arrival, Halt> {
        let limit = self.timeout.unsigned_abs();
        let mut looks = 1;
        let fleet = loop {
            match self.nodes.arrival(document, limit).await {
                Err(why) if may_look_again(&why, looks) => pause(looks).await,
                arrived => break arrived.map_err(unknown)?,
            }
            looks += 1;
        };
        let mut arrival = Arrival::default();
        for row in &fleet.rows {
            if fleet.is_done(row) {
                arrival.with.push(row.node.id.clone());
            } else {
                let word = row.state.word().to_owned();
                arrival.missing.push((row.node.id.clone(), word));
            }
        }
        Ok(arrival)
    }

    async fn log_in(
        &mut self,
        nodes: &[String],
        credential: &LoginKey,
    ) -> Result<Vec<Login>, Halt> {
        let Some(doors) = &self.doors else {
            return Ok(Vec::new());
        };
        let addresses = self.nodes.addresses(nodes, doors.kind).await;
        let addresses = addresses.map_err(|why| fault(&why))?;
        let mut logins = Vec::new();
        let mut open = Vec::new();
        for node in nodes {
            match addresses.get(node) {
                Some(address) => open.push(Door {
                    node: node.clone(),
                    address: address.clone(),
                    port: doors.port,
                    user: doors.user.clone(),
                }),
                None => logins.push(Login {
                    node: node.clone(),
                    address: String::new(),
                    answer: LoginResult::Unreachable("it has no such address".to_owned()),
                }),
            }
        }
        for (door, answer) in log_in(open, credential).await {
            logins.push(Login {
                node: door.node,
                address: door.address,
                answer,
            });
        }
        Ok(logins)
    }

    fn proof(&self, pem: &str) -> Result<Option<Arc<Proof>>, Halt> {
        let proof = Proof::read(pem);
        match proof {
            Ok(proof) => Ok(Some(Arc::new(proof))),
            Err(why) => Err(Halt::failed(format!("secret {}: {why}", self.secret.id()))),
        }
    }

    fn now(&self) -> Timestamp {
        clock()
    }

    async fn sleep_until(&mut self, time: Timestamp) {
        while let Ok(left) = Duration::try_from(time.duration_since(clock())) {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(NAP)).await;
        }
    }

    fn tell(&mut self, phase: Phase, state: PhaseState, detail: &str) {
        if self.prints {
            let before = match state {
                PhaseState::Already => "(before) ",
                PhaseState::Skipped => "(skipped) ",
                PhaseState::Planned => "(to do) ",
                PhaseState::Done | PhaseState::Failed => "",
            };
            print(format!("{:<8}{before}{detail}\n", phase.word()));
        }
        self.steps.push(PrintedPhase {
            phase,
            state,
            detail: detail.to_owned(),
        });
    }
}

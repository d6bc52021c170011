//! The phases of a rotation. It makes before it breaks, and keeps no state: the secret's stages and
//! the published key set show what is left to do, so that the next run continues one that was
//! killed at any point.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use sha2::{Digest as _, Sha256};

use super::held::{Holder, SecretContent};
use super::pair::PairKeyType;
use super::world::{Arrival, Halt, Login, Phase, PhaseState, PublishedKeySet, World};
use authkeys_aws::pair_secret::{PairStage, PairWrite};
use authkeys_core::document::Document;
use authkeys_core::publishing::grant::Terms;
use authkeys_core::publishing::rotation::{Keys, Window, admit, is_admitted, window};
use authkeys_core::words::counted;

/// How many tokens to try for a new version: one for each aborted rotation.
const MOST_TOKENS: u32 = 100;
/// How many nodes a message names at most.
const NAMED: usize = 5;

/// How many nodes may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowance {
    /// This many.
    Nodes(usize),
    /// This percentage.
    Percent(u8),
}

impl Allowance {
    pub(super) fn of(self, all: usize) -> usize {
        match self {
            Self::Nodes(nodes) => nodes,
            Self::Percent(percent) => all.saturating_mul(usize::from(percent)) / 100,
        }
    }
}

/// The settings of a rotation.
#[derive(Debug, Clone)]
pub(super) struct RotationPlan {
    /// The secret's name in messages.
    pub(super) secret: String,
    /// The target's name in messages.
    pub(super) target: String,
    /// `None`: the type of the current key.
    pub(super) key_type: Option<PairKeyType>,
    /// The terms of a first key's entry.
    pub(super) terms: Option<Terms>,
    pub(super) grace: SignedDuration,
    pub(super) allowance: Allowance,
    /// The most nodes to log in to.
    pub(super) sample: Option<usize>,
    /// Whether to make test logins.
    pub(super) has_logins: bool,
    /// The version that Secrets Manager rotates to; it removes AWSPENDING itself.
    pub(super) token: Option<String>,
}

pub(super) struct Engine<'a, W> {
    pub(super) world: &'a mut W,
    pub(super) plan: &'a RotationPlan,
    /// The nodes that have the current key set.
    pub(super) arrival: Arrival,
    /// The results of the logins.
    pub(super) logins: Vec<Login>,
    /// The current phase.
    pub(super) phase: Phase,
}

impl<'a, W: World> Engine<'a, W> {
    pub(super) fn new(world: &'a mut W, plan: &'a RotationPlan) -> Self {
        Self {
            world,
            plan,
            arrival: Arrival::default(),
            logins: Vec::new(),
            phase: Phase::Create,
        }
    }

    /// Runs all remaining phases of the rotation in progress, or of a new one.
    pub(super) async fn rotate(&mut self) -> Result<(), Halt> {
        self.world.count().await?;
        if self.is_past_finish().await? {
            self.world.tell(
                Phase::Finish,
                PhaseState::Already,
                "an earlier run got this far; going on with it",
            );
            self.retire(true).await?;
            self.verify().await?;
            if !self.current_is_revoked().await? {
                return Ok(());
            }
            // That rotation is complete, but its key was revoked: nobody has a key that works.
        }
        self.create().await?;
        self.set().await?;
        self.deploy().await?;
        self.test().await?;
        self.finish().await?;
        self.retire(true).await?;
        self.verify().await
    }

    /// Whether no node accepts the current key any more.
    async fn current_is_revoked(&mut self) -> Result<bool, Halt> {
        let held = self.held().await?;
        let key_set = self.world.key_set().await?;
        Ok(match &held.current {
            Some(current) => key_set.document.revoked.contains(&current.key),
            None => false,
        })
    }

    /// What the secret holds, without its private keys.
    pub(super) async fn held(&mut self) -> Result<SecretContent, Halt> {
        Ok(self.held_with_private_keys().await?.public())
    }

    pub(super) async fn held_with_private_keys(&mut self) -> Result<SecretContent, Halt> {
        let stages = self.world.stages().await?;
        SecretContent::of(stages, &self.plan.secret)
    }

    /// Whether only the phases after `finish` are left: nothing is pending, and the key set has the
    /// key of the previous version.
    pub(super) async fn is_past_finish(&mut self) -> Result<bool, Halt> {
        let held = self.held().await?;
        let (None, Some(old)) = (&held.pending, held.old()) else {
            return Ok(false);
        };
        let key_set = self.world.key_set().await?;
        Ok(window(&key_set.document, &old) != Window::Absent)
    }

    /// Creates a new pair under AWSPENDING.
    pub(super) async fn create(&mut self) -> Result<(), Halt> {
        self.phase = Phase::Create;
        let mut held = self.held_with_private_keys().await?;
        if self.is_created(&held) {
            return Ok(());
        }
        // A target that cannot be edited is detected before the secret is touched.
        self.world.key_set().await?;
        let secret = self.plan.secret.clone();
        if !held.exists {
            if secret.starts_with("arn:") {
                return Err(Halt::failed(format!("no secret {secret}; check the ARN")));
            }
            // A run that is faster creates the same secret.
            self.world.create_secret(&token("", "made", 0)).await?;
            held = self.held_with_private_keys().await?;
        }
        if held.has_no_version {
            // The first version of a secret becomes the current one, whatever its label. That must
            // not be a key that no node has.
            self.world
                .put(&token("", "empty", 0), "{}", PairStage::Current)
                .await?;
        }
        // The order matters: a run that creates a version after we list the ids creates the same
        // one as we would; a version that was created earlier shows up when we read the stages.
        let there = self.world.version_ids().await?;
        held = self.held_with_private_keys().await?;
        if self.is_created(&held) {
            return Ok(());
        }
        let key_type = key_type_of(self.plan, &held)?;
        let comment = match &held.current {
            Some(current) if !current.line.comment.is_empty() => current.line.comment.clone(),
            _ => comment(&secret),
        };
        let pair = key_type
            .pair(&comment)
            .map_err(|fault| Halt::failed(fault.to_string()))?;
        let value = pair
            .write_into(&held.current_value)
            .map_err(|fault| Halt::failed(format!("secret {secret}: {fault}")))?;
        let version = self.version_token(&held, &there)?;
        let put = self.world.put(&version, &value, PairStage::Pending).await?;
        let pending = self.held().await?.pending;
        match pending {
            Some(pending) if put == PairWrite::Done && pending.public == pair.public => {
                let detail = format!("new {key_type} key {} is AWSPENDING", pending.key);
                self.world.tell(Phase::Create, PhaseState::Done, &detail);
                Ok(())
            }
            _ => Err(Halt::failed(format!(
                "another rotation of {secret} began at the same time; this one stops. Run it again \
                 if the other one stops too"
            ))),
        }
    }

    /// The id of the new version: the same for all runs that start this rotation, so that only one
    /// of them creates it. An aborted version keeps its id for a while.
    fn version_token(
        &self,
        held: &SecretContent,
        there: &BTreeSet<String>,
    ) -> Result<String, Halt> {
        if let Some(token) = self.plan.token.clone().or(held.empty_pending.clone()) {
            return Ok(token);
        }
        let current = held.current_version.as_deref().unwrap_or_default();
        for number in 0..MOST_TOKENS {
            let token = token(current, "pending", number);
            if !there.contains(&token) {
                return Ok(token);
            }
        }
        Err(Halt::failed(format!(
            "{} has {MOST_TOKENS} aborted versions; wait a day until Secrets Manager has deleted \
             them",
            self.plan.secret
        )))
    }

    /// Whether there is already a pending pair; if so, that is reported.
    fn is_created(&mut self, held: &SecretContent) -> bool {
        let Some(pending) = &held.pending else {
            return false;
        };
        let detail = format!("AWSPENDING has {}", pending.described());
        self.world.tell(Phase::Create, PhaseState::Already, &detail);
        true
    }

    /// Puts the new key into the key set, wherever the current one is.
    pub(super) async fn set(&mut self) -> Result<(), Halt> {
        self.phase = Phase::Set;
        let held = self.held().await?;
        let pending = self.pending(&held)?;
        let key_set = self.world.key_set().await?;
        let edits = admit(
            &key_set.document,
            &key_set.places,
            Keys {
                current: held.current.as_ref().map(|holder| &holder.line),
                previous: held.old_line(),
            },
            &pending.line,
            self.plan.terms.as_ref(),
            self.world.now(),
        )
        .map_err(|fault| Halt::failed(format!("{}: {fault}", self.plan.target)))?;
        let both = match &held.current {
            Some(current) if window(&key_set.document, &current.key) != Window::Absent => {
                format!("{} and {}", current.key, pending.key)
            }
            _ => pending.key.to_string(),
        };
        if edits.is_empty() {
            let detail = format!("the key set has {both}");
            self.world.tell(Phase::Set, PhaseState::Already, &detail);
            return Ok(());
        }
        let document = self.world.publish(&edits).await?;
        let detail = format!("published {}, with {both}", super::titled(&document));
        self.world.tell(Phase::Set, PhaseState::Done, &detail);
        Ok(())
    }

    /// Waits until the nodes have the new key.
    pub(super) async fn deploy(&mut self) -> Result<(), Halt> {
        self.phase = Phase::Deploy;
        let held = self.held().await?;
        let key_set = self.admitted(&held).await?;
        let detail = self.arrive(&key_set.document).await?;
        // Another publisher may have removed it in the meantime.
        self.admitted(&held).await?;
        self.world.tell(Phase::Deploy, PhaseState::Done, &detail);
        Ok(())
    }

    /// The key set, checked to have the new key wherever it has the current one.
    async fn admitted(&mut self, held: &SecretContent) -> Result<PublishedKeySet, Halt> {
        let pending = self.pending(held)?;
        let key_set = self.world.key_set().await?;
        let current = held.current.as_ref().map(|holder| &holder.line);
        if is_admitted(&key_set.document, current, &pending.line) {
            return Ok(key_set);
        }
        Err(Halt::failed(format!(
            "{}: somebody took the new key {} out of the key set, or changed its entry; run rotate \
             again to put it back, or --abort",
            self.plan.target, pending.key
        )))
    }

    /// Waits for the nodes and reports how many have it; fails when more are missing than allowed.
    pub(super) async fn arrive(&mut self, document: &Document) -> Result<String, Halt> {
        let arrival = self.world.arrival(document).await?;
        let all = arrival.with.len() + arrival.missing.len();
        let missing = arrival.missing.len();
        let titled = super::titled(document);
        let named = named(&arrival.missing);
        self.arrival = arrival;
        if missing > self.plan.allowance.of(all) || (all > 0 && missing == all) {
            return Err(Halt::failed(format!(
                "{} of {all} nodes have {titled}; missing: {named}. Repair them and run rotate \
                 again: it goes on from here",
                all - missing
            )));
        }
        Ok(match missing {
            0 if all == 1 => format!("the one node reports {titled}"),
            0 => format!("{} report {titled}", all_nodes(all)),
            _ => format!(
                "{} of {all} nodes report {titled}; missing, which --allow-missing accepts: \
                 {named}",
                all - missing
            ),
        })
    }

    /// Makes the new pair the current one.
    pub(super) async fn finish(&mut self) -> Result<(), Halt> {
        self.phase = Phase::Finish;
        let held = self.held().await?;
        let pending = self.pending(&held)?.clone();
        // A run that aborts removes the key from the key set first.
        self.admitted(&held).await?;
        let from = held.current_version.clone();
        let moved = self
            .world
            .make_current(&pending.version, from.as_deref())
            .await?;
        let is_current = self.held().await?.current_version.as_ref() == Some(&pending.version);
        if !is_current {
            let why = match moved {
                PairWrite::Lost => "somebody else moved AWSCURRENT at the same time",
                PairWrite::Done => "AWSCURRENT did not stay where it was moved to",
            };
            return Err(Halt::failed(format!(
                "{}: {why}; this rotation stops. Run it again to go on with what is there now",
                self.plan.secret
            )));
        }
        // If the key set cannot be read, nothing is reverted: a moment ago the key was there, and
        // on the nodes.
        if !self.is_still_admitted(&held, &pending).await? {
            if let Some(old) = &from {
                self.world.make_current(old, Some(&pending.version)).await?;
            }
            return Err(Halt::failed(format!(
                "{}: somebody took the new key {} out of the key set at the last moment, and \
                 AWSCURRENT is back on the old one",
                self.plan.target, pending.key
            )));
        }
        let detail = format!("{} is AWSCURRENT", pending.key);
        self.world.tell(Phase::Finish, PhaseState::Done, &detail);
        Ok(())
    }

    /// Checks the key set again, after the pair has become the current one.
    async fn is_still_admitted(
        &mut self,
        before: &SecretContent,
        pending: &Holder,
    ) -> Result<bool, Halt> {
        let key_set = self.world.key_set().await?;
        let current = before.current.as_ref().map(|holder| &holder.line);
        Ok(is_admitted(&key_set.document, current, &pending.line))
    }

    pub(super) fn pending<'h>(&self, held: &'h SecretContent) -> Result<&'h Holder, Halt> {
        held.pending.as_ref().ok_or_else(|| {
            Halt::failed(format!(
                "{}: the pending key is gone: another run finished or aborted this rotation \
                 meanwhile",
                self.plan.secret
            ))
        })
    }
}

/// The type of the new key.
pub(super) fn key_type_of(plan: &RotationPlan, held: &SecretContent) -> Result<PairKeyType, Halt> {
    match (plan.key_type, &held.current) {
        (Some(key_type), _) => Ok(key_type),
        (None, None) => Ok(PairKeyType::Ed25519),
        (None, Some(current)) => PairKeyType::of(&current.line).ok_or_else(|| {
            Halt::failed(format!(
                "the current key is {}, a type that rotate does not make; choose another with \
                 --key-type",
                current.line.key.kind()
            ))
        }),
    }
}

/// The id of a version, derived from the version before it, its purpose and a number.
fn token(current: &str, purpose: &str, number: u32) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(format!(
        "authkeysctl rotate\n{purpose}\n{current}\n{number}"
    ));
    let mut token = String::with_capacity(32);
    for byte in digest.iter().take(16) {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// The comment of a secret's first key.
fn comment(secret: &str) -> String {
    let name = match secret.strip_prefix("arn:") {
        // Secrets Manager appends its own suffix to the name: -AbCdEf.
        Some(rest) => {
            let last = rest.rsplit(':').next().unwrap_or_default();
            let suffix = last.rsplit_once('-').filter(|(_, end)| end.len() == 6);
            suffix.map_or(last, |(name, _)| name)
        }
        None => secret,
    };
    name.chars().filter(char::is_ascii_graphic).collect()
}

pub(super) fn all_nodes(nodes: usize) -> String {
    match nodes {
        1 => "the one node".to_owned(),
        nodes => format!("all {}", counted(nodes, "node")),
    }
}

/// The first nodes, each with its detail.
pub(super) fn named(nodes: &[(String, String)]) -> String {
    let first: Vec<String> = nodes
        .iter()
        .take(NAMED)
        .map(|(node, why)| format!("{node} ({why})"))
        .collect();
    match nodes.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

//! The end of a rotation: the old key gets an end time, is checked to be refused, and is removed;
//! or the new key is discarded.

use jiff::{SignedDuration, Timestamp};

use super::engine::{Engine, all_nodes};
use super::held::SecretContent;
use super::login::{LoginKey, LoginResult};
use super::world::{Halt, Login, Phase, PhaseState, PublishedKeySet, World};
use authkeys_core::key::{Fingerprint, KeyLine};
use authkeys_core::publishing::entries::Edits;
use authkeys_core::publishing::rotation::{Window, end, remove_and_revoke, window};

/// sshd accepts a key for the whole second in which it ends, and clocks differ a little.
const PAST_THE_END: SignedDuration = SignedDuration::from_secs(2);
impl<W: World> Engine<'_, W> {
    /// Gives the old key an end time; with `waits`, waits until the nodes report that.
    pub(super) async fn retire(&mut self, waits: bool) -> Result<(), Halt> {
        self.phase = Phase::Retire;
        let held = self.held().await?;
        self.clear_label(&held).await?;
        let key_set = self.world.key_set().await?;
        let Some((old, current)) = retirement(&held, &key_set) else {
            let detail = "no old key to end";
            self.world.tell(Phase::Retire, PhaseState::Skipped, detail);
            return Ok(());
        };
        let latest = self.latest_end();
        let (document, state, until) = match window(&key_set.document, &old) {
            Window::Ends(until) if until <= latest => {
                (key_set.document, PhaseState::Already, until)
            }
            Window::Ends(_) | Window::Open | Window::Absent => {
                let current = current.key.fingerprint();
                let target = &self.plan.target;
                if key_set.document.revoked.contains(&current) {
                    return Err(Halt::failed(format!(
                        "{target}: the current key {current} is revoked, so the old one is left \
                         as it is; revoke the old one {old} too, then run rotate again"
                    )));
                }
                if window(&key_set.document, &current) != Window::Open {
                    return Err(Halt::failed(format!(
                        "{target}: the current key {current} is not in the key set without an end, \
                         so the old one is left as it is; grant the current key, then run rotate \
                         again"
                    )));
                }
                let until = latest;
                let edits = end(&key_set.document, &key_set.places, &old, until);
                (self.world.publish(&edits).await?, PhaseState::Done, until)
            }
        };
        let mut detail = format!("the old key {old} ends at {until}");
        if waits {
            let arrived = self.arrive(&document).await?;
            detail = format!("{detail}; {arrived}");
        }
        self.world.tell(Phase::Retire, state, &detail);
        Ok(())
    }

    /// When the old key is to end at the latest.
    pub(super) fn latest_end(&self) -> Timestamp {
        whole_second(self.world.now() + self.plan.grace)
    }

    /// Removes AWSPENDING from the current version.
    async fn clear_label(&mut self, held: &SecretContent) -> Result<(), Halt> {
        match (&held.pending_label_on_current, &self.plan.token) {
            (Some(version), None) => self.world.drop_pending(version).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Checks that the old key is refused, then removes and revokes it.
    pub(super) async fn verify(&mut self) -> Result<(), Halt> {
        self.phase = Phase::Verify;
        let held = self.held().await?;
        let key_set = self.world.key_set().await?;
        let Some((old, _)) = retirement(&held, &key_set) else {
            let detail = "no old key left";
            self.world.tell(Phase::Verify, PhaseState::Skipped, detail);
            return Ok(());
        };
        let Window::Ends(until) = window(&key_set.document, &old) else {
            return Err(Halt::failed(format!(
                "{}: somebody took the end of the old key {old} out; run rotate again",
                self.plan.target
            )));
        };
        self.world.sleep_until(until + PAST_THE_END).await;
        let credential = LoginKey {
            public: held.old_public().unwrap_or_default(),
            proof: None,
        };
        let nodes = self.sampled();
        let mut open = self.still_open(&nodes, &credential).await?;
        let silent = self.silent();
        let none_refused = self.plan.has_logins && silent == nodes.len();
        if open.is_empty() && (none_refused || !self.may_miss(silent, nodes.len())) {
            return Err(Halt::failed(format!(
                "the old key {old} is over, but {silent} of {} nodes gave no answer to a login \
                 with it; repair them and run rotate again",
                nodes.len()
            )));
        }
        // Published whatever the nodes answered: a revoked key is removed from every line.
        let key_set = self.world.key_set().await?;
        let mut edits = Edits::default();
        remove_and_revoke(&key_set.document, &key_set.places, &old, &mut edits);
        let document = self.world.publish(&edits).await?;
        if !open.is_empty() {
            self.arrival = self.world.arrival(&document).await?;
            open = self.still_open(&open, &credential).await?;
        }
        if !open.is_empty() {
            return Err(Halt::failed(format!(
                "the old key {old} is revoked, and still accepted by {}: look there for another \
                 file that sshd reads (`authkeysd check`)",
                open.join(", ")
            )));
        }
        let tested = match (self.plan.has_logins, silent) {
            (false, _) => String::new(),
            (true, 0) => format!("refused by {}, ", all_nodes(nodes.len())),
            (true, silent) => format!(
                "refused by {} of {} nodes (no answer from the others), ",
                nodes.len() - silent,
                nodes.len()
            ),
        };
        let detail = format!(
            "the old key is {tested}out of the key set and revoked by {}",
            super::titled(&document)
        );
        self.world.tell(Phase::Verify, PhaseState::Done, &detail);
        Ok(())
    }

    /// The nodes that still accept the old key.
    async fn still_open(
        &mut self,
        nodes: &[String],
        credential: &LoginKey,
    ) -> Result<Vec<String>, Halt> {
        if !self.plan.has_logins {
            return Ok(Vec::new());
        }
        self.logins = self
            .log_in(nodes, credential, LoginResult::Accepted)
            .await?;
        let open = self.logins.iter();
        Ok(open
            .filter(|login| login.answer == LoginResult::Accepted)
            .map(|login| login.node.clone())
            .collect())
    }

    /// How many of the last logins had no clear answer.
    fn silent(&self) -> usize {
        let clear =
            |login: &&Login| matches!(login.answer, LoginResult::Accepted | LoginResult::Refused);
        self.logins.len() - self.logins.iter().filter(clear).count()
    }

    /// Discards the pending key. It is removed from the key set first: otherwise nobody would know
    /// later that it is there.
    pub(super) async fn abort(&mut self) -> Result<(), Halt> {
        self.phase = Phase::Abort;
        let held = self.held().await?;
        let Some(version) = held.pending_version().map(str::to_owned) else {
            return Err(Halt::failed(format!(
                "there is nothing to abort: {} has no pending key. After `finish` a rotation can \
                 only go on",
                self.plan.secret
            )));
        };
        if let Some(pending) = &held.pending {
            let key_set = self.world.key_set().await?;
            let mut edits = Edits::default();
            // Revoked even if no node had it, so that a run that is about to publish it notices.
            remove_and_revoke(&key_set.document, &key_set.places, &pending.key, &mut edits);
            if !edits.is_empty() {
                let document = self.world.publish(&edits).await?;
                let detail = format!(
                    "{} is out of the key set and revoked by {}",
                    pending.key,
                    super::titled(&document)
                );
                self.world.tell(Phase::Abort, PhaseState::Done, &detail);
            }
        }
        if self.held().await?.current_version.as_deref() == Some(&version) {
            return Err(Halt::failed(format!(
                "{}: another run promoted the pending key at the same time; run rotate to go on \
                 with it",
                self.plan.secret
            )));
        }
        self.world.drop_pending(&version).await?;
        let detail = format!("version {version} is not AWSPENDING any more");
        self.world.tell(Phase::Abort, PhaseState::Done, &detail);
        Ok(())
    }
}

/// The old key and the current one, if the key set still has the old one.
fn retirement<'h>(
    held: &'h SecretContent,
    key_set: &PublishedKeySet,
) -> Option<(Fingerprint, &'h KeyLine)> {
    let old = held.old()?;
    let current = held.current.as_ref()?;
    (window(&key_set.document, &old) != Window::Absent).then_some((old, &current.line))
}

/// The time, rounded up to a whole second.
fn whole_second(time: Timestamp) -> Timestamp {
    let second = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    Timestamp::from_second(second).unwrap_or(time)
}

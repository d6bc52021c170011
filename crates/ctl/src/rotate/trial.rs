//! The test logins: the new key is tried on the nodes before it becomes current, and the old one
//! after its end.

use jiff::SignedDuration;

use super::engine::{Engine, named};
use super::login::{LoginKey, LoginResult};
use super::world::{Halt, Login, Phase, PhaseState, World};

/// How often a node that gives no answer to a login is tried.
const ROUNDS: u32 = 3;
const BETWEEN_ROUNDS: SignedDuration = SignedDuration::from_secs(2);

impl<W: World> Engine<'_, W> {
    /// Tests that the nodes accept the new key.
    pub(super) async fn test(&mut self) -> Result<(), Halt> {
        self.phase = Phase::Test;
        if !self.plan.has_logins {
            self.world.tell(
                Phase::Test,
                PhaseState::Skipped,
                "no test logins without --login USER",
            );
            return Ok(());
        }
        let held = self.held_with_private_keys().await?;
        let pending = self.pending(&held)?;
        let credential = LoginKey {
            public: pending.public.clone(),
            proof: self.world.proof(&pending.private)?,
        };
        let nodes = self.sampled();
        let logins = self
            .log_in(&nodes, &credential, LoginResult::Refused)
            .await?;
        let bad: Vec<(String, String)> = logins
            .iter()
            .filter(|login| login.answer != LoginResult::Accepted)
            .map(|login| (login.node.clone(), login.answer.to_string()))
            .collect();
        let is_refused = logins
            .iter()
            .any(|login| login.answer == LoginResult::Refused);
        let tried = nodes.len();
        let mut accepted = 0;
        for login in &logins {
            accepted += usize::from(login.answer == LoginResult::Accepted);
        }
        self.logins = logins;
        if is_refused || accepted == 0 || !self.may_miss(tried - accepted, tried) {
            return Err(Halt::failed(format!(
                "the new key {} was accepted by {accepted} of {tried} nodes; not by {}. Nothing \
                 was promoted: repair them and run rotate again, or --abort",
                pending.key,
                named(&bad)
            )));
        }
        let also = match bad.len() {
            0 => String::new(),
            _ => format!(
                "; no answer, which --allow-missing accepts: {}",
                named(&bad)
            ),
        };
        let detail = format!("the new key was accepted by {accepted} of {tried} nodes{also}");
        self.world.tell(Phase::Test, PhaseState::Done, &detail);
        Ok(())
    }

    /// Whether this many of the nodes that were tried may give no answer: as large a part of a
    /// sample as of all nodes that have the key set.
    pub(super) fn may_miss(&self, silent: usize, tried: usize) -> bool {
        let missing = self.arrival.missing.len();
        let with = self.arrival.with.len();
        let more = self
            .plan
            .allowance
            .of(with + missing)
            .saturating_sub(missing);
        silent.saturating_mul(with) <= more.saturating_mul(tried)
    }

    /// A sample of the nodes that have the key set, a different one each time.
    pub(super) fn sampled(&self) -> Vec<String> {
        let mut nodes = self.arrival.with.clone();
        let Some(sample) = self.plan.sample.filter(|sample| *sample < nodes.len()) else {
            return nodes;
        };
        let mut drawn: Vec<(f64, String)> = nodes
            .drain(..)
            .map(|node| (authkeys_terminal::random(), node))
            .collect();
        drawn.sort_by(|one, other| one.0.total_cmp(&other.0));
        drawn
            .into_iter()
            .take(sample)
            .map(|(_, node)| node)
            .collect()
    }

    /// Logs in to nodes. A node without an answer, or with the `surprising` one, is tried up to
    /// three times.
    pub(super) async fn log_in(
        &mut self,
        nodes: &[String],
        credential: &LoginKey,
        surprising: LoginResult,
    ) -> Result<Vec<Login>, Halt> {
        let mut left = nodes.to_vec();
        let mut settled: Vec<Login> = Vec::new();
        for round in 1..=ROUNDS {
            let logins = self.world.log_in(&left, credential).await?;
            left.clear();
            for login in logins {
                let is_clear = matches!(login.answer, LoginResult::Accepted | LoginResult::Refused);
                if round == ROUNDS || (is_clear && login.answer != surprising) {
                    settled.push(login);
                } else {
                    left.push(login.node);
                }
            }
            if left.is_empty() {
                break;
            }
            let next = self.world.now() + BETWEEN_ROUNDS;
            self.world.sleep_until(next).await;
        }
        Ok(settled)
    }
}

//! Shows what a rotation would do, without doing it.

use super::engine::{Engine, key_type_of};
use super::world::{Halt, Phase, PhaseState, World};
use authkeys_core::publishing::rotation::{Keys, NotAdmitted, Window, admit, window};
use authkeys_core::words::counted;

impl<W: World> Engine<'_, W> {
    /// Reports the remaining phases; changes nothing.
    pub(super) async fn show(&mut self) -> Result<(), Halt> {
        let nodes = self.world.count().await?;
        let held = self.held().await?;
        let key_set = self.world.key_set().await?;
        if self.is_past_finish().await? {
            let detail = "an earlier run got this far";
            self.world.tell(Phase::Finish, PhaseState::Already, detail);
            return self.show_rest(nodes).await;
        }
        let current = held.current.as_ref();
        match &held.pending {
            Some(pending) => {
                let detail = format!("AWSPENDING has {}", pending.described());
                self.world.tell(Phase::Create, PhaseState::Already, &detail);
                let keys = Keys {
                    current: current.map(|holder| &holder.line),
                    previous: held.old_line(),
                };
                let edits = admit(
                    &key_set.document,
                    &key_set.places,
                    keys,
                    &pending.line,
                    self.plan.terms.as_ref(),
                    self.world.now(),
                );
                let edits = edits
                    .map_err(|fault| Halt::failed(format!("{}: {fault}", self.plan.target)))?;
                let (state, detail) = if edits.is_empty() {
                    (PhaseState::Already, "the key set has it")
                } else {
                    (
                        PhaseState::Planned,
                        "publish the key set with it beside the current key",
                    )
                };
                self.world.tell(Phase::Set, state, detail);
            }
            None => {
                let document = &key_set.document;
                if let Some(current) = current
                    && self.plan.terms.is_none()
                {
                    let fault = if document.revoked.contains(&current.key) {
                        Some(NotAdmitted::TermsRevoked(current.key))
                    } else if window(document, &current.key) == Window::Absent {
                        Some(NotAdmitted::Terms(current.key))
                    } else {
                        None
                    };
                    if let Some(fault) = fault {
                        return Err(Halt::failed(format!("{}: {fault}", self.plan.target)));
                    }
                }
                let key_type = key_type_of(self.plan, &held)?;
                let beside = match current {
                    Some(current) => format!("beside {}", current.key),
                    None => "the first of this secret".to_owned(),
                };
                let detail = format!("make a new {key_type} key, {beside}");
                self.world.tell(Phase::Create, PhaseState::Planned, &detail);
                let detail = format!("publish it at {}", self.plan.target);
                self.world.tell(Phase::Set, PhaseState::Planned, &detail);
            }
        }
        let detail = format!("wait for {}", counted(nodes, "node"));
        self.world.tell(Phase::Deploy, PhaseState::Planned, &detail);
        if self.plan.has_logins {
            let tried = self.plan.sample.unwrap_or(nodes).min(nodes);
            let detail = format!("log in to {} with the new key", counted(tried, "node"));
            self.world.tell(Phase::Test, PhaseState::Planned, &detail);
        } else {
            let detail = "no test logins without --login USER";
            self.world.tell(Phase::Test, PhaseState::Skipped, detail);
        }
        self.world.tell(
            Phase::Finish,
            PhaseState::Planned,
            "make the new pair AWSCURRENT",
        );
        self.show_rest(nodes).await
    }

    async fn show_rest(&mut self, nodes: usize) -> Result<(), Halt> {
        let held = self.held().await?;
        let key_set = self.world.key_set().await?;
        let ends = match held.old().filter(|_| held.pending.is_none()) {
            Some(old) => window(&key_set.document, &old),
            None => Window::Absent,
        };
        match ends {
            Window::Ends(until) if until <= self.latest_end() => {
                let detail = format!("the old key ends at {until}");
                self.world.tell(Phase::Retire, PhaseState::Already, &detail);
            }
            Window::Ends(_) | Window::Open | Window::Absent => {
                let detail = format!("end the old key {:#} after that", self.plan.grace);
                self.world.tell(Phase::Retire, PhaseState::Planned, &detail);
            }
        }
        let detail = if self.plan.has_logins {
            let tried = self.plan.sample.unwrap_or(nodes).min(nodes);
            format!(
                "see that {} refuse the old key, take it out and revoke it",
                counted(tried, "node")
            )
        } else {
            "take the old key out and revoke it".to_owned()
        };
        self.world.tell(Phase::Verify, PhaseState::Planned, &detail);
        Ok(())
    }
}

//! The running cycle: how it begins, and what becomes of its result.

use std::future::pending;
use std::mem::take;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::oneshot::{self, Receiver};

use super::cycle::CycleRun;
use super::progress::Turn;
use super::{Service, ServiceSetup, timing};
use crate::host::Host;
use crate::report::journal;
use authkeys_core::origin::Fetch;
use authkeys_core::outcome::{Fault, FaultClass, FaultCode, Outcome, Subject};
use authkeys_core::report::delivery::Deliver;
use authkeys_core::report::entries::each_entry;
use authkeys_core::schedule::{Act, Ended};
use authkeys_terminal::random;

/// A cycle that runs on the worker's thread.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) act: Act,
    pub(super) turn: Turn,
    /// `None` if it made room for a window or a reload.
    result: Receiver<Option<Result<Outcome, Fault>>>,
}

impl<F, H, D, L> Service<F, H, D, L>
where
    F: Fetch + 'static,
    H: Host + Send + Sync + 'static,
    D: Deliver + 'static,
    L: Fn() -> Result<ServiceSetup, String> + Send + Sync + 'static,
{
    pub(super) fn begin(&mut self, act: Act) -> Running {
        let turn = Turn::default();
        let cycle = CycleRun {
            agent: Arc::clone(&self.agent),
            state: self.setup.state.clone(),
            clock: self.clock,
            turn: turn.clone(),
            memory: Arc::clone(&self.memory),
            last: self.history.last().filter(|_| act == Act::Replan).cloned(),
        };
        self.fetches = act == Act::Fetch;
        if self.fetches {
            self.nudges.fetch_begins();
        }
        self.progress.begin();
        let runtime = Handle::current();
        let result = self
            .worker
            .run(move || cycle.run(act, &runtime))
            .unwrap_or_else(|fault| {
                let (sender, receiver) = oneshot::channel();
                let text = format!(
                    "cannot begin a thread for the cycle: {fault}; check the limits on tasks and \
                     memory"
                );
                let _ = sender.send(Some(Err(Fault::new(
                    FaultCode::CycleNotBegun,
                    Subject::Node,
                    text,
                ))));
                receiver
            });
        Running { act, turn, result }
    }

    pub(super) fn ended(&mut self, act: Act, result: Result<Outcome, Fault>) {
        let now = (self.clock)();
        let (mut outcome, ended) = match result {
            Ok(mut outcome) => {
                outcome.faults.extend(self.overdue(act, now));
                let outcome = self.history.complete(outcome, self.setup.config.max_stale);
                let change = outcome.next_change;
                let away = outcome
                    .faults
                    .iter()
                    .any(|fault| fault.class() == FaultClass::Unreachable);
                (
                    outcome,
                    if away {
                        Ended::Transient { change }
                    } else {
                        Ended::Settled { change }
                    },
                )
            }
            Err(fault) => (self.history.not_begun(fault, now, now), Ended::NotBegun),
        };
        self.planner.ended(act, ended, now, random());
        if act == Act::Fetch {
            self.flights.forget();
            if take(&mut self.again) {
                self.planner
                    .restart(timing(&self.setup.config, &self.identity), now);
            }
        }
        outcome.next_cycle = Some(self.planner.wake());
        outcome.instance_id = self.instance.clone();
        each_entry(self.history.last(), &outcome, !self.started, journal::tell);
        self.started = true;
        self.reporter.cycle_ended(&outcome);
        self.history.remember(outcome);
        self.write_status();
        self.show_status();
        if !self.ready {
            self.say_ready();
        }
    }

    /// The fault if a cycle that asked no source ends while a fetch has been due for long.
    fn overdue(&self, act: Act, now: Timestamp) -> Option<Fault> {
        if act != Act::Replan {
            return None;
        }
        let due = self.planner.overdue(now)?;
        let text = format!(
            "no source has been asked since {due}, when a fetch was due: the key sets' windows \
             leave no time for it; publish fewer windows"
        );
        Some(Fault::new(FaultCode::FetchOverdue, Subject::Node, text))
    }
}

/// The result of the running cycle; `None` if it made room.
pub(super) async fn ending(cycle: &mut Option<Running>) -> Option<Result<Outcome, Fault>> {
    let Some(running) = cycle else {
        return pending().await;
    };
    let text = "a panic ended the cycle; report this as a bug, with the lines of the log before it";
    match (&mut running.result).await {
        Ok(result) => result,
        Err(_) => {
            let fault = Fault::new(FaultCode::CyclePanicked, Subject::Node, text);
            Some(Err(fault))
        }
    }
}

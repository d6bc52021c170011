//! One cycle of the service, on the worker's thread: the state's lock, the sources, the accounts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::progress::Turn;
use crate::agent::{Agent, Installed, Intent, LastCycle};
use crate::host::Host;
use crate::locked::locked;
use crate::state::Store;
use authkeys_core::origin::Fetch;
use authkeys_core::outcome::{Fault, Outcome};
use authkeys_core::schedule::Act;

/// Everything that a cycle needs. It owns this, so that it can end early without leaving anything
/// behind.
#[derive(Debug)]
pub(super) struct CycleRun<F, H> {
    pub(super) agent: Arc<Agent<F, H>>,
    pub(super) state: PathBuf,
    pub(super) clock: fn() -> Timestamp,
    pub(super) turn: Turn,
    pub(super) memory: Arc<Mutex<Memory>>,
    /// The last outcome, for a cycle that asks no source.
    pub(super) last: Option<Outcome>,
}

/// What the cycles of one process share in addition to the state.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The state could not be written: what is on disk may be older than what is in force.
    outdated: bool,
    /// What the last cycle looked at, if it had nothing to do.
    last: Option<LastCycle>,
}

impl Memory {
    /// Called for a new configuration, for which the last cycle means nothing.
    pub(super) fn forget_last(&mut self) {
        self.last = None;
    }
}

impl<F: Fetch, H: Host> CycleRun<F, H> {
    /// Runs the cycle; `None` if it made room for something else. The error says why it did not
    /// start.
    pub(super) fn run(self, act: Act, runtime: &Handle) -> Option<Result<Outcome, Fault>> {
        let mut memory = locked(&self.memory);
        let last = memory.last.take().filter(|_| act == Act::Fetch);
        let mut answered = None;
        if let Some(last) = last {
            let started = (self.clock)();
            if self.agent.is_current(&last, started) {
                let answers = self.wait(runtime, self.agent.ask_again(&last))?;
                if self.agent.nothing_is_new(&last, &answers) {
                    let outcome = last.again(started, (self.clock)());
                    memory.last = Some(last);
                    return Some(Ok(outcome));
                }
                answered = Some((last, answers));
            }
        }
        let opened = Store::open_while(&self.state, &|| self.turn.waits_for_lock());
        let mut store = match opened {
            Ok(store) => store?,
            Err(fault) => return Some(Err(fault.fault())),
        };
        store.set_outdated(memory.outdated);
        // Another cycle may have accepted a newer document meanwhile.
        let answered = answered
            .filter(|(last, _)| self.agent.is_current(last, (self.clock)()))
            .map(|(_, answers)| answers);
        let intent = Intent::default();
        let gathered = match (act, &self.last) {
            (Act::Replan, Some(last)) => {
                self.agent
                    .gather_kept(&mut store, last, intent, (self.clock)())
            }
            (Act::Fetch, _) | (Act::Replan, None) => {
                let now = (self.clock)();
                self.wait(
                    runtime,
                    self.agent.gather(&mut store, intent, now, answered),
                )?
            }
        };
        self.turn.begin_to_install();
        let Installed { outcome, last } = self.agent.install(&mut store, gathered, self.clock);
        memory.outdated = store.is_outdated();
        memory.last = last;
        Some(Ok(outcome))
    }

    /// Waits for the sources; `None` if the cycle must stop waiting for them.
    fn wait<T>(&self, runtime: &Handle, asked: impl Future<Output = T>) -> Option<T> {
        runtime.block_on(async {
            tokio::select! {
                // When the service stops, its requests end with errors that are not the sources'.
                biased;
                () = self.turn.sources_left() => None,
                came = asked => Some(came),
            }
        })
    }
}

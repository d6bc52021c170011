//! One cycle of the service, on the worker's thread: the state's lock, the sources, the accounts.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::progress::Turn;
use crate::agent::{Agent, Intent};
use crate::host::Host;
use crate::state::Store;
use authkeys_core::origin::Fetch;
use authkeys_core::outcome::{Fault, Outcome};
use authkeys_core::schedule::Act;

/// All that a cycle needs; it owns it, so that it can end early without a trace.
#[derive(Debug)]
pub(super) struct Cycle<F, H> {
    pub(super) agent: Arc<Agent<F, H>>,
    pub(super) state: PathBuf,
    pub(super) clock: fn() -> Timestamp,
    pub(super) turn: Turn,
    /// The state could not be written by an earlier cycle.
    pub(super) outdated: Arc<AtomicBool>,
    /// The last outcome, for a cycle that asks no source.
    pub(super) last: Option<Outcome>,
}

impl<F: Fetch, H: Host> Cycle<F, H> {
    /// Runs it; `None` when it made room for something else. The error is why nothing was begun.
    pub(super) fn run(self, act: Act, runtime: &Handle) -> Option<Result<Outcome, Fault>> {
        let Self {
            agent,
            state,
            clock,
            turn,
            outdated,
            last,
        } = self;
        let mut store = match Store::open_while(&state, &|| turn.waits_for_lock()) {
            Ok(store) => store?,
            Err(fault) => return Some(Err(fault.fault())),
        };
        store.set_outdated(outdated.load(Ordering::SeqCst));
        let gathered = match (act, &last) {
            (Act::Replan, Some(last)) => agent.gather_kept(&mut store, last, Intent::default(), clock()),
            (Act::Fetch, _) | (Act::Replan, None) => runtime.block_on(async {
                tokio::select! {
                    biased;
                    gathered = agent.gather(&mut store, Intent::default(), clock()) => Some(gathered),
                    () = turn.sources_left() => None,
                }
            })?,
        };
        turn.begin_to_install();
        let outcome = agent.install(&mut store, gathered, clock);
        outdated.store(store.is_outdated(), Ordering::SeqCst);
        Some(Ok(outcome))
    }
}

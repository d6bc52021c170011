//! One cycle of the service: the state's lock, the sources on the loop's own thread, the accounts on another.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::progress::{Phase, Progress};
use crate::agent::{Agent, Intent};
use crate::host::Host;
use crate::state::Store;
use authkeys_core::origin::Fetch;
use authkeys_core::outcome::{Outcome, chain};
use authkeys_core::schedule::Act;

/// All that a cycle needs; it owns it, so that it can be given up without a trace.
#[derive(Debug)]
pub(super) struct Cycle<F, H> {
    pub(super) agent: Arc<Agent<F, H>>,
    pub(super) state: PathBuf,
    pub(super) clock: fn() -> Timestamp,
    pub(super) progress: Progress,
    /// The last outcome, for a cycle that asks no source.
    pub(super) last: Option<Outcome>,
}

impl<F, H> Cycle<F, H>
where
    F: Fetch + Send + Sync + 'static,
    H: Host + Send + Sync + 'static,
{
    /// Runs it. The error is one line: nothing was begun.
    pub(super) async fn run(self, act: Act) -> Result<Outcome, String> {
        let Self { agent, state, clock, progress, last } = self;
        progress.enter(Phase::Gathering);
        // What blocks, the lock of another cycle or an account on a dead file system, keeps no signal waiting.
        let open = spawn_blocking(move || Store::open(&state));
        let mut store = open.await.map_err(|fault| chain(&fault))?.map_err(|fault| chain(&fault))?;
        let gathered = match (act, &last) {
            (Act::Replan, Some(last)) => agent.gather_kept(&mut store, last, clock()),
            (Act::Fetch, _) | (Act::Replan, None) => agent.gather(&mut store, Intent::default(), clock()).await,
        };
        progress.enter(Phase::Installing);
        let install = spawn_blocking(move || agent.install(&mut store, gathered, clock));
        install.await.map_err(|fault| chain(&fault))
    }
}

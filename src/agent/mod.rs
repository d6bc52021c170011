//! One cycle: fetch, decide, apply, record. The only place that knows the order.

mod account;
mod acquire;
mod pinned;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Config;
use crate::host::Host;
use crate::outcome::{Fault, FaultClass, Outcome, Status};
use crate::source::Fetch;
use crate::state::{State, Store};

use account::{Carried, Prepared, refuse_shared};
use acquire::Acquired;

pub use pinned::read_pinned;

/// The parts that a cycle works with. The composition root names the concrete ones.
#[derive(Debug)]
pub struct Agent<F, H> {
    /// What to do.
    pub config: Config,
    /// The network.
    pub fetch: F,
    /// The node.
    pub host: H,
    /// Tells the zone in which an old sshd reads times; to find it costs many system calls, so it is asked only then.
    pub zone: fn() -> TimeZone,
    /// When authkeysd was built: a clock that stands before that is not believed.
    pub built: Timestamp,
}

/// What a cycle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Intent {
    /// Write nothing, neither to accounts nor to the state.
    pub dry_run: bool,
    /// Take a document with a lower serial (or none) on purpose, and count from there.
    pub accept_rollback: bool,
}

/// What the steps of one cycle share.
#[derive(Debug)]
struct Cycle<'s> {
    store: &'s mut Store,
    /// Becomes the store's at the two points where it is saved.
    state: State,
    intent: Intent,
    now: Timestamp,
    faults: Vec<Fault>,
}

impl<F: Fetch, H: Host> Agent<F, H> {
    /// Runs one cycle. `clock` is read at its begin and end.
    pub async fn cycle(&self, store: &mut Store, intent: Intent, clock: impl Fn() -> Timestamp) -> Outcome {
        let started = clock();
        let state = store.state().clone();
        let (now, clock_fault) = self.believed(started, &state);
        let mut cycle = Cycle { state, store, intent, now, faults: Vec::from_iter(clock_fault) };

        let mut acquired: BTreeMap<_, Acquired> = BTreeMap::new();
        for account in &self.config.accounts {
            if !acquired.contains_key(&account.source) {
                let got = self.acquire(account, &mut cycle).await;
                cycle.faults.extend(got.faults.clone());
                acquired.insert(account.source.clone(), got);
            }
        }
        cycle.state.sources.retain(|url, _| acquired.keys().any(|source| source.to_string() == *url));
        let pinned = self.pinned(&mut cycle.state);
        cycle.faults.extend(pinned.fault.clone());

        // Everything is decided before anything is written: what will be installed is remembered first, so that no
        // crash can leave a key behind that nobody would revoke.
        let mut prepared: Vec<Prepared> = Vec::new();
        for (account, target) in self.targets() {
            let got = acquired.get(&account.source);
            prepared.push(self.prepare(account, target, got, &pinned, &mut cycle));
        }
        let mut prepared = refuse_shared(prepared);
        if let Err(fault) = cycle.store.save(&cycle.state) {
            cycle.faults.push(Fault::new(FaultClass::Failed, &fault));
            prepared = prepared.into_iter().map(|one| one.without_memory(cycle.store.state())).collect();
        }
        let mut accounts = Vec::new();
        for one in prepared {
            let Carried { outcome, faults: found } = self.carry_out(one, &mut cycle);
            cycle.faults.extend(found);
            accounts.push(outcome);
        }
        if let Err(fault) = cycle.store.save(&cycle.state) {
            // The files are right; only the judgement of the document is forgotten and will be made again.
            cycle.faults.push(Fault::new(FaultClass::Failed, &fault));
        }

        // Accounts that share a document share its faults.
        let mut told = BTreeSet::new();
        let mut faults = cycle.faults;
        faults.retain(|fault| told.insert(fault.text.clone()));

        let sources: Vec<_> = acquired.into_values().map(|got| got.outcome).collect();
        let mut status = Outcome::overall(&sources, &accounts);
        if !faults.is_empty() && status == Status::Ok {
            status = Status::Degraded;
        }
        let finished = clock();
        Outcome {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            status,
            detail: faults.iter().rev().max_by_key(|f| f.class).map(|f| f.text.clone()).unwrap_or_default(),
            instance_id: None,
            started,
            finished,
            last_success: (status == Status::Ok).then_some(finished),
            next_cycle: None,
            sources,
            accounts,
            faults,
        }
    }

    /// The time that windows are judged by. A node that wakes up in 1970 must not close what has opened since: then the
    /// time counts at which a file was last changed, or the build.
    fn believed(&self, clock: Timestamp, state: &State) -> (Timestamp, Option<Fault>) {
        if clock >= self.built {
            return (clock, None);
        }
        let now = state.changed.map_or(self.built, |changed| changed.max(self.built));
        let text = format!(
            "the clock stands at {clock}, before authkeysd was built: no window opens or closes until it is set (chrony, systemd-timesyncd)"
        );
        (now, Some(Fault { class: FaultClass::Failed, text }))
    }
}

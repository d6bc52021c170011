//! One cycle: fetch, decide, apply, record. Only this module knows the order.

mod account;
mod acquire;
mod acquired;
mod apply;
mod files;
mod fragments;
mod judge;
mod last_cycle;
mod located;
mod pinned;
mod recent;
mod sets;
mod shared_files;
mod signers;
mod together;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::host::Host;
use crate::state::{State, Store};
use authkeys_core::caught::caught;
use authkeys_core::config::{AccountConfig, Config, Source};
use authkeys_core::origin::{Class, Fetch, FetchError, Fetched, SourceUrl};
use authkeys_core::outcome::{
    AccountOutcome, Fault, FaultCode, Outcome, SourceOutcome, Status, Subject,
};
use authkeys_core::schedule::Clock;

use account::Found;
use acquire::SourceAnswers;
use acquired::{Acquired, KnownVersions, is_fresh};
use apply::Carried;
use last_cycle::{Left, OwnFiles};
use pinned::Pinned;
use recent::InCommon;
use sets::KeySets;
use shared_files::SharedFiles;
use together::all_of;
use work::Prepared;

pub use acquire::open_to_others;
pub use fragments::obstacle_faults;
pub use last_cycle::LastCycle;
pub use located::located;
pub use pinned::read_pinned;
pub use signers::read_signers;
pub use work::host_fault;

/// How often the time, and that a source is still unchanged, is recorded if nothing else is.
const RECORD_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// The parts that a cycle works with. The composition root names the concrete types.
#[derive(Debug)]
pub struct Agent<F, H> {
    /// The configuration.
    pub config: Config,
    /// The network.
    pub fetch: F,
    /// The node.
    pub host: H,
    /// Returns the zone in which an old sshd reads times. Finding it costs many system calls, so it
    /// is called only when needed.
    pub zone: fn() -> TimeZone,
    /// When authkeysd was built. A clock that shows an earlier time is not trusted.
    pub built: Timestamp,
}

/// What a cycle is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Intent {
    /// Write nothing, neither to accounts nor to the state.
    pub dry_run: bool,
    /// Accept a document with a lower serial, or without one, on purpose and continue from there.
    /// Also accept a time earlier than the recorded one.
    pub accept_rollback: bool,
}

/// What the steps of one cycle share.
#[derive(Debug)]
struct Cycle<'s> {
    store: &'s mut Store,
    /// Becomes the store's state at the two points where it is saved.
    state: State,
    intent: Intent,
    clock: Clock,
    /// The time for which windows are judged.
    now: Timestamp,
    faults: Vec<Fault>,
    shared: SharedFiles,
    in_common: InCommon,
    /// The files as the cycle leaves them, each by its account's position in the configuration.
    left: BTreeMap<usize, Left>,
    /// There was no saved state when the cycle began, and it has not been reported yet that there
    /// should have been one.
    new: bool,
}

/// The answers of the sources: everything that the second half of a cycle needs from the first
/// half, which alone uses the network.
#[derive(Debug)]
pub struct Gathered {
    state: State,
    intent: Intent,
    clock: Clock,
    acquired: BTreeMap<SourceUrl, Acquired>,
    faults: Vec<Fault>,
    /// Our own files before anything was read from them; `None` if that does not matter.
    own_files: Option<OwnFiles>,
}

/// The result of a cycle.
#[derive(Debug)]
pub struct Installed {
    /// What is reported.
    pub outcome: Outcome,
    /// What allows the next cycle to skip work.
    pub last: Option<LastCycle>,
}

/// What the sources answered, in the order of the configuration, each with the versions that it was
/// asked about.
#[derive(Debug)]
pub struct Answered(Vec<(KnownVersions, SourceAnswers)>);

impl<F: Fetch, H: Host> Agent<F, H> {
    /// Runs one cycle. `clock` is read at the start and the end.
    pub async fn cycle(
        &self,
        store: &mut Store,
        intent: Intent,
        clock: impl Fn() -> Timestamp,
    ) -> Outcome {
        let gathered = self.gather(store, intent, clock(), None).await;
        self.install(store, gathered, clock).outcome
    }

    /// The first half of a cycle: fetches from all sources at the same time, so that one that hangs
    /// delays the accounts of others by no more than its own limit. Writes only valid documents.
    /// `answered` holds the answers of the sources if they have just been asked.
    pub async fn gather(
        &self,
        store: &mut Store,
        intent: Intent,
        now: Timestamp,
        answered: Option<Answered>,
    ) -> Gathered {
        let own_files = self.own_files(store);
        let mut cycle = self.begin(store, intent, now);
        let authority = self.authority();
        let sources = self.config.sources();
        let answered = match answered {
            Some(Answered(answers)) => answers,
            None => Vec::new(),
        };
        let mut answered = answered.into_iter();
        let mut fetches = Vec::with_capacity(sources.len());
        for source in &sources {
            let asked = self.before_fetch(source, &authority, &cycle);
            let had = answered.next();
            fetches.push(async move {
                let asked = asked?;
                let answers = match had {
                    Some((known, answers)) if known == asked.known => answers,
                    _ => self.ask(source, &asked.known).await,
                };
                Ok((asked, answers))
            });
        }
        let fetched: Vec<Result<_, Box<_>>> = all_of(fetches.into_iter()).await;
        let mut acquired = BTreeMap::new();
        for (source, fetched) in sources.into_iter().zip(fetched) {
            self.host.step();
            let got = match fetched {
                Ok((asked, answers)) => self.acquire(source, asked, answers, &mut cycle),
                Err(unasked) => *unasked,
            };
            cycle.faults.extend(got.faults.clone());
            acquired.insert(source.url.clone(), got);
        }
        cycle.state.keep_sources(acquired.keys());
        let untimed = !matches!(&authority, Ok(Some(signers)) if signers.are_timed());
        Gathered {
            own_files: untimed.then_some(own_files),
            ..cycle.gathered(acquired)
        }
    }

    /// Fetches from a source, or from its fallback if the source cannot be reached.
    async fn ask(&self, source: &Source, known: &KnownVersions) -> SourceAnswers {
        let first = self.fetch_one(&source.url, known).await;
        let fallback = match (&first, &source.fallback) {
            (Err(failed), Some(fallback)) if failed.class == Class::Transient => {
                Some(self.fetch_one(&fallback.url, known).await)
            }
            _ => None,
        };
        SourceAnswers { first, fallback }
    }

    async fn fetch_one(
        &self,
        url: &SourceUrl,
        known: &KnownVersions,
    ) -> Result<Fetched, FetchError> {
        match caught(self.fetch.fetch(url, known.at(url))).await {
            Ok(fetched) => fetched,
            Err(panic) => Err(panic.failure(url)),
        }
    }

    /// The first half of a cycle without the network, for a window that starts or ends or a
    /// document that expires. Uses the kept documents, and what `last` reported about their
    /// sources.
    pub fn gather_kept(
        &self,
        store: &mut Store,
        last: &Outcome,
        intent: Intent,
        now: Timestamp,
    ) -> Gathered {
        let mut cycle = self.begin(store, intent, now);
        let authority = self.authority();
        let mut acquired = BTreeMap::new();
        for source in self.config.sources() {
            self.host.step();
            let got = self.acquire_kept(source, &authority, last, &cycle);
            cycle.faults.extend(got.faults.clone());
            acquired.insert(source.url.clone(), got);
        }
        cycle.gathered(acquired)
    }

    fn begin<'s>(&self, store: &'s mut Store, intent: Intent, now: Timestamp) -> Cycle<'s> {
        let mut state = store.state().clone();
        if intent.accept_rollback {
            state.fetched_by(now);
        }
        let earliest = match state.clock {
            Some(recorded) if !intent.accept_rollback => recorded.max(self.built),
            _ => self.built,
        };
        let clock = Clock {
            wall: now,
            earliest,
        };
        let mut faults = Vec::new();
        if let Some(text) = clock.fault() {
            faults.push(Fault::new(FaultCode::ClockBehind, Subject::Clock, text));
        }
        Cycle::new(store, state, intent, clock, faults)
    }

    /// The second half of a cycle: decides, and writes the accounts' files. Blocks for as long as
    /// the host takes.
    pub fn install(
        &self,
        store: &mut Store,
        gathered: Gathered,
        clock: impl Fn() -> Timestamp,
    ) -> Installed {
        let Gathered {
            state,
            intent,
            clock: started,
            mut acquired,
            faults,
            own_files,
        } = gathered;
        self.excuse_unread(&mut acquired);
        let first = store.is_new();
        let news = state.kept() != store.state().kept();
        let mut cycle = Cycle::new(store, state, intent, started, faults);
        let pinned = self.pinned(&mut cycle.state);
        cycle.faults.extend(pinned.fault.clone());

        let mut accounts: BTreeMap<usize, AccountOutcome> = BTreeMap::new();
        let mut waiting: Vec<(usize, &AccountConfig)> =
            self.config.accounts.iter().enumerate().collect();
        while !waiting.is_empty() {
            // An account on a dead file system delays only itself: the others are served meanwhile.
            let all = self.find(&waiting, &acquired, &pinned, &mut cycle);
            let mut found = Vec::new();
            let mut late = Vec::new();
            for ((at, account), one) in waiting.into_iter().zip(all) {
                match one {
                    Some(one) => found.push((at, account, one)),
                    None => late.push((at, account)),
                }
            }
            accounts.extend(self.serve(found, &acquired, &pinned, &mut cycle));
            waiting = late;
        }
        let faults = cycle.shared.name_the_others(&mut accounts);
        cycle.faults.extend(faults);
        let mut accounts: Vec<AccountOutcome> = accounts.into_values().collect();
        if cycle.store.is_new() && !intent.dry_run {
            // Nothing could be saved, so the next cycle must not take this one as proof that a
            // state existed and was lost.
            for account in &mut accounts {
                account.forget_document();
            }
        }

        let known = self.known_versions(&acquired);

        // Accounts that share a document share its faults.
        let mut seen = BTreeSet::new();
        let mut faults = cycle.faults;
        faults.retain(|fault| seen.insert(fault.text.clone()));

        let mut changes = Vec::new();
        for account in &accounts {
            changes.extend(account.next_change);
        }
        let mut sources: Vec<SourceOutcome> = Vec::new();
        for got in acquired.into_values() {
            changes.extend(got.expires);
            sources.push(got.outcome);
        }
        // Warnings belong to sources, and each is reported once.
        if let Some(first) = sources.first_mut() {
            first.warnings.extend(pinned.warning);
        }
        let mut outcome = Outcome {
            next_change: changes.into_iter().min(),
            config: Some(self.config.digest()),
            sources,
            accounts,
            faults,
            first,
            news,
            ..Outcome::new(started.wall, clock())
        };
        outcome.summarise();
        if outcome.status == Status::Ok {
            outcome.last_success = Some(outcome.finished);
        }
        let last = match (known, own_files) {
            (Some(known), Some(own_files)) if !intent.dry_run => {
                let left: Vec<Left> = cycle.left.into_values().collect();
                self.last_cycle(&outcome, cycle.store, (known, own_files, left))
            }
            _ => None,
        };
        Installed { outcome, last }
    }

    /// The versions of all sources that the next cycle asks about; `None` if it must not skip
    /// anything.
    fn known_versions(
        &self,
        acquired: &BTreeMap<SourceUrl, Acquired>,
    ) -> Option<Vec<KnownVersions>> {
        let mut known = Vec::new();
        for source in self.config.sources() {
            known.push(acquired.get(&source.url)?.known()?);
        }
        Some(known)
    }

    /// A source that was never read is stale, not failed, if all its accounts have other sources
    /// that were read: none of these accounts is without a key set.
    fn excuse_unread(&self, acquired: &mut BTreeMap<SourceUrl, Acquired>) {
        let mut without = BTreeSet::new();
        for account in &self.config.accounts {
            if KeySets::of(account, acquired).is_none() {
                for source in &account.sources {
                    without.insert(source.url.clone());
                }
            }
        }
        for (url, got) in acquired {
            if got.in_force.is_none() && !without.contains(url) {
                got.outcome.status = Status::Stale;
            }
        }
    }

    /// Decides for some of the accounts and writes their files. Returns each outcome with the
    /// account's position in the configuration.
    fn serve(
        &self,
        mut found: Vec<(usize, &AccountConfig, Found)>,
        acquired: &BTreeMap<SourceUrl, Acquired>,
        pinned: &Pinned,
        cycle: &mut Cycle<'_>,
    ) -> Vec<(usize, AccountOutcome)> {
        // Everything is decided before anything is written. What will be installed is recorded
        // first, so that a crash cannot leave a key behind that nobody would revoke.
        let places: Vec<usize> = found.iter().map(|(at, ..)| *at).collect();
        cycle.shared.refuse(&mut found);
        let mut prepared: Vec<Prepared> = Vec::with_capacity(found.len());
        for (_, account, found) in found {
            self.host.step();
            prepared.push(match found {
                Ok(found) => self.prepare(account, found, acquired, pinned, cycle),
                Err(failed) => *failed,
            });
        }
        for one in &prepared {
            if cycle.new && one.was_written() {
                let file = one.file();
                let fault = Fault::forgotten(&format!("{file} holds keys that authkeysd wrote"));
                cycle.faults.push(fault);
                cycle.new = false;
            }
        }
        cycle.record_time();
        // If no file is written, one save at the end is enough.
        if prepared.iter().any(Prepared::writes)
            && let Err(fault) = cycle.store.save(&cycle.state)
        {
            cycle.faults.push(fault.fault());
        }
        if cycle.store.is_outdated() {
            let mut remembered = Vec::with_capacity(places.len());
            for (at, one) in places.iter().zip(prepared) {
                let Some(account) = self.config.accounts.get(*at) else {
                    continue;
                };
                let fresh = is_fresh(account, acquired);
                remembered.push(one.without_memory(cycle.store.state(), fresh));
            }
            prepared = remembered;
        }
        let mut outcomes = Vec::new();
        let carried = self.carry_out(prepared, cycle);
        for (at, one) in places.iter().zip(carried) {
            let Carried {
                outcome,
                faults,
                left,
            } = one;
            cycle.faults.extend(faults);
            if let Some(left) = left {
                cycle.left.insert(*at, left);
            }
            outcomes.push((*at, outcome));
        }
        match cycle.store.save(&cycle.state) {
            Ok(()) if acquired.values().all(|got| got.fresh) => cycle.store.has_caught_up(),
            Ok(()) => {}
            // The files are correct. Only the verdict on the document is lost, and will be reached
            // again.
            Err(fault) => cycle.faults.push(fault.fault()),
        }
        outcomes
    }
}

impl<'s> Cycle<'s> {
    fn new(
        store: &'s mut Store,
        state: State,
        intent: Intent,
        clock: Clock,
        faults: Vec<Fault>,
    ) -> Self {
        let shared = SharedFiles::default();
        let in_common = InCommon::default();
        let now = clock.effective();
        let new = store.is_new();
        Self {
            store,
            state,
            intent,
            clock,
            now,
            faults,
            shared,
            in_common,
            left: BTreeMap::new(),
            new,
        }
    }

    fn gathered(self, acquired: BTreeMap<SourceUrl, Acquired>) -> Gathered {
        Gathered {
            state: self.state,
            intent: self.intent,
            clock: self.clock,
            acquired,
            faults: self.faults,
            own_files: None,
        }
    }

    /// Records the time together with other changes, otherwise once an hour, so that an unchanged
    /// poll writes nothing.
    fn record_time(&mut self) {
        let old = self
            .state
            .clock
            .is_none_or(|last| self.now.duration_since(last) >= RECORD_EVERY);
        if old || self.intent.accept_rollback || self.state != *self.store.state() {
            self.state.clock = Some(self.now);
        }
    }
}

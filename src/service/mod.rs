//! `authkeysd run`: the loop that waits for the schedule, for signals and for the end of the
//! running cycle.

mod alarm;
mod cycle;
mod early;
mod flights;
mod identify;
mod loading;
mod notify;
mod nudges;
mod progress;
mod reporter;
mod worker;

use std::fs::File;
use std::future::pending;
use std::io;
use std::mem::take;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot::{self, Receiver};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use crate::agent::Agent;
use crate::host::Host;
use crate::report::beside::{Beside, WRITE_PATIENCE, Written, no_answer};
use crate::report::status_file::StatusFileError;
use crate::report::{journal, presence, status_file};
use authkeys_core::config::Config;
use authkeys_core::history::History;
use authkeys_core::origin::Fetch;
use authkeys_core::outcome::{Fault, FaultClass, FaultCode, Outcome, Subject, chain};
use authkeys_core::report::delivery::Deliver;
use authkeys_core::report::entries::{Entry, each_entry};
use authkeys_core::report::kind::Kind;
use authkeys_core::report::text;
use authkeys_core::schedule::{Act, Ended, Node, Planner, Timing};
use authkeys_terminal::random;

use alarm::Alarm;
use cycle::{CycleRun, Memory};
use flights::{Flights, Requests};
use loading::Loading;
use nudges::Nudges;
use progress::{Noted, Progress, Turn};
use reporter::Reporter;
use worker::Worker;

pub use identify::Identify;
pub use notify::Notify;
pub use nudges::Looks;

/// READY is sent after this time even if the first cycle still runs: units that wait for us at boot
/// must not wait for a source.
const READY_AFTER: Duration = Duration::from_secs(30);
/// How long a write in progress may take at the end; with the rest of the exit that stays under 2
/// s.
const FINISH: Duration = Duration::from_millis(1_300);
/// How long the start waits for the last status to be read.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// How often to check a cycle that is working while a window is due.
const RING_AGAIN: Duration = Duration::from_millis(200);
/// The shortest time between two reloads, and between two demanded fetches. The first one happens
/// at once, and endless demands leave time for cycles.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// A configuration, and the directories that it and the environment name.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// The state directory.
    pub state: PathBuf,
    /// The runtime directory.
    pub runtime: PathBuf,
}

/// The parts of the service. The composition root names the concrete types.
#[derive(Debug)]
pub struct Parts<F, H, D, L> {
    /// The network.
    pub fetch: F,
    /// The node.
    pub host: H,
    /// Delivers reports to where the fleet is monitored.
    pub deliver: D,
    /// Reads the configuration; the error is one line.
    pub load: L,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
    /// Returns the zone in which an old sshd reads times.
    pub zone: fn() -> TimeZone,
    /// When the program was built.
    pub built: Timestamp,
    /// Distinguishes this node from the others in the fleet until the instance is known.
    pub identity: String,
    /// Finds out which instance this is.
    pub identify: Identify,
    /// Looks at the tag that makes the node fetch early.
    pub looks: Looks,
    /// The service manager.
    pub notify: Notify,
}

/// A cycle that runs on the worker's thread.
#[derive(Debug)]
struct Running {
    act: Act,
    turn: Turn,
    /// `None` if it made room for a window or a reload.
    result: Receiver<Option<Result<Outcome, Fault>>>,
}

/// The running service.
#[derive(Debug)]
pub struct Service<F, H, D, L> {
    setup: Setup,
    agent: Arc<Agent<Noted<Requests>, Noted<H>>>,
    flights: Flights<F>,
    worker: Worker,
    loading: Loading<L>,
    clock: fn() -> Timestamp,
    identity: String,
    identify: Identify,
    nudges: Nudges,
    /// The instance, once it is known.
    instance: Option<String>,
    notify: Notify,
    progress: Progress,
    reporter: Reporter<D>,
    planner: Planner,
    history: History,
    /// A cycle has ended in this process.
    started: bool,
    ready: bool,
    /// Why the last reload was rejected.
    refused: Option<String>,
    /// The last write of the status file failed.
    unwritten: bool,
    /// The answers under way may be older than a reload or a demand, so the sources must be asked
    /// once more.
    again: bool,
    /// The running cycle asks the sources.
    fetches: bool,
    memory: Arc<Mutex<Memory>>,
    /// The lock by which `authkeysd status` sees that the service runs, once it could be taken.
    /// Shared with writes, because even a write that nobody waits for any more can take it.
    presence: Arc<Mutex<Option<File>>>,
    /// Writes the status file.
    files: Beside<Result<(), StatusFileError>>,
}

impl<F, H, D, L> Service<F, H, D, L>
where
    F: Fetch + 'static,
    H: Host + Send + Sync + 'static,
    D: Deliver + 'static,
    L: Fn() -> Result<Setup, String> + Send + Sync + 'static,
{
    /// Sets everything up. Nothing runs yet.
    pub fn new(parts: Parts<F, H, D, L>, setup: Setup) -> Self {
        let Parts {
            fetch,
            host,
            deliver,
            load,
            clock,
            zone,
            built,
            identity,
            identify,
            looks,
            notify,
        } = parts;
        // A file that cannot be read is soon overwritten. The log entries that it would have
        // avoided do no harm.
        let runtime = setup.runtime.clone();
        let last = match Beside::new(READ_PATIENCE).write(move || status_file::read(&runtime)) {
            Written::Ended(last) => last.unwrap_or_default(),
            Written::Slow | Written::Hangs => None,
        };
        let history = History::new(last);
        // The instance that an earlier process found since the boot is valid until the metadata
        // service confirms it.
        let instance = history.last().and_then(|last| last.instance_id.clone());
        let identity = instance.clone().unwrap_or(identity);
        let progress = Progress::new();
        let (flights, requests) = Flights::new(fetch);
        let (fetch, host) = (Noted::new(requests, &progress), Noted::new(host, &progress));
        let agent = Arc::new(Agent {
            config: setup.config.clone(),
            fetch,
            host,
            zone,
            built,
        });
        let planner = Planner::new(timing(&setup.config, &identity), clock());
        let reporter = Reporter::new(deliver, &setup.config.report);
        let nudges = Nudges::new(looks, &setup.config);
        Self {
            setup,
            agent,
            flights,
            worker: Worker::default(),
            loading: Loading::new(load),
            clock,
            identity,
            identify,
            nudges,
            instance,
            notify,
            progress,
            reporter,
            planner,
            history,
            started: false,
            ready: false,
            refused: None,
            unwritten: false,
            again: false,
            fetches: false,
            memory: Arc::default(),
            presence: Arc::default(),
            files: Beside::new(WRITE_PATIENCE),
        }
    }

    /// Runs until SIGTERM or SIGINT. An error means that the system refuses signals or timers.
    pub async fn run(mut self) -> io::Result<()> {
        let [mut hangup, mut demand, mut terminate, mut interrupt] = signals()?;
        let alarm = Alarm::new()?;
        let ready_by = Instant::now() + READY_AFTER;
        let period = self.notify.watchdog_period();
        // Without a watchdog the interval is never polled, and never wakes the process up.
        let pulse = period.unwrap_or(READY_AFTER);
        let mut pulse = interval_at(Instant::now() + pulse, pulse);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        journal::tell(&Entry::new(
            Kind::Started,
            concat!("started, version ", env!("CARGO_PKG_VERSION")),
        ));
        self.notify.status("first cycle");
        self.write_files(None);
        let news = self.nudges.first().await;
        self.nudged(news);

        let mut cycle: Option<Running> = None;
        // A reload was requested, and the configuration that was read for one.
        let (mut wanted, mut loaded) = (false, None);
        let mut next_reload = Instant::now();
        // A fetch was demanded.
        let (mut demanded, mut next_demand) = (false, Instant::now());
        loop {
            if let (true, Some(Running { turn, .. })) = (loaded.is_some(), &cycle) {
                turn.leave_lock();
                if self.flights.are_under_way() {
                    turn.leave_sources();
                }
            }
            if cycle.is_none() {
                if let Some(setup) = loaded.take() {
                    self.reload(setup);
                    next_reload = Instant::now() + RELOAD_PAUSE;
                }
                let due = self.planner.due((self.clock)());
                let wakes = match due {
                    Some(Act::Fetch) => self.planner.change(),
                    Some(Act::Replan) => None,
                    None => Some(self.planner.wake()),
                };
                wakes.map_or(Ok(()), |at| alarm.set(at))?;
                cycle = due.map(|act| self.begin(act));
            }
            tokio::select! {
                result = ending(&mut cycle) => {
                    self.progress.end();
                    self.fetches = false;
                    if let (Some(running), Some(result)) = (cycle.take(), result) {
                        self.ended(running.act, result);
                    }
                }
                // The cycle waits now, and may have to make room for a reload.
                () = self.flights.fly() => {}
                // Runs beside the first cycle, which neither waits for it nor needs it.
                instance = self.identify.found() => self.found(instance),
                news = self.nudges.news() => self.nudged(news),
                entry = self.reporter.step(self.clock) => self.reported(entry),
                rung = alarm.rings() => {
                    rung?;
                    if let Some(Running { act: Act::Fetch, turn, .. }) = &cycle {
                        let now = (self.clock)();
                        match self.planner.change() {
                            // A window does not wait for a source that does not answer.
                            Some(at) if at <= now && self.flights.are_under_way() => turn.leave_sources(),
                            // The cycle may finish its work, unless it has to wait again after
                            // that.
                            Some(at) if at <= now => alarm.set(now.saturating_add(RING_AGAIN).unwrap_or(now))?,
                            // The clock was set.
                            Some(at) => alarm.set(at)?,
                            None => {}
                        }
                    }
                }
                _ = hangup.recv() => wanted = true,
                () = sleep_until(next_reload), if wanted && loaded.is_none() && !self.loading.is_under_way() => {
                    wanted = false;
                    self.notify.reloading();
                    self.loading.begin();
                }
                _ = demand.recv() => demanded = true,
                () = sleep_until(next_demand), if demanded => {
                    demanded = false;
                    next_demand = Instant::now() + RELOAD_PAUSE;
                    self.fetch_now();
                }
                setup = self.loading.ended() => loaded = Some(setup),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = sleep_until(ready_by), if !self.ready => self.say_ready(),
                _ = pulse.tick(), if period.is_some() => {
                    if self.progress.goes_on() {
                        self.notify.alive();
                    }
                }
            }
        }
        self.notify.stopping();
        let act = cycle
            .as_ref()
            .filter(|running| running.turn.is_installing())
            .map(|running| running.act);
        if let Some(act) = act
            && let Ok(Some(result)) = timeout(FINISH, ending(&mut cycle)).await
        {
            self.ended(act, result);
        }
        journal::tell(&Entry::new(
            Kind::Stopping,
            "stopping; the keys stay as they are",
        ));
        Ok(())
    }

    fn begin(&mut self, act: Act) -> Running {
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
        let result = self.worker.run(move || cycle.run(act, &runtime)).unwrap_or_else(|fault| {
            let (sender, receiver) = oneshot::channel();
            let text = format!("cannot begin a thread for the cycle: {fault}; check the limits on tasks and memory");
            let _ = sender.send(Some(Err(Fault::new(FaultCode::CycleNotBegun, Subject::Node, text))));
            receiver
        });
        Running { act, turn, result }
    }

    fn ended(&mut self, act: Act, result: Result<Outcome, Fault>) {
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
        let due = self.planner.overdue(now).filter(|_| act == Act::Replan)?;
        let text = format!(
            "no source has been asked since {due}, when a fetch was due: the key sets' windows leave no time for it; \
             publish fewer windows"
        );
        Some(Fault::new(FaultCode::FetchOverdue, Subject::Node, text))
    }

    /// The instance's id replaces the machine id: images are copied with their machine id, and then
    /// every node would have the same phase.
    fn found(&mut self, instance: String) {
        self.identity.clone_from(&instance);
        self.planner.replace_node(
            timing(&self.setup.config, &self.identity).node,
            (self.clock)(),
        );
        let started = self.started && self.history.name_instance(&instance).is_some();
        self.instance = Some(instance);
        if started {
            self.write_status();
        }
    }

    /// A report was delivered, or failed.
    fn reported(&mut self, entry: Option<Entry>) {
        entry.iter().for_each(journal::tell);
        self.write_status();
    }

    fn write_status(&mut self) {
        let Some(outcome) = self.history.last() else {
            return;
        };
        self.reporter
            .write_metrics(outcome, (self.clock)())
            .iter()
            .for_each(journal::tell);
        self.history.note_reports(self.reporter.outcomes());
        self.write_files(self.history.last().map(Outcome::shortened));
    }

    /// Takes the lock that `authkeysd status` looks for, and writes the status file. If the lock
    /// cannot be made in the directory, that is reported with the status file.
    fn write_files(&mut self, outcome: Option<Outcome>) {
        let (directory, presence) = (self.setup.runtime.clone(), Arc::clone(&self.presence));
        let write = move || {
            let mut presence = presence.lock().unwrap_or_else(PoisonError::into_inner);
            if presence.is_none() {
                *presence = presence::hold(&directory).ok();
            }
            drop(presence);
            outcome.map_or(Ok(()), |outcome| status_file::write(&directory, &outcome))
        };
        let fault = match self.files.write(write) {
            Written::Ended(written) => written.err().map(|fault| chain(&fault)),
            Written::Slow => None,
            Written::Hangs => Some(no_answer(&status_file::path(&self.setup.runtime))),
        };
        let unwritten = fault.is_some();
        if let (Some(fault), false) = (fault, self.unwritten) {
            journal::tell(&Entry::of_fault(
                Kind::Fault,
                FaultCode::StatusNotWritten,
                fault,
            ));
        }
        self.unwritten = unwritten;
    }

    /// Applies the configuration that was read again. Runs a cycle whether it is valid or not.
    fn reload(&mut self, read: Result<Setup, String>) {
        match read {
            Ok(setup) => {
                let (fetch, host) = (self.agent.fetch.clone(), self.agent.host.clone());
                let config = setup.config.clone();
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.forget_last();
                drop(memory);
                self.agent = Arc::new(Agent {
                    config,
                    fetch,
                    host,
                    zone: self.agent.zone,
                    built: self.agent.built,
                });
                if setup.config.report != self.setup.config.report {
                    self.reporter.configure(&setup.config.report);
                }
                self.nudges.configure(&setup.config);
                if setup.runtime != self.setup.runtime {
                    // A write under way holds the old one until it ends.
                    self.presence = Arc::default();
                }
                self.setup = setup;
                self.refused = None;
                journal::tell(&Entry::new(Kind::Reloaded, "configuration reloaded"));
            }
            Err(fault) => {
                let message = format!("configuration refused, the old one stays in force: {fault}");
                journal::tell(&Entry::of_fault(
                    Kind::ReloadRefused,
                    FaultCode::ConfigInvalid,
                    message,
                ));
                self.refused = Some(fault);
            }
        }
        self.again = !self.flights.is_empty();
        self.planner
            .restart(timing(&self.setup.config, &self.identity), (self.clock)());
        self.show_status();
        if self.ready {
            self.notify.ready();
        }
    }

    fn say_ready(&mut self) {
        self.ready = true;
        self.notify.ready();
    }

    fn show_status(&self) {
        let mut line = self
            .history
            .last()
            .map(text::service_line)
            .unwrap_or_default();
        if let Some(fault) = &self.refused {
            line = format!("configuration refused, the old one stays in force: {fault}; {line}");
        }
        self.notify.status(&line);
    }
}

/// The result of the running cycle; `None` if it made room.
async fn ending(cycle: &mut Option<Running>) -> Option<Result<Outcome, Fault>> {
    let Some(running) = cycle else {
        return pending().await;
    };
    let text = "a panic ended the cycle; report this as a bug, with the lines of the log before it";
    let panicked = || Fault::new(FaultCode::CyclePanicked, Subject::Node, text);
    (&mut running.result)
        .await
        .unwrap_or_else(|_| Some(Err(panicked())))
}

fn signals() -> io::Result<[Signal; 4]> {
    Ok([
        signal(SignalKind::hangup())?,
        signal(SignalKind::user_defined1())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ])
}

fn timing(config: &Config, identity: &str) -> Timing {
    let source = config
        .accounts
        .first()
        .and_then(|account| account.sources.first())
        .map(|source| source.url.to_string())
        .unwrap_or_default();
    Timing {
        schedule: config.schedule.clone(),
        splay: config.splay,
        node: Node::new(identity, &source),
    }
}

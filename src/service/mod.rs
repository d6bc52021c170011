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
mod reload;
mod reporter;
mod running;
mod shown;
mod worker;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use crate::agent::Agent;
use crate::host::Host;
use crate::report::beside::{Beside, WRITE_PATIENCE, Written};
use crate::report::status_file::StatusFileError;
use crate::report::{journal, status_file};
use authkeys_core::config::Config;
use authkeys_core::history::History;
use authkeys_core::origin::Fetch;
use authkeys_core::report::delivery::Deliver;
use authkeys_core::report::entries::Entry;
use authkeys_core::report::kind::Kind;
use authkeys_core::schedule::{Act, NodePosition, Planner, Timing};

use alarm::Alarm;
use cycle::Memory;
use flights::{Flights, Requests};
use loading::Loading;
use nudges::Nudges;
use progress::{Noted, Progress};
use reporter::Reporter;
use running::{Running, ending};
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
pub struct ServiceSetup {
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

/// The running service.
#[derive(Debug)]
pub struct Service<F, H, D, L> {
    setup: ServiceSetup,
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
    L: Fn() -> Result<ServiceSetup, String> + Send + Sync + 'static,
{
    /// Sets everything up. Nothing runs yet.
    pub fn new(parts: Parts<F, H, D, L>, setup: ServiceSetup) -> Self {
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
        let fetch = Noted::new(requests, &progress);
        let host = Noted::new(host, &progress);
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
        let mut wanted = false;
        let mut loaded = None;
        let mut next_reload = Instant::now();
        // A fetch was demanded.
        let mut demanded = false;
        let mut next_demand = Instant::now();
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
                            Some(at) if at <= now && self.flights.are_under_way() => {
                                turn.leave_sources();
                            }
                            // The cycle may finish its work, unless it has to wait again after
                            // that.
                            Some(at) if at <= now => {
                                alarm.set(now.saturating_add(RING_AGAIN).unwrap_or(now))?;
                            }
                            // The clock was set.
                            Some(at) => alarm.set(at)?,
                            None => {}
                        }
                    }
                }
                _ = hangup.recv() => wanted = true,
                () = sleep_until(next_reload),
                    if wanted && loaded.is_none() && !self.loading.is_under_way() =>
                {
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
        if let Some(Running { turn, .. }) = &cycle {
            turn.leave_lock();
            turn.leave_sources();
        }
        let installing = match &cycle {
            Some(running) if running.turn.is_installing() => Some(running.act),
            _ => None,
        };
        if let Some(act) = installing
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
        node: NodePosition::new(identity, &source),
    }
}

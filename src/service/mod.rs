//! `authkeysd run`: the loop that waits for the schedule, for signals and for the end of the cycle that runs.

mod alarm;
mod cycle;
mod identify;
mod notify;
mod progress;
mod reporter;

use std::future::{Future, pending};
use std::io;
use std::mem::take;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval_at, sleep_until, timeout};

use crate::agent::Agent;
use crate::config::Config;
use crate::history::History;
use crate::host::Host;
use crate::outcome::{Fault, FaultClass, Outcome, chain};
use crate::report::deliver::Deliver;
use crate::report::entries::{Entry, each_entry};
use crate::report::kind::Kind;
use crate::report::{journal, status_file, text};
use crate::schedule::{Act, Ended, Node, Planner, Timing};
use crate::source::Fetch;

use alarm::Alarm;
use cycle::Cycle;
use progress::{Noted, Phase, Progress};
use reporter::{Reporter, random};

pub use identify::Identify;
pub use notify::Notify;

/// READY is said by then, also when the first cycle still runs: whoever waits for us at boot must not wait for a source.
const READY_AFTER: Duration = Duration::from_secs(30);
/// How long a write in hand may take at the end; with the rest of the exit that stays under 2 s.
const FINISH: Duration = Duration::from_millis(1_500);

/// The most fetches in a row that are given up for windows: windows without end must not keep new keys away.
const MOST_GIVEN_UP: u32 = 10;

/// A configuration, and the places that it and the environment name.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What to do.
    pub config: Config,
    /// The state directory.
    pub state: PathBuf,
    /// The runtime directory.
    pub runtime: PathBuf,
}

/// What the service is made of. The composition root names the concrete parts.
#[derive(Debug)]
pub struct Parts<F, H, D, L> {
    /// The network.
    pub fetch: F,
    /// The node.
    pub host: H,
    /// Brings reports to where the fleet is seen.
    pub deliver: D,
    /// Reads the configuration; the error is one line.
    pub load: L,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
    /// The zone in which an old sshd reads times.
    pub zone: fn() -> TimeZone,
    /// When the program was built.
    pub built: Timestamp,
    /// What tells this node from the fleet's others, until the instance is known.
    pub identity: String,
    /// Finds out which instance this is.
    pub identify: Identify,
    /// The service manager.
    pub notify: Notify,
}

/// A cycle that runs, and what it is for.
type Running = (Act, Pin<Box<dyn Future<Output = Result<Outcome, String>>>>);

/// The running service.
#[derive(Debug)]
pub struct Service<F, H, D, L> {
    setup: Setup,
    agent: Arc<Agent<Noted<F>, Noted<H>>>,
    load: L,
    clock: fn() -> Timestamp,
    identity: String,
    identify: Identify,
    /// The instance, once it is known.
    instance: Option<String>,
    notify: Notify,
    progress: Progress,
    reporter: Reporter<D>,
    planner: Planner,
    history: History,
    /// A cycle has ended in this process.
    begun: bool,
    ready: bool,
    /// Why the last reload was refused.
    refused: Option<String>,
    /// The status file could not be written last time.
    unwritten: bool,
}

impl<F, H, D, L> Service<F, H, D, L>
where
    F: Fetch + Send + Sync + 'static,
    H: Host + Send + Sync + 'static,
    D: Deliver + 'static,
    L: Fn() -> Result<Setup, String>,
{
    /// Sets everything up; nothing is done yet.
    pub fn new(parts: Parts<F, H, D, L>, setup: Setup) -> Self {
        let Parts { fetch, host, deliver, load, clock, zone, built, identity, identify, notify } = parts;
        // A file that cannot be read is overwritten soon; the entries that it would have saved are no harm.
        let history = History::new(status_file::read(&setup.runtime).unwrap_or_default());
        // What an earlier process found out since the boot holds until the metadata service says it again.
        let instance = history.last().and_then(|last| last.instance_id.clone());
        let identity = instance.clone().unwrap_or(identity);
        let progress = Progress::new();
        let (fetch, host) = (Noted::new(fetch, &progress), Noted::new(host, &progress));
        let agent = Arc::new(Agent { config: setup.config.clone(), fetch, host, zone, built });
        let planner = Planner::new(timing(&setup.config, &identity), clock());
        let reporter = Reporter::new(deliver, &setup.config.report);
        Self {
            setup,
            agent,
            load,
            clock,
            identity,
            identify,
            instance,
            notify,
            progress,
            reporter,
            planner,
            history,
            begun: false,
            ready: false,
            refused: None,
            unwritten: false,
        }
    }

    /// Runs until SIGTERM or SIGINT. An error means that the system refuses signals or timers.
    pub async fn run(mut self) -> io::Result<()> {
        let [mut hangup, mut terminate, mut interrupt] = signals()?;
        let alarm = Alarm::new()?;
        let ready_by = tokio::time::Instant::now() + READY_AFTER;
        let period = self.notify.watchdog_period();
        // Without a watchdog it is never asked, and never wakes anybody.
        let pulse = period.unwrap_or(READY_AFTER);
        let mut pulse = interval_at(tokio::time::Instant::now() + pulse, pulse);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        journal::tell(&Entry::new(Kind::Started, concat!("started, version ", env!("CARGO_PKG_VERSION"))));
        self.notify.status("first cycle");

        let mut cycle: Option<Running> = None;
        let mut reload = false;
        // How many fetches in a row were given up for a window.
        let mut given_up = 0;
        loop {
            if cycle.is_none() {
                if take(&mut reload) {
                    self.reload();
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
                    if let Some((act, _)) = cycle.take() {
                        given_up = if act == Act::Fetch { 0 } else { given_up };
                        self.ended(act, result);
                    }
                }
                // Beside the first cycle, which neither waits for it nor needs it.
                instance = self.identify.found() => self.found(instance),
                entry = self.reporter.step(self.clock) => self.reported(entry),
                rung = alarm.rings() => {
                    rung?;
                    // A window does not wait for a source that does not answer: it is asked again right after.
                    let fetches = matches!(cycle, Some((Act::Fetch, _)));
                    if fetches && given_up < MOST_GIVEN_UP && self.planner.changes((self.clock)()) {
                        given_up += u32::from(self.give_up(&mut cycle));
                    }
                }
                _ = hangup.recv() => {
                    reload = true;
                    self.give_up(&mut cycle);
                }
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
        if let Some((act, running)) = cycle.filter(|_| self.progress.is_installing())
            && let Ok(result) = timeout(FINISH, running).await
        {
            self.ended(act, result);
        }
        journal::tell(&Entry::new(Kind::Stopping, "stopping; the keys stay as they are"));
        Ok(())
    }

    /// Gives the cycle up, unless it writes: then it comes to its end, which other signals do not wait for.
    fn give_up(&self, cycle: &mut Option<Running>) -> bool {
        let gives_up = !self.progress.is_installing();
        if gives_up {
            *cycle = None;
            self.progress.enter(Phase::Idle);
        }
        gives_up
    }

    fn begin(&self, act: Act) -> Running {
        let cycle = Cycle {
            agent: Arc::clone(&self.agent),
            state: self.setup.state.clone(),
            clock: self.clock,
            progress: self.progress.clone(),
            last: self.history.last().filter(|_| act == Act::Replan).cloned(),
        };
        (act, Box::pin(cycle.run(act)))
    }

    fn ended(&mut self, act: Act, result: Result<Outcome, String>) {
        self.progress.enter(Phase::Idle);
        let now = (self.clock)();
        let (mut outcome, ended) = match result {
            Ok(outcome) => {
                let outcome = self.history.complete(outcome, self.setup.config.max_stale);
                let change = outcome.next_change;
                let away = outcome.faults.iter().any(|fault| fault.class == FaultClass::Unreachable);
                (outcome, if away { Ended::Transient { change } } else { Ended::Settled { change } })
            }
            Err(text) => {
                let fault = Fault { class: FaultClass::Failed, text };
                (self.history.not_begun(fault, now, now), Ended::NotBegun)
            }
        };
        self.planner.ended(act, ended, now, random());
        outcome.next_cycle = Some(self.planner.wake());
        outcome.instance_id = self.instance.clone();
        each_entry(self.history.last(), &outcome, !self.begun, journal::tell);
        self.begun = true;
        self.reporter.cycle_ended(&outcome);
        self.history.remember(outcome);
        self.write_status();
        self.show_status();
        if !self.ready {
            self.say_ready();
        }
    }

    /// The instance's id takes the machine id's place: images are copied with their machine id, and then every node
    /// would have the same phase.
    fn found(&mut self, instance: String) {
        self.identity.clone_from(&instance);
        self.planner.replace_node(timing(&self.setup.config, &self.identity).node, (self.clock)());
        let begun = self.begun && self.history.name_instance(&instance).is_some();
        self.instance = Some(instance);
        if begun {
            self.write_status();
        }
    }

    /// A report arrived, or did not.
    fn reported(&mut self, entry: Option<Entry>) {
        entry.iter().for_each(journal::tell);
        self.write_status();
    }

    fn write_status(&mut self) {
        let Some(outcome) = self.history.last() else { return };
        self.reporter.write_metrics(outcome, (self.clock)()).iter().for_each(journal::tell);
        self.history.note_reports(self.reporter.outcomes());
        let Some(outcome) = self.history.last() else { return };
        let written = status_file::write(&self.setup.runtime, outcome);
        if let (Err(fault), false) = (&written, self.unwritten) {
            journal::tell(&Entry::new(Kind::Fault, chain(fault)));
        }
        self.unwritten = written.is_err();
    }

    /// Reads the configuration again, and has a cycle run either way.
    fn reload(&mut self) {
        self.notify.reloading();
        match (self.load)() {
            Ok(setup) => {
                let (fetch, host) = (self.agent.fetch.clone(), self.agent.host.clone());
                let config = setup.config.clone();
                self.agent = Arc::new(Agent { config, fetch, host, zone: self.agent.zone, built: self.agent.built });
                if setup.config.report != self.setup.config.report {
                    self.reporter.configure(&setup.config.report);
                }
                self.setup = setup;
                self.refused = None;
                journal::tell(&Entry::new(Kind::Reloaded, "configuration reloaded"));
            }
            Err(fault) => {
                let message = format!("configuration refused, the old one stays in force: {fault}");
                journal::tell(&Entry::new(Kind::ReloadRefused, message));
                self.refused = Some(fault);
            }
        }
        self.planner.restart(timing(&self.setup.config, &self.identity), (self.clock)());
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
        let mut line = self.history.last().map(text::service_line).unwrap_or_default();
        if let Some(fault) = &self.refused {
            line = format!("configuration refused, the old one stays in force: {fault}; {line}");
        }
        self.notify.status(&line);
    }
}

async fn ending(cycle: &mut Option<Running>) -> Result<Outcome, String> {
    match cycle {
        Some((_, running)) => running.await,
        None => pending().await,
    }
}

fn signals() -> io::Result<[Signal; 3]> {
    Ok([signal(SignalKind::hangup())?, signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?])
}

fn timing(config: &Config, identity: &str) -> Timing {
    let source = config.accounts.first().map(|account| account.source.to_string()).unwrap_or_default();
    Timing { schedule: config.schedule.clone(), splay: config.splay, node: Node::new(identity, &source) }
}

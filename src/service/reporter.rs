//! Sends reports to the fleet, independently of cycles: one report at a time, each with its own
//! schedule. No cycle waits for one.

use std::future::{Future, pending};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep_until};

use crate::report::beside::{Beside, WRITE_PATIENCE, Written, no_answer};
use crate::report::metrics_file::{self, MetricsFileError};
use authkeys_core::caught::caught;
use authkeys_core::config::Report;
use authkeys_core::origin::FetchError;
use authkeys_core::outcome::{FaultCode, Outcome, ReportOutcome, chain};
use authkeys_core::report::delivery::{Deliver, ReportContent, Sink};
use authkeys_core::report::entries::{Entry, alike};
use authkeys_core::report::kind::Kind;
use authkeys_core::report::metrics::{Counters, render};
use authkeys_core::schedule::Reports;
use authkeys_terminal::random;

type Running = Pin<Box<dyn Future<Output = Result<(), FetchError>>>>;

/// The reporter of one node.
pub(super) struct Reporter<D> {
    deliver: Arc<D>,
    origin: Instant,
    places: Vec<ReportPlace>,
    /// The index of the place, the report, and its delivery.
    running: Option<(usize, Arc<ReportContent>, Running)>,
    counters: Counters,
    metrics: Option<(PathBuf, ReportOutcome)>,
    files: Beside<Result<(), MetricsFileError>>,
}

struct ReportPlace {
    sink: Sink,
    plan: Reports,
    latest: Option<Arc<ReportContent>>,
    outcome: ReportOutcome,
}

impl<D: Deliver + 'static> Reporter<D> {
    pub(super) fn new(deliver: D, report: &Report) -> Self {
        let mut reporter = Self {
            deliver: Arc::new(deliver),
            origin: Instant::now(),
            places: Vec::new(),
            running: None,
            counters: Counters::default(),
            metrics: None,
            files: Beside::new(WRITE_PATIENCE),
        };
        reporter.configure(report);
        reporter
    }

    /// Applies another configuration. Everything is reported again.
    pub(super) fn configure(&mut self, report: &Report) {
        self.running = None;
        self.places.clear();
        for sink in Sink::all(report) {
            self.places.push(ReportPlace {
                outcome: ReportOutcome::new(sink.name()),
                sink,
                plan: Reports::new(report.pace),
                latest: None,
            });
        }
        let metrics = report.prometheus.clone();
        self.metrics = metrics.map(|path| (path, ReportOutcome::new("prometheus")));
    }

    /// A cycle has ended.
    pub(super) fn cycle_ended(&mut self, outcome: &Outcome) {
        self.counters.cycle(outcome);
        if self.places.is_empty() {
            return;
        }
        let Some(content) = ReportContent::of(outcome) else {
            return;
        };
        let content = Arc::new(content);
        let now = self.now();
        for place in &mut self.places {
            place.plan.say(&content.summary.news(), now, random());
            place.latest = Some(Arc::clone(&content));
        }
    }

    /// Waits for the next report that is due, and for its end. Called repeatedly; may be dropped at
    /// any time.
    pub(super) async fn step(&mut self, clock: fn() -> Timestamp) -> Option<Entry> {
        loop {
            if let Some((at, content, running)) = &mut self.running {
                let at = *at;
                let result = running.await;
                let content = Arc::clone(content);
                self.running = None;
                return self.ended(at, &content, result, clock());
            }
            let mut dues = Vec::new();
            for (at, place) in self.places.iter().enumerate() {
                if let Some(due) = place.plan.due() {
                    dues.push((due, at));
                }
            }
            let Some((due, at)) = dues.into_iter().min() else {
                return pending().await;
            };
            sleep_until(self.origin + due.unsigned_abs()).await;
            self.begin(at);
        }
    }

    /// The results of the reports.
    pub(super) fn outcomes(&self) -> Vec<ReportOutcome> {
        let mut outcomes = Vec::new();
        for place in &self.places {
            outcomes.push(place.outcome.clone());
        }
        if let Some((_, metrics)) = &self.metrics {
            outcomes.push(metrics.clone());
        }
        outcomes
    }

    /// Writes the metrics file, whenever the status file changes.
    pub(super) fn write_metrics(&mut self, outcome: &Outcome, now: Timestamp) -> Option<Entry> {
        let (path, known) = self.metrics.as_mut()?;
        let text = render(outcome, Some(&self.counters));
        let place = path.clone();
        let written = self.files.write(move || metrics_file::write(&place, &text));
        let result = match written {
            Written::Ended(Ok(())) => Ok(()),
            Written::Ended(Err(fault)) => Err(chain(&fault)),
            Written::Slow => return None,
            Written::Hangs => Err(no_answer(path)),
        };
        note(known, result, now)
    }

    fn begin(&mut self, at: usize) {
        let Some(place) = self.places.get(at) else {
            return;
        };
        let Some(content) = place.latest.clone() else {
            return;
        };
        let deliver = Arc::clone(&self.deliver);
        let sink = place.sink.clone();
        let news = Arc::clone(&content);
        let delivery = async move {
            match caught(deliver.deliver(&sink, &news)).await {
                Ok(delivered) => delivered,
                Err(panic) => Err(panic.failure(&sink.name())),
            }
        };
        self.running = Some((at, content, Box::pin(delivery)));
    }

    fn ended(
        &mut self,
        at: usize,
        content: &ReportContent,
        result: Result<(), FetchError>,
        now: Timestamp,
    ) -> Option<Entry> {
        let elapsed = self.now();
        let place = self.places.get_mut(at)?;
        let mut said = None;
        if result.is_ok() {
            let news = content.summary.news();
            place.plan.delivered(&news, elapsed, random());
            said = Some(content.said(&place.sink));
        } else {
            place.plan.failed(elapsed, random());
        }
        self.counters.report(place.sink.name(), result.is_ok());
        let result = result.map_err(|fault| fault.to_string());
        let entry = note(&mut place.outcome, result, now);
        place.outcome.said = said;
        entry
    }

    fn now(&self) -> SignedDuration {
        SignedDuration::try_from(self.origin.elapsed()).unwrap_or(SignedDuration::MAX)
    }
}

/// Records a result. Returns a log entry if something changed.
fn note(known: &mut ReportOutcome, result: Result<(), String>, now: Timestamp) -> Option<Entry> {
    let name = known.report.clone();
    match result {
        Ok(()) => {
            let again = known.failures > 0;
            *known = ReportOutcome {
                delivered: Some(true),
                last_success: Some(now),
                ..ReportOutcome::new(&name)
            };
            let message = format!("report arrives again: {name}");
            again.then(|| Entry::new(Kind::ReportRecovered, message))
        }
        Err(fault) => {
            let news = known.failures == 0 || !alike(&known.detail, &fault);
            known.delivered = Some(false);
            known.failures = known.failures.saturating_add(1);
            known.detail.clone_from(&fault);
            let message = format!("report failed, the keys are not concerned: {fault}");
            news.then(|| Entry::of_fault(Kind::ReportFailed, FaultCode::ReportFailed, message))
        }
    }
}

impl<D> std::fmt::Debug for Reporter<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let outcomes = self.places.iter().map(|place| &place.outcome);
        f.debug_list().entries(outcomes).finish()
    }
}

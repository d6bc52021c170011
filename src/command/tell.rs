//! What `sync` tells the fleet, at once where it is news or a sign of life is due: it waits a little for it, and nothing
//! depends on it.

use std::sync::Arc;
use std::time::Duration;

use super::{complain, run};
use crate::report::{beside, metrics_file};
use authkeys_aws::client::Aws;
use authkeys_aws::client::retry::{Policy, RandomJitter, retry};
use authkeys_aws::deliver::Remote;
use authkeys_core::caught::caught;
use authkeys_core::config::Report;
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::outcome::{Outcome, ReportOutcome, chain};
use authkeys_core::report::delivery::{Deliver as _, Sink, Told};
use authkeys_core::report::metrics;

/// How long one report may take, with its retries.
const LIMIT: Duration = Duration::from_secs(10);

/// Brings the outcome to every place that is configured, and notes in it how that went.
pub(super) async fn tell(aws: &Arc<Aws>, report: &Report, outcome: &mut Outcome) {
    let remote = Remote::new(Arc::clone(aws), run::host());
    let policy = Policy { limit: LIMIT, ..Policy::default() };
    // While it is not decided whether the node is stale, what was told before stands.
    let told = Told::of(outcome);
    let before = std::mem::take(&mut outcome.reports);
    let known =
        |name: &str| before.iter().find(|one| one.report == name).cloned().unwrap_or_else(|| ReportOutcome::new(name));
    let now = outcome.finished;
    for sink in Sink::all(report) {
        let known = known(sink.name());
        let Some(told) = &told else {
            outcome.reports.push(known);
            continue;
        };
        let said = told.said(&sink);
        let age = known.last_success.map(|last| now.duration_since(last));
        let recent = age.is_some_and(|age| !age.is_negative() && age < report.pace.heartbeat);
        if recent && known.said.as_ref() == Some(&said) {
            outcome.reports.push(known);
            continue;
        }
        let over = |limit| FetchError {
            class: Class::Transient,
            message: format!("{}: no answer within {limit:?}", sink.name()),
            remedy: "the next `sync` tells it".to_owned(),
        };
        let result = retry(&policy, &RandomJitter, over, async || delivered(&remote, &sink, told).await).await;
        outcome.reports.push(noted(known, Some(said), result.map_err(|fault| fault.to_string())));
    }
    if let Some(path) = &report.prometheus {
        let (place, page) = (path.clone(), metrics::render(outcome, None));
        let written = beside::once(move || metrics_file::write(&place, &page));
        let result =
            written.map_or_else(|| Err(beside::no_answer(path)), |written| written.map_err(|fault| chain(&fault)));
        outcome.reports.push(noted(known("prometheus"), None, result));
    }
}

async fn delivered(remote: &Remote, sink: &Sink, told: &Told) -> Result<(), FetchError> {
    let result = caught(remote.deliver(sink, told)).await;
    result.unwrap_or_else(|panic| Err(panic.failure(&sink.name())))
}

fn noted(before: ReportOutcome, said: Option<String>, result: Result<(), String>) -> ReportOutcome {
    let mut outcome = ReportOutcome { delivered: Some(result.is_ok()), ..ReportOutcome::new(&before.report) };
    match result {
        Ok(()) => {
            outcome.last_success = Some(authkeys_terminal::clock());
            outcome.said = said;
        }
        Err(fault) => {
            complain(&format!("warning: report failed, the keys are not concerned: {fault}"));
            outcome.failures = before.failures.saturating_add(1);
            outcome.last_success = before.last_success;
            outcome.detail = fault;
        }
    }
    outcome
}

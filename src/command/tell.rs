//! Sends the reports of `sync` to the fleet at once, if there is a change or a heartbeat is due. It
//! waits a little for that, and nothing depends on it.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{complain, system};
use crate::fetch::{Remote, RemoteReports};
use crate::report::{beside, metrics_file};
use authkeys_core::config::Report;
use authkeys_core::origin::{Class, FetchError};
use authkeys_core::outcome::{Outcome, ReportOutcome, chain};
use authkeys_core::report::delivery::{Deliver as _, ReportContent, Sink};
use authkeys_core::report::metrics;
use authkeys_core::schedule::Backoff;
use authkeys_terminal::random;

/// The limit for one report, including its retries.
const LIMIT: Duration = Duration::from_secs(10);
/// How often a report is tried, and the pauses between attempts.
const ATTEMPTS: u32 = 3;
const AGAIN: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(2),
};

/// Sends the outcome to every configured place, and records the results in it.
pub(super) async fn tell(remote: &Remote, report: &Report, outcome: &mut Outcome) {
    let reports = RemoteReports::new(remote.clone(), system::host());
    // While it is not yet known whether the node is stale, the previous report stays valid.
    let content = ReportContent::of(outcome);
    let before = std::mem::take(&mut outcome.reports);
    let now = outcome.finished;
    for sink in Sink::all(report) {
        let known = result_of(&before, sink.name());
        let Some(content) = &content else {
            outcome.reports.push(known);
            continue;
        };
        let said = content.said(&sink);
        let recent = match known.last_success {
            Some(last) => {
                let age = now.duration_since(last);
                !age.is_negative() && age < report.pace.heartbeat
            }
            None => false,
        };
        if recent && known.said.as_ref() == Some(&said) {
            outcome.reports.push(known);
            continue;
        }
        let result = deliver(&reports, &sink, content).await;
        let result = result.map_err(|fault| fault.to_string());
        outcome.reports.push(noted(known, Some(said), result));
    }
    if let Some(path) = &report.prometheus {
        let place = path.clone();
        let page = metrics::render(outcome, None);
        let result = match beside::once(move || metrics_file::write(&place, &page)) {
            Some(Ok(())) => Ok(()),
            Some(Err(fault)) => Err(chain(&fault)),
            None => Err(beside::no_answer(path)),
        };
        let known = result_of(&before, "prometheus");
        outcome.reports.push(noted(known, None, result));
    }
}

/// The last result of a report; a new one if there is none.
fn result_of(reports: &[ReportOutcome], name: &str) -> ReportOutcome {
    for one in reports {
        if one.report == name {
            return one.clone();
        }
    }
    ReportOutcome::new(name)
}

/// Tries a few times, within the limit.
async fn deliver(
    reports: &RemoteReports,
    sink: &Sink,
    content: &ReportContent,
) -> Result<(), FetchError> {
    let end = Instant::now() + LIMIT;
    for failures in 1.. {
        let failure = match timeout_at(end, reports.deliver(sink, content)).await {
            Ok(Err(failure)) if failure.class == Class::Transient => failure,
            Ok(result) => return result,
            Err(_elapsed) => break,
        };
        let pause = AGAIN.ceiling(failures).mul_f64(random());
        if failures >= ATTEMPTS || Instant::now() + pause > end {
            return Err(failure);
        }
        sleep(pause).await;
    }
    Err(FetchError {
        code: None,
        class: Class::Transient,
        message: format!("{}: no answer within {LIMIT:?}", sink.name()),
        remedy: "the next `sync` tells it".to_owned(),
    })
}

fn noted(before: ReportOutcome, said: Option<String>, result: Result<(), String>) -> ReportOutcome {
    let mut outcome = ReportOutcome {
        delivered: Some(result.is_ok()),
        ..ReportOutcome::new(&before.report)
    };
    match result {
        Ok(()) => {
            outcome.last_success = Some(authkeys_terminal::clock());
            outcome.said = said;
        }
        Err(fault) => {
            complain(&format!(
                "warning: report failed, the keys are not concerned: {fault}"
            ));
            outcome.failures = before.failures.saturating_add(1);
            outcome.last_success = before.last_success;
            outcome.detail = fault;
        }
    }
    outcome
}

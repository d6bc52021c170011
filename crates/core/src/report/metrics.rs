//! The node's status in Prometheus' text format, for node_exporter's textfile collector. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::outcome::{Outcome, Status};
use crate::words::is_deceptive;

const STATUSES: [Status; 4] = [Status::Ok, Status::Stale, Status::Degraded, Status::Failed];

/// What the service has counted since its start. `sync` has no counters, because they would always
/// be one.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    cycles: [u64; STATUSES.len()],
    added: u64,
    removed: u64,
    repaired: u64,
    reports: Vec<Reported>,
}

#[derive(Debug, Clone)]
struct Reported {
    report: &'static str,
    delivered: u64,
    failed: u64,
}

impl Counters {
    /// Counts a cycle.
    pub fn cycle(&mut self, outcome: &Outcome) {
        for (status, count) in STATUSES.iter().zip(&mut self.cycles) {
            *count += u64::from(*status == outcome.status);
        }
        for account in outcome.accounts.iter().filter(|account| account.changed) {
            self.added += account.counts.added as u64;
            self.removed += account.counts.removed as u64;
            self.repaired += u64::from(account.repairs > 0);
        }
    }

    /// Counts an attempt to deliver a report.
    pub fn report(&mut self, report: &'static str, delivered: bool) {
        if !self.reports.iter().any(|known| known.report == report) {
            self.reports.push(Reported {
                report,
                delivered: 0,
                failed: 0,
            });
        }
        for known in self
            .reports
            .iter_mut()
            .filter(|known| known.report == report)
        {
            *(if delivered {
                &mut known.delivered
            } else {
                &mut known.failed
            }) += 1;
        }
    }
}

/// The whole file. `counters` are those of the service.
pub fn render(outcome: &Outcome, counters: Option<&Counters>) -> String {
    let mut page = MetricsPage::default();
    page.gauge("build_info", "The version of authkeysd.");
    page.sample(&[("version", &outcome.version)], 1.0);
    page.gauge(
        "status",
        "1 for the status that the node has, 0 for the others.",
    );
    for status in STATUSES {
        page.sample(
            &[("status", &status.to_string())],
            f64::from(u8::from(status == outcome.status)),
        );
    }
    page.gauge("cycle_end_timestamp_seconds", "When the last cycle ended.");
    page.sample(&[], seconds(outcome.finished));
    page.gauge("cycle_duration_seconds", "How long the last cycle took.");
    page.sample(
        &[],
        outcome
            .finished
            .duration_since(outcome.started)
            .as_secs_f64()
            .max(0.0),
    );
    page.gauge(
        "last_success_timestamp_seconds",
        "When a cycle was last ok.",
    );
    page.samples(outcome.last_success.map(seconds));
    page.gauge(
        "next_cycle_timestamp_seconds",
        "When the next cycle is due.",
    );
    page.samples(outcome.next_cycle.map(seconds));
    page.gauge(
        "next_change_timestamp_seconds",
        "When a key's window opens or closes next, or a document expires.",
    );
    page.samples(outcome.next_change.map(seconds));
    page.gauge("stale_cycles", "How many cycles in a row were stale.");
    page.sample(&[], f64::from(outcome.stale_cycles));
    sources(&mut page, outcome);
    accounts(&mut page, outcome);
    reports(&mut page, outcome);
    if let Some(counters) = counters {
        counted(&mut page, counters);
    }
    page.text
}

fn sources(page: &mut MetricsPage, outcome: &Outcome) {
    page.gauge(
        "source_up",
        "Whether the source gave a good answer, or said that nothing is new.",
    );
    for source in &outcome.sources {
        page.sample(
            &[("source", &source.source)],
            f64::from(u8::from(source.status == Status::Ok)),
        );
    }
    if outcome
        .sources
        .iter()
        .any(|source| source.answered_by.is_some())
    {
        page.gauge(
            "source_fallback",
            "1 for a source whose fallback answered in its place.",
        );
    }
    for source in &outcome.sources {
        if let Some(by) = &source.answered_by {
            let labels = [("source", source.source.as_str()), ("fallback", &by.source)];
            page.sample(&labels, 1.0);
        }
    }
    page.gauge(
        "source_fetched_timestamp_seconds",
        "When the document in force was fetched or last found unchanged.",
    );
    for source in &outcome.sources {
        if let Some(fetched) = source.fetched {
            page.sample(&[("source", &source.source)], seconds(fetched));
        }
    }
    page.gauge(
        "document_info",
        "The document in force: its name, serial and digest.",
    );
    for source in &outcome.sources {
        let Some(digest) = source.document.digest else {
            continue;
        };
        let name = match &source.document.name {
            Some(name) => name.to_string(),
            None => String::new(),
        };
        let serial = match source.document.serial {
            Some(serial) => serial.to_string(),
            None => String::new(),
        };
        let labels = [
            ("source", source.source.as_str()),
            ("name", &name),
            ("serial", &serial),
            ("digest", &digest.to_string()),
        ];
        page.sample(&labels, 1.0);
    }
    page.gauge("document_serial", "The serial of the document in force.");
    for source in &outcome.sources {
        // Serials are at most 2^53, which a float holds exactly.
        if let Some(serial) = source.document.serial
            && let Ok(serial) = serial.to_string().parse()
        {
            page.sample(&[("source", &source.source)], serial);
        }
    }
}

fn accounts(page: &mut MetricsPage, outcome: &Outcome) {
    page.gauge("account_up", "Whether the account's file is as it must be.");
    for account in &outcome.accounts {
        let labels = [("account", account.user.as_str()), ("file", &account.file)];
        page.sample(&labels, f64::from(u8::from(account.status == Status::Ok)));
    }
    page.gauge("account_keys", "How many keys authkeysd's lines accept.");
    for account in &outcome.accounts {
        page.sample(
            &[("account", &account.user)],
            account.counts.in_force as f64,
        );
    }
    by_source(page, outcome);
    page.gauge(
        "account_keys_left_out",
        "How many published keys were not good enough.",
    );
    for account in &outcome.accounts {
        page.sample(
            &[("account", &account.user)],
            account.counts.left_out as f64,
        );
    }
    page.gauge(
        "account_repairs",
        "How often in a row what somebody else changed in the file was put right.",
    );
    for account in &outcome.accounts {
        page.sample(&[("account", &account.user)], f64::from(account.repairs));
    }
}

/// The number of keys by source, for an account with several sources.
fn by_source(page: &mut MetricsPage, outcome: &Outcome) {
    let mut accounts = outcome.accounts.iter();
    if accounts.all(|account| account.documents.is_empty()) {
        return;
    }
    page.gauge(
        "account_source_keys",
        "How many of the account's keys came from the source.",
    );
    for account in &outcome.accounts {
        for followed in &account.documents {
            let mut keys = 0;
            for key in account.in_force.iter() {
                keys += usize::from(key.source.as_ref() == Some(&followed.source));
            }
            let labels = [
                ("account", account.user.as_str()),
                ("source", &followed.source),
            ];
            page.sample(&labels, keys as f64);
        }
    }
}

fn reports(page: &mut MetricsPage, outcome: &Outcome) {
    page.gauge("report_up", "Whether the last report arrived.");
    for report in &outcome.reports {
        if let Some(delivered) = report.delivered {
            page.sample(
                &[("report", &report.report)],
                f64::from(u8::from(delivered)),
            );
        }
    }
    page.gauge(
        "report_success_timestamp_seconds",
        "When a report last arrived.",
    );
    for report in &outcome.reports {
        if let Some(at) = report.last_success {
            page.sample(&[("report", &report.report)], seconds(at));
        }
    }
}

fn counted(page: &mut MetricsPage, counters: &Counters) {
    page.counter(
        "cycles_total",
        "Cycles since the service began, by the status that they left.",
    );
    for (status, count) in STATUSES.iter().zip(counters.cycles) {
        page.sample(&[("status", &status.to_string())], count as f64);
    }
    for (name, help, count) in [
        (
            "keys_added_total",
            "Keys that files did not have before.",
            counters.added,
        ),
        (
            "keys_removed_total",
            "Keys that files had before and have no more.",
            counters.removed,
        ),
        (
            "drift_repairs_total",
            "Files that somebody else had changed and that were put right.",
            counters.repaired,
        ),
    ] {
        page.counter(name, help);
        page.sample(&[], count as f64);
    }
    page.counter("reports_total", "Attempts to report, by their result.");
    for reported in &counters.reports {
        for (result, count) in [
            ("delivered", reported.delivered),
            ("failed", reported.failed),
        ] {
            page.sample(
                &[("report", reported.report), ("result", result)],
                count as f64,
            );
        }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1_000.0
}

#[derive(Default)]
struct MetricsPage {
    text: String,
    /// The metric of the samples that follow.
    name: &'static str,
}

impl MetricsPage {
    fn gauge(&mut self, name: &'static str, help: &str) {
        self.begin(name, help, "gauge");
    }

    fn counter(&mut self, name: &'static str, help: &str) {
        self.begin(name, help, "counter");
    }

    fn begin(&mut self, name: &'static str, help: &str, kind: &str) {
        self.name = name;
        let _ = writeln!(
            self.text,
            "# HELP authkeysd_{name} {help}\n# TYPE authkeysd_{name} {kind}"
        );
    }

    fn samples(&mut self, values: impl IntoIterator<Item = f64>) {
        for value in values {
            self.sample(&[], value);
        }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, text)| format!("{name}=\"{}\"", escaped(text)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        let _ = writeln!(self.text, "authkeysd_{}{labels} {value}", self.name);
    }
}

/// A label's value. The format has three escapes, and control characters never occur in names.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            c if is_deceptive(c) => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

//! What is reported, and where: the interface between the code that decides on reports and the code
//! that delivers them.

use std::future::Future;

use super::summary::Summary;
use super::tags::TagNames;
use crate::config::{Report, ReportPrefix};
use crate::document::Digest;
use crate::origin::FetchError;
use crate::outcome::Outcome;

/// A destination of reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// Tags on the node's own instance.
    Tags(TagNames),
    /// One object below a prefix.
    Object(ReportPrefix),
}

/// A report.
#[derive(Debug, Clone)]
pub struct ReportContent {
    /// The short form.
    pub summary: Summary,
    /// The full form.
    pub outcome: Outcome,
}

/// The interface to the network: each call makes one attempt, within bounded time.
pub trait Deliver {
    /// Delivers the report to the destination.
    fn deliver(
        &self,
        sink: &Sink,
        content: &ReportContent,
    ) -> impl Future<Output = Result<(), FetchError>>;
}

impl Sink {
    /// The destinations in a configuration.
    pub fn all(report: &Report) -> Vec<Self> {
        let mut sinks = Vec::new();
        if report.ec2_tags {
            sinks.push(Self::Tags(report.tag_names.clone()));
        }
        if let Some(place) = &report.s3 {
            sinks.push(Self::Object(place.clone()));
        }
        sinks
    }

    /// The name of the configuration key.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tags(_) => "ec2_tags",
            Self::Object(_) => "s3",
        }
    }
}

impl ReportContent {
    /// The report of an outcome; `None` while the node's status is undecided.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        Some(Self {
            summary: Summary::of(outcome)?,
            outcome: outcome.clone(),
        })
    }

    /// Identifies the content of a report, including its node and destination. It is equal as long
    /// as only times and wording differ.
    pub fn said(&self, sink: &Sink) -> String {
        let text = format!(
            "{sink:?} {:?} {}",
            self.outcome.instance_id,
            self.summary.news()
        );
        Digest::of(text.as_bytes()).hex().chars().take(16).collect()
    }
}

//! What is reported, and to which place: the seam between who decides it and who brings it there.

use std::future::Future;

use super::summary::Summary;
use super::tags::TagNames;
use crate::config::{Report, ReportPrefix};
use crate::document::Digest;
use crate::origin::FetchError;
use crate::outcome::Outcome;

/// One place that reports go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// Tags on the own instance.
    Tags(TagNames),
    /// One object below a prefix.
    Object(ReportPrefix),
}

/// One thing to be told.
#[derive(Debug, Clone)]
pub struct Told {
    /// In a few words.
    pub summary: Summary,
    /// In full.
    pub outcome: Outcome,
}

/// The seam to the network: one call is one attempt, within bounded time.
pub trait Deliver {
    /// Brings it there.
    fn deliver(&self, sink: &Sink, told: &Told) -> impl Future<Output = Result<(), FetchError>>;
}

impl Sink {
    /// The places that a configuration names.
    pub fn all(report: &Report) -> Vec<Self> {
        let tags = report
            .ec2_tags
            .then(|| Self::Tags(report.tag_names.clone()));
        tags.into_iter()
            .chain(report.s3.clone().map(Self::Object))
            .collect()
    }

    /// As the configuration's key is called.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tags(_) => "ec2_tags",
            Self::Object(_) => "s3",
        }
    }
}

impl Told {
    /// `None` while it is not decided how the node stands.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        Some(Self {
            summary: Summary::of(outcome)?,
            outcome: outcome.clone(),
        })
    }

    /// Tells apart what was said of which node at which place; the same as long as nothing but
    /// times and wording differ.
    pub fn said(&self, sink: &Sink) -> String {
        let text = format!(
            "{sink:?} {:?} {}",
            self.outcome.instance_id,
            self.summary.news()
        );
        Digest::of(text.as_bytes()).hex().chars().take(16).collect()
    }
}

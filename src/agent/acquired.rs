//! What a source gave: the documents in force, and what is reported of the source.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::state::{Accepted, AcceptedStage, Kept};
use authkeys_core::config::AccountConfig;
use authkeys_core::document::Document;
use authkeys_core::origin::{FetchError, SourceUrl, Stage, Version, Versions};
use authkeys_core::outcome::{
    Fault, FaultCode, Problem, SourceOutcome, StageOutcome, Status, Subject,
};
use authkeys_core::verify::Distrust;

/// A rotation takes minutes. One that has been pending for longer than this was left unfinished.
const PENDING_LIES: SignedDuration = SignedDuration::from_hours(24);

/// The result of fetching and judging one source.
#[derive(Debug)]
pub(super) struct Acquired {
    /// The documents in force; `None` if no valid one was ever fetched.
    pub(super) in_force: Option<InForce>,
    pub(super) outcome: SourceOutcome,
    pub(super) faults: Vec<Fault>,
    /// The source itself has just confirmed that these are the published documents.
    pub(super) fresh: bool,
    /// When the next document in force expires.
    pub(super) expires: Option<Timestamp>,
}

impl Acquired {
    /// The versions in force, if the source itself has confirmed them and reports no problem.
    pub(super) fn known(&self) -> Option<KnownVersions> {
        let SourceOutcome {
            source,
            status,
            answered_by,
            stages,
            warnings,
            notes,
            ..
        } = &self.outcome;
        let plain =
            answered_by.is_none() && stages.is_empty() && warnings.is_empty() && notes.is_empty();
        let documents = self.in_force.as_ref()?;
        if !self.fresh || *status != Status::Ok || !plain {
            return None;
        }
        Some(KnownVersions(Some((source.clone(), documents.versions()))))
    }

    pub(super) fn warned(mut self, warning: Option<String>) -> Self {
        self.outcome.warnings.extend(warning);
        self
    }

    pub(super) fn is_stale(&mut self, problem: Problem, code: FaultCode, text: String) {
        let fault = Fault::new(code, Subject::Source(self.outcome.source.clone()), text);
        self.outcome.fault(Status::Stale, problem, &fault);
        self.faults.push(fault);
    }
}

/// Keeps the last valid documents in force, if there are any.
pub(super) fn last_good(
    name: String,
    last: Option<(InForce, Timestamp)>,
    (problem, code, text): Trouble,
    wall: Timestamp,
) -> Acquired {
    match last {
        Some((last, fetched)) => {
            let mut acquired = in_force(name, last, fetched, wall);
            acquired.is_stale(problem, code, text);
            acquired
        }
        None => {
            let fault = Fault::new(code, Subject::Source(name.clone()), text);
            let outcome = SourceOutcome::failed(name, problem, &fault);
            Acquired {
                in_force: None,
                outcome,
                faults: vec![fault],
                fresh: false,
                expires: None,
            }
        }
    }
}

/// `wall` is the time of the system clock, and decides whether a document has expired. A clock that
/// is behind never reports an expiry too early. The recorded time might, if the clock once ran
/// ahead.
pub(super) fn in_force(
    name: String,
    documents: InForce,
    fetched: Timestamp,
    wall: Timestamp,
) -> Acquired {
    let current = &documents.current;
    let outcome = SourceOutcome {
        source: name,
        document: (&current.document).into(),
        version: Some(current.version.label.clone()),
        fetched: Some(fetched),
        signer: current.signer.clone().unwrap_or_default(),
        ..SourceOutcome::default()
    };
    let expiries = documents.all().filter_map(|(_, one)| one.document.expires);
    let expires = expiries.filter(|expires| *expires > wall).min();
    let mut acquired = Acquired {
        in_force: None,
        outcome,
        faults: Vec::new(),
        fresh: false,
        expires,
    };
    for (stage, one) in documents.all() {
        let place = match stage {
            Stage::Current => acquired.outcome.source.clone(),
            further => format!("{}: {further}", acquired.outcome.source),
        };
        // The keys stay, because a bucket that withholds the next document must not lock anybody
        // out, but the expiry is reported.
        if let Some(expires) = one.document.expires
            && expires <= wall
        {
            let text = format!(
                "{place}: the document expired at {expires}, its keys stay; publish a new one"
            );
            acquired.is_stale(Problem::Expired, FaultCode::DocumentExpired, text);
        }
        if let Err(distrust) = &one.signer {
            let text = format!(
                "{place}: the document in force is trusted no more, its keys stay: {distrust}"
            );
            acquired.is_stale(Problem::Untrusted, FaultCode::DocumentUntrusted, text);
        }
        if stage == Stage::Pending
            && let Some(created) = one.created
            && wall.duration_since(created) >= PENDING_LIES
        {
            acquired.outcome.warnings.push(format!(
                "{place}: version {} is pending since {created}, its keys accepted; finish that \
                 rotation, or take the stage away",
                one.version.label
            ));
        }
        if let Some(altered) = one.document.altered_comments() {
            acquired
                .outcome
                .warnings
                .push(format!("{place}: {altered}"));
        }
        // Reported here once for each document, and also for every account from which the key is
        // left out.
        let subject = Subject::Source(acquired.outcome.source.clone());
        for bad in &one.document.left_out {
            let text = format!("{place}: line {} was left out: {}", bad.line, bad.reason);
            let fault = Fault::new(FaultCode::KeyLeftOut, subject.clone(), text);
            acquired.faults.push(fault);
        }
        acquired.outcome.stages.push(StageOutcome {
            stage,
            document: (&one.document).into(),
            version: one.version.label.clone(),
        });
    }
    // A source without stages does not list any.
    if documents.further.is_empty() {
        acquired.outcome.stages.clear();
    }
    acquired.in_force = Some(documents);
    acquired
}

/// The documents of a source that are in force together.
#[derive(Debug)]
pub(super) struct InForce {
    /// The current document.
    pub(super) current: StandingDocument,
    /// The documents of a secret's other stages.
    pub(super) further: BTreeMap<Stage, StandingDocument>,
    /// The fallback's URL, if they came from there.
    pub(super) from: Option<String>,
}

/// The versions that need not be sent again, and the URL that they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownVersions(pub(super) Option<(String, Versions)>);

/// A source that could not be reached and whose fallback answered.
pub(super) struct Away {
    pub(super) since: Timestamp,
    pub(super) why: FetchError,
    /// How long the source must be unreachable before a different document without a serial is
    /// accepted.
    pub(super) patience: SignedDuration,
}

/// Why a fetched document is not accepted.
pub(super) type Trouble = (Problem, FaultCode, String);

/// A document in force, where it came from and how it is kept.
#[derive(Debug)]
pub(super) struct StandingDocument {
    pub(super) document: Document,
    pub(super) kept: Kept,
    pub(super) version: Version,
    pub(super) created: Option<Timestamp>,
    /// The document holds a private key, so only its public half was kept.
    pub(super) halved: bool,
    /// Who signed it, or why the signature has lost its trust. The latter does not remove any
    /// key.
    pub(super) signer: Result<Option<String>, Distrust>,
}

impl InForce {
    /// All documents, the most important first.
    pub(super) fn all(&self) -> impl Iterator<Item = (Stage, &StandingDocument)> {
        std::iter::once((Stage::Current, &self.current))
            .chain(self.further.iter().map(|(stage, one)| (*stage, one)))
    }

    pub(super) fn versions(&self) -> Versions {
        let mut further = BTreeMap::new();
        for (stage, one) in &self.further {
            further.insert(*stage, one.version.clone());
        }
        Versions {
            current: self.current.version.clone(),
            further,
        }
    }

    pub(super) fn accepted(&self, fetched: Timestamp) -> Accepted {
        let mut further = BTreeMap::new();
        for (stage, one) in &self.further {
            let accepted = AcceptedStage {
                version: one.version.clone(),
                created: one.created,
                document: one.kept,
            };
            further.insert(*stage, accepted);
        }
        Accepted {
            version: self.current.version.clone(),
            document: self.current.kept,
            fetched,
            from: self.from.clone(),
            further,
        }
    }
}

impl KnownVersions {
    /// The versions that need not be sent again by this URL.
    pub(super) fn at(&self, url: &SourceUrl) -> Option<&Versions> {
        let (from, versions) = self.0.as_ref()?;
        (*from == url.to_string()).then_some(versions)
    }
}

/// Whether all sources of an account answered in this cycle.
pub(super) fn is_fresh(account: &AccountConfig, acquired: &BTreeMap<SourceUrl, Acquired>) -> bool {
    for source in &account.sources {
        match acquired.get(&source.url) {
            Some(got) if got.fresh => {}
            _ => return false,
        }
    }
    true
}

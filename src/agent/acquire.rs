//! Decides which documents of a source are in force: the new ones, or the last valid ones with the
//! reason why the new ones are not used.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::judge::{JudgedBy, Rejection, Taken, looked_at};
use super::signers::Authority;
use super::{Agent, Cycle, RECORD_EVERY};
use crate::host::Host;
use crate::state::{Accepted, AcceptedStage, Kept, Store};
use authkeys_core::config::Source;
use authkeys_core::document::{self, Document, Rules};
use authkeys_core::key::CHECKS;
use authkeys_core::origin::{
    Class, Fetch, FetchError, Fetched, SourceUrl, Stage, Version, Versions,
};
use authkeys_core::outcome::{
    AnsweredBy, Fault, FaultCode, Outcome, Problem, SourceOutcome, StageOutcome, Status, Subject,
};
use authkeys_core::verify::{Distrust, Signers, verify, verify_signer};
use authkeys_terminal::bounded;

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

/// A source to be fetched.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    signers: Option<&'a Signers>,
    /// The kept documents, and when they were fetched.
    last: Option<(InForce, Timestamp)>,
    pub(super) known: KnownVersions,
}

/// The versions that need not be sent again, and the URL that they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownVersions(Option<(String, Versions)>);

/// The answer of a source, and of its fallback if the source could not be reached.
#[derive(Debug)]
pub(super) struct SourceAnswers {
    pub(super) first: Result<Fetched, FetchError>,
    pub(super) fallback: Option<Result<Fetched, FetchError>>,
}

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
    /// Who signed it, or why the signature is no longer trusted. The latter does not remove any
    /// key.
    pub(super) signer: Result<Option<String>, Distrust>,
}

impl InForce {
    /// All documents, the most important first.
    pub(super) fn all(&self) -> impl Iterator<Item = (Stage, &StandingDocument)> {
        std::iter::once((Stage::Current, &self.current))
            .chain(self.further.iter().map(|(stage, one)| (*stage, one)))
    }

    fn versions(&self) -> Versions {
        let further = self
            .further
            .iter()
            .map(|(stage, one)| (*stage, one.version.clone()))
            .collect();
        Versions {
            current: self.current.version.clone(),
            further,
        }
    }

    fn accepted(&self, fetched: Timestamp) -> Accepted {
        let stage = |one: &StandingDocument| AcceptedStage {
            version: one.version.clone(),
            created: one.created,
            document: one.kept,
        };
        Accepted {
            version: self.current.version.clone(),
            document: self.current.kept,
            fetched,
            from: self.from.clone(),
            further: self
                .further
                .iter()
                .map(|(name, one)| (*name, stage(one)))
                .collect(),
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

impl SourceAnswers {
    /// The source itself confirms that nothing has changed.
    pub(super) fn are_unchanged(&self) -> bool {
        matches!(
            (&self.first, &self.fallback),
            (Ok(Fetched::Unchanged), None)
        )
    }
}

impl<F: Fetch, H: Host> Agent<F, H> {
    /// What is known of a source before it is fetched. The error means that a new document could
    /// not be judged.
    pub(super) fn before_fetch<'a>(
        &self,
        source: &Source,
        authority: &'a Authority,
        cycle: &Cycle<'_>,
    ) -> Result<Asked<'a>, Box<Acquired>> {
        let signers = authority
            .as_ref()
            .map_err(|fault| Box::new(self.without_authority(source, fault, cycle)))?
            .as_ref();
        let last = self.kept(source, signers, cycle);
        let name = source.url.to_string();
        // An answer to one query says nothing about another query.
        let same = cycle.state.sources.contains_key(&name);
        // The same holds for a kept document with a private key, if that is no longer permitted.
        let permitted = source.allow_private_key;
        let good = |last: &InForce| same && (permitted || !last.all().any(|(_, one)| one.halved));
        let known = last
            .as_ref()
            .filter(|(last, _)| good(last))
            .map(|(last, _)| (last.from.clone().unwrap_or(name), last.versions()));
        Ok(Asked {
            signers,
            last,
            known: KnownVersions(known),
        })
    }

    /// Judges and keeps what was fetched. An unreachable source or an invalid document is an
    /// outcome, not an error.
    pub(super) fn acquire(
        &self,
        source: &Source,
        asked: Asked<'_>,
        answers: SourceAnswers,
        cycle: &mut Cycle<'_>,
    ) -> Acquired {
        let name = source.url.to_string();
        let second = source.fallback.as_ref().zip(answers.fallback);
        let (url, fetched, away) = match (answers.first, second) {
            (Err(why), Some((fallback, fetched))) => {
                let since = *cycle.state.away.entry(name.clone()).or_insert(cycle.now);
                let patience = fallback.after;
                let away = Away {
                    since,
                    why,
                    patience,
                };
                (&fallback.url, fetched, Some(away))
            }
            (first, _) => {
                cycle.state.away.remove(&name);
                (&source.url, first, None)
            }
        };
        // A file system that has just answered does not hang.
        let open = fetched.is_ok().then(|| open_to_others(url)).flatten();
        let from = away.as_ref().map(|_| url.to_string());
        let standing = asked
            .last
            .as_ref()
            .map(|(last, _)| last.current.document.digest);
        let judging = JudgedBy {
            url,
            mark: source.url.mark(),
            rules: &self.config.rules(source),
            signers: asked.signers,
            away: away.as_ref().zip(standing),
        };
        let is_known = asked.known.at(url).is_some();
        let mut last = asked.last;
        let taken = match fetched {
            Ok(Fetched::Unchanged) => match last.take_if(|_| is_known) {
                Some((known, _)) => Ok(Taken::unchanged(known)),
                None => {
                    let text =
                        format!("{url}: it says \"unchanged\" although nothing is known of it");
                    Err((Problem::Invalid, FaultCode::SourceInvalid, text))
                }
            },
            Ok(Fetched::Documents { current, further }) => {
                self.take((current, further), &mut last, &judging, cycle)
            }
            Err(error) => Err(trouble_of(&error)),
        };
        let Taken {
            mut documents,
            refused,
            notes,
        } = match taken {
            Ok(taken) => taken,
            Err(trouble) => {
                let trouble = with_reason(trouble, away.as_ref());
                return last_good(name, last, trouble, cycle.clock.wall).warned(open);
            }
        };
        documents.from = from;
        cycle.accept(&name, &documents);
        let mut acquired = in_force(name, documents, cycle.now, cycle.clock.wall);
        acquired.fresh = away.is_none();
        acquired.outcome.notes = notes;
        for Rejection { code, text } in refused {
            acquired.is_stale(Problem::Refused, code, format!("{url}: {text}"));
        }
        acquired.outcome.answered_by = away.map(|away| AnsweredBy {
            source: url.to_string(),
            since: away.since,
            detail: away.why.to_string(),
        });
        acquired.warned(open)
    }

    /// The kept documents of a source, with the findings of the earlier outcome `before`.
    pub(super) fn acquire_kept(
        &self,
        source: &Source,
        authority: &Authority,
        before: &Outcome,
        cycle: &Cycle<'_>,
    ) -> Acquired {
        let signers = match authority {
            Ok(signers) => signers.as_ref(),
            Err(fault) => return self.without_authority(source, fault, cycle),
        };
        let name = source.url.to_string();
        let said = before.sources.iter().find(|source| source.source == name);
        let fetched = said.and_then(|source| source.fetched);
        let kept = self.kept(source, signers, cycle);
        let source_urls: Vec<String> = source.urls().map(|url| is_open(&url.to_string())).collect();
        let open = said.and_then(|source| {
            source
                .warnings
                .iter()
                .find(|text| source_urls.contains(text))
                .cloned()
        });
        let fault = said.and_then(|source| {
            let problem = source.problem?;
            Some((
                problem,
                source.code.unwrap_or_else(|| problem.code()),
                source.detail.clone(),
            ))
        });
        let mut acquired = match (fault, kept) {
            // Check again whether the document has expired or is no longer trusted.
            (None | Some((Problem::Expired | Problem::Untrusted, ..)), Some((last, accepted))) => {
                in_force(name, last, fetched.unwrap_or(accepted), cycle.clock.wall)
            }
            (Some(fault), kept) => last_good(name, kept, fault, cycle.clock.wall),
            (None, None) => {
                let text = format!("{name}: nothing of it is kept; the next fetch brings it");
                last_good(
                    name,
                    None,
                    (Problem::Missing, FaultCode::NoKeySet, text),
                    cycle.clock.wall,
                )
            }
        };
        acquired.outcome.answered_by = said.and_then(|source| source.answered_by.clone());
        acquired.warned(open)
    }

    /// The kept documents of a source while the file of signers cannot be read.
    fn without_authority(&self, source: &Source, fault: &str, cycle: &Cycle<'_>) -> Acquired {
        let name = source.url.to_string();
        let text = format!("{name}: {fault}");
        last_good(
            name,
            self.kept(source, None, cycle),
            (Problem::Untrusted, FaultCode::SignersInvalid, text),
            cycle.clock.wall,
        )
    }

    /// The last valid documents, and when they were fetched. They are judged again each time,
    /// because trust or policy may have changed since.
    fn kept(
        &self,
        source: &Source,
        signers: Option<&Signers>,
        cycle: &Cycle<'_>,
    ) -> Option<(InForce, Timestamp)> {
        let accepted = cycle.state.accepted(&source.url)?;
        let rules = self.config.rules(source);
        let standing = |version: &Version, created, kept| {
            let (document, bytes, halved) = load(cycle.store, kept, &rules)?;
            // A changed audience or a removed signer does not remove any key.
            let trusted = verify(&document, &self.config.trust, None);
            let signer = trusted.and_then(|_| verify_signer(&document, &bytes, signers, cycle.now));
            let kept = looked_at(kept, &document);
            Some(StandingDocument {
                document,
                kept,
                version: version.clone(),
                created,
                halved,
                signer,
            })
        };
        let current = standing(&accepted.version, None, accepted.document)?;
        // A document that is no longer valid counts as unknown: its stage is judged as if it were
        // new.
        let stages = accepted.further.iter();
        let further = stages.filter_map(|(stage, one)| {
            Some((*stage, standing(&one.version, one.created, one.document)?))
        });
        Some((
            InForce {
                current,
                further: further.collect(),
                from: accepted.from.clone(),
            },
            accepted.fetched,
        ))
    }
}

/// Classifies a failed fetch.
fn trouble_of(error: &FetchError) -> Trouble {
    let problem = match error.class {
        Class::Transient => Problem::Unreachable,
        Class::Denied => Problem::Denied,
        Class::Missing => Problem::Missing,
        Class::Invalid => Problem::Invalid,
    };
    (problem, error.fault_code(), error.to_string())
}

/// Adds why the source could not be reached to a fault of its fallback.
fn with_reason((problem, code, text): Trouble, away: Option<&Away>) -> Trouble {
    match away {
        Some(away) => {
            let text = format!("{}; its fallback {text}", away.why.message);
            (problem, code, text)
        }
        None => (problem, code, text),
    }
}

impl Cycle<'_> {
    /// Records the documents of a source. If only the time differs, it is recorded rarely:
    /// `max_stale` must not count from the time when the bytes were fetched, but an unchanged poll
    /// must not write either.
    fn accept(&mut self, source: &str, documents: &InForce) {
        let before = self.state.sources.get(source).map(|before| before.fetched);
        let recent = before.filter(|fetched| self.now.duration_since(*fetched) < RECORD_EVERY);
        let unchanged = recent.map(|fetched| documents.accepted(fetched));
        if unchanged.is_none() || unchanged.as_ref() != self.state.sources.get(source) {
            self.state
                .sources
                .insert(source.to_owned(), documents.accepted(self.now));
        }
    }
}

/// Warns of a file that others can write: they could decide who may log in. Whether that is
/// acceptable is the operator's decision, so this is only a warning.
pub fn open_to_others(url: &SourceUrl) -> Option<String> {
    let SourceUrl::File { path } = url else {
        return None;
    };
    let open = bounded::writable_by_others(path, nix::unistd::geteuid().as_raw());
    open.then(|| is_open(&url.to_string()))
}

fn is_open(url: &str) -> String {
    format!("{url}: {}", bounded::OPEN)
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
        (self.fresh && *status == Status::Ok && plain)
            .then(|| KnownVersions(Some((source.clone(), documents.versions()))))
    }

    fn warned(mut self, warning: Option<String>) -> Self {
        self.outcome.warnings.extend(warning);
        self
    }

    fn is_stale(&mut self, problem: Problem, code: FaultCode, text: String) {
        let fault = Fault::new(code, Subject::Source(self.outcome.source.clone()), text);
        self.outcome.fault(Status::Stale, problem, &fault);
        self.faults.push(fault);
    }
}

/// Keeps the last valid documents in force, if there are any.
fn last_good(
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

/// Reads a kept document under the current rules. Returns it with its bytes, including the
/// signature, and whether the bytes are only the public half of what was published.
pub(super) fn load(store: &Store, kept: Kept, rules: &Rules) -> Option<(Document, Vec<u8>, bool)> {
    let bytes = store.document(kept.bytes)?;
    let parsed = if kept.sound == CHECKS {
        document::parse_again(&bytes, rules)
    } else if kept.moduli == CHECKS {
        document::parse_searched(&bytes, rules)
    } else {
        document::parse(&bytes, rules)
    };
    let mut document = parsed.ok()?;
    let halved = document.digest != kept.digest;
    document.digest = kept.digest;
    Some((document, bytes, halved))
}

/// `wall` is the time of the system clock, and decides whether a document has expired. A clock that
/// is behind never reports an expiry too early. The recorded time might, if the clock once ran
/// ahead.
fn in_force(name: String, documents: InForce, fetched: Timestamp, wall: Timestamp) -> Acquired {
    let current = &documents.current;
    let outcome = SourceOutcome {
        source: name,
        document: (&current.document).into(),
        version: Some(current.version.label.clone()),
        fetched: Some(fetched),
        signer: current.signer.clone().unwrap_or_default(),
        ..SourceOutcome::default()
    };
    let expires = documents
        .all()
        .filter_map(|(_, one)| one.document.expires)
        .filter(|expires| *expires > wall)
        .min();
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
        if let Some(expires) = one.document.expires.filter(|expires| *expires <= wall) {
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
        let lies = one
            .created
            .map(|created| wall.duration_since(created))
            .filter(|_| stage == Stage::Pending);
        if lies.is_some_and(|lies| lies >= PENDING_LIES) {
            acquired.outcome.warnings.push(format!(
                "{place}: version {} is pending since {}, its keys accepted; finish that rotation, or take the stage away",
                one.version.label,
                one.created.map(|created| created.to_string()).unwrap_or_default()
            ));
        }
        let altered = one.document.altered_comments();
        acquired
            .outcome
            .warnings
            .extend(altered.map(|text| format!("{place}: {text}")));
        // Reported here once for each document, and also for every account from which the key is
        // left out.
        let subject = Subject::Source(acquired.outcome.source.clone());
        acquired
            .faults
            .extend(one.document.left_out.iter().map(|bad| {
                let text = format!("{place}: line {} was left out: {}", bad.line, bad.reason);
                Fault::new(FaultCode::KeyLeftOut, subject.clone(), text)
            }));
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

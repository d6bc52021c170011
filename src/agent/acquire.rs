//! Decides which documents of a source are in force: the new ones, or the last valid ones with the
//! reason why the new ones are not used.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::acquired::{
    Acquired, Away, InForce, KnownVersions, StandingDocument, Trouble, in_force, last_good,
};
use super::judge::{JudgedBy, Rejection, Taken, looked_at};
use super::signers::Authority;
use super::{Agent, Cycle, RECORD_EVERY};
use crate::host::Host;
use crate::state::{Kept, Store};
use authkeys_core::config::Source;
use authkeys_core::document::{self, Document, Rules};
use authkeys_core::key::CHECKS;
use authkeys_core::origin::{Class, Fetch, FetchError, Fetched, SourceUrl, Version};
use authkeys_core::outcome::{AnsweredBy, FaultCode, Outcome, Problem};
use authkeys_core::verify::{Signers, verify, verify_signer};
use authkeys_terminal::bounded;

/// A source to be fetched.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    signers: Option<&'a Signers>,
    /// The kept documents, and when they were fetched.
    last: Option<(InForce, Timestamp)>,
    pub(super) known: KnownVersions,
}

/// The answer of a source, and of its fallback if the source could not be reached.
#[derive(Debug)]
pub(super) struct SourceAnswers {
    pub(super) first: Result<Fetched, FetchError>,
    pub(super) fallback: Option<Result<Fetched, FetchError>>,
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
        let signers = match authority {
            Ok(signers) => signers.as_ref(),
            Err(fault) => return Err(Box::new(self.without_authority(source, fault, cycle))),
        };
        let last = self.kept(source, signers, cycle);
        let name = source.url.to_string();
        // An answer to one query says nothing about another query.
        let same = cycle.state.sources.contains_key(&name);
        let mut known = None;
        if let Some((last, _)) = &last {
            // The same holds for a kept document with a private key, if the configuration does not
            // permit that any more.
            let permitted = source.allow_private_key || !last.all().any(|(_, one)| one.halved);
            if same && permitted {
                let from = last.from.clone().unwrap_or(name);
                known = Some((from, last.versions()));
            }
        }
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
        let (url, fetched, away) = match (answers.first, &source.fallback, answers.fallback) {
            (Err(why), Some(fallback), Some(fetched)) => {
                let since = *cycle.state.away.entry(name.clone()).or_insert(cycle.now);
                let patience = fallback.after;
                let away = Away {
                    since,
                    why,
                    patience,
                };
                (&fallback.url, fetched, Some(away))
            }
            (first, ..) => {
                cycle.state.away.remove(&name);
                (&source.url, first, None)
            }
        };
        // A file system that has just answered does not hang.
        let open = match fetched {
            Ok(_) => open_to_others(url),
            Err(_) => None,
        };
        let from = away.as_ref().map(|_| url.to_string());
        let mut away_from = None;
        if let (Some(away), Some((last, _))) = (&away, &asked.last) {
            away_from = Some((away, last.current.document.digest));
        }
        let judging = JudgedBy {
            url,
            mark: source.url.mark(),
            rules: &self.config.rules(source),
            signers: asked.signers,
            away: away_from,
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
        let kept = self.kept(source, signers, cycle);
        let mut fetched = None;
        let mut open = None;
        let mut fault = None;
        let mut answered_by = None;
        if let Some(said) = before.sources.iter().find(|one| one.source == name) {
            fetched = said.fetched;
            let urls: Vec<String> = source.urls().map(|url| is_open(&url.to_string())).collect();
            open = said.warnings.iter().find(|text| urls.contains(text));
            if let Some(problem) = said.problem {
                let code = said.code.unwrap_or(problem.code());
                fault = Some((problem, code, said.detail.clone()));
            }
            answered_by = said.answered_by.clone();
        }
        let mut acquired = match (fault, kept) {
            // Check again whether the document has expired or lost its trust.
            (None | Some((Problem::Expired | Problem::Untrusted, ..)), Some((last, accepted))) => {
                in_force(name, last, fetched.unwrap_or(accepted), cycle.clock.wall)
            }
            (Some(fault), kept) => last_good(name, kept, fault, cycle.clock.wall),
            (None, None) => {
                let text = format!("{name}: nothing of it is kept; the next fetch brings it");
                let trouble = (Problem::Missing, FaultCode::NoKeySet, text);
                last_good(name, None, trouble, cycle.clock.wall)
            }
        };
        acquired.outcome.answered_by = answered_by;
        acquired.warned(open.cloned())
    }

    /// The kept documents of a source while the file of signers cannot be read.
    fn without_authority(&self, source: &Source, fault: &str, cycle: &Cycle<'_>) -> Acquired {
        let name = source.url.to_string();
        let text = format!("{name}: {fault}");
        let trouble = (Problem::Untrusted, FaultCode::SignersInvalid, text);
        let kept = self.kept(source, None, cycle);
        last_good(name, kept, trouble, cycle.clock.wall)
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
        let mut in_force = InForce {
            current,
            further: BTreeMap::new(),
            from: accepted.from.clone(),
        };
        for (stage, one) in &accepted.further {
            // A document that has become invalid counts as unknown: its stage is judged as if it
            // were new.
            if let Some(document) = standing(&one.version, one.created, one.document) {
                in_force.further.insert(*stage, document);
            }
        }
        Some((in_force, accepted.fetched))
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
        if let Some(before) = self.state.sources.get(source) {
            let recent = self.now.duration_since(before.fetched) < RECORD_EVERY;
            if recent && documents.accepted(before.fetched) == *before {
                return;
            }
        }
        let accepted = documents.accepted(self.now);
        self.state.sources.insert(source.to_owned(), accepted);
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

//! From a source to the document that is to be in force: the new one, or the last good one with the reason.

use std::error::Error;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Agent, Cycle, RECORD_EVERY};
use crate::config::AccountConfig;
use crate::document::{self, Digest, Document, Rules};
use crate::host::Host;
use crate::outcome::{Fault, FaultClass, Outcome, Problem, SourceOutcome, Status, chain};
use crate::source::{Class, Fetch, Fetched, SourceUrl, Version};
use crate::state::{Accepted, Kept, Store};
use crate::verify::verify;

/// What a source gave.
#[derive(Debug)]
pub(super) struct Acquired {
    /// The document in force, and where it is kept; `None` when no good one was ever seen.
    pub(super) document: Option<(Document, Kept)>,
    pub(super) outcome: SourceOutcome,
    pub(super) faults: Vec<Fault>,
}

impl<F: Fetch, H: Host> Agent<F, H> {
    /// Fetches, judges and keeps. A bad source or document is an outcome, not an error.
    pub(super) async fn acquire(&self, account: &AccountConfig, cycle: &mut Cycle<'_>) -> Acquired {
        let (url, rules) = (&account.source, self.config.rules(account));
        let name = url.to_string();
        let last = self.kept(account, cycle);
        let known = last.as_ref().map(|(_, accepted)| &accepted.version);
        let (problem, text) = match self.fetch.fetch(url, known).await {
            Ok(Fetched::Unchanged) => match last {
                Some((document, mut accepted)) => {
                    // Rarely: `max_stale` must not count from the day when the bytes came.
                    if cycle.now.duration_since(accepted.fetched) >= RECORD_EVERY {
                        accepted.fetched = cycle.now;
                        cycle.state.sources.insert(name.clone(), accepted.clone());
                    }
                    return in_force(name, document, accepted, cycle.now, cycle.now);
                }
                None => (Problem::Invalid, format!("{url}: it says \"unchanged\" although nothing is known of it")),
            },
            Ok(Fetched::Document { bytes, version }) => {
                match self.judge(url, Zeroizing::new(bytes), version, &rules, cycle) {
                    Ok((document, accepted)) => return in_force(name, document, accepted, cycle.now, cycle.now),
                    Err(refused) => (Problem::Refused, format!("{url}: {refused}")),
                }
            }
            Err(error) => {
                let problem = match error.class {
                    Class::Transient => Problem::Unreachable,
                    Class::Denied => Problem::Denied,
                    Class::Missing => Problem::Missing,
                    Class::Invalid => Problem::Invalid,
                };
                (problem, error.to_string())
            }
        };
        last_good(name, last, problem, text, cycle.now)
    }

    /// What is kept of a source, with what `before` said of it.
    pub(super) fn acquire_kept(&self, account: &AccountConfig, before: &Outcome, cycle: &Cycle<'_>) -> Acquired {
        let name = account.source.to_string();
        let said = before.sources.iter().find(|source| source.source == name);
        let fetched = said.and_then(|source| source.fetched);
        let kept = self.kept(account, cycle);
        match (said.and_then(|source| Some((source.problem?, source.detail.clone()))), kept) {
            // Whether the document has expired is looked at again.
            (None | Some((Problem::Expired, _)), Some((document, accepted))) => {
                let fetched = fetched.unwrap_or(accepted.fetched);
                in_force(name, document, accepted, fetched, cycle.now)
            }
            (Some((problem, text)), kept) => last_good(name, kept, problem, text, cycle.now),
            (None, None) => {
                let text = format!("{name}: nothing of it is kept; the next fetch brings it");
                last_good(name, None, Problem::Missing, text, cycle.now)
            }
        }
    }

    /// The last good document. It is judged again each time: trust or policy may have changed since.
    fn kept(&self, account: &AccountConfig, cycle: &Cycle<'_>) -> Option<(Document, Accepted)> {
        let accepted = cycle.state.sources.get(&account.source.to_string())?;
        let document = load(cycle.store, accepted.document, &self.config.rules(account))?;
        let trusted = verify(&document, &self.config.trust, None).is_ok();
        trusted.then(|| (document, accepted.clone()))
    }

    /// Parses, verifies and keeps what came; the error is why the document is refused.
    fn judge(
        &self,
        url: &SourceUrl,
        bytes: Zeroizing<Vec<u8>>,
        version: Version,
        rules: &Rules,
        cycle: &mut Cycle<'_>,
    ) -> Result<(Document, Accepted), String> {
        let refused = |error: &dyn Error| chain(error);
        let document = document::parse(&bytes, rules).map_err(|error| refused(&error))?;
        let mark = cycle.state.marks.get(&url.mark()).filter(|_| !cycle.intent.accept_rollback);
        match verify(&document, &self.config.trust, mark).map_err(|error| refused(&error))? {
            Some(mark) => drop(cycle.state.marks.insert(url.mark(), mark)),
            None => drop(cycle.state.marks.remove(&url.mark())),
        }
        let public = document::public_half(&bytes);
        let bytes = public.as_deref().unwrap_or(&bytes);
        if let Err(fault) = cycle.store.keep(bytes) {
            // What it revokes is taken away all the same; what cannot be remembered is not installed (see `cycle`).
            cycle.faults.push(Fault::new(FaultClass::Failed, &fault));
        }
        let kept = Kept { digest: document.digest, bytes: Digest::of(bytes) };
        let accepted = Accepted { version, document: kept, fetched: cycle.now };
        cycle.state.sources.insert(url.to_string(), accepted.clone());
        Ok((document, accepted))
    }
}

/// The last good document stays in force where there is one.
fn last_good(
    name: String,
    last: Option<(Document, Accepted)>,
    problem: Problem,
    text: String,
    now: Timestamp,
) -> Acquired {
    let fault = Fault { class: problem.class(), text: text.clone() };
    match last {
        Some((document, accepted)) => {
            let fetched = accepted.fetched;
            let mut acquired = in_force(name, document, accepted, fetched, now);
            acquired.outcome.status = Status::Stale;
            acquired.outcome.detail = text;
            acquired.outcome.problem = Some(problem);
            acquired.faults.push(fault);
            acquired
        }
        None => {
            let mut outcome = SourceOutcome::failed(name, text);
            outcome.problem = Some(problem);
            Acquired { document: None, outcome, faults: vec![fault] }
        }
    }
}

/// Reads a kept document under the rules of today.
pub(super) fn load(store: &Store, kept: Kept, rules: &Rules) -> Option<Document> {
    let mut document = document::parse(&store.document(kept.bytes)?, rules).ok()?;
    document.digest = kept.digest;
    Some(document)
}

fn in_force(name: String, document: Document, accepted: Accepted, fetched: Timestamp, now: Timestamp) -> Acquired {
    let mut outcome = SourceOutcome {
        source: name,
        status: Status::Ok,
        detail: String::new(),
        problem: None,
        name: document.name.clone(),
        serial: document.serial,
        digest: Some(document.digest),
        version: Some(accepted.version.label),
        fetched: Some(fetched),
        signer: None,
    };
    // The keys stay: a bucket that withholds the next document must not lock anybody out, but it is seen.
    let expired = document.expires.filter(|expires| *expires <= now).map(|expires| {
        let text = format!("{}: the document expired at {expires}, its keys stay; publish a new one", outcome.source);
        Fault { class: FaultClass::Failed, text }
    });
    if let Some(fault) = &expired {
        outcome.status = Status::Stale;
        outcome.detail = fault.text.clone();
        outcome.problem = Some(Problem::Expired);
    }
    // Named here, once for each document, and beside every account that it is left out of.
    let bad = document.left_out.iter().map(|bad| Fault {
        class: FaultClass::Failed,
        text: format!("{}: line {} was left out: {}", outcome.source, bad.line, bad.reason),
    });
    let faults = expired.into_iter().chain(bad).collect();
    Acquired { document: Some((document, accepted.document)), outcome, faults }
}

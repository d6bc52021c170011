//! From a source to the document that is to be in force: the new one, or the last good one with the reason.

use std::error::Error;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Agent, Cycle};
use crate::config::AccountConfig;
use crate::document::{self, Digest, Document, Rules};
use crate::host::Host;
use crate::outcome::{Fault, FaultClass, SourceOutcome, Status, chain};
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
        // The kept bytes are judged again each time: trust or policy may have changed since.
        let last = cycle.state.sources.get(&name).and_then(|accepted| {
            let document = load(cycle.store, accepted.document, &rules)?;
            let trusted = verify(&document, &self.config.trust, None).is_ok();
            trusted.then(|| (document, accepted.clone()))
        });
        let known = last.as_ref().map(|(_, accepted)| &accepted.version);
        let refused = match self.fetch.fetch(url, known).await {
            Ok(Fetched::Unchanged) => match last {
                Some((document, accepted)) => return in_force(name, document, accepted, cycle.now, cycle.now),
                None => Fault::at(FaultClass::Failed, url, "it says \"unchanged\" although nothing is known of it"),
            },
            Ok(Fetched::Document { bytes, version }) => {
                match self.judge(url, Zeroizing::new(bytes), version, &rules, cycle) {
                    Ok((document, accepted)) => return in_force(name, document, accepted, cycle.now, cycle.now),
                    Err(fault) => fault,
                }
            }
            Err(error) => {
                let class = match error.class {
                    Class::Transient => FaultClass::Unreachable,
                    Class::Denied => FaultClass::Denied,
                    Class::Missing | Class::Invalid => FaultClass::Failed,
                };
                Fault { class, text: error.to_string() }
            }
        };
        match last {
            Some((document, accepted)) => {
                let fetched = accepted.fetched;
                let mut acquired = in_force(name, document, accepted, fetched, cycle.now);
                acquired.outcome.status = Status::Stale;
                acquired.outcome.detail = refused.text.clone();
                acquired.faults.push(refused);
                acquired
            }
            None => Acquired {
                document: None,
                outcome: SourceOutcome::failed(name, refused.text.clone()),
                faults: vec![refused],
            },
        }
    }

    /// Parses, verifies and keeps what came; the error is why the document is refused.
    fn judge(
        &self,
        url: &SourceUrl,
        bytes: Zeroizing<Vec<u8>>,
        version: Version,
        rules: &Rules,
        cycle: &mut Cycle<'_>,
    ) -> Result<(Document, Accepted), Fault> {
        let refused = |error: &dyn Error| Fault::at(FaultClass::Failed, url, &chain(error));
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
    }
    // Named here, once for each document, and beside every account that it is left out of.
    let bad = document.left_out.iter().map(|bad| Fault {
        class: FaultClass::Failed,
        text: format!("{}: line {} was left out: {}", outcome.source, bad.line, bad.reason),
    });
    let faults = expired.into_iter().chain(bad).collect();
    Acquired { document: Some((document, accepted.document)), outcome, faults }
}

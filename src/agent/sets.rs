//! The key sets of one account: that of its source, or the union of those of its sources.

use std::collections::BTreeMap;

use super::Agent;
use super::acquire::load;
use super::acquired::{Acquired, InForce};
use crate::host::Host;
use crate::state::{Judged, JudgedSource, Kept, Store};
use authkeys_core::config::{AccountConfig, Source};
use authkeys_core::document::{Document, LeftOut};
use authkeys_core::guard::Guard;
use authkeys_core::origin::{Fetch, SourceUrl, Stage};
use authkeys_core::outcome::{AccountOutcome, Followed};
use authkeys_core::plan::{Layer, managed_by};

/// The known key sets of an account's sources.
#[derive(Debug)]
pub(super) struct KeySets<'a> {
    /// In the order of the configuration.
    known: Vec<SourceKeySet<'a>>,
    /// The sources from which no valid document was ever read.
    pub(super) unread: Vec<String>,
    /// All sources, known or not.
    names: Vec<String>,
}

#[derive(Debug)]
struct SourceKeySet<'a> {
    /// The source's URL.
    name: String,
    documents: &'a InForce,
}

/// The key sets that passed the guard last, read again.
#[derive(Debug)]
pub(super) struct LastSets(Vec<LastSet>);

#[derive(Debug)]
struct LastSet {
    /// Its source, if the account had more than one.
    name: Option<String>,
    current: Document,
    further: Vec<Document>,
}

impl<'a> KeySets<'a> {
    /// The key sets of the account's sources; `None` if none is known.
    pub(super) fn of(
        account: &AccountConfig,
        acquired: &'a BTreeMap<SourceUrl, Acquired>,
    ) -> Option<Self> {
        let mut known = Vec::new();
        let mut unread = Vec::new();
        let mut names = Vec::new();
        for source in &account.sources {
            let name = source.url.to_string();
            match acquired.get(&source.url) {
                Some(Acquired {
                    in_force: Some(documents),
                    ..
                }) => known.push(SourceKeySet {
                    name: name.clone(),
                    documents,
                }),
                _ => unread.push(name.clone()),
            }
            names.push(name);
        }
        if known.is_empty() {
            return None;
        }
        Some(Self {
            known,
            unread,
            names,
        })
    }

    /// Whether the account has more than one source, so that messages must name the source.
    fn are_several(&self) -> bool {
        self.names.len() > 1
    }

    /// The documents in the order in which they decide about a key.
    pub(super) fn layers(&self) -> Vec<Layer<'_>> {
        let mut layers = Vec::new();
        for set in &self.known {
            for (stage, one) in set.documents.all() {
                layers.push(Layer {
                    document: &one.document,
                    is_current: stage == Stage::Current,
                    source: self.are_several().then_some(set.name.as_str()),
                });
            }
        }
        layers
    }

    /// The line in the file that names the sources.
    pub(super) fn head(&self) -> String {
        managed_by(self.names.iter().map(String::as_str))
    }

    /// What the guard judges.
    pub(super) fn candidate(&self, guard: Guard) -> Option<Judged> {
        let (first, others) = self.known.split_first()?;
        let mut judged = Vec::with_capacity(others.len());
        for set in others {
            judged.push(JudgedSource {
                source: set.name.clone(),
                document: set.documents.current.kept,
                further: set.further(),
            });
        }
        Some(Judged {
            document: first.documents.current.kept,
            further: first.further(),
            source: self.are_several().then(|| first.name.clone()),
            others: judged,
            guard,
        })
    }

    /// Records which documents the account's file follows.
    pub(super) fn are_followed(&self, outcome: &mut AccountOutcome) {
        if let Some(first) = self.known.first() {
            outcome.follow(&first.documents.current.document);
        }
        if self.are_several() {
            let mut followed = Vec::with_capacity(self.known.len());
            for set in &self.known {
                followed.push(Followed {
                    source: set.name.clone(),
                    document: (&set.documents.current.document).into(),
                });
            }
            outcome.documents = followed;
        }
    }

    /// The rejected keys, each with its stage or source.
    pub(super) fn left_out(&self) -> Vec<LeftOut> {
        let mut left_out = Vec::new();
        for set in &self.known {
            for (stage, one) in set.documents.all() {
                let mut place = String::new();
                if self.are_several() {
                    place = format!("{}: ", set.name);
                }
                if stage != Stage::Current {
                    place.push_str(&format!("{stage}: "));
                }
                for bad in &one.document.left_out {
                    left_out.push(LeftOut {
                        line: bad.line,
                        reason: format!("{place}{}", bad.reason),
                    });
                }
            }
        }
        left_out
    }
}

impl SourceKeySet<'_> {
    fn further(&self) -> Vec<Kept> {
        let further = self.documents.further.values();
        further.map(|one| one.kept).collect()
    }
}

impl LastSets {
    /// The documents in the order in which they decide about a key.
    pub(super) fn layers(&self) -> Vec<Layer<'_>> {
        let mut layers = Vec::new();
        for set in &self.0 {
            let source = set.name.as_deref();
            layers.push(Layer {
                document: &set.current,
                is_current: true,
                source,
            });
            for document in &set.further {
                layers.push(Layer {
                    document,
                    is_current: false,
                    source,
                });
            }
        }
        layers
    }

    /// Records that the account's file still follows them.
    pub(super) fn are_followed(&self, outcome: &mut AccountOutcome) {
        if let Some(first) = self.0.first() {
            outcome.follow(&first.current);
        }
        let mut followed = Vec::new();
        for set in &self.0 {
            if let Some(name) = &set.name {
                followed.push(Followed {
                    source: name.clone(),
                    document: (&set.current).into(),
                });
            }
        }
        outcome.documents = followed;
    }
}

impl<F: Fetch, H: Host> Agent<F, H> {
    /// The documents that passed the guard last, under the current rules; all of them, or none.
    pub(super) fn last_sets(
        &self,
        account: &AccountConfig,
        store: &Store,
        judged: &Judged,
    ) -> Option<LastSets> {
        let mut sets = Vec::new();
        for set in judged.sets() {
            let rules = self.config.rules(source_of(account, set.source)?);
            let (current, ..) = load(store, set.document, &rules)?;
            let mut further = Vec::with_capacity(set.further.len());
            for kept in set.further {
                let (document, ..) = load(store, *kept, &rules)?;
                further.push(document);
            }
            sets.push(LastSet {
                name: set.source.map(str::to_owned),
                current,
                further,
            });
        }
        Some(LastSets(sets))
    }
}

/// The source with that name. A source that was removed from the configuration is judged like the
/// first one.
fn source_of<'a>(account: &'a AccountConfig, name: Option<&str>) -> Option<&'a Source> {
    if let Some(name) = name {
        for source in &account.sources {
            if source.url.to_string() == name {
                return Some(source);
            }
        }
    }
    account.sources.first()
}

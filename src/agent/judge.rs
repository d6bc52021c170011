//! Judges fetched documents: which are to be in force, and why others are not.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::acquired::{Away, InForce, StandingDocument, Trouble};
use super::{Agent, Cycle};
use crate::host::Host;
use crate::state::Kept;
use authkeys_core::document::{self, Digest, Document, Refused, Rules};
use authkeys_core::key::CHECKS;
use authkeys_core::origin::{Fetch, Part, SourceUrl, Stage};
use authkeys_core::outcome::{FaultCode, Problem, chain};
use authkeys_core::schedule::Clock;
use authkeys_core::verify::{Distrust, Mark, Signers, counts_beside, verify, verify_signer};

/// What fetched documents are judged by.
pub(super) struct JudgedBy<'a> {
    /// The URL that they came from.
    pub(super) url: &'a SourceUrl,
    /// The name of the mark that their serial is compared with. A source and its fallback share
    /// one.
    pub(super) mark: String,
    pub(super) rules: &'a Rules,
    pub(super) signers: Option<&'a Signers>,
    /// For a fallback: since when the source has been unreachable, and the document in force.
    pub(super) away: Option<(&'a Away, Digest)>,
}

impl JudgedBy<'_> {
    /// A replica that is behind must not undo a change. A serial shows that it is behind. Without a
    /// serial the node gives the source time to recover.
    fn check_patience(&self, document: &Document, now: Timestamp) -> Result<(), Rejection> {
        let Some((away, standing)) = &self.away else {
            return Ok(());
        };
        let is_certain = document.serial.is_some() || document.digest == *standing;
        if is_certain || now.duration_since(away.since) >= away.patience {
            return Ok(());
        }
        let until = away
            .since
            .saturating_add(away.patience)
            .unwrap_or(away.since);
        Err(Rejection {
            code: FaultCode::SourceUnreachable,
            text: format!(
                "its document differs from the one in force, and has no serial to show which is \
                 newer; it is accepted from {until:.0} on, unless the source answers first"
            ),
        })
    }
}

/// The documents that are to be in force, and what else was found.
pub(super) struct Taken {
    pub(super) documents: InForce,
    /// Rejected documents of other stages.
    pub(super) refused: Vec<Rejection>,
    /// Documents of other stages that are ignored, and why.
    pub(super) notes: Vec<String>,
}

impl Taken {
    /// The documents that were in force before.
    pub(super) fn unchanged(documents: InForce) -> Self {
        Self {
            documents,
            refused: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// Why a document is rejected.
pub(super) struct Rejection {
    pub(super) code: FaultCode,
    pub(super) text: String,
}

impl From<Refused> for Rejection {
    fn from(error: Refused) -> Self {
        Self {
            code: error.code(),
            text: chain(&error),
        }
    }
}

impl From<Distrust> for Rejection {
    fn from(error: Distrust) -> Self {
        Self {
            code: error.code(),
            text: chain(&error),
        }
    }
}

/// A document that was found valid.
struct ValidDocument {
    document: Document,
    signer: Option<String>,
    mark: Option<Mark>,
}

impl<F: Fetch, H: Host> Agent<F, H> {
    /// Judges and keeps fetched documents. `last` are the last valid ones, which stay in force if
    /// the new ones are rejected.
    pub(super) fn take(
        &self,
        (current, further): (Part, BTreeMap<Stage, Part>),
        last: &mut Option<(InForce, Timestamp)>,
        judging: &JudgedBy<'_>,
        cycle: &mut Cycle<'_>,
    ) -> Result<Taken, Trouble> {
        let current = match self.judge(current, judging, cycle) {
            Ok(current) => current,
            Err(Rejection { code, text }) => {
                let problem = match code {
                    FaultCode::SourceUnreachable => Problem::Unreachable,
                    _ => Problem::Refused,
                };
                return Err((problem, code, format!("{}: {text}", judging.url)));
            }
        };
        let last = match last.take() {
            Some((last, _)) => last.further,
            None => BTreeMap::new(),
        };
        let (further, refused, notes) = self.judge_further(&current, further, last, judging, cycle);
        Ok(Taken {
            documents: InForce {
                current,
                further,
                from: None,
            },
            refused,
            notes,
        })
    }

    /// Judges and keeps the current document, and records its serial. The error says why the
    /// document is rejected.
    fn judge(
        &self,
        part: Part,
        judging: &JudgedBy<'_>,
        cycle: &mut Cycle<'_>,
    ) -> Result<StandingDocument, Rejection> {
        let part = document_of(judging.url, part)?;
        let mark = match cycle.intent.accept_rollback {
            true => None,
            false => cycle.state.marks.get(&judging.mark),
        };
        let ValidDocument {
            document,
            signer,
            mark,
        } = self.read(&part, judging, mark, cycle.clock)?;
        judging.check_patience(&document, cycle.now)?;
        match mark {
            Some(mark) => drop(cycle.state.marks.insert(judging.mark.clone(), mark)),
            None => drop(cycle.state.marks.remove(&judging.mark)),
        }
        Ok(cycle.keep(document, signer, part))
    }

    /// Judges the documents of other stages. They cannot affect the current one: an invalid
    /// document changes nothing, so the last valid one of its stage stays and the rejection is
    /// reported. Also returns the rejections, and notes on ignored documents.
    fn judge_further(
        &self,
        current: &StandingDocument,
        parts: BTreeMap<Stage, Part>,
        mut last: BTreeMap<Stage, StandingDocument>,
        judging: &JudgedBy<'_>,
        cycle: &mut Cycle<'_>,
    ) -> (
        BTreeMap<Stage, StandingDocument>,
        Vec<Rejection>,
        Vec<String>,
    ) {
        let counts =
            |stage, one: &Document| counts_beside(stage == Stage::Pending, one, &current.document);
        let mut further = BTreeMap::new();
        let mut refused = Vec::new();
        let mut notes = Vec::new();
        for (stage, part) in parts {
            let label = part.version.label.clone();
            let standing = match self.read_further(part, judging, cycle.clock) {
                Ok((valid, part)) if counts(stage, &valid.document) => {
                    Some(cycle.keep(valid.document, valid.signer, part))
                }
                Ok(_) => {
                    notes.push(format!(
                        "{stage} (version {}) does not count, its keys let nobody in: its serial \
                         is not higher than {}'s; publish it with a higher one, or take the stage \
                         away",
                        label,
                        Stage::Current
                    ));
                    None
                }
                Err(Rejection { code, text }) => {
                    let text = format!("{stage} (version {label}): {text}");
                    refused.push(Rejection { code, text });
                    // A document that became current has left its stage and must not return as
                    // pending.
                    match last.remove(&stage) {
                        Some(one)
                            if counts(stage, &one.document) && one.version != current.version =>
                        {
                            Some(one)
                        }
                        _ => None,
                    }
                }
            };
            if let Some(standing) = standing {
                further.insert(stage, standing);
            }
        }
        (further, refused, notes)
    }

    /// Parses and verifies a fetched document of another stage, whose serial is not compared with
    /// any mark.
    fn read_further(
        &self,
        part: Part,
        judging: &JudgedBy<'_>,
        clock: Clock,
    ) -> Result<(ValidDocument, Part), Rejection> {
        let part = document_of(judging.url, part)?;
        let valid = self.read(&part, judging, None, clock)?;
        Ok((valid, part))
    }

    /// Parses and verifies a fetched document.
    fn read(
        &self,
        part: &Part,
        judging: &JudgedBy<'_>,
        mark: Option<&Mark>,
        clock: Clock,
    ) -> Result<ValidDocument, Rejection> {
        let document = document::parse(&part.bytes, judging.rules)?;
        let signers = judging.signers;
        let signer = verify_signer(&document, &part.bytes, signers, clock.effective())?;
        if clock.is_wrong() {
            // It is not known which of the two times is nearer the truth, so the signer must have
            // been valid at both.
            verify_signer(&document, &part.bytes, signers, clock.wall)?;
        }
        let mark = verify(&document, &self.config.trust, mark)?;
        Ok(ValidDocument {
            document,
            signer,
            mark,
        })
    }
}

/// The document in the fetched bytes: all of them, or one field of a secret. Fields that were not
/// asked for are wiped here.
fn document_of(url: &SourceUrl, part: Part) -> Result<Part, Rejection> {
    let Some(name) = url.field() else {
        return Ok(part);
    };
    let bytes = document::field(&part.bytes, name).map_err(|fault| Rejection {
        code: FaultCode::DocumentInvalid,
        text: chain(&fault),
    })?;
    Ok(Part { bytes, ..part })
}

impl Cycle<'_> {
    /// Keeps a valid document's public bytes.
    fn keep(&mut self, document: Document, signer: Option<String>, part: Part) -> StandingDocument {
        let public = document::public_half(&part.bytes);
        let bytes = public.as_deref().unwrap_or(&part.bytes);
        if let Err(fault) = self.store.keep(bytes) {
            // Keys that it revokes are removed all the same. Keys that cannot be recorded are not
            // installed (see `without_memory`).
            self.faults.push(fault.fault());
        }
        let kept = Kept {
            digest: document.digest,
            bytes: Digest::of(bytes),
            sound: 0,
            moduli: 0,
        };
        let kept = looked_at(kept, &document);
        let Part {
            version, created, ..
        } = part;
        StandingDocument {
            document,
            kept,
            version,
            created,
            halved: public.is_some(),
            signer: Ok(signer),
        }
    }
}

/// Records the result of checking a document's keys, so that the next cycle need not check their
/// numbers again.
pub(super) fn looked_at(kept: Kept, document: &Document) -> Kept {
    let (sound, moduli) = match (document.is_sound(), document.has_sound_moduli) {
        (true, _) => (CHECKS, 0),
        (false, true) => (0, CHECKS),
        (false, false) => (0, 0),
    };
    Kept {
        sound,
        moduli,
        ..kept
    }
}

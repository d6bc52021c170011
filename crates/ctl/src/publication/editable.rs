//! The starting point of an edit: the published key set as JSON, or why it cannot be edited.

use super::{Before, Publisher, Renewal};
use crate::fault::failed;
use crate::{Exit, unwritten};
use authkeys_core::document::{self, Document, Form};
use authkeys_core::key::Fingerprint;
use authkeys_core::publishing::entries::{self, Edits, PublishedEntry, edited, fingerprints};
use authkeys_terminal::clock;

/// What to do with a key set that is authorized_keys text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextForm {
    /// Refuse to edit it.
    Refuse,
    /// Convert it to JSON.
    ToJson,
}

/// A key set that can be edited.
pub(crate) struct Editable {
    pub(crate) payload: Vec<u8>,
    /// The fingerprint of each entry, in order.
    pub(crate) places: Vec<Option<Fingerprint>>,
    /// Concerns that must be confirmed.
    pub(crate) concerns: Vec<String>,
}

impl Editable {
    /// What is published; if it cannot be edited, that is reported.
    pub(crate) fn published(
        publisher: &Publisher<'_>,
        before: &Before,
        text: TextForm,
    ) -> Result<Self, Exit> {
        let target = &publisher.target;
        if let Some(fault) = &before.denied {
            return Err(failed(fault));
        }
        let Some(published) = &before.published else {
            return Err(unwritten(
                target,
                "nothing is published there; make the first key set with `authkeysctl publish`",
            ));
        };
        if let Some(fault) = &before.unreadable {
            let why = format!("what is published is not a document: {fault}");
            return Err(unwritten(target, &why));
        }
        Self::of(publisher, &published.bytes, &before.document, text)
            .map_err(|why| unwritten(target, &why))
    }

    /// A document to publish again; the error says why it cannot be edited.
    pub(crate) fn of(
        publisher: &Publisher<'_>,
        bytes: &[u8],
        document: &Document,
        text: TextForm,
    ) -> Result<Self, String> {
        let mut concerns = Vec::new();
        let payload = match document::form(bytes) {
            Form::RotationSecret => {
                return Err(
                    "it is a rotation secret, which only its rotation function changes".to_owned(),
                );
            }
            Form::Text if text == TextForm::Refuse => {
                return Err(
                    "it is authorized_keys text, which cannot be edited; --json converts it to JSON"
                        .to_owned(),
                );
            }
            Form::Text => {
                for bad in &document.left_out {
                    concerns.push(format!(
                        "line {} is left out of the JSON: {}",
                        bad.line, bad.reason
                    ));
                }
                let keys = document.keys.iter();
                let entries: Vec<_> = keys.map(|key| PublishedEntry::of(&key.line)).collect();
                entries::document(&entries).ok_or("it cannot be turned into JSON")?
            }
            Form::Json => {
                let envelope =
                    document::Envelope::split(bytes).map_err(|fault| fault.to_string())?;
                if envelope.signature.is_some() {
                    if publisher.sign().is_none() {
                        return Err(
                            "it is signed, and an edit needs a new signature: name the key with \
                             --sign"
                                .to_owned(),
                        );
                    }
                    if let Some(why) = publisher.judge.distrust(document, bytes, clock()) {
                        concerns.push(format!(
                            "its signature cannot be trusted ({why}), and signing it again vouches \
                             for all of its content"
                        ));
                    }
                }
                envelope.payload.to_vec()
            }
        };
        let places = fingerprints(&payload).ok_or("its JSON cannot be edited")?;
        Ok(Self {
            payload,
            places,
            concerns,
        })
    }

    /// The document after the edits.
    pub(crate) fn edited(&self, edits: &Edits) -> Result<Vec<u8>, String> {
        edited(&self.payload, edits).ok_or_else(|| "its JSON cannot be edited".to_owned())
    }

    /// The document after the edits, with a new end of its validity if one is given.
    pub(crate) fn renewed(&self, edits: &Edits, renewal: &Renewal) -> Result<Vec<u8>, String> {
        renewal.renewed(self.edited(edits)?)
    }
}

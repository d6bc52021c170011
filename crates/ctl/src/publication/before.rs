//! What is published now, as far as it can be read, for comparison with a new document.

use super::numbered;
use crate::lint::Judge;
use crate::signing_key::SigningKey;
use crate::verify::signing_key;
use authkeys_aws::target::{Earlier, Published};
use authkeys_core::document::{self, Document, Envelope, Form, Serial};
use authkeys_core::key::KeyBlob;
use authkeys_core::origin::FetchError;
use authkeys_core::outcome::chain;

/// What is published now.
pub(crate) struct Before {
    pub(crate) published: Option<Published>,
    pub(crate) document: Document,
    /// The highest serial that nodes may have from there, as far as known.
    pub(super) serial: Option<Serial>,
    /// Why it is not a document.
    pub(crate) unreadable: Option<String>,
    /// What was published before it was deleted, if nothing is there now.
    pub(super) earlier: Option<Earlier>,
    /// Why it is unknown whether anything is published there. The new document is then written only
    /// if nothing is there.
    pub(crate) denied: Option<FetchError>,
    /// The public half of the signing key, if a key is given and its public half is known.
    signer: Option<KeyBlob>,
}

impl Before {
    /// A deleted document is compared too: nodes keep following it, and refuse its serial and lower
    /// ones.
    pub(super) fn of(
        published: Option<Published>,
        earlier: Option<Earlier>,
        denied: Option<FetchError>,
        judge: &Judge,
        signer: Option<KeyBlob>,
    ) -> Self {
        let last = match (&published, &earlier) {
            (Some(published), _) | (None, Some(Earlier::Version(published))) => Some(published),
            (None, _) => None,
        };
        let mut document = Document::empty();
        let mut unreadable = None;
        let mut serial = None;
        if let Some(last) = last {
            match document::parse(&last.bytes, judge.rules()) {
                Ok(parsed) => document = parsed,
                Err(fault) => unreadable = Some(chain(&fault)),
            }
            serial = serial_of(&last.bytes);
        }
        Self {
            published,
            document,
            serial,
            unreadable,
            earlier,
            denied,
            signer,
        }
    }

    /// Whether `given` differs at most in its serial, and both are signed by the same key or
    /// neither is signed.
    pub(crate) fn is(&self, given: &[u8], document: &Document, sign: Option<&SigningKey>) -> bool {
        if self.published.is_none() {
            return false;
        }
        // A higher serial in the given document is intended.
        if self.unreadable.is_some() || document.serial > self.serial {
            return false;
        }
        let payload = self.payload();
        let same = match self.serial {
            Some(serial) => match numbered(given, serial) {
                Ok(text) => text == payload,
                Err(_) => false,
            },
            None => given == payload && document::form(given) != Form::Json,
        };
        same && self.is_signed_as(sign)
    }

    /// Whether what is published is signed by that key or, without a key, is unsigned.
    pub(crate) fn is_signed_as(&self, sign: Option<&SigningKey>) -> bool {
        match (sign, self.signature()) {
            (Some(_), Some(by)) => self.signer == Some(by),
            (Some(_), None) => false,
            (None, signature) => signature.is_none(),
        }
    }

    /// The key of the valid signature of what is published.
    fn signature(&self) -> Option<KeyBlob> {
        let published = self.published.as_ref()?;
        signing_key(&published.bytes).unwrap_or_default()
    }

    /// What is published, without its signature.
    pub(crate) fn payload(&self) -> &[u8] {
        let Some(published) = &self.published else {
            return &[];
        };
        let bytes = published.bytes.as_slice();
        if document::form(bytes) == Form::Text {
            bytes
        } else {
            payload(bytes)
        }
    }

    pub(super) fn numbered(&self) -> String {
        match self.serial {
            Some(serial) => format!(", with serial {serial}"),
            None => String::new(),
        }
    }

    pub(crate) fn signed(&self) -> bool {
        self.signature().is_some()
    }
}

/// A document without its signature; the whole text if it cannot be split.
fn payload(bytes: &[u8]) -> &[u8] {
    match Envelope::split(bytes) {
        Ok(envelope) => envelope.payload,
        Err(_) => bytes,
    }
}

/// The serial, even of a document that is refused for another reason.
pub(super) fn serial_of(bytes: &[u8]) -> Option<Serial> {
    document::with_text(payload(bytes), authkeys_core::publishing::edit::serial)
}

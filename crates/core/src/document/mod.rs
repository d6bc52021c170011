//! A key set as published: turns bytes into a document, or into the reason why they are not one.
//!
//! There are three forms: authorized_keys text (from one or more objects), JSON version 1, and
//! the rotation secrets of Secrets Manager. A document is valid or rejected as a whole. In a valid
//! document, single keys may be left out, and each of them is named.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::fault::FaultCode;
use crate::key::{Examination, Fingerprint, KeyLine, LineRules, identify, weak_moduli};
use crate::user::UserName;
use crate::words::{cut, plain};

pub use envelope::Envelope;
pub use field::{FieldFault, field};
pub use key_pair::{BadKeyPair, KeyPair};
pub use objects::join;
pub use private::PrivateKeyFound;
pub use values::{Digest, Name, Serial};

mod envelope;
mod field;
mod foreign;
mod json;
mod key_pair;
mod objects;
mod private;
mod rotation;
mod text;
mod values;

/// The most characters of a document that a message quotes.
const MAX_WORDS: usize = 300;

/// The most lines that one warning names.
const MOST_PLACES: usize = 5;

/// The most keys of one document.
pub const MAX_KEYS: usize = 4_096;

/// A valid document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The name that its publisher gave it.
    pub name: Option<Name>,
    /// Grows with every publication.
    pub serial: Option<Serial>,
    /// The audience that it is meant for.
    pub audience: Option<Name>,
    /// From then on the document is stale; its keys are kept.
    pub expires: Option<Timestamp>,
    /// The valid keys, in the document's order.
    pub keys: Vec<PublishedKey>,
    /// Never installed, and removed from every line.
    pub revoked: BTreeSet<Fingerprint>,
    /// The keys that were left out.
    pub left_out: Vec<LeftOut>,
    /// No key was left out because its RSA modulus is a prime or shares one with another key.
    pub has_sound_moduli: bool,
    /// The digest of the document without its signature.
    pub digest: Digest,
}

/// A key, and for which accounts and when it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    /// The line that is installed.
    pub line: KeyLine,
    /// The line of the document that has the key, from 1.
    pub place: usize,
    /// `None` means every account that uses the source.
    pub accounts: Option<BTreeSet<UserName>>,
    /// In force from then on.
    pub not_before: Option<Timestamp>,
    /// In force until just before then.
    pub not_after: Option<Timestamp>,
}

/// A key that was left out because it cannot be installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its line in the document, from 1.
    pub line: usize,
    /// Why it was left out.
    pub reason: String,
}

/// How documents are validated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// What every key line must keep to.
    pub line: LineRules,
    /// Accept the public half of a document that also holds a private key.
    pub allow_private_key: bool,
}

/// The form of a key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// authorized_keys text.
    Text,
    /// JSON, version 1.
    Json,
    /// A rotation secret: an object with `PublicKey`.
    RotationSecret,
}

/// Why bytes are not a document that can be applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// Empty. This is never read as "no keys".
    #[error(
        "it is empty; put the keys there (that there is none is said by a JSON document with an \
         empty `keys`)"
    )]
    Empty,
    /// Too large.
    #[error("it has {0} keys, more than the {MAX_KEYS} that are read; take some out")]
    TooManyKeys(usize),
    /// Truncated in the middle of a line.
    #[error(
        "it was cut off: line {line}, the last one, has no line feed and no valid key ({reason}); \
         put it there again, whole"
    )]
    CutOff {
        /// The last line.
        line: usize,
        /// Why it is not a valid key.
        reason: String,
    },
    /// None of its keys can be installed.
    #[error("no valid key in it ({first}); put at least one there that sshd takes")]
    NoGoodKey {
        /// The first fault.
        first: String,
    },
    /// Another encoding, as some editors on other systems write.
    #[error(
        "it is not plain UTF-8 text but {0}; save it as UTF-8 without a byte order mark, and put \
         that there"
    )]
    Encoding(&'static str),
    /// A web page, as proxies and captive portals return instead of the source's answer.
    #[error(
        "no valid key in it: it looks like a web page; publish a key set there, or find the proxy \
         or login page in the way"
    )]
    WebPage,
    /// A file of another kind.
    #[error("it is not a key set but {0}")]
    Foreign(&'static str),
    /// Not JSON of the specified format.
    #[error("its JSON is wrong: {0}; publish it again, whole and corrected")]
    Json(String),
    /// A field with an invalid value.
    #[error("line {line}: {fault}; publish it again, corrected")]
    Value {
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        fault: String,
    },
    /// Private key material.
    #[error(transparent)]
    PrivateKey(#[from] PrivateKeyFound),
    /// One of the objects below a prefix.
    #[error("{name}: {fault}")]
    Object {
        /// Its name below the prefix.
        name: String,
        /// Why the object is not a document that can be applied.
        fault: Box<Refused>,
    },
    /// A signature without an end, or with something after it.
    #[error("its signature is damaged: {0}; sign it and publish it again")]
    Signature(&'static str),
}

impl Refused {
    /// Its code.
    pub fn code(&self) -> FaultCode {
        match self {
            Self::PrivateKey(_) => FaultCode::DocumentHasPrivateKey,
            Self::Signature(_) => FaultCode::SignatureInvalid,
            Self::Object { fault, .. } => fault.code(),
            _ => FaultCode::DocumentInvalid,
        }
    }
}

/// A document's form, determined by its first byte that is not white space and by the fields of its
/// object.
pub fn form(bytes: &[u8]) -> Form {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Form::Text;
    }
    let is_rotation = with_text(payload_of(bytes), |text| {
        rotation::is_rotation(text.as_bytes())
    });
    if is_rotation {
        Form::RotationSecret
    } else {
        Form::Json
    }
}

/// Determines a document's form by its first byte that is not white space, and parses it.
///
/// The bytes are only borrowed: if they hold a private key, the caller wipes them.
pub fn parse(bytes: &[u8], rules: &Rules) -> Result<Document, Refused> {
    parse_with(bytes, rules, Examination::Whole)
}

/// Like [`parse`], but for bytes whose keys were all found sound before (see
/// [`CHECKS`](crate::key::CHECKS)), at a small part of the cost.
pub fn parse_again(bytes: &[u8], rules: &Rules) -> Result<Document, Refused> {
    parse_with(bytes, rules, Examination::Repeated)
}

/// Leaves out the RSA keys whose weakness shows only in comparison with other keys or by an
/// expensive search.
fn without_weak_moduli(mut document: Document) -> Document {
    let weak = weak_moduli(document.keys.iter().map(|key| &key.line.key));
    if weak.is_empty() {
        return document;
    }
    let mut keys = Vec::new();
    for (at, key) in document.keys.into_iter().enumerate() {
        match weak.get(&at) {
            None => keys.push(key),
            Some(weakness) => document.left_out.push(LeftOut {
                line: key.place,
                reason: described(weakness),
            }),
        }
    }
    document.keys = keys;
    document.has_sound_moduli = false;
    document.left_out.sort_by_key(|bad| bad.line);
    document
}

/// Like [`parse`], but for bytes in which no weak modulus was found before. It skips that search,
/// which is expensive.
pub fn parse_searched(bytes: &[u8], rules: &Rules) -> Result<Document, Refused> {
    parse_with(bytes, rules, Examination::Searched)
}

fn parse_with(bytes: &[u8], rules: &Rules, examination: Examination) -> Result<Document, Refused> {
    read(bytes, rules, examination).map_err(|refused| explained(refused, bytes))
}

fn explained(refused: Refused, bytes: &[u8]) -> Refused {
    if matches!(
        refused,
        Refused::PrivateKey(_) | Refused::Empty | Refused::Object { .. }
    ) {
        return refused;
    }
    if let Some(encoding) = text::foreign_encoding(bytes) {
        return Refused::Encoding(encoding);
    }
    // Anything with a valid key in it is a key set, whatever its first bytes look like.
    let is_json = matches!(
        refused,
        Refused::Json(_) | Refused::Value { .. } | Refused::Signature(_)
    );
    let is_truncated = matches!(&refused, Refused::CutOff { line, .. } if *line > 1);
    match foreign::kind(bytes) {
        Some(kind) if !is_truncated && (!is_json || foreign::is_stand_in(bytes)) => {
            Refused::Foreign(kind)
        }
        _ => refused,
    }
}

fn read(bytes: &[u8], rules: &Rules, examination: Examination) -> Result<Document, Refused> {
    let Some(first) = bytes.trim_ascii_start().first() else {
        return Err(Refused::Empty);
    };
    let document = if objects::is_joined(bytes) {
        objects::parse(bytes, &rules.line, examination)?
    } else if *first == b'{' {
        let envelope = Envelope::split(bytes)?;
        let digest = Digest::of(envelope.payload);
        let document = with_text(envelope.payload, |text| {
            if rotation::is_rotation(text.as_bytes()) {
                return rotation::parse(text.as_bytes(), rules, examination);
            }
            private::refuse(text.as_bytes())?;
            json::parse(text, &rules.line, examination, digest)
        });
        let document = document.map_err(|refused| named_encoding(refused, envelope.payload))?;
        let mut document = Document { digest, ..document };
        if std::str::from_utf8(envelope.payload).is_err() {
            for key in &mut document.keys {
                key.line.comment_altered |= key.line.comment.contains(char::REPLACEMENT_CHARACTER);
            }
        }
        document
    } else {
        private::refuse(bytes)?;
        match text::parse(bytes, &rules.line, examination) {
            Err(Refused::CutOff { .. }) if *first == b'<' => return Err(Refused::WebPage),
            parsed => parsed?,
        }
    };
    let all = document.keys.len() + document.left_out.len();
    if all > MAX_KEYS {
        return Err(Refused::TooManyKeys(all));
    }
    let document = match examination {
        Examination::Whole => without_weak_moduli(document),
        Examination::Searched | Examination::Repeated => document,
    };
    match document.left_out.first() {
        Some(_) if document.keys.is_empty() && *first == b'<' => Err(Refused::WebPage),
        Some(bad) if document.keys.is_empty() => Err(Refused::NoGoodKey {
            first: format!("line {}: {}", bad.line, bad.reason),
        }),
        _ => Ok(document),
    }
}

/// What is kept on disk of a document if it cannot be kept whole: the public half of a rotation
/// secret, which may hold a private key.
pub fn public_half(bytes: &[u8]) -> Option<Vec<u8>> {
    with_text(payload_of(bytes), |text| {
        let payload = text.as_bytes();
        if !rotation::is_rotation(payload) {
            return None;
        }
        Some(rotation::public_half(payload).unwrap_or_default())
    })
}

/// The document without its signature; all bytes if that is damaged.
fn payload_of(bytes: &[u8]) -> &[u8] {
    match Envelope::split(bytes) {
        Ok(envelope) => envelope.payload,
        Err(_) => bytes,
    }
}

/// Passes the text of a JSON document to `read`. Bytes that are not UTF-8 become U+FFFD, which is
/// accepted only in the comment of a key, so that no comment costs a key. The copy may hold a
/// private key, and is wiped.
pub fn with_text<T>(payload: &[u8], read: impl FnOnce(&str) -> T) -> T {
    match std::str::from_utf8(payload) {
        Ok(text) => read(text),
        Err(_) => read(&Zeroizing::new(
            String::from_utf8_lossy(payload).into_owned(),
        )),
    }
}

/// Names the encoding if bytes that are not UTF-8 may be all that is wrong with the value at fault.
fn named_encoding(refused: Refused, payload: &[u8]) -> Refused {
    match (&refused, std::str::from_utf8(payload)) {
        (Refused::Json(_) | Refused::Value { .. }, Err(fault)) => {
            let line = Lines::of(payload).at(fault.valid_up_to());
            Refused::Json(format!(
                "line {line} holds bytes that are not UTF-8, the encoding of JSON; save it as UTF-8"
            ))
        }
        _ => refused,
    }
}

/// The text of a fault that quotes the document, made safe for a terminal and a log: shortened, and
/// without hidden characters.
fn described(fault: impl fmt::Display) -> String {
    plain(&cut(&fault.to_string(), MAX_WORDS), '?')
}

/// How many lines of an authorized_keys file carry a key that some sshd could read.
pub fn count_keys(file: &[u8]) -> usize {
    let mut count = 0;
    for line in file.split(|b| *b == b'\n') {
        if identify(line).is_some() {
            count += 1;
        }
    }
    count
}

/// A document with these keys and nothing else, for the forms that have no other fields.
fn bare(keys: Vec<PublishedKey>, left_out: Vec<LeftOut>, bytes: &[u8]) -> Document {
    Document {
        name: None,
        serial: None,
        audience: None,
        expires: None,
        keys,
        revoked: BTreeSet::new(),
        left_out,
        has_sound_moduli: true,
        digest: Digest::of(bytes),
    }
}

impl Document {
    /// Whether every key in it was valid. They stay sound as long as the document's bytes do not
    /// change.
    pub fn is_sound(&self) -> bool {
        self.left_out.is_empty()
    }

    /// What was changed in the comments of its keys. No key was left out because of it.
    pub fn altered_comments(&self) -> Option<String> {
        let mut lines = Vec::new();
        for key in &self.keys {
            if key.line.comment_altered {
                lines.push(key.place.to_string());
            }
        }
        lines.dedup();
        let more = lines.len().saturating_sub(MOST_PLACES);
        lines.truncate(MOST_PLACES);
        let places = match more {
            _ if lines.is_empty() => return None,
            0 => lines.join(", "),
            more => format!("{} and {more} more", lines.join(", ")),
        };
        let line = if lines.len() == 1 { "line" } else { "lines" };
        Some(format!(
            "the comment in {line} {places} is too long, or holds control characters or bytes that \
             are not UTF-8; it was cut, or U+FFFD was written in their place, and the key is in \
             force all the same"
        ))
    }

    /// A document without any key. This is an explicit statement; missing content is never read as
    /// this.
    pub fn empty() -> Self {
        bare(Vec::new(), Vec::new(), b"")
    }
}

impl PublishedKey {
    /// A key for all accounts, without a time limit.
    fn unbounded(line: KeyLine, place: usize) -> Self {
        Self {
            line,
            place,
            accounts: None,
            not_before: None,
            not_after: None,
        }
    }

    /// Whether the key is for an account with these names. The configuration and the name service
    /// may spell the name differently, and a publisher may use either spelling.
    pub fn is_for(&self, names: &[&UserName]) -> bool {
        match &self.accounts {
            Some(accounts) => names.iter().any(|name| accounts.contains(*name)),
            None => true,
        }
    }
}

/// Line numbers of byte offsets. It counts on from the previous offset, because they are mostly
/// requested in order.
struct Lines<'a> {
    bytes: &'a [u8],
    last: Cell<(usize, usize)>,
}

impl<'a> Lines<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            last: Cell::new((0, 1)),
        }
    }

    fn at(&self, offset: usize) -> usize {
        let (from, line) = match self.last.get() {
            (last, line) if last <= offset => (last, line),
            _ => (0, 1),
        };
        let passed = self.bytes.get(from..offset).unwrap_or_default();
        let line = line + passed.iter().filter(|b| **b == b'\n').count();
        self.last.set((offset, line));
        line
    }
}

//! The allowed_signers file as `ssh-keygen -Y verify` reads it (ALLOWED SIGNERS in ssh-keygen(1),
//! sshsig.c).
//!
//! ssh-keygen skips a line that it cannot read. Here such a line is a fault, so that a mistyped
//! signer, or an option that was meant to restrict one, is noticed before it matters. Three things
//! are not supported on purpose: certificates (`cert-authority`), non-canonical encodings of a key,
//! and names with a tab.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

use super::pattern::Patterns;
use super::{MAX_RSA_BITS, NAMESPACE};
use crate::key::{
    Expiry, Fingerprint, KeyBlob, check_text, cut_options, cut_word, dequote, looks_like_type,
};

const BLANKS: [char; 2] = [' ', '\t'];

/// Who may sign documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    list: Vec<Signer>,
    /// Only these principals; `None`: everyone in the file.
    principals: Option<Vec<String>>,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// Its line number, from 1.
    pub line: usize,
    /// The principals.
    pub principals: Patterns,
    /// The signing key.
    pub key: KeyBlob,
    /// The namespaces that it may sign for; `None`: all.
    pub namespaces: Option<Patterns>,
    /// Valid from then on; to the second, as in OpenSSH.
    pub valid_after: Option<Timestamp>,
    /// Valid until then, including this second.
    pub valid_before: Option<Timestamp>,
}

/// How the file is read.
#[derive(Debug, Clone, Copy)]
pub struct SignerRules<'a> {
    /// Whose signatures are accepted; `None`: everyone's in the file.
    pub principals: Option<&'a [String]>,
    /// The time zone of times without `Z`.
    pub zone: &'a TimeZone,
    /// The smallest RSA modulus, in bits.
    pub min_rsa_bits: usize,
}

/// One thing that is wrong in the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SignersFault {
    /// Where, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// What is wrong and what to write.
    pub message: String,
}

/// Why a valid signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotAllowed {
    /// The key belongs to no signer.
    #[error("the key {0} that signed it is not in [trust] allowed_signers")]
    Unknown(Fingerprint),
    /// The signer may sign only for other namespaces.
    #[error(
        "its signer {0} may not sign for the namespace {NAMESPACE} (namespaces= in [trust] \
         allowed_signers)"
    )]
    Namespace(String),
    /// The signer is not one of the required principals.
    #[error("its signer {0} is not among [trust] principals")]
    Principal(String),
    /// The signer is not valid yet.
    #[error(
        "its signer {who} is valid only from {from} on (valid-after in [trust] allowed_signers)"
    )]
    NotYet {
        /// The signer.
        who: String,
        /// The start of its validity.
        from: Timestamp,
    },
    /// The signer has expired.
    #[error("its signer {who} was valid until {until} (valid-before in [trust] allowed_signers)")]
    Expired {
        /// The signer.
        who: String,
        /// The end of its validity.
        until: Timestamp,
    },
}

impl SignersFault {
    /// In the format of compilers: `FILE:LINE: message`.
    pub fn at(&self, file: &str) -> String {
        match self.line {
            0 => format!("{file}: {self}"),
            line => format!("{file}:{line}: {self}"),
        }
    }
}

impl Signers {
    /// Whether the accepted signers can change by time alone.
    pub fn are_timed(&self) -> bool {
        self.list
            .iter()
            .any(|one| one.valid_after.is_some() || one.valid_before.is_some())
    }

    /// Parses the file, or reports every fault in it.
    pub fn parse(file: &[u8], rules: &SignerRules<'_>) -> Result<Self, Vec<SignersFault>> {
        let mut list = Vec::new();
        let mut faults = Vec::new();
        for (at, text) in file.split(|b| *b == b'\n').enumerate() {
            let line = at + 1;
            match Signer::parse(line, text, rules) {
                Ok(Some(signer)) => list.push(signer),
                Ok(None) => {}
                Err(message) => faults.push(SignersFault { line, message }),
            }
        }
        let signers = Self {
            list,
            principals: rules.principals.map(<[String]>::to_vec),
        };
        if faults.is_empty() && !signers.list.iter().any(|signer| signers.counts(signer)) {
            let message = if signers.list.is_empty() {
                "it names no signer; write a line `PRINCIPAL namespaces=\"authkeysd\" KEY-TYPE \
                 BASE64`"
                    .to_owned()
            } else {
                format!(
                    "none of its signers may sign here; look at [trust] principals, and at \
                     namespaces= ({NAMESPACE})"
                )
            };
            faults.push(SignersFault { line: 0, message });
        }
        if faults.is_empty() {
            Ok(signers)
        } else {
            Err(faults)
        }
    }

    /// Everyone in the file who may sign documents, whether or not they are valid at present.
    pub fn counting(&self) -> impl Iterator<Item = &Signer> {
        self.list.iter().filter(|signer| self.counts(signer))
    }

    /// Those of `[trust] principals` that no line names.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let principals = self.principals.as_deref().unwrap_or_default();
        let names = principals.iter().map(String::as_str);
        names.filter(|who| {
            let mut signers = self.list.iter();
            !signers.any(|signer| signer.principals.matches(who))
        })
    }

    /// The owner of a key: the required principal, or else all principals of the line.
    pub fn admit(&self, key: &KeyBlob, now: Timestamp) -> Result<String, NotAllowed> {
        let mut refused = NotAllowed::Unknown(key.fingerprint());
        // ssh-keygen continues with later lines that have the same key, because one of them may be
        // less restricted.
        for signer in self.list.iter().filter(|signer| signer.key == *key) {
            match self.principal(signer) {
                None => refused = NotAllowed::Principal(signer.principals.to_string()),
                Some(who) => match signer.may_sign(&who, now) {
                    Ok(()) => return Ok(who),
                    Err(fault) => refused = fault,
                },
            }
        }
        Err(refused)
    }

    fn counts(&self, signer: &Signer) -> bool {
        signer.has_namespace() && self.principal(signer).is_some()
    }

    fn principal(&self, signer: &Signer) -> Option<String> {
        match &self.principals {
            None => Some(signer.principals.to_string()),
            Some(wanted) => {
                let found = wanted.iter().find(|who| signer.principals.matches(who))?;
                Some(found.clone())
            }
        }
    }
}

impl Signer {
    /// Parses one line without its LF; `None` for a blank line and a comment.
    fn parse(line: usize, text: &[u8], rules: &SignerRules<'_>) -> Result<Option<Self>, String> {
        let Ok(text) = std::str::from_utf8(text) else {
            return Err("the line is not UTF-8".to_owned());
        };
        let text = text.strip_suffix('\r').unwrap_or(text).trim_matches(BLANKS);
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        check_text(text).map_err(|fault| fault.to_string())?;
        let (principals, rest) =
            cut_principals(text).ok_or("a quote around the principals does not end")?;
        let principals = Patterns::parse(&principals)
            .map_err(|fault| format!("the list of principals {fault}"))?;
        let (options, key) = if looks_like_type(cut_word(rest).0) {
            ("", rest)
        } else {
            cut_options(rest).ok_or("a quote in the options does not end")?
        };
        let SignerOptions {
            namespaces,
            valid_after,
            valid_before,
        } = SignerOptions::parse(options, rules.zone)?;
        let key = read_key(key, rules.min_rsa_bits)?;
        Ok(Some(Self {
            line,
            principals,
            key,
            namespaces,
            valid_after,
            valid_before,
        }))
    }

    /// Whether the signer may sign documents at all.
    fn has_namespace(&self) -> bool {
        match &self.namespaces {
            Some(list) => list.matches(NAMESPACE),
            None => true,
        }
    }

    fn may_sign(&self, who: &str, now: Timestamp) -> Result<(), NotAllowed> {
        let who = who.to_owned();
        if !self.has_namespace() {
            return Err(NotAllowed::Namespace(who));
        }
        if let Some(from) = self.valid_after
            && now.as_second() < from.as_second()
        {
            return Err(NotAllowed::NotYet { who, from });
        }
        if let Some(until) = self.valid_before
            && now.as_second() > until.as_second()
        {
            return Err(NotAllowed::Expired { who, until });
        }
        Ok(())
    }
}

/// `ops@acme from 2026-01-01T00:00:00Z until 2027-01-01T00:00:00Z, ssh-ed25519 SHA256:...`
impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.principals)?;
        if let Some(from) = self.valid_after {
            write!(f, " from {from}")?;
        }
        if let Some(until) = self.valid_before {
            write!(f, " until {until}")?;
        }
        write!(f, ", {} {}", self.key.kind(), self.key.fingerprint())
    }
}

/// The options that may precede the key.
#[derive(Default)]
struct SignerOptions {
    namespaces: Option<Patterns>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

impl SignerOptions {
    fn parse(text: &str, zone: &TimeZone) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (name, value, after) = cut_option(rest)?;
            let twice = match (name.as_str(), value) {
                ("namespaces", Some(value)) => {
                    let list =
                        Patterns::parse(&value).map_err(|fault| format!("namespaces= {fault}"))?;
                    options.namespaces.replace(list).is_some()
                }
                ("valid-after", Some(value)) => options
                    .valid_after
                    .replace(time(&name, &value, zone)?)
                    .is_some(),
                ("valid-before", Some(value)) => options
                    .valid_before
                    .replace(time(&name, &value, zone)?)
                    .is_some(),
                ("namespaces" | "valid-after" | "valid-before", None) => {
                    return Err(format!("option {name} needs a value in double quotes"));
                }
                ("cert-authority", _) => {
                    return Err(
                        "cert-authority is not supported: name each signer's own key".to_owned(),
                    );
                }
                _ => {
                    let known = "namespaces, valid-after and valid-before are";
                    return Err(format!("option {name:?} is not known; {known}"));
                }
            };
            if twice {
                return Err(format!("option {name} is given twice"));
            }
            rest = match after.strip_prefix(',') {
                Some("") => return Err("a comma ends the options".to_owned()),
                Some(next) => next,
                None if after.is_empty() => after,
                None => return Err(format!("a comma is missing after option {name}")),
            };
        }
        match (options.valid_after, options.valid_before) {
            (Some(from), Some(until)) if until <= from => {
                Err("valid-before is not later than valid-after".to_owned())
            }
            _ => Ok(options),
        }
    }
}

/// Splits off one option; its name is in lower case, because OpenSSH ignores case.
fn cut_option(text: &str) -> Result<(String, Option<String>, &str), String> {
    let end = text.find(['=', ',']).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    let name = name.to_ascii_lowercase();
    match rest.strip_prefix('=') {
        None => Ok((name, None, rest)),
        Some(quoted) => {
            let value = quoted.strip_prefix('"').and_then(dequote);
            let (value, rest) =
                value.ok_or_else(|| format!("option {name:?} needs a value in double quotes"))?;
            Ok((name, Some(value), rest))
        }
    }
}

fn time(name: &str, value: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    if let Some(time) = Expiry::parse(value)
        && let Some(instant) = time.instant(zone)
        && instant > Timestamp::UNIX_EPOCH
    {
        return Ok(instant);
    }
    Err(format!(
        "option {name}: {value:?} is not a time: write YYYYMMDD[HHMM[SS]], with Z for UTC"
    ))
}

fn read_key(text: &str, min_rsa_bits: usize) -> Result<KeyBlob, String> {
    let (kind, rest) = cut_word(text);
    let (base64, _comment) = cut_word(rest);
    if base64.is_empty() {
        return Err("no key in it: expected `PRINCIPALS [OPTIONS] KEY-TYPE BASE64`".to_owned());
    }
    let key = KeyBlob::parse(kind, base64, min_rsa_bits).map_err(|fault| fault.to_string())?;
    if key.kind() == "ssh-mldsa44-ed25519@openssh.com" {
        return Err(format!(
            "signatures of {kind} are not supported: use another key"
        ));
    }
    if key.rsa_bits().is_some_and(|bits| bits > MAX_RSA_BITS) {
        return Err(format!(
            "signatures of RSA keys of more than {MAX_RSA_BITS} bits are not supported: use \
             another key"
        ));
    }
    Ok(key)
}

/// OpenSSH's `strdelimw`: splits at the first blank. A quote anywhere in the word extends to the
/// next quote, which ends the word.
fn cut_principals(text: &str) -> Option<(String, &str)> {
    let end = text.find([' ', '\t', '"']).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end)?;
    match rest.strip_prefix('"') {
        None => Some((word.to_owned(), rest.trim_start_matches(BLANKS))),
        Some(quoted) => {
            let (inside, rest) = quoted.split_once('"')?;
            Some((format!("{word}{inside}"), rest.trim_start_matches(BLANKS)))
        }
    }
}

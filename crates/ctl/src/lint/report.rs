//! What lint found: as text, and as JSON.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use crate::complain;
use authkeys_core::document::{Digest, Document, Form, LeftOut, Name, Serial};
use authkeys_core::key::Fingerprint;
use authkeys_core::publishing::findings::{self, JudgedKey, KeyState, when};
use authkeys_core::report::text::Colour;
use authkeys_core::user::UserName;
use authkeys_core::words::counted;

const BOLD: u8 = 1;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

/// Lint's findings, in the shape that `--json` prints (docs/output.md).
#[derive(Debug, Serialize)]
pub(crate) struct LintReport {
    schema: u8,
    version: &'static str,
    pub(crate) document: String,
    pub(super) status: Verdict,
    /// Whether it is past its `expires`.
    #[serde(skip)]
    pub(super) expired: bool,
    form: &'static str,
    bytes: usize,
    name: Option<Name>,
    serial: Option<Serial>,
    audience: Option<Name>,
    expires: Option<Timestamp>,
    digest: Option<Digest>,
    pub(super) signed: bool,
    /// The key that signed it, and its owner if allowed signers are given.
    pub(crate) signing_key: Option<Fingerprint>,
    pub(crate) signer: Option<String>,
    keys: Vec<KeyFound>,
    /// The number of keys, in words.
    #[serde(skip)]
    counted: String,
    revoked: Vec<Fingerprint>,
    left_out: Vec<LeftOut>,
    /// Why it is not `ok`.
    pub(crate) faults: Vec<String>,
    /// What may be unintended.
    pub(crate) warnings: Vec<String>,
    /// Why its signature does not count.
    #[serde(skip)]
    pub(crate) signature_fault: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    Degraded,
    Stale,
    Refused,
}

#[derive(Debug, Serialize)]
struct KeyFound {
    fingerprint: Fingerprint,
    #[serde(rename = "type")]
    kind: String,
    comment: String,
    options: String,
    accounts: Option<Vec<UserName>>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    state: KeyState,
}

impl LintReport {
    pub(super) fn new(name: &str, form: Form, bytes: usize, signed: bool) -> Self {
        Self {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            document: name.to_owned(),
            status: Verdict::Ok,
            expired: false,
            form: match form {
                Form::Text => "text",
                Form::Json => "json",
                Form::RotationSecret => "rotation-secret",
            },
            bytes,
            name: None,
            serial: None,
            audience: None,
            expires: None,
            digest: None,
            signed,
            signing_key: None,
            signer: None,
            keys: Vec::new(),
            counted: String::new(),
            revoked: Vec::new(),
            left_out: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
            signature_fault: None,
        }
    }

    /// What is in a document that can be read.
    pub(super) fn describe(&mut self, document: &Document, keys: &[JudgedKey<'_>]) {
        self.name.clone_from(&document.name);
        self.serial = document.serial;
        self.audience.clone_from(&document.audience);
        self.expires = document.expires;
        self.digest = Some(document.digest);
        self.counted = findings::counted_keys(keys);
        self.keys = keys.iter().map(KeyFound::new).collect();
        self.revoked = document.revoked.iter().copied().collect();
        self.left_out.clone_from(&document.left_out);
    }

    /// Leaves out the keys that do not give access to an account.
    pub(crate) fn keep_keys_of(&mut self, user: &UserName) {
        self.keys.retain(|key| match &key.accounts {
            Some(accounts) => accounts.contains(user),
            None => true,
        });
    }

    /// The key that signed it, and its owner if known.
    pub(crate) fn signed_by(&self) -> Option<String> {
        let key = self.signing_key?;
        Some(match &self.signer {
            Some(who) => format!("by {who}, {key}"),
            None => format!("by {key}; whose that is --allowed-signers would tell"),
        })
    }

    /// Why it must not be published.
    pub(crate) fn unfit(&self) -> Option<&'static str> {
        match self.status {
            Verdict::Refused => Some("nodes would refuse it"),
            _ if self.has_only_expired() => Some("nodes would be stale"),
            _ => None,
        }
    }

    /// Whether nodes refuse it only because it has expired.
    pub(crate) fn has_only_expired(&self) -> bool {
        self.expired && self.status != Verdict::Refused
    }

    /// Prints faults and warnings to stderr, one per line.
    pub(crate) fn tell(&self) {
        for fault in &self.faults {
            complain(&format!("{}: {fault}", self.document));
        }
        for warning in &self.warnings {
            complain(&format!("warning: {}: {warning}", self.document));
        }
    }

    pub(super) fn render(&self, now: Timestamp, colour: Colour) -> String {
        let mut text = String::new();
        let (code, verdict) = match self.status {
            Verdict::Ok => (GREEN, "good"),
            Verdict::Degraded => (YELLOW, "nodes leave keys out"),
            Verdict::Stale => (YELLOW, "nodes take it and are stale"),
            Verdict::Refused => (RED, "nodes refuse it"),
        };
        let _ = writeln!(text, "{}: {}", self.document, colour.paint(code, verdict));
        let Some(digest) = self.digest else {
            return text;
        };
        let form = match self.form {
            "json" => "JSON",
            "text" => "authorized_keys text",
            _ => "rotation secret",
        };
        let _ = writeln!(text, "  form      {form}, {}", counted(self.bytes, "byte"));
        let facts = [
            ("name", self.name.as_ref().map(Name::to_string)),
            ("serial", self.serial.map(|serial| serial.to_string())),
            ("audience", self.audience.as_ref().map(Name::to_string)),
            ("expires", self.expires.map(|expires| when(expires, now))),
            ("digest", Some(digest.to_string())),
            ("signed", self.signed_by()),
        ];
        for (fact, value) in facts {
            if let Some(value) = value {
                let _ = writeln!(text, "  {fact:<9} {value}");
            }
        }
        let _ = writeln!(text, "{}", colour.paint(BOLD, &self.counted));
        for key in &self.keys {
            key.render(&mut text, now, colour);
        }
        if !self.revoked.is_empty() {
            let heading = format!("{} revoked", self.revoked.len());
            let _ = writeln!(text, "{}", colour.paint(BOLD, &heading));
        }
        for revoked in &self.revoked {
            let _ = writeln!(text, "  {}", colour.paint(RED, &format!("- {revoked}")));
        }
        for bad in &self.left_out {
            let line = format!("  ! line {} left out: {}", bad.line, bad.reason);
            let _ = writeln!(text, "{}", colour.paint(YELLOW, &line));
        }
        text
    }
}

impl KeyFound {
    pub(super) fn new(judged: &JudgedKey<'_>) -> Self {
        let line = &judged.key.line;
        let accounts = judged.key.accounts.as_ref();
        Self {
            fingerprint: line.key.fingerprint(),
            kind: line.key.kind().to_owned(),
            comment: line.comment.clone(),
            options: line.options.to_string(),
            accounts: accounts.map(|accounts| accounts.iter().cloned().collect()),
            not_before: judged.key.not_before,
            not_after: judged.until,
            state: judged.state,
        }
    }

    fn render(&self, text: &mut String, now: Timestamp, colour: Colour) {
        let (sign, code, word) = match self.state {
            KeyState::InForce => ('+', GREEN, "in force"),
            KeyState::NotYet => ('.', YELLOW, "not yet in force"),
            KeyState::Over => ('-', YELLOW, "over"),
            KeyState::Revoked => ('-', RED, "revoked"),
        };
        let line = format!("{sign} {} {} {}", self.fingerprint, self.kind, self.comment);
        let _ = writeln!(text, "  {}", colour.paint(code, line.trim_end()));
        let mut facts = vec![word.to_owned()];
        if let Some(from) = self.not_before {
            facts.push(format!("from {}", when(from, now)));
        }
        if let Some(until) = self.not_after {
            facts.push(format!("until {}", when(until, now)));
        }
        match self.accounts.as_deref() {
            None => {}
            Some([]) => facts.push("for no account".to_owned()),
            Some(accounts) => {
                let names: Vec<&str> = accounts.iter().map(UserName::as_str).collect();
                facts.push(format!("for {}", names.join(", ")));
            }
        }
        if !self.options.is_empty() {
            facts.push(format!("options {}", self.options));
        }
        let _ = writeln!(text, "      {}", facts.join("; "));
    }
}

//! `authkeysctl lint`: what a node would say about a document.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::input::{self, Bytes, shown};
use super::reading::ReadFrom;
use super::verify::{read_signers, signing_key};
use super::{Exit, Judging, Lint, complain, print, print_json};
use authkeys_core::config::{Config, SignersConfig};
use authkeys_core::document::{
    self, Digest, Document, Envelope, Form, LeftOut, Name, Rules, Serial,
};
use authkeys_core::guard::Guard;
use authkeys_core::key::Fingerprint;
use authkeys_core::outcome::chain;
use authkeys_core::publishing::findings::{self, Judged, State, when};
use authkeys_core::publishing::place::Place;
use authkeys_core::report::text::Colour;
use authkeys_core::user::UserName;
use authkeys_core::verify::{Signers, Trust, verify, verify_signer};
use authkeys_core::words::counted;
use authkeys_terminal::bounded;
use authkeys_terminal::{block_on, clock, colour};

/// The size limit of a configuration file, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// How a node judges documents: by its configuration, or by authkeysd's defaults.
pub(super) struct Judge {
    rules: Rules,
    guard: Guard,
    /// `None`: the node is assumed to have whichever audience the document names.
    audience: Option<Option<Name>>,
    /// The signers whose signatures count; `None`: unsigned documents are accepted.
    signers: Option<Signers>,
}

/// Lint's findings, in the shape that `--json` prints (docs/output.md).
#[derive(Debug, Serialize)]
pub(super) struct LintReport {
    schema: u8,
    version: &'static str,
    pub(super) document: String,
    status: Verdict,
    /// Whether it is past its `expires`.
    #[serde(skip)]
    expired: bool,
    form: &'static str,
    bytes: usize,
    name: Option<Name>,
    serial: Option<Serial>,
    audience: Option<Name>,
    expires: Option<Timestamp>,
    digest: Option<Digest>,
    signed: bool,
    /// The key that signed it, and its owner if allowed signers are given.
    pub(super) signing_key: Option<Fingerprint>,
    pub(super) signer: Option<String>,
    keys: Vec<KeyFound>,
    /// The number of keys, in words.
    #[serde(skip)]
    counted: String,
    revoked: Vec<Fingerprint>,
    left_out: Vec<LeftOut>,
    /// Why it is not `ok`.
    pub(super) faults: Vec<String>,
    /// What may be unintended.
    pub(super) warnings: Vec<String>,
    /// Why its signature does not count.
    #[serde(skip)]
    pub(super) signature_fault: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
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
    state: State,
}

/// Runs the command.
pub(super) fn run(options: &Lint) -> Result<Exit, Exit> {
    let judge = Judge::new(&options.judging, options.allowed_signers.as_deref())?;
    let (name, bytes) = document(&options.document)?;
    let now = clock();
    let (report, _) = judge.examine(&name, &bytes, now);
    let printed = if options.json {
        print_json(&report)
    } else {
        print(report.render(now, colour()))
    };
    report.tell();
    Ok(if report.faults.is_empty() && printed {
        Exit::Good
    } else {
        Exit::Failed
    })
}

/// The name and the bytes of the document, from a file or a source.
fn document(path: &Path) -> Result<(String, Bytes), Exit> {
    let Some(url) = path.to_str().filter(|text| Place::is_url(text)) else {
        return Ok((shown(path), input::read(path)?));
    };
    let origin = ReadFrom::parse(url)?;
    let found = block_on(origin.read()).unwrap_or_else(|fault| {
        complain(&format!("cannot start: {fault}"));
        Err(Exit::Failed)
    })?;
    Ok((origin.name(), found.bytes))
}

impl Judge {
    /// The judge that a configuration describes, with the signers that it names or those in
    /// `allowed_signers` instead; without a configuration, the defaults. Faults are reported.
    pub(super) fn new(options: &Judging, allowed_signers: Option<&Path>) -> Result<Self, Exit> {
        let (mut judge, configured) = Self::configured(options)?;
        let (principals, path) = match configured {
            Some(SignersConfig { path, principals }) => (principals, Some(path)),
            None => (None, None),
        };
        let min_rsa_bits = options
            .config
            .as_ref()
            .map(|_| judge.rules.line.min_rsa_bits);
        // The file that the configuration names may exist only on the node, not here.
        let path = allowed_signers.map(Path::to_owned).or(path);
        judge.signers = path
            .map(|path| read_signers(&path, principals.as_deref(), min_rsa_bits))
            .transpose()?;
        Ok(judge)
    }

    /// The same judge, for documents that are not yet signed.
    pub(super) fn before_signing(options: &Judging) -> Result<Self, Exit> {
        Self::configured(options).map(|(judge, _)| judge)
    }

    fn configured(options: &Judging) -> Result<(Self, Option<SignersConfig>), Exit> {
        let (rules, guard, configured, signers) =
            match options.config.as_deref().map(read_config).transpose()? {
                Some(config) => {
                    // If only some accounts' sources accept private keys, a document for all of
                    // them must not contain one.
                    let allow_private_key = config
                        .sources()
                        .iter()
                        .all(|source| source.allow_private_key);
                    let rules = Rules {
                        line: config.line_rules,
                        allow_private_key,
                    };
                    (
                        rules,
                        config.guard,
                        Some(config.trust.audience),
                        config.signers,
                    )
                }
                None => (Rules::default(), Guard::default(), None, None),
            };
        let audience = if options.audience.is_some() {
            Some(options.audience.clone())
        } else {
            configured
        };
        Ok((
            Self {
                rules,
                guard,
                audience,
                signers: None,
            },
            signers,
        ))
    }

    /// Refuses private keys even if the configuration allows them.
    pub(super) fn refuse_private_keys(&mut self) {
        self.rules.allow_private_key = false;
    }

    /// Why the signature of a document does not count; `None` if there is no objection to it.
    pub(super) fn distrust(
        &self,
        document: &Document,
        bytes: &[u8],
        now: Timestamp,
    ) -> Option<String> {
        match &self.signers {
            Some(signers) => verify_signer(document, bytes, Some(signers), now)
                .err()
                .map(|fault| chain(&fault)),
            None => signing_key(bytes).err(),
        }
    }

    /// Accepts documents without keys: a node's `min_keys` is not a fault of the document.
    pub(super) fn allow_no_keys(&mut self) {
        self.guard.min_keys = 0;
    }

    /// Accepts rotation secrets: only the public half is read, and nothing of the private half is
    /// kept or shown.
    pub(super) fn allow_private_keys(&mut self) {
        self.rules.allow_private_key = true;
    }

    /// The number of keys that nodes require.
    pub(super) fn min_keys(&self) -> usize {
        self.guard.min_keys
    }

    /// The same judge, for a document that is not yet signed.
    pub(super) fn without_signers(&self) -> Self {
        Self {
            rules: self.rules.clone(),
            guard: self.guard,
            audience: self.audience.clone(),
            signers: None,
        }
    }

    /// The rules for parsing documents.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Judges a document; also returns its contents, if they can be read.
    pub(super) fn examine(
        &self,
        name: &str,
        bytes: &[u8],
        now: Timestamp,
    ) -> (LintReport, Option<Document>) {
        let form = document::form(bytes);
        let signed =
            form != Form::Text && Envelope::split(bytes).is_ok_and(|e| e.signature.is_some());
        let mut report = LintReport::new(name, form, bytes.len(), signed);
        match document::parse(bytes, &self.rules) {
            Err(fault) => {
                report.status = Verdict::Refused;
                report.faults.push(chain(&fault));
                (report, None)
            }
            Ok(document) => {
                self.judge(&mut report, &document, form, now);
                self.judge_signature(&mut report, &document, bytes, now);
                (report, Some(document))
            }
        }
    }

    fn judge(&self, report: &mut LintReport, document: &Document, form: Form, now: Timestamp) {
        let keys = findings::judge(document, now);
        let min_keys = self.guard.min_keys;
        report.faults.extend(
            document
                .left_out
                .iter()
                .map(|bad| format!("line {} is left out: {}", bad.line, bad.reason)),
        );
        if !document.left_out.is_empty() {
            report.status = Verdict::Degraded;
        }
        let audience = self
            .audience
            .clone()
            .unwrap_or_else(|| document.audience.clone());
        let distrust = verify(document, &Trust { audience }, None)
            .err()
            .map(|fault| chain(&fault));
        let refused: Vec<_> = distrust
            .into_iter()
            .chain(findings::faults(document, &keys, min_keys, now))
            .collect();
        report.expired = document.expires.is_some_and(|expires| expires <= now);
        if refused.len() > usize::from(report.expired) {
            report.status = Verdict::Refused;
        } else if report.expired && report.status == Verdict::Ok {
            report.status = Verdict::Stale;
        }
        report.faults.extend(refused);
        report.warnings = findings::warnings(document, form, report.signed, &keys, min_keys, now);
        report.warnings.extend(document.altered_comments());
        report.name.clone_from(&document.name);
        report.serial = document.serial;
        report.audience.clone_from(&document.audience);
        report.expires = document.expires;
        report.digest = Some(document.digest);
        report.counted = findings::counted_keys(&keys);
        report.keys = keys.iter().map(KeyFound::new).collect();
        report.revoked = document.revoked.iter().copied().collect();
        report.left_out.clone_from(&document.left_out);
    }
}

impl Judge {
    /// Judges the signature. An invalid one is a fault even if no signature is required.
    fn judge_signature(
        &self,
        report: &mut LintReport,
        document: &Document,
        bytes: &[u8],
        now: Timestamp,
    ) {
        let found = match &self.signers {
            // Use the node's own wording.
            Some(signers) => verify_signer(document, bytes, Some(signers), now)
                .map_err(|fault| chain(&fault))
                .and_then(|who| Ok((who, signing_key(bytes)?))),
            None => signing_key(bytes).map(|key| (None, key)),
        };
        match found {
            Ok((who, key)) => {
                report.signing_key = key.map(|key| key.fingerprint());
                report.signer = who;
            }
            Err(fault) => {
                report.status = Verdict::Refused;
                report.signature_fault = Some(fault.clone());
                report.faults.push(fault);
            }
        }
    }
}

/// Unlike a node's own configuration, the one given here may be anywhere and belong to anyone.
fn read_config(path: &Path) -> Result<Config, Exit> {
    let failed = |why: &str| {
        complain(&format!("{}: {why}", path.display()));
        Exit::Config
    };
    let found = bounded::read(path, MAX_CONFIG).map_err(|fault| failed(&fault.beside(path)))?;
    let found = found.ok_or_else(|| {
        failed("there is no such file; name a node's configuration with --config")
    })?;
    let text = String::from_utf8(found.content).map_err(|_| failed("it is not UTF-8"))?;
    Config::parse(&text).map_err(|faults| {
        faults
            .iter()
            .for_each(|fault| complain(&format!("{}:{}: {fault}", path.display(), fault.line)));
        Exit::Config
    })
}

impl LintReport {
    fn new(name: &str, form: Form, bytes: usize, signed: bool) -> Self {
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

    /// Leaves out the keys that do not give access to an account.
    pub(super) fn keep_keys_of(&mut self, user: &UserName) {
        self.keys.retain(|key| {
            key.accounts
                .as_ref()
                .is_none_or(|accounts| accounts.contains(user))
        });
    }

    /// The key that signed it, and its owner if known.
    pub(super) fn signed_by(&self) -> Option<String> {
        let key = self.signing_key?;
        Some(match &self.signer {
            Some(who) => format!("by {who}, {key}"),
            None => format!("by {key}; whose that is --allowed-signers would tell"),
        })
    }

    /// Why it must not be published.
    pub(super) fn unfit(&self) -> Option<&'static str> {
        match self.status {
            Verdict::Refused => Some("nodes would refuse it"),
            _ if self.has_only_expired() => Some("nodes would be stale"),
            _ => None,
        }
    }

    /// Whether nodes refuse it only because it has expired.
    pub(super) fn has_only_expired(&self) -> bool {
        self.expired && self.status != Verdict::Refused
    }

    /// Prints faults and warnings to stderr, one per line.
    pub(super) fn tell(&self) {
        self.faults
            .iter()
            .for_each(|fault| complain(&format!("{}: {fault}", self.document)));
        self.warnings
            .iter()
            .for_each(|warning| complain(&format!("warning: {}: {warning}", self.document)));
    }

    fn render(&self, now: Timestamp, colour: Colour) -> String {
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
            let _ = writeln!(
                text,
                "{}",
                colour.paint(BOLD, &format!("{} revoked", self.revoked.len()))
            );
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

const BOLD: u8 = 1;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

impl KeyFound {
    fn new(judged: &Judged<'_>) -> Self {
        let line = &judged.key.line;
        Self {
            fingerprint: line.key.fingerprint(),
            kind: line.key.kind().to_owned(),
            comment: line.comment.clone(),
            options: line.options.to_string(),
            accounts: judged
                .key
                .accounts
                .as_ref()
                .map(|accounts| accounts.iter().cloned().collect()),
            not_before: judged.key.not_before,
            not_after: judged.until,
            state: judged.state,
        }
    }

    fn render(&self, text: &mut String, now: Timestamp, colour: Colour) {
        let (sign, code, word) = match self.state {
            State::InForce => ('+', GREEN, "in force"),
            State::NotYet => ('.', YELLOW, "not yet in force"),
            State::Over => ('-', YELLOW, "over"),
            State::Revoked => ('-', RED, "revoked"),
        };
        let line = format!("{sign} {} {} {}", self.fingerprint, self.kind, self.comment);
        let _ = writeln!(text, "  {}", colour.paint(code, line.trim_end()));
        let mut facts = vec![word.to_owned()];
        facts.extend(
            self.not_before
                .map(|from| format!("from {}", when(from, now))),
        );
        facts.extend(
            self.not_after
                .map(|until| format!("until {}", when(until, now))),
        );
        facts.extend(self.accounts.as_ref().map(|accounts| {
            let names: Vec<&str> = accounts.iter().map(UserName::as_str).collect();
            if names.is_empty() {
                "for no account".to_owned()
            } else {
                format!("for {}", names.join(", "))
            }
        }));
        if !self.options.is_empty() {
            facts.push(format!("options {}", self.options));
        }
        let _ = writeln!(text, "      {}", facts.join("; "));
    }
}

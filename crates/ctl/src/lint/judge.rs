//! The judge of a document: as a node with that configuration would be.

use std::path::Path;

use jiff::Timestamp;

use super::report::{LintReport, Verdict};
use crate::verify::{read_signers, signing_key};
use crate::{Exit, Judging, complain, misconfigured};
use authkeys_core::config::{Config, SignersConfig};
use authkeys_core::document::{self, Document, Envelope, Form, Name, Rules};
use authkeys_core::guard::Guard;
use authkeys_core::key::Fingerprint;
use authkeys_core::outcome::chain;
use authkeys_core::publishing::findings;
use authkeys_core::verify::{Signers, Trust, verify, verify_signer};
use authkeys_terminal::bounded;

/// The size limit of a configuration file, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// How a node judges documents: by its configuration, or by authkeysd's defaults.
pub(crate) struct Judge {
    rules: Rules,
    guard: Guard,
    /// `None`: the node is assumed to have whichever audience the document names.
    audience: Option<Option<Name>>,
    /// The signers whose signatures count; `None`: unsigned documents are accepted.
    signers: Option<Signers>,
}

impl Judge {
    /// The judge that a configuration describes, with the signers that it names or those in
    /// `allowed_signers` instead; without a configuration, the defaults. Faults are reported.
    pub(crate) fn new(options: &Judging, allowed_signers: Option<&Path>) -> Result<Self, Exit> {
        let (mut judge, configured) = Self::configured(options)?;
        let mut principals = None;
        let mut path = None;
        if let Some(signers) = configured {
            principals = signers.principals;
            path = Some(signers.path);
        }
        // The file that the configuration names may exist only on the node, not here.
        if let Some(given) = allowed_signers {
            path = Some(given.to_owned());
        }
        let min_rsa_bits = match options.config {
            Some(_) => Some(judge.rules.line.min_rsa_bits),
            None => None,
        };
        if let Some(path) = path {
            let signers = read_signers(&path, principals.as_deref(), min_rsa_bits)?;
            judge.signers = Some(signers);
        }
        Ok(judge)
    }

    /// The same judge, for documents that are not yet signed.
    pub(crate) fn before_signing(options: &Judging) -> Result<Self, Exit> {
        let (judge, _) = Self::configured(options)?;
        Ok(judge)
    }

    /// The judge, and the signers that the configuration names.
    fn configured(options: &Judging) -> Result<(Self, Option<SignersConfig>), Exit> {
        let mut judge = Self {
            rules: Rules::default(),
            guard: Guard::default(),
            audience: None,
            signers: None,
        };
        let mut signers = None;
        if let Some(path) = &options.config {
            let config = read_config(path)?;
            // If only some accounts' sources accept private keys, a document for all of them must
            // not contain one.
            let sources = config.sources();
            judge.rules.allow_private_key = sources.iter().all(|source| source.allow_private_key);
            judge.rules.line = config.line_rules;
            judge.guard = config.guard;
            judge.audience = Some(config.trust.audience);
            signers = config.signers;
        }
        if options.audience.is_some() {
            judge.audience = Some(options.audience.clone());
        }
        Ok((judge, signers))
    }

    /// Refuses private keys even if the configuration allows them.
    pub(crate) fn refuse_private_keys(&mut self) {
        self.rules.allow_private_key = false;
    }

    /// Why the signature of a document does not count; `None` if there is no objection to it.
    pub(crate) fn distrust(
        &self,
        document: &Document,
        bytes: &[u8],
        now: Timestamp,
    ) -> Option<String> {
        let Some(signers) = &self.signers else {
            return signing_key(bytes).err();
        };
        match verify_signer(document, bytes, Some(signers), now) {
            Ok(_) => None,
            Err(fault) => Some(chain(&fault)),
        }
    }

    /// Accepts documents without keys: a node's `min_keys` is not a fault of the document.
    pub(crate) fn allow_no_keys(&mut self) {
        self.guard.min_keys = 0;
    }

    /// Accepts rotation secrets: only the public half is read, and nothing of the private half is
    /// kept or shown.
    pub(crate) fn allow_private_keys(&mut self) {
        self.rules.allow_private_key = true;
    }

    /// The number of keys that nodes require.
    pub(crate) fn min_keys(&self) -> usize {
        self.guard.min_keys
    }

    /// The same judge, for a document that is not yet signed.
    pub(crate) fn without_signers(&self) -> Self {
        Self {
            rules: self.rules.clone(),
            guard: self.guard,
            audience: self.audience.clone(),
            signers: None,
        }
    }

    /// The rules for parsing documents.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Judges a document; also returns its contents, if they can be read.
    pub(crate) fn examine(
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
        for bad in &document.left_out {
            let fault = format!("line {} is left out: {}", bad.line, bad.reason);
            report.faults.push(fault);
            report.status = Verdict::Degraded;
        }
        let audience = match &self.audience {
            Some(audience) => audience.clone(),
            None => document.audience.clone(),
        };
        let mut refused = Vec::new();
        if let Err(fault) = verify(document, &Trust { audience }, None) {
            refused.push(chain(&fault));
        }
        refused.extend(findings::faults(document, &keys, min_keys, now));
        report.expired = document.expires.is_some_and(|expires| expires <= now);
        if refused.len() > usize::from(report.expired) {
            report.status = Verdict::Refused;
        } else if report.expired && report.status == Verdict::Ok {
            report.status = Verdict::Stale;
        }
        report.faults.extend(refused);
        report.warnings = findings::warnings(document, form, report.signed, &keys, min_keys, now);
        report.warnings.extend(document.altered_comments());
        report.describe(document, &keys);
    }

    /// Judges the signature. An invalid one is a fault even if no signature is required.
    fn judge_signature(
        &self,
        report: &mut LintReport,
        document: &Document,
        bytes: &[u8],
        now: Timestamp,
    ) {
        match self.signer(document, bytes, now) {
            Ok((who, key)) => {
                report.signing_key = key;
                report.signer = who;
            }
            Err(fault) => {
                report.status = Verdict::Refused;
                report.signature_fault = Some(fault.clone());
                report.faults.push(fault);
            }
        }
    }

    /// Who signed a document, if allowed signers are known, and the key that did.
    fn signer(
        &self,
        document: &Document,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(Option<String>, Option<Fingerprint>), String> {
        let mut who = None;
        if self.signers.is_some() {
            // Use the node's own wording.
            who = verify_signer(document, bytes, self.signers.as_ref(), now)
                .map_err(|fault| chain(&fault))?;
        }
        let key = signing_key(bytes)?;
        Ok((who, key.map(|key| key.fingerprint())))
    }
}

/// Unlike a node's own configuration, the one given here may be anywhere and belong to anyone.
fn read_config(path: &Path) -> Result<Config, Exit> {
    let found = match bounded::read(path, MAX_CONFIG) {
        Ok(Some(found)) => found,
        Ok(None) => {
            return Err(misconfigured(
                path,
                "no such file; name a node's configuration with --config",
            ));
        }
        Err(fault) => return Err(misconfigured(path, &fault.beside(path))),
    };
    let Ok(text) = String::from_utf8(found.content) else {
        return Err(misconfigured(path, "it is not UTF-8"));
    };
    Config::parse(&text).map_err(|faults| {
        for fault in faults {
            complain(&format!("{}:{}: {fault}", path.display(), fault.line));
        }
        Exit::Config
    })
}

//! `check --online`: fetches each source and judges its document, as a cycle would, and writes nothing.

use super::{Finding, Level, good_keys, report, source_exit, sources};
use crate::command::block_on;
use crate::config::Config;
use crate::document::{self, Rules};
use crate::outcome::chain;
use crate::source::{Fetch as _, Fetched, Part, Sources, Stage};
use crate::verify::{Signers, Trust, verify, verify_signer};

pub(super) fn examine(config: &Config, signers: Option<&Signers>) -> Vec<Finding> {
    block_on(examine_all(config, signers))
        .unwrap_or_else(|fault| vec![Finding::new(Level::Failed, "source", "all", format!("cannot start: {fault}"))])
}

async fn examine_all(config: &Config, signers: Option<&Signers>) -> Vec<Finding> {
    let fetch = Sources::default();
    let mut findings = Vec::new();
    for (url, account) in sources(config) {
        let subject = url.to_string();
        let finding = |level, message: String| Finding::new(level, "source", &subject, message);
        match fetch.fetch(url, None).await {
            Err(error) => {
                let exit = source_exit(error.class);
                findings.push(Finding { exit, ..finding(Level::Failed, error.to_string()) });
            }
            Ok(Fetched::Unchanged) => {
                findings.push(finding(Level::Failed, "it says \"unchanged\" although nothing was known".to_owned()));
            }
            Ok(Fetched::Documents { current, further }) => {
                let staged = !further.is_empty();
                for (stage, part) in std::iter::once((Stage::Current, current)).chain(further) {
                    let (level, message) = judged(&part, &config.rules(account), &config.trust, signers);
                    let message = if staged { format!("{stage}: {message}") } else { message };
                    findings.push(finding(level, message));
                }
            }
        }
    }
    findings.extend(report::examine_online(&config.report, fetch.aws()).await);
    findings
}

fn judged(part: &Part, rules: &Rules, trust: &Trust, signers: Option<&Signers>) -> (Level, String) {
    let document = match document::parse(&part.bytes, rules) {
        Ok(document) => document,
        Err(refused) => return (Level::Failed, chain(&refused)),
    };
    let signer = verify_signer(&document, &part.bytes, signers, crate::command::sync::clock());
    let signer = match signer.and_then(|signer| verify(&document, trust, None).map(|_| signer)) {
        Ok(signer) => signer.map(|who| format!(", signed by {who}")).unwrap_or_default(),
        Err(distrust) => return (Level::Failed, chain(&distrust)),
    };
    if document.left_out.is_empty() {
        return (Level::Ok, format!("{}, version {}{signer}", good_keys(document.keys.len()), part.version.label));
    }
    let bad: Vec<String> = document.left_out.iter().map(|bad| format!("line {}: {}", bad.line, bad.reason)).collect();
    (Level::Failed, format!("bad keys would be left out: {}", bad.join("; ")))
}

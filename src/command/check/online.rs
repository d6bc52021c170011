//! `check --online`: fetches each source and judges its document, as a cycle would, and writes nothing.

use zeroize::Zeroizing;

use super::{Finding, Level, good_keys, source_exit, sources};
use crate::command::block_on;
use crate::config::Config;
use crate::document;
use crate::outcome::chain;
use crate::source::{Fetch as _, Fetched, Sources};
use crate::verify::verify;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    block_on(examine_all(config))
        .unwrap_or_else(|fault| vec![Finding::new(Level::Failed, "source", "all", format!("cannot start: {fault}"))])
}

async fn examine_all(config: &Config) -> Vec<Finding> {
    let fetch = Sources::default();
    let mut findings = Vec::new();
    for (url, account) in sources(config) {
        let subject = url.to_string();
        let finding = |level, message: String| Finding::new(level, "source", &subject, message);
        findings.push(match fetch.fetch(url, None).await {
            Err(error) => Finding { exit: source_exit(error.class), ..finding(Level::Failed, error.to_string()) },
            Ok(Fetched::Unchanged) => {
                finding(Level::Failed, "it says \"unchanged\" although nothing was known".to_owned())
            }
            Ok(Fetched::Document { bytes, version }) => {
                match document::parse(&Zeroizing::new(bytes), &config.rules(account)) {
                    Err(refused) => finding(Level::Failed, chain(&refused)),
                    Ok(document) => match verify(&document, &config.trust, None) {
                        Err(distrust) => finding(Level::Failed, chain(&distrust)),
                        Ok(_) if document.left_out.is_empty() => {
                            let keys = good_keys(document.keys.len());
                            finding(Level::Ok, format!("{keys}, version {}", version.label))
                        }
                        Ok(_) => {
                            let bad: Vec<String> = document
                                .left_out
                                .iter()
                                .map(|bad| format!("line {}: {}", bad.line, bad.reason))
                                .collect();
                            finding(Level::Failed, format!("bad keys would be left out: {}", bad.join("; ")))
                        }
                    },
                }
            }
        });
    }
    findings
}

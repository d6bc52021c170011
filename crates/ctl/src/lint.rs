//! `authkeysctl lint`: what a node would say about a document.

use std::path::Path;

use super::input::{self, Bytes, shown};
use super::reading::ReadFrom;
use super::{Exit, Lint, print, print_json, run_to_end};
use authkeys_core::publishing::place::Place;
use authkeys_terminal::{clock, colour};

pub(super) use judge::Judge;
pub(super) use report::LintReport;

mod judge;
mod report;

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
    if report.faults.is_empty() && printed {
        Ok(Exit::Good)
    } else {
        Ok(Exit::Failed)
    }
}

/// The name and the bytes of the document, from a file or a source.
fn document(path: &Path) -> Result<(String, Bytes), Exit> {
    let Some(url) = path.to_str().filter(|text| Place::is_url(text)) else {
        return Ok((shown(path), input::read(path)?));
    };
    let origin = ReadFrom::parse(url)?;
    let found = run_to_end(origin.read())?;
    Ok((origin.name(), found.bytes))
}

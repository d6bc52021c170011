//! Writes the metrics where node_exporter's textfile collector reads them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::file;
use authkeys_core::outcome::Outcome;
use authkeys_core::report::metrics::{Counters, render};

/// Why the metrics could not be written.
#[derive(Debug, Error)]
#[error("cannot write {path}: make its directory, or correct [report] prometheus")]
pub struct MetricsFileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Replaces the file; the directory must exist. `counters` are the service's.
pub fn write(path: &Path, outcome: &Outcome, counters: Option<&Counters>) -> Result<(), MetricsFileError> {
    let text = render(outcome, counters);
    file::replace(path, |file| file.write_all(text.as_bytes()))
        .map_err(|source| MetricsFileError { path: path.to_owned(), source })
}

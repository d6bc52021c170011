//! Writes the metrics where node_exporter's textfile collector reads them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::file;

/// Why the metrics could not be written.
#[derive(Debug, Error)]
#[error("cannot write {path}: make its directory, or correct [report] prometheus")]
pub struct MetricsFileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Replaces the file with rendered metrics. The directory must exist.
pub fn write(path: &Path, text: &str) -> Result<(), MetricsFileError> {
    file::replace(path, |file| file.write_all(text.as_bytes())).map_err(|source| MetricsFileError {
        path: path.to_owned(),
        source,
    })
}

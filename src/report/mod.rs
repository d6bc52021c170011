//! Writes an outcome on the node itself: to files and the journal.

pub mod beside;
mod file;
pub mod journal;
pub mod metrics_file;
pub mod presence;
pub mod status_file;
mod writer;

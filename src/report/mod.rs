//! Where an outcome is written on the node itself.

pub mod beside;
mod file;
pub mod journal;
pub mod metrics_file;
pub mod presence;
pub mod status_file;
mod writer;

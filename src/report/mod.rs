//! What people and programs get to see of an outcome.

pub mod deliver;
pub mod entries;
mod file;
pub mod journal;
pub mod json;
pub mod kind;
pub mod metrics;
pub mod metrics_file;
pub mod object;
pub mod presence;
pub(crate) mod scrub;
pub mod status_file;
pub mod summary;
pub mod tags;
pub mod text;

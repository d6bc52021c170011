//! How an outcome is shown to people and programs.

pub mod delivery;
pub mod entries;
pub mod json;
pub mod kind;
pub mod metrics;
pub mod object;
pub mod scrub;
pub mod summary;
pub mod tags;
pub mod text;

//! What people and programs get to see of an outcome.

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

//! What people and programs get to see of an outcome.

pub mod entries;
pub mod journal;
pub mod kind;
pub mod status_file;
pub mod text;

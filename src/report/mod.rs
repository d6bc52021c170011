//! What people and programs get to see of an outcome.

pub mod text;

//! What must hold for any input: the properties behind the fuzz targets, one module for each
//! target. Each `check` panics where its property fails. crates/core/tests/core/fuzz_seeds.rs
//! includes this file and runs it over the committed seeds.

pub mod allowed_signers;
pub mod json_document;
pub mod key_line;
pub mod signed_envelope;
pub mod text_document;
pub mod wire;

mod key_set;
mod plans;
mod rules;

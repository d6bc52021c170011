//! Documents and examples hold what they say.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

mod ci;
mod configure_guide;
mod demo;
mod document_schema;
mod documents_agree;
mod examples;
mod failures;
mod install_guide;
mod manual;
mod operate_guide;
mod policies;
mod readme;
mod references;
mod release;
mod repository;
mod rotation_examples;
mod secrets_guide;
mod signatures_without_ssh_keygen;

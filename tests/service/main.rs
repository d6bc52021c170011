//! The running service: its schedule, its signals, its sources on the network, what it reports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

mod instance;
mod journal;
mod memory_wiped;
mod nudge;
mod pressure;
mod reports;
mod service;
mod service_moto;
mod signed_documents;
mod source_environment;
mod source_network;
mod source_profiles;
mod source_secrets_moto;
mod status;
mod tls_server;

//! The pure core and the agent's cycle, without network, root or real files of accounts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

mod config;
mod cycles;
mod documents;
mod findings;
mod fleet;
mod fleet_fixture;
mod fleet_shown;
mod fragments;
mod histories;
mod key_lines;
mod keys;
mod memory;
mod mistakes;
mod plans;
mod readable;
mod reports;
mod schedules;
mod signed;
mod signers;
mod stages;
mod verify;
mod weak_keys;
mod world;

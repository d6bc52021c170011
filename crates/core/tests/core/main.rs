//! Everything that is decided without a file, a clock or a network.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

mod config;
mod documents;
mod findings;
mod fleet;
mod fleet_shown;
mod fleet_simulation;
mod fuzz_seeds;
mod key_lines;
mod nudge_simulation;
mod objects;
mod pasted;
mod plan_properties;
mod plan_windows;
mod plans;
mod report_simulation;
mod schedules;
mod signers;
mod verify;

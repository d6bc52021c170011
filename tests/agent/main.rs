//! What one cycle decides and does, against its library and its program: without a disk, and on the
//! worst of disks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

mod command_line;
mod cron_sync;
mod cycles;
mod dead;
mod disk;
mod fallback;
mod fragments;
mod histories;
mod home;
mod host_disk;
mod host_hostile_user;
mod host_hung;
mod host_kill;
mod host_other_writers;
mod host_power_loss;
mod hostile_fetcher;
mod hung_account;
mod killed_sync;
mod many_accounts;
mod memory;
mod memory_bound;
mod mistakes;
mod readable;
mod released;
mod reports;
mod several_sources;
mod signed;
mod soak;
mod stages;
mod sync_from_s3;
mod unchanged_poll;
mod unwritable_state;
mod weak_keys;
mod world;

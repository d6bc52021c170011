//! Booted Debian systems (tests/lab/box.sh): the unit, the packages, and what the README says of
//! both.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

mod arm64;
mod booted_unit;
mod built;
mod halves;
mod one_process;
mod package_booted;
mod packages;
mod readme_booted;
mod rpm_booted;
mod suites;

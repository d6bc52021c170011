//! The sources and EC2's calls, against stand-ins and moto.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

mod ec2;
mod fetching;
mod isolated;
mod objects;
mod prefix;
mod s3_faults;
mod s3_moto;
mod secret_faults;

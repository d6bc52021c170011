//! The sources that AWS holds: each brings bytes and a version, and never parses what it brought.

pub use sources::Sources;

pub(crate) mod listing;
mod parameter;
mod prefix;
mod s3;
mod secret;
mod sources;

//! The sources that AWS holds: each brings bytes and a version, and never parses what it brought.

pub use sources::Sources;

mod parameter;
mod prefix;
mod s3;
mod secret;
mod sources;

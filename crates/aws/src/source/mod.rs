//! The sources in AWS: each fetches bytes and a version, and never parses the bytes.

pub use sources::AwsSources;

pub(crate) mod listing;
mod parameter;
mod prefix;
mod s3;
mod secret;
mod sources;

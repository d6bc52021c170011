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
mod json_service_faults;
mod json_services;
mod objects;
mod parameter_store;
mod prefix;
mod s3_documents;
mod s3_errors;
mod s3_moto;
mod s3_object;
mod s3_settings;
mod secrets_manager;

//! Everything of authkeysd that speaks to AWS: sources, publishing, reports, EC2, the metadata
//! service; one HTTP client, one retry policy, and failures that are classed once and name their
//! remedy.

pub mod client;
pub mod credential;
pub mod deliver;
pub mod ec2;
mod encryption;
pub mod kms;
pub mod objects;
pub mod pair_secret;
mod request;
pub mod source;
pub mod target;

//! Everything in authkeysd that calls AWS: sources, publishing, reports, EC2, the metadata service.
//! There is one HTTP client and one retry policy, and each failure is classed once and names its
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

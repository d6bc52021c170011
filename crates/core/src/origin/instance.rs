//! Which EC2 instance this node is.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::arn::is_region;

/// An instance, according to its identity document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id, such as `i-0123456789abcdef0`. It is safe in a query, a file name and an object key.
    pub id: String,
    /// The region that it runs in.
    pub region: String,
    /// The account that it belongs to.
    pub account: String,
}

/// Why the instance is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum NoInstance {
    /// Disabled by the environment.
    #[error("the metadata service is not asked, for AWS_EC2_METADATA_DISABLED is set")]
    Disabled,
    /// Nothing indicates that this is an instance, and the metadata service does not answer.
    #[error("this is not an EC2 instance: {why}")]
    NotOnEc2 {
        /// What happened instead of an answer.
        why: String,
    },
    /// This is an instance, or the metadata service is configured, but the service does not give a
    /// valid answer.
    #[error("the metadata service {why}")]
    Unreachable {
        /// What is wrong, and what to do.
        why: String,
    },
}

impl Instance {
    /// Whether all three fields have the form that AWS uses.
    pub fn is_valid(&self) -> bool {
        let digits = self.account.bytes().all(|b| b.is_ascii_digit());
        is_instance_id(&self.id) && is_region(&self.region) && self.account.len() == 12 && digits
    }
}

fn is_instance_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("i-") else {
        return false;
    };
    (1..=32).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
}

//! Which EC2 instance this node is.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::arn::is_region;

/// An instance, as its identity document names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id, such as `i-0123456789abcdef0`: fit for a form, a file's name, or an object's key.
    pub id: String,
    /// The region that it runs in.
    pub region: String,
    /// The account that it belongs to.
    pub account: String,
}

/// Why it is not known which instance this is.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum NoInstance {
    /// The environment says not to ask.
    #[error("the metadata service is not asked, for AWS_EC2_METADATA_DISABLED is set")]
    Disabled,
    /// Nothing says that this is an instance, and nobody answers.
    #[error("this is no EC2 instance: {why}")]
    NotOnEc2 {
        /// What came instead of an answer.
        why: String,
    },
    /// It is an instance, or somebody said where the service is, but the service gives no valid
    /// answer.
    #[error("the metadata service {why}")]
    Unreachable {
        /// What is wrong, and what to do.
        why: String,
    },
}

impl Instance {
    /// Whether all three are what AWS uses.
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

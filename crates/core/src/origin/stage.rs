//! The stages of a secret. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The stage of one of a source's documents, ordered by importance. Only secrets have stages other
/// than the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// `AWSCURRENT`, and the only document of every other kind of source.
    #[serde(rename = "AWSCURRENT")]
    Current,
    /// `AWSPENDING`: about to become current.
    #[serde(rename = "AWSPENDING")]
    Pending,
    /// `AWSPREVIOUS`: was current before.
    #[serde(rename = "AWSPREVIOUS")]
    Previous,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "AWSCURRENT",
            Self::Pending => "AWSPENDING",
            Self::Previous => "AWSPREVIOUS",
        })
    }
}

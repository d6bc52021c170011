//! The stages of a secret. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which of a source's documents one is, in the order of their importance. Only a secret has more
/// than the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// `AWSCURRENT`, and the one document of every other kind of source.
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

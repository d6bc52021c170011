//! Why a fetch failed, classed once.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a failed fetch means for the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// May pass by itself: network, throttling, 5xx. Exit code 75; worth a retry.
    Transient,
    /// Not permitted. Exit code 77; waits for somebody to change a policy.
    Denied,
    /// The source does not exist. Exit code 1.
    Missing,
    /// The answer or the request makes no sense: too large, wrong region, bad endpoint. Exit code
    /// 1.
    Invalid,
}

/// A fetch that failed. `message` is one line that names the source, the call, the service's error
/// code and request id where there are any; `remedy` says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}; {remedy}")]
pub struct FetchError {
    /// What it means for the next step.
    pub class: Class,
    /// What failed, for people.
    pub message: String,
    /// What to do about it, for people.
    pub remedy: String,
}

//! Why a fetch failed, classified once.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fault::{FaultClass, FaultCode, known_code};

/// What a failed fetch means for the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// May resolve itself: network, throttling, 5xx. Exit code 75; retried.
    Transient,
    /// Not permitted. Exit code 77; needs a change of a policy.
    Denied,
    /// The source does not exist. Exit code 1.
    Missing,
    /// The answer or the request is invalid: too large, wrong region, bad endpoint. Exit code 1.
    Invalid,
}

impl Class {
    /// Whether a fault with that code leads to the same exit code as such a failure.
    pub fn fits(self, code: FaultCode) -> bool {
        let expected = match self {
            Self::Transient => FaultClass::Unreachable,
            Self::Denied => FaultClass::Denied,
            Self::Missing | Self::Invalid => FaultClass::Failed,
        };
        code.class() == expected
    }
}

/// A failed fetch. `message` is one line that names the source and the call, and the service's
/// error code and request id if there are any. `remedy` says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}; {remedy}")]
pub struct FetchError {
    /// The kind of fault, if it is known more precisely than the class.
    #[serde(default, deserialize_with = "known_code")]
    pub code: Option<FaultCode>,
    /// What it means for the next step.
    pub class: Class,
    /// What failed.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl FetchError {
    /// The fault's code.
    pub fn fault_code(&self) -> FaultCode {
        match (self.code, self.class) {
            (Some(code), _) => code,
            (None, Class::Transient) => FaultCode::SourceUnreachable,
            (None, Class::Denied) => FaultCode::SourceDenied,
            (None, Class::Missing) => FaultCode::SourceMissing,
            (None, Class::Invalid) => FaultCode::SourceInvalid,
        }
    }

    /// The line as printed: what failed, what to do, and the code.
    pub fn with_code(&self) -> String {
        format!("{self} [{}]", self.fault_code())
    }
}

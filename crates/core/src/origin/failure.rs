//! Why a fetch failed, classed once.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fault::{FaultClass, FaultCode, known_code};

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

impl Class {
    /// Whether a fault with that code counts as such a failure does for the exit code.
    pub fn fits(self, code: FaultCode) -> bool {
        let expected = match self {
            Self::Transient => FaultClass::Unreachable,
            Self::Denied => FaultClass::Denied,
            Self::Missing | Self::Invalid => FaultClass::Failed,
        };
        code.class() == expected
    }
}

/// A fetch that failed. `message` is one line that names the source, the call, the service's error
/// code and request id where there are any; `remedy` says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{message}; {remedy}")]
pub struct FetchError {
    /// What kind of fault it is, where more is known than the class says.
    #[serde(default, deserialize_with = "known_code")]
    pub code: Option<FaultCode>,
    /// What it means for the next step.
    pub class: Class,
    /// What failed, for people.
    pub message: String,
    /// What to do about it, for people.
    pub remedy: String,
}

impl FetchError {
    /// The code that people search for.
    pub fn fault_code(&self) -> FaultCode {
        match (self.code, self.class) {
            (Some(code), _) => code,
            (None, Class::Transient) => FaultCode::SourceUnreachable,
            (None, Class::Denied) => FaultCode::SourceDenied,
            (None, Class::Missing) => FaultCode::SourceMissing,
            (None, Class::Invalid) => FaultCode::SourceInvalid,
        }
    }

    /// The line as it is printed: what failed, what to do, and the code.
    pub fn with_code(&self) -> String {
        format!("{self} [{}]", self.fault_code())
    }
}

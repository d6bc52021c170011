//! One call to AWS and its answer, as errors speak of them.

use authkeys_core::fault::FaultCode;
use authkeys_core::origin::failure::{Class, FetchError};

/// One call, as its failures are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The source's URL.
    pub source: String,
    /// Service and operation, as in `S3 GetObject`.
    pub operation: &'static str,
    /// What IAM must allow, as in `s3:GetObject`.
    pub action: &'static str,
    /// On which resource, an ARN.
    pub resource: String,
    /// What else a refusal may mean, a clause; else empty.
    pub or_else: &'static str,
    /// The configured endpoint or the service in its region.
    pub endpoint: String,
}

/// An answer that is an error: what of it the verdict rests on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The service's error code.
    pub code: &'a str,
    /// Its words.
    pub message: &'a str,
    /// Its name for the request.
    pub request_id: &'a str,
    /// Where the resource really is.
    pub region: &'a str,
    /// The server's clock and the time that the request was signed for, as the server tells them.
    pub clocks: Option<(&'a str, &'a str)>,
    /// Whether the object was deleted, but has earlier versions.
    pub delete_marker: bool,
}

impl Call {
    /// A failure of this call.
    pub fn failed(&self, class: Class, what: &str, remedy: impl Into<String>) -> FetchError {
        FetchError {
            code: None,
            class,
            message: format!("{}: {} {what}", self.source, self.operation),
            remedy: remedy.into(),
        }
    }

    /// The same, of which more is known than its class.
    pub fn failed_as(
        &self,
        (class, code): (Class, Option<FaultCode>),
        what: &str,
        remedy: impl Into<String>,
    ) -> FetchError {
        FetchError {
            code,
            ..self.failed(class, what, remedy)
        }
    }

    /// What the message calls the resource.
    pub(super) fn thing(&self) -> &'static str {
        match self.action.split(':').next() {
            Some("s3") => "object",
            Some("secretsmanager") => "secret",
            Some("ssm") => "parameter",
            Some("kms") => "key",
            _ => "resource",
        }
    }
}

//! One call to AWS and its answer, as described in errors.

use authkeys_core::fault::FaultCode;
use authkeys_core::origin::failure::{Class, FetchError};

/// One call, as described in its failures.
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
    /// What else a refusal may mean, as a clause; or empty.
    pub or_else: &'static str,
    /// The configured endpoint or the service in its region.
    pub endpoint: String,
}

/// An error answer: the parts that the verdict depends on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrorAnswer<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The service's error code.
    pub code: &'a str,
    /// Its message.
    pub message: &'a str,
    /// Its id of the request.
    pub request_id: &'a str,
    /// The region where the resource really is.
    pub region: &'a str,
    /// The server's clock and the time that the request was signed for, as the server reports them.
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

    /// The same, with a more precise code than the class gives.
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

    /// What messages call the resource.
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

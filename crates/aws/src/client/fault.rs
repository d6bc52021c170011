//! Classes failed AWS calls once, each with one line that names the remedy.

use std::error::Error;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use http_body_util::LengthLimitError;
use tokio::time::timeout;

pub use super::call::{Call, ErrorAnswer};
pub(crate) use super::codes::LATER;
use super::kind;
use super::reach::{REACH, REGION, unanswered};
use super::values::BadValue;
use super::verdict::verdict;
pub use super::words::{chain, words};
use super::words::{element, find};
use authkeys_core::fault::FaultCode;
use authkeys_core::origin::failure::{Class, FetchError};

impl Call {
    /// A value of the environment or the profile that makes calls impossible.
    pub fn unfit(&self, bad: &BadValue) -> FetchError {
        self.failed(bad.class(), &format!("was not made: {bad}"), bad.remedy())
    }

    /// No answer, or not all of it, within a limit.
    pub fn timed_out(&self, limit: Duration) -> FetchError {
        self.failed_as(
            (Class::Transient, Some(FaultCode::AwsTimeout)),
            &format!(
                "got no complete answer from {} within {limit:?}",
                self.endpoint
            ),
            REACH,
        )
    }

    /// Waits for one attempt, as long as the limit permits.
    pub async fn within<T>(
        &self,
        limit: Duration,
        attempt: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, FetchError> {
        match timeout(limit, attempt).await {
            Ok(ended) => ended,
            Err(_elapsed) => Err(self.timed_out(limit)),
        }
    }

    /// Classes a failed call from the SDK's error.
    pub fn classed<E>(&self, error: &SdkError<E, HttpResponse>) -> FetchError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error.raw_response() {
            Some(response) if response.status().is_success() => self.unread(error, response),
            Some(response) => self.refused(error, response),
            None => self.unanswered(error),
        }
    }

    /// An error answer, as far as the SDK could read it.
    fn refused(&self, error: &impl ProvideErrorMetadata, response: &HttpResponse) -> FetchError {
        let bytes = response.body().bytes().unwrap_or_default();
        let body = String::from_utf8_lossy(bytes);
        let region = match header(response, "x-amz-bucket-region") {
            "" => element(&body, "Region").unwrap_or_default(),
            region => region,
        };
        let s3_id = header(response, "x-amz-request-id");
        let request_id = format!("{s3_id}{}", header(response, "x-amzn-requestid"));
        self.answered(&ErrorAnswer {
            status: response.status().as_u16(),
            code: &known_or_element(error.code(), &body, "Code"),
            message: &known_or_element(error.message(), &body, "Message"),
            request_id: &request_id,
            region,
            clocks: clocks(response, &body),
            delete_marker: header(response, "x-amz-delete-marker") == "true",
        })
    }

    /// Classes a failure without an answer.
    pub fn unanswered<E: Error + 'static>(&self, error: &SdkError<E, HttpResponse>) -> FetchError {
        let not_made = matches!(error, SdkError::ConstructionFailure(_));
        let (class, what, remedy) = unanswered(error, not_made, &self.endpoint);
        let code = kind::unanswered(error, class);
        self.failed_as((class, code), &what, remedy)
    }

    /// A successful answer that could not be read to its end, or that the service would not send.
    fn unread<E: Error + 'static>(
        &self,
        error: &SdkError<E, HttpResponse>,
        response: &HttpResponse,
    ) -> FetchError {
        if find::<LengthLimitError>(error).is_some() {
            return self.too_large();
        }
        // An answer that was read to its end is in memory.
        if response.body().bytes().is_none() {
            return self.cut_off(&chain(error.source().unwrap_or(error)));
        }
        self.answered(&ErrorAnswer {
            status: response.status().as_u16(),
            ..ErrorAnswer::default()
        })
    }

    /// An answer that is larger than any document may be.
    pub fn too_large(&self) -> FetchError {
        let remedy = "is it a key set at all? publish one of at most 1 MiB";
        self.failed(Class::Invalid, "sent more than 1 MiB", remedy)
    }

    /// An answer that ended too early.
    pub fn cut_off(&self, how: &str) -> FetchError {
        self.failed(Class::Transient, &format!("was cut off: {how}"), LATER)
    }

    /// Classes an answer by its code, or otherwise by its status.
    pub fn answered(&self, answer: &ErrorAnswer<'_>) -> FetchError {
        let (class, remedy) = verdict(self, answer);
        let mut what = format!("answered {}", answer.status);
        for (before, text) in [
            (" ", answer.code),
            (", request id ", answer.request_id),
            (": ", answer.message),
        ] {
            if !text.is_empty() {
                what.extend([before, &words(text)]);
            }
        }
        self.failed_as((class, kind::answered(answer, class)), &what, remedy)
    }
}

/// A header of an answer; empty if the answer does not have it.
pub(crate) fn header<'a>(response: &'a HttpResponse, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_default()
}

/// What the SDK read from an answer, otherwise the element of that name in its body: the SDK cannot
/// parse an error that is not quite XML, such as one that quotes an escape sequence.
fn known_or_element(known: Option<&str>, body: &str, name: &str) -> String {
    match known {
        None | Some("") => element(body, name).unwrap_or_default().to_owned(),
        Some(known) => known.to_owned(),
    }
}

/// The server's clock and the time of our signature, as far as an answer has both.
fn clocks<'a>(response: &'a HttpResponse, body: &'a str) -> Option<(&'a str, &'a str)> {
    let ours = element(body, "RequestTime")?;
    match (element(body, "ServerTime"), header(response, "date")) {
        (Some(server), _) => Some((server, ours)),
        (None, "") => None,
        (None, date) => Some((date, ours)),
    }
}

/// The failure of a call without a region.
pub fn no_region(call: &Call) -> FetchError {
    call.failed_as(
        (Class::Invalid, Some(FaultCode::RegionWrong)),
        "was not made: no region is known",
        REGION,
    )
}

#[cfg(test)]
mod tests {
    use super::super::words::WORDS;
    use super::*;

    fn verdict(answer: ErrorAnswer<'_>) -> FetchError {
        let call = Call {
            source: "s3://b/k".to_owned(),
            operation: "S3 GetObject",
            action: "s3:GetObject",
            resource: "arn:aws:s3:::b/k".to_owned(),
            or_else: "",
            endpoint: "S3 in eu-west-1".to_owned(),
        };
        call.answered(&answer)
    }

    #[test]
    fn a_servers_words_are_bounded_and_fit_for_a_terminal() {
        assert_eq!(words(" a\r\n b\u{1b}[2Jc\u{202e}d\u{85}é "), "a b [2Jc?d ?");
        assert_eq!(words(&"x".repeat(WORDS)), "x".repeat(WORDS));
        assert_eq!(words(&"é ".repeat(100_000)).len(), WORDS + 3);
        let text = verdict(ErrorAnswer {
            status: 418,
            code: &"C".repeat(9_999),
            message: "\n",
            ..ErrorAnswer::default()
        })
        .to_string();
        assert!(text.len() < 400 && !text.contains('\n'), "{text:?}");
    }

    #[test]
    fn f07_every_kind_of_outage_is_transient_and_no_other_answer_is() {
        for (status, code) in [
            (500, "InternalError"),
            (502, ""),
            (503, "ServiceUnavailable"),
            (503, "SlowDown"),
            (400, "RequestTimeout"),
            (400, "Throttling"),
            (400, "ThrottlingException"),
            (429, ""),
            (400, "TooManyRequestsException"),
            (400, "RequestLimitExceeded"),
            (307, "TemporaryRedirect"),
            (408, ""),
        ] {
            assert_eq!(
                verdict(ErrorAnswer {
                    status,
                    code,
                    ..ErrorAnswer::default()
                })
                .class,
                Class::Transient,
                "{status} {code}"
            );
        }
        for (status, code) in [
            (400, ""),
            (403, ""),
            (404, ""),
            (301, ""),
            (405, ""),
            (412, ""),
            (304, ""),
            (403, "New"),
        ] {
            assert_ne!(
                verdict(ErrorAnswer {
                    status,
                    code,
                    ..ErrorAnswer::default()
                })
                .class,
                Class::Transient,
                "{status} {code}"
            );
        }
    }

    #[test]
    fn f36_a_clocks_offset_is_told_from_what_the_server_says() {
        let skewed = |clocks| {
            verdict(ErrorAnswer {
                status: 403,
                code: "RequestTimeTooSkewed",
                clocks,
                ..ErrorAnswer::default()
            })
            .remedy
        };
        let ours = "20261121T100000Z";
        assert!(skewed(Some(("2026-11-21T11:00:00Z", ours))).contains("(3600 s behind)"));
        assert!(skewed(Some(("Sat, 21 Nov 2026 09:59:00 GMT", ours))).contains("(60 s ahead)"));
        assert!(skewed(Some(("noon\n", ours))).contains("(20261121T100000Z here, noon there)"));
        assert!(skewed(None).contains("clock is wrong: start"));
    }
}

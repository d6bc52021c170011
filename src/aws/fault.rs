//! Failed AWS calls, classed once, each with one line that names the remedy.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_types::SdkConfig;

use super::http::PlainHttp;
use crate::source::error::{Class, FetchError};

/// The most characters of a service's or a library's words that are passed on.
const WORDS: usize = 200;

/// One call, as its failures are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// The source's URL.
    pub(crate) source: String,
    /// Service and operation, as in `S3 GetObject`.
    pub(crate) operation: &'static str,
    /// What IAM must allow, as in `s3:GetObject`.
    pub(crate) action: &'static str,
    /// On which resource, an ARN.
    pub(crate) resource: String,
    /// What else a refusal may mean, a clause; else empty.
    pub(crate) or_else: &'static str,
    /// The configured endpoint or the service in its region.
    pub(crate) endpoint: String,
}

/// An answer that is an error: what of it the verdict rests on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    pub(crate) request_id: &'a str,
    /// Where the resource really is.
    pub(crate) region: &'a str,
    /// The server's clock and the time that the request was signed for, as the server tells them.
    pub(crate) clocks: Option<(&'a str, &'a str)>,
    pub(crate) delete_marker: bool,
}

impl Call {
    /// A failure of this call.
    pub(crate) fn failed(&self, class: Class, what: &str, remedy: impl Into<String>) -> FetchError {
        FetchError { class, message: format!("{}: {} {what}", self.source, self.operation), remedy: remedy.into() }
    }

    /// No answer, or not all of it, within a limit.
    pub(crate) fn timed_out(&self, limit: Duration) -> FetchError {
        self.failed(Class::Transient, &format!("got no complete answer from {} within {limit:?}", self.endpoint), REACH)
    }

    /// Classes what the SDK made of a call that failed.
    pub(crate) fn classed<E: Error + 'static>(
        &self,
        error: &SdkError<E, HttpResponse>,
        code: &str,
        message: &str,
    ) -> FetchError {
        match error.raw_response() {
            Some(response) => {
                let body = response.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
                let header = |name| response.headers().get(name).unwrap_or_default();
                let region = Some(header("x-amz-bucket-region")).filter(|region| !region.is_empty());
                // The SDK gives up on an error that is not quite XML, such as one that quotes an escape sequence.
                let text = |known: &str, name| match known {
                    "" => element(&body, name).unwrap_or_default().to_owned(),
                    known => known.to_owned(),
                };
                let date = Some(header("date")).filter(|date| !date.is_empty());
                self.answered(&Answer {
                    status: response.status().as_u16(),
                    code: &text(code, "Code"),
                    message: &text(message, "Message"),
                    request_id: header("x-amz-request-id"),
                    region: region.or_else(|| element(&body, "Region")).unwrap_or_default(),
                    clocks: element(&body, "ServerTime").or(date).zip(element(&body, "RequestTime")),
                    delete_marker: header("x-amz-delete-marker") == "true",
                })
            }
            None => self.unanswered(error),
        }
    }

    /// Classes an answer by its code, else by its status.
    pub(crate) fn answered(&self, answer: &Answer<'_>) -> FetchError {
        let (class, remedy) = self.verdict(answer);
        let mut what = format!("answered {}", answer.status);
        for (before, text) in [(" ", answer.code), (", request id ", answer.request_id), (": ", answer.message)] {
            if !text.is_empty() {
                what.extend([before, &words(text)]);
            }
        }
        self.failed(class, &what, remedy)
    }

    fn verdict(&self, answer: &Answer<'_>) -> (Class, String) {
        let told = |class, remedy: &str| (class, remedy.to_owned());
        match answer.code {
            "NoSuchBucket" => told(Class::Missing, "create the bucket, or correct its name in `source`"),
            "NoSuchVersion" => told(Class::Missing, "correct `version_id` in `source`, or leave it out"),
            "InvalidObjectState" => {
                told(Class::Invalid, "the object is archived: publish it again in the storage class STANDARD")
            }
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "InvalidSignatureException"
            | "InvalidToken"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "InvalidSecurity"
            | "AuthFailure"
            | "MissingAuthenticationToken" => told(
                Class::Denied,
                "the credentials are wrong: correct the keys in the environment or the profile, or use an instance profile",
            ),
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => told(
                Class::Denied,
                "the credentials have expired: renew them, or use an instance profile, which renews its own",
            ),
            "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => (Class::Transient, skew(answer)),
            code if code.starts_with("KMS.") => told(
                Class::Denied,
                "enable the KMS key that the object is encrypted with, or publish it again under another one",
            ),
            code if code.starts_with("AccessDenied") && answer.message.contains("kms:") => {
                told(Class::Denied, "allow kms:Decrypt on the object's KMS key, in the key's policy and in the role's")
            }
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                (Class::Invalid, elsewhere(answer))
            }
            "SlowDown" | "RequestTimeout" | "RequestLimitExceeded" | "TemporaryRedirect" | "OperationAborted" => {
                told(Class::Transient, LATER)
            }
            code if code.contains("Throttl") || code.starts_with("TooManyRequests") => told(Class::Transient, LATER),
            _ => self.verdict_of_status(answer),
        }
    }

    fn verdict_of_status(&self, answer: &Answer<'_>) -> (Class, String) {
        match answer.status {
            404 | 405 if answer.delete_marker => (
                Class::Missing,
                "it was deleted (a delete marker is in its place): publish again; the keys in force stay".to_owned(),
            ),
            404 | 410 => (Class::Missing, "publish it, or correct `source`; the keys in force stay".to_owned()),
            401 | 403 => (Class::Denied, format!("allow {} on {}{}", self.action, self.resource, self.or_else)),
            301 | 308 => (Class::Invalid, elsewhere(answer)),
            408 | 429 | 302 | 307 | 500..=599 => (Class::Transient, LATER.to_owned()),
            _ => (Class::Invalid, format!("check `source` and the endpoint {}", self.endpoint)),
        }
    }

    fn unanswered<E: Error + 'static>(&self, error: &SdkError<E, HttpResponse>) -> FetchError {
        if let Some(PlainHttp { host }) = find(error) {
            return self.failed(
                Class::Invalid,
                &format!("was not made: it would go to {} in the clear", words(host)),
                "give the endpoint an https:// URL; http:// is for loopback addresses only",
            );
        }
        match find(error) {
            Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)) => self.failed(
                Class::Transient,
                &format!("was not made, the credentials cannot be had: {}", chain(error)),
                format!("if this lasts: {CREDENTIALS}"),
            ),
            Some(CredentialsError::InvalidConfiguration(_)) => self.failed(
                Class::Invalid,
                &format!("was not made, the credentials' configuration is wrong: {}", chain(error)),
                "correct the AWS profile or the environment",
            ),
            Some(_) => self.failed(Class::Denied, "was not made: there are no credentials", CREDENTIALS),
            None if matches!(error, SdkError::ConstructionFailure(_)) => self.failed(
                Class::Invalid,
                &format!("was not made: {}", chain(error)),
                "check `source`, the region and the endpoint",
            ),
            // The outermost link says no more than that the dispatch failed.
            None => {
                let cause = chain(error.source().unwrap_or(error));
                self.failed(Class::Transient, &format!("did not reach {}: {cause}", self.endpoint), REACH)
            }
        }
    }
}

const LATER: &str = "nothing to do unless it lasts; it is tried again";
const REACH: &str = "if it lasts, check DNS, routes, security groups, proxy and certificates on the way there";
const CREDENTIALS: &str = "attach an instance profile or set AWS_PROFILE; in a container the metadata service's hop \
     limit must be at least 2";

/// What to do when there is no region; `service` is for the message.
pub(crate) fn no_region(call: &Call) -> FetchError {
    call.failed(
        Class::Invalid,
        "was not made: no region is known",
        "add `?region=REGION` to `source`, or set AWS_REGION; on EC2 the metadata service tells it",
    )
}

/// The partition that ARNs of the configuration's region begin with.
pub(crate) fn partition(config: &SdkConfig) -> &'static str {
    let region = config.region().map_or("", |region| region.as_ref());
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

fn elsewhere(answer: &Answer<'_>) -> String {
    let in_region = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match answer.region {
        "" => "the bucket is in another region: add `?region=REGION` to `source`".to_owned(),
        region if region.len() > 63 || !region.chars().all(in_region) => {
            "correct the region or the endpoint".to_owned()
        }
        region => format!("the bucket is in {region}: add `?region={region}` to `source`"),
    }
}

fn skew(answer: &Answer<'_>) -> String {
    let Some((server, ours)) = answer.clocks else {
        return "this node's clock is wrong: start or mend its time service (chronyd, systemd-timesyncd)".to_owned();
    };
    let offset = instant(server).zip(instant(ours)).map(|(server, ours)| server.duration_since(ours).as_secs());
    let by = match offset {
        Some(seconds) => format!("{} s {}", seconds.abs(), if seconds < 0 { "ahead" } else { "behind" }),
        None => format!("{} here, {} there", words(ours), words(server)),
    };
    format!("this node's clock is wrong ({by}): start or mend its time service (chronyd, systemd-timesyncd)")
}

/// A time as S3's errors and HTTP's headers write it.
fn instant(text: &str) -> Option<jiff::Timestamp> {
    let signed =
        || jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let rfc = || jiff::fmt::rfc2822::parse(text).ok();
    text.parse().ok().or_else(|| signed().or_else(rfc).map(|zoned| zoned.timestamp()))
}

/// The text of the first XML element of that name.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// A server's words, fit for one line of a log or a terminal.
fn words(text: &str) -> String {
    let mut plain = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !plain.is_empty() {
            plain.push(' ');
        }
        plain.extend(word.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }));
        if plain.len() > WORDS {
            // All ASCII by now: every byte is a boundary.
            plain.truncate(WORDS);
            plain.push_str("...");
            break;
        }
    }
    plain
}

fn links<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    links(error).find_map(|link| link.downcast_ref())
}

/// The chain of causes in one line; a cause that its effect already told is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut told: Vec<String> = Vec::new();
    for link in links(error).map(ToString::to_string) {
        if !told.iter().any(|before| before.contains(&link)) {
            told.push(link);
        }
    }
    words(&told.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answer: Answer<'_>) -> FetchError {
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
        let text =
            verdict(Answer { status: 418, code: &"C".repeat(9_999), message: "\n", ..Answer::default() }).to_string();
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
                verdict(Answer { status, code, ..Answer::default() }).class,
                Class::Transient,
                "{status} {code}"
            );
        }
        for (status, code) in
            [(400, ""), (403, ""), (404, ""), (301, ""), (405, ""), (412, ""), (304, ""), (403, "New")]
        {
            assert_ne!(
                verdict(Answer { status, code, ..Answer::default() }).class,
                Class::Transient,
                "{status} {code}"
            );
        }
    }

    #[test]
    fn f36_a_clocks_offset_is_told_from_what_the_server_says() {
        let skewed =
            |clocks| verdict(Answer { status: 403, code: "RequestTimeTooSkewed", clocks, ..Answer::default() }).remedy;
        let ours = "20261121T100000Z";
        assert!(skewed(Some(("2026-11-21T11:00:00Z", ours))).contains("(3600 s behind)"));
        assert!(skewed(Some(("Sat, 21 Nov 2026 09:59:00 GMT", ours))).contains("(60 s ahead)"));
        assert!(skewed(Some(("noon\n", ours))).contains("(20261121T100000Z here, noon there)"));
        assert!(skewed(None).contains("clock is wrong: start"));
    }
}

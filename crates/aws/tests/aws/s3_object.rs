//! The object that the tests of S3 fetch from a scripted server.

use std::path::Path;

use authkeys_core::origin::Class;
use authkeys_testing::s3_stub::StubAnswer;

use crate::fetching::fails_at;

pub(crate) const URL: &str = "s3://acme-keys/prod/workers.json";
pub(crate) const ETAG: &str = "ETag: \"abc123\"";

/// Fetches the object once from a server with these answers; its failure must be one clean line
/// with all these parts.
#[track_caller]
pub(crate) fn fails(
    home: &Path,
    answers: &[StubAnswer],
    requests: usize,
    class: Class,
    parts: &[&str],
) {
    fails_at(home, URL, answers, requests, class, parts);
}

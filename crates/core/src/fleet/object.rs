//! A node's report, read from its report object (docs/output.md).

use serde::Deserialize;

use super::node::{Node, RawReport, Word};
use crate::report::scrub::scrub;
use crate::words::cut;

// A hostile node may write fields as long as the whole object. They are cut, so that they do not
// fill the reader's screen.

/// As many characters as a tag value may have.
const SHORT: usize = 256;
/// Longer than any version string.
const VERSION: usize = 32;
/// Enough for a sentence with its remedy, or for a source's URL.
const LONG: usize = 2_048;

/// The fields that the fleet view needs. Later versions may add others.
#[derive(Deserialize)]
struct ReportFields {
    status: String,
    synced: String,
    #[serde(default)]
    keyset: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    detail: String,
    host: Option<String>,
    version: Option<String>,
    #[serde(default)]
    sources: Vec<SourceFields>,
}

#[derive(Deserialize)]
struct SourceFields {
    source: String,
    digest: Option<String>,
}

/// The node that wrote this object. The id is taken from the object's name, because the node can
/// write anything into the content.
pub fn node(id: &str, bytes: &[u8]) -> Node {
    let (name, word) = match serde_json::from_slice::<ReportFields>(bytes) {
        Ok(object) => (
            cut(object.host.as_deref().unwrap_or_default(), SHORT),
            word(&object),
        ),
        // The object's own text is not quoted, for the same reason as in a detail.
        Err(fault) => (
            String::new(),
            Word::Garbled(format!(
                "its object is not a report ({:?} fault)",
                fault.classify()
            )),
        ),
    };
    Node {
        id: id.to_owned(),
        name,
        word,
    }
}

fn without_query(url: &str) -> &str {
    match url.split_once('?') {
        Some((place, _)) => place,
        None => url,
    }
}

fn word(object: &ReportFields) -> Word {
    let ReportFields { sources, .. } = object;
    let [status, synced, keyset, digest] = [
        &object.status,
        &object.synced,
        &object.keyset,
        &object.digest,
    ]
    .map(|text| cut(text, SHORT));
    // Without request ids, as in tags, so that nodes with the same fault are grouped.
    let detail = scrub(&cut(&object.detail, LONG));
    let raw = RawReport {
        status: &status,
        key_set: &keyset,
        digest: &digest,
        synced: &synced,
        detail: &detail,
    };
    // If there are several digests, the first.
    let first = digest.split_whitespace().next();
    let source = sources.iter().find(|source| {
        let whole = source.digest.as_deref().unwrap_or_default();
        first.is_some_and(|digest| whole.trim_start_matches("sha256:").starts_with(digest))
    });
    match raw.report() {
        Ok(mut report) => {
            // A region or version in the query does not make it another source.
            report.source = source.map(|found| cut(without_query(&found.source), LONG));
            report.version = object.version.as_ref().map(|version| cut(version, VERSION));
            Word::NodeReport(report)
        }
        Err(fault) => Word::Garbled(fault),
    }
}

//! A node's report, read from its EC2 tags.

use super::node::{Node, RawReport, Word};
use crate::report::tags::TagNames;

impl TagNames {
    /// The node that has these tags.
    pub fn node<'a>(&self, id: &str, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Node {
        let mut name = "";
        let mut any = false;
        let mut raw = RawReport::default();
        for (key, value) in tags {
            if key == "Name" {
                name = value;
            }
            match key.strip_prefix(self.prefix.as_str()) {
                Some("status") => raw.status = value,
                Some("keyset") => raw.key_set = value,
                Some("digest") => raw.digest = value,
                Some("synced") => raw.synced = value,
                Some("detail") => raw.detail = value,
                _ => continue,
            }
            any = true;
        }
        let word = if any {
            match raw.report() {
                Ok(report) => Word::NodeReport(report),
                Err(fault) => Word::Garbled(fault),
            }
        } else {
            Word::None
        };
        Node {
            id: id.to_owned(),
            name: name.to_owned(),
            word,
        }
    }
}

//! A node's report, read from its EC2 tags.

use super::node::{Node, Told, Word};
use crate::report::tags::TagNames;

impl TagNames {
    /// The node that has these tags.
    pub fn node<'a>(&self, id: &str, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Node {
        let (mut name, mut any, mut told) = ("", false, Told::default());
        for (key, value) in tags {
            if key == "Name" {
                name = value;
            }
            match key.strip_prefix(self.prefix.as_str()) {
                Some("status") => told.status = value,
                Some("keyset") => told.key_set = value,
                Some("digest") => told.digest = value,
                Some("synced") => told.synced = value,
                Some("detail") => told.detail = value,
                _ => continue,
            }
            any = true;
        }
        let word = match any {
            false => Word::None,
            true => told.report().map_or_else(Word::Garbled, Word::Report),
        };
        Node {
            id: id.to_owned(),
            name: name.to_owned(),
            word,
        }
    }
}

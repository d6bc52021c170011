//! A node's report as its EC2 tags carry it (DESIGN section 8).

use super::node::{KeySet, Node, Report, ShortDigest, Word, status_named};

/// The names of our tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagNames {
    /// What stands before `status`, `keyset` and so on: `[report] tag_prefix`.
    pub prefix: String,
}

impl Default for TagNames {
    fn default() -> Self {
        Self { prefix: "authkeysd:".to_owned() }
    }
}

impl TagNames {
    /// The node that has these tags.
    pub fn node<'a>(&self, id: &str, tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Node {
        let (mut name, mut any) = ("", false);
        let [mut status, mut key_set, mut digest, mut synced, mut detail] = [None; 5];
        for (key, value) in tags {
            if key == "Name" {
                name = value;
            }
            let slot = match key.strip_prefix(self.prefix.as_str()) {
                Some("status") => &mut status,
                Some("keyset") => &mut key_set,
                Some("digest") => &mut digest,
                Some("synced") => &mut synced,
                Some("detail") => &mut detail,
                _ => continue,
            };
            any = true;
            *slot = Some(value).filter(|value| !value.is_empty());
        }
        let word = || {
            let status = status.ok_or("it has no status")?;
            let synced = synced.ok_or("it has no time")?;
            Ok(Report {
                status: status_named(status).ok_or_else(|| format!("it has the unknown status {status:?}"))?,
                key_set: key_set.map(KeySet::parse),
                digest: digest.map(ShortDigest::parse).transpose()?,
                synced: synced.parse().map_err(|_| format!("{synced:?} is no time"))?,
                detail: detail.unwrap_or_default().to_owned(),
                source: None,
            })
        };
        let word = match any {
            false => Word::None,
            true => word().map_or_else(Word::Garbled, Word::Report),
        };
        Node { id: id.to_owned(), name: name.to_owned(), word }
    }
}

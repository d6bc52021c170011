//! Which keys a revocation is for: a fingerprint, a key, or all keys whose comment matches a
//! pattern. Pure.

use std::collections::BTreeSet;
use std::fmt;

use super::entries::Edits;
use crate::document::Document;
use crate::key::{Fingerprint, identify};
use crate::verify::matches_pattern;

const COMMENT: &str = "comment:";

/// Keys as an operator specifies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// One key.
    Key(Fingerprint),
    /// All keys whose comment matches a pattern with `*` and `?`.
    Comment(String),
}

/// The effect of a revocation on a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revocation {
    /// The entries to remove, and the fingerprints to add to `revoked`.
    pub edits: Edits,
    /// The selected keys that are in `revoked` already.
    pub already: BTreeSet<Fingerprint>,
    /// Selections that match no key of the document.
    pub unmatched: Vec<Which>,
}

/// What to do with a key that the document does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// Refuse, because it may be a typing error.
    Refuse,
    /// Revoke it: nodes remove it from lines that others wrote.
    Revoke,
}

impl Which {
    /// Parses a fingerprint, a key line, or `comment:GLOB`; `None` for what may be a file name.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        if let Some(pattern) = text.strip_prefix(COMMENT) {
            return Some(match pattern {
                "" => Err("`comment:` has no pattern; `comment:*` means every key".to_owned()),
                pattern => Ok(Self::Comment(pattern.to_owned())),
            });
        }
        if text.starts_with("SHA256:") {
            return Some(
                Fingerprint::parse(text)
                    .map(Self::Key)
                    .map_err(|fault| fault.to_string()),
            );
        }
        if text.starts_with("MD5:") {
            return Some(Err(
                "an MD5 fingerprint; `ssh-keygen -l -E sha256` prints the one that is needed"
                    .to_owned(),
            ));
        }
        identify(text.as_bytes()).map(|found| Ok(Self::Key(found.key.fingerprint())))
    }
}

/// As an operator writes it.
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(fingerprint) => fingerprint.fmt(f),
            Self::Comment(pattern) => write!(f, "{COMMENT}{pattern}"),
        }
    }
}

/// Finds the keys and removes all of their entries. `places` are the fingerprints of the document's
/// entries.
pub fn revoke(
    document: &Document,
    places: &[Option<Fingerprint>],
    which: &[Which],
    unlisted: Unlisted,
) -> Revocation {
    let mut revocation = Revocation::default();
    let mut meant = BTreeSet::new();
    for one in which {
        let mut found = BTreeSet::new();
        match one {
            Which::Key(fingerprint) => {
                let is_there =
                    places.contains(&Some(*fingerprint)) || document.revoked.contains(fingerprint);
                if is_there || unlisted == Unlisted::Revoke {
                    found.insert(*fingerprint);
                }
            }
            Which::Comment(pattern) => {
                for key in &document.keys {
                    if matches_pattern(&key.line.comment, pattern) {
                        found.insert(key.line.key.fingerprint());
                    }
                }
            }
        }
        if found.is_empty() {
            revocation.unmatched.push(one.clone());
        }
        meant.extend(found);
    }
    for fingerprint in meant {
        for (at, place) in places.iter().enumerate() {
            if *place == Some(fingerprint) {
                revocation.edits.removed.insert(at);
            }
        }
        if document.revoked.contains(&fingerprint) {
            revocation.already.insert(fingerprint);
        } else {
            revocation.edits.revoked.insert(fingerprint);
        }
    }
    revocation
}

/// The keys that were revoked after a version, by the current document or by one in between, and
/// that the version itself does not revoke. A key that the current document lists was added again
/// on purpose and is left out.
pub fn since_revoked(
    old: &Document,
    between: &[Document],
    current: &Document,
) -> BTreeSet<Fingerprint> {
    let mut revoked = current.revoked.clone();
    for document in between {
        revoked.extend(document.revoked.iter().copied());
    }
    for key in &current.keys {
        let fingerprint = key.line.key.fingerprint();
        if !current.revoked.contains(&fingerprint) {
            revoked.remove(&fingerprint);
        }
    }
    for fingerprint in &old.revoked {
        revoked.remove(fingerprint);
    }
    revoked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_files_are_left_to_others() {
        let print = "SHA256:2PZ7Q0k0PlAUG4h6cB1Yy3m3mT0cZ3m0b0p2xqv0lXk";
        assert_eq!(
            Which::parse(print),
            Some(Ok(Which::Key(Fingerprint::parse(print).unwrap())))
        );
        assert_eq!(
            Which::parse("comment:jo@*"),
            Some(Ok(Which::Comment("jo@*".to_owned())))
        );
        for bad in ["SHA256:short", "comment:", "MD5:aa:bb"] {
            assert!(matches!(Which::parse(bad), Some(Err(_))), "{bad}");
        }
        for file in ["jo.pub", "/home/jo/.ssh/id.pub", "-", ""] {
            assert_eq!(Which::parse(file), None, "{file}");
        }
    }

    const KEYS: [&str; 3] = [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHgPe4gNgxBnmmcGJ4R164HYmGb604KnqvydhixXKrUc a",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICtfGkO2xNORn+gOuvoTywk/bycbirpMFqL1E3EmiR1I b",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBX4Ys5qukEkV49ihCpsasoAg6wncK2483N10UNa+tMr c",
    ];

    fn print(at: usize) -> Fingerprint {
        identify(KEYS[at].as_bytes()).unwrap().key.fingerprint()
    }

    fn document(keys: &[usize], revoked: &[usize]) -> Document {
        let keys: Vec<_> = keys
            .iter()
            .map(|at| serde_json::json!({"public_key": KEYS[*at]}))
            .collect();
        let revoked: Vec<_> = revoked.iter().map(|at| print(*at)).collect();
        let json = serde_json::json!({"version": 1, "keys": keys, "revoked": revoked}).to_string();
        crate::document::parse(json.as_bytes(), &crate::document::Rules::default()).unwrap()
    }

    #[test]
    fn every_entry_of_a_key_goes_and_what_matches_nothing_is_named() {
        let places = [Some(print(0)), Some(print(1)), None, Some(print(0))];
        let document = document(&[0, 1, 0], &[]);
        let comment = |text: &str| Which::Comment(text.to_owned());
        let both = revoke(
            &document,
            &places,
            &[comment("a"), Which::Key(print(1))],
            Unlisted::Refuse,
        );
        assert_eq!(both.edits.removed, [0, 1, 3].into());
        assert_eq!(both.edits.revoked, [print(0), print(1)].into());
        let none = revoke(
            &document,
            &places,
            &[comment("z*"), Which::Key(print(2))],
            Unlisted::Refuse,
        );
        assert!(none.edits.is_empty());
        assert_eq!(none.unmatched, [comment("z*"), Which::Key(print(2))]);
        let unlisted = revoke(
            &document,
            &places,
            &[Which::Key(print(2))],
            Unlisted::Revoke,
        );
        assert_eq!(
            (unlisted.edits.revoked, unlisted.unmatched),
            ([print(2)].into(), Vec::new())
        );
    }

    #[test]
    fn what_was_revoked_since_stays_revoked_unless_it_was_let_in_again() {
        let old = document(&[0, 1, 2], &[]);
        // Revoked by the current document, by one in between, and by one in between but added again
        // since.
        let between = [document(&[], &[1]), document(&[], &[2])];
        let current = document(&[2], &[0]);
        assert_eq!(
            since_revoked(&old, &between, &current),
            [print(0), print(1)].into()
        );
        // A key that is both listed and revoked is not valid.
        assert_eq!(
            since_revoked(&old, &[], &document(&[0], &[0])),
            [print(0)].into()
        );
        // What the old document revokes itself needs no edit.
        assert_eq!(
            since_revoked(&document(&[1], &[0]), &[], &current),
            BTreeSet::new()
        );
    }
}

//! The stored versions of a key set: which one was published at a given time, and what each one
//! changed. Pure.

use jiff::Timestamp;

use super::diff::{Change, Diff};
use crate::document::Document;

/// A version stored by the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// The service's name for it.
    pub id: String,
    /// A secret's stages, a parameter's labels.
    pub stages: Vec<String>,
    /// When it was created, if the service reports that.
    pub published: Option<Timestamp>,
    /// Its kind.
    pub kind: VersionKind,
    /// Whether it is the published one.
    pub is_current: bool,
    /// Identifies its bytes if the id does not: the ETag in a bucket without versioning.
    pub token: Option<String>,
}

/// The kind of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionKind {
    /// Bytes that were published.
    Document,
    /// A delete marker: nothing was published from then on.
    Deleted,
    /// Bytes in addition to the published ones, such as a pending version of a secret.
    Beside,
}

/// What was published at a given time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishedAt<'a> {
    /// That version.
    Version(&'a StoredVersion),
    /// Nothing: it was deleted.
    Deleted(&'a StoredVersion),
    /// All stored versions are later; the oldest was created at that time.
    Before(Timestamp),
    /// No version is stored.
    Unknown,
}

/// Which of the versions (newest first) was published at a given time. Versions without a known
/// creation time are skipped.
pub fn published_at(versions: &[StoredVersion], at: Timestamp) -> PublishedAt<'_> {
    let mut oldest = None;
    for version in versions {
        if version.kind == VersionKind::Beside {
            continue;
        }
        let Some(published) = version.published else {
            continue;
        };
        if published <= at {
            return match version.kind {
                VersionKind::Deleted => PublishedAt::Deleted(version),
                VersionKind::Document | VersionKind::Beside => PublishedAt::Version(version),
            };
        }
        oldest = Some(published);
    }
    match oldest {
        Some(oldest) => PublishedAt::Before(oldest),
        None => PublishedAt::Unknown,
    }
}

/// How many keys a version changed compared with the previous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Keys that were added.
    pub added: usize,
    /// Keys whose terms changed.
    pub changed: usize,
    /// Keys that were removed.
    pub removed: usize,
}

impl Changes {
    /// Counts the differences.
    pub fn between(old: &Document, new: &Document) -> Self {
        let mut changes = Self::default();
        for (change, _) in Diff::of(old, new).keys {
            match change {
                Change::Added => changes.added += 1,
                Change::Changed => changes.changed += 1,
                Change::Removed => changes.removed += 1,
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(id: &str, published: Option<&str>, kind: VersionKind) -> StoredVersion {
        let published = published.map(|time| format!("2026-11-{time}:00:00Z").parse().unwrap());
        StoredVersion {
            id: id.to_owned(),
            stages: Vec::new(),
            published,
            kind,
            is_current: false,
            token: None,
        }
    }

    #[test]
    fn the_published_version_is_the_newest_that_was_made_by_then() {
        let versions = [
            version("pending", Some("26T09"), VersionKind::Beside),
            version("c", Some("25T09"), VersionKind::Document),
            version("gone", Some("24T09"), VersionKind::Deleted),
            version("undated", None, VersionKind::Document),
            version("a", Some("23T09"), VersionKind::Document),
        ];
        let found = |time: &str| match published_at(
            &versions,
            format!("2026-11-{time}:00Z").parse().unwrap(),
        ) {
            PublishedAt::Version(version) => version.id.clone(),
            PublishedAt::Deleted(version) => format!("deleted by {}", version.id),
            PublishedAt::Before(first) => format!("before {first}"),
            PublishedAt::Unknown => "unknown".to_owned(),
        };
        for (time, expected) in [
            ("27T00:00", "c"),
            ("25T09:00", "c"),
            ("25T08:59", "deleted by gone"),
            ("24T08:59", "a"),
            ("23T09:00", "a"),
            ("23T08:59", "before 2026-11-23T09:00:00Z"),
        ] {
            assert_eq!(found(time), expected, "{time}");
        }
        assert_eq!(
            published_at(&versions[..1], Timestamp::MAX),
            PublishedAt::Unknown
        );
    }
}

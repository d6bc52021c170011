//! Reads key sets without changing them: a file, standard input, or a source, optionally at a given
//! version.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::fault::failed;
use super::input::{self, Bytes};
use super::{Exit, complain, progress, refused};
use authkeys_aws::target::stored::{Archive, End, Reach, Versions};
use authkeys_core::origin::SourceUrl;
use authkeys_core::publishing::place::Place;
use authkeys_core::publishing::versions::{PublishedAt, StoredVersion, published_at};

/// Where a key set is read from.
#[derive(Debug)]
pub(crate) enum ReadFrom {
    /// A file, or `-`.
    File(PathBuf),
    /// A source in AWS.
    Place(Place),
}

/// A key set that was read.
#[derive(Debug)]
pub(crate) struct ReadKeySet {
    pub(crate) bytes: Bytes,
    /// The service's identifier of the version.
    pub(crate) version: Option<String>,
    /// When it was published, if known.
    pub(crate) published: Option<Timestamp>,
    /// What else is in force beside it, or is unknown.
    pub(crate) notes: Vec<String>,
}

impl ReadFrom {
    /// Parses an argument as a source's URL, or else as a file's name. A fault is reported.
    pub(crate) fn parse(text: &str) -> Result<Self, Exit> {
        if !Place::is_url(text) {
            return Ok(Self::File(PathBuf::from(text)));
        }
        let place = Place::parse(text).map_err(|fault| {
            complain(&fault);
            Exit::Usage
        })?;
        Ok(match &place.url {
            SourceUrl::File { path } => Self::File(path.clone()),
            _ => Self::Place(place),
        })
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => input::shown(path),
            Self::Place(place) => place.to_string(),
        }
    }

    /// Reads what is there now, or the pinned version.
    pub(crate) async fn read(&self) -> Result<ReadKeySet, Exit> {
        let place = match self {
            Self::File(path) => return read_file(path),
            Self::Place(place) => place,
        };
        let archive = Archive::new(place.clone());
        let found = progress::shown(&format!("reading {place}"), archive.read()).await;
        let found = found.map_err(|fault| failed(&fault))?;
        let mut notes = Vec::new();
        for (stage, version) in &found.beside {
            notes.push(format!(
                "nodes take the keys of {stage} too, version {version}; ?stages={stage} shows it"
            ));
        }
        Ok(ReadKeySet {
            bytes: found.published.bytes,
            version: Some(found.published.version.label),
            published: None,
            notes,
        })
    }

    /// Reads what was published at a given time. A file or a pinned version has only one version.
    pub(crate) async fn read_at(&self, at: Timestamp) -> Result<ReadKeySet, Exit> {
        let place = match self {
            Self::Place(place) if place.pin.is_none() => place,
            Self::Place(_) => return self.read().await,
            Self::File(_) => {
                let mut found = self.read().await?;
                if let Some(changed) = found.published
                    && changed > at
                {
                    found.notes.push(format!(
                        "the file was last changed at {changed}; what it held before is not known"
                    ));
                }
                return Ok(found);
            }
        };
        has_versions(place)?;
        let archive = Archive::new(place.clone());
        let listed =
            progress::shown(&format!("listing {place}"), archive.versions(Reach::At(at))).await;
        let versions = listed.map_err(|fault| failed(&fault))?;
        let version = match published_at(&versions.list, at) {
            PublishedAt::Version(version) => version.clone(),
            PublishedAt::Deleted(marker) => {
                let since = match marker.published {
                    Some(since) => format!(" since {since}"),
                    None => String::new(),
                };
                let why = format!(
                    "nothing was published there at {at}: it had been deleted{since}; nodes went \
                     on with what they had"
                );
                return Err(refused(place, &why));
            }
            PublishedAt::Before(first) => {
                let end = ends(place, &versions);
                let why = format!(
                    "the first version that is kept was made at {first}, after {at}; {end}"
                );
                return Err(refused(place, &why));
            }
            PublishedAt::Unknown => {
                let why = "no version is kept there, and no time of publication is known";
                return Err(refused(place, why));
            }
        };
        let mut found = read_version(&archive, &version).await?;
        if matches!(place.url, SourceUrl::Secret { .. }) {
            found.notes.push(
                "Secrets Manager tells when a version was made, not when it became the current one"
                    .to_owned(),
            );
        }
        Ok(found)
    }
}

/// Reads one version of a list.
pub(crate) async fn read_version(
    archive: &Archive,
    version: &StoredVersion,
) -> Result<ReadKeySet, Exit> {
    let published = archive.read_version(version).await;
    let published = published.map_err(|fault| failed(&fault))?;
    Ok(ReadKeySet {
        bytes: published.bytes,
        version: Some(version.id.clone()),
        published: version.published,
        notes: Vec::new(),
    })
}

/// Refuses a source without versions of its own. The refusal is reported.
pub(crate) fn has_versions(place: &Place) -> Result<(), Exit> {
    if matches!(place.url, SourceUrl::Prefix { .. }) {
        complain(&format!(
            "{place} names a prefix, which has no versions; name one of its objects, of which the \
             bucket may keep some"
        ));
        return Err(Exit::Usage);
    }
    Ok(())
}

/// Why a list of versions does not go back further.
pub(crate) fn ends(place: &Place, versions: &Versions) -> String {
    match (versions.end, &place.url) {
        (End::More, _) => "there are older versions; --limit shows more".to_owned(),
        (End::Unversioned, SourceUrl::S3 { .. }) => {
            "the bucket keeps no versions: switch versioning on to have a history".to_owned()
        }
        (_, SourceUrl::S3 { .. }) => "this is the first version that the bucket keeps".to_owned(),
        (_, SourceUrl::Secret { .. }) => {
            "Secrets Manager keeps about 100 versions, and older ones only while they have a stage"
                .to_owned()
        }
        (_, SourceUrl::Parameter { .. }) => match versions.list.last() {
            Some(first) if first.id != "1" => "a parameter keeps its last 100 versions".to_owned(),
            _ => "this is the first version of the parameter".to_owned(),
        },
        (_, SourceUrl::Prefix { .. } | SourceUrl::File { .. }) => "no versions are kept".to_owned(),
    }
}

fn read_file(path: &Path) -> Result<ReadKeySet, Exit> {
    let bytes = input::read(path)?;
    Ok(ReadKeySet {
        bytes,
        version: None,
        published: changed(path),
        notes: Vec::new(),
    })
}

/// When a file was last changed.
pub(crate) fn changed(path: &Path) -> Option<Timestamp> {
    let changed = std::fs::metadata(path).ok()?.modified().ok()?;
    let changed = Timestamp::try_from(changed).ok()?;
    Timestamp::from_second(changed.as_second()).ok()
}

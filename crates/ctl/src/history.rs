//! `authkeysctl history`: the stored versions of a key set, newest first, and what each one
//! changed.

use std::path::PathBuf;

use clap::Args;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::fault::failed;
use super::lint::Judge;
use super::publication::titled;
use super::reading::{ReadFrom, changed, ends, has_versions};
use super::{Exit, Judging, complain, input, print, print_json, progress, run_to_end};
use authkeys_aws::target::stored::{Archive, End, Reach, Versions};
use authkeys_core::document::{Digest, Document, Name, Serial};
use authkeys_core::key::Fingerprint;
use authkeys_core::publishing::findings::{self, KeyState};
use authkeys_core::publishing::place::Place;
use authkeys_core::publishing::table::{Row, columns};
use authkeys_core::publishing::versions::{Changes, StoredVersion, VersionKind};
use authkeys_core::words::brief;
use authkeys_terminal::{clock, colour};

/// How many versions are read at the same time.
const AT_ONCE: usize = 8;
const YELLOW: u8 = 33;
const GREEN: u8 = 32;

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct HistoryOptions {
    /// A source's URL, or a file
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Show at most this many versions
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "20",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    limit: u16,
    /// Name the signers by this file, in ssh-keygen's allowed_signers format
    #[arg(long, value_name = "FILE")]
    allowed_signers: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// The shape of `--json`, which docs/output.md describes.
#[derive(Serialize)]
struct HistoryJson<'a> {
    schema: u8,
    version: &'static str,
    source: String,
    versions: &'a [VersionShown],
    complete: bool,
    end: &'a str,
}

/// One version, as shown.
#[derive(Debug, Serialize)]
struct VersionShown {
    stored_version: String,
    stages: Vec<String>,
    current: bool,
    published: Option<Timestamp>,
    /// `document`, `deleted`, or `unreadable`.
    state: &'static str,
    name: Option<Name>,
    serial: Option<Serial>,
    digest: Option<Digest>,
    signing_key: Option<Fingerprint>,
    signer: Option<String>,
    keys: Option<usize>,
    in_force: Option<usize>,
    added: Option<usize>,
    changed: Option<usize>,
    removed: Option<usize>,
    revoked: Option<usize>,
    /// Why it is not a document, or why its signature does not count.
    fault: Option<String>,
    #[serde(skip)]
    document: Option<Document>,
}

/// Runs the command.
pub(super) fn run(options: &HistoryOptions) -> Result<Exit, Exit> {
    let mut judge = Judge::new(&Judging::default(), options.allowed_signers.as_deref())?;
    judge.allow_no_keys();
    judge.allow_private_keys();
    let origin = ReadFrom::parse(&options.source)?;
    let (entries, complete, end) = run_to_end(async {
        match &origin {
            ReadFrom::File(path) => {
                let bytes = input::read(path)?;
                let version = StoredVersion {
                    id: "the file".to_owned(),
                    stages: Vec::new(),
                    published: changed(path),
                    kind: VersionKind::Document,
                    is_current: true,
                    token: None,
                };
                let entry = entry(&judge, &version, Ok(bytes.as_slice()));
                let end = "a file keeps no earlier versions".to_owned();
                Ok((vec![entry], false, end))
            }
            ReadFrom::Place(place) => stored(options, &judge, place).await,
        }
    })?;
    let printed = if options.json {
        let source = origin.name();
        print_json(&HistoryJson {
            schema: 1,
            version: env!("CARGO_PKG_VERSION"),
            source,
            versions: &entries,
            complete,
            end: &end,
        })
    } else {
        print(render(&entries) + &end + "\n")
    };
    if printed {
        Ok(Exit::Good)
    } else {
        Err(Exit::Failed)
    }
}

/// The stored versions, whether the list is complete, and why it ends there.
async fn stored(
    options: &HistoryOptions,
    judge: &Judge,
    place: &Place,
) -> Result<(Vec<VersionShown>, bool, String), Exit> {
    let place = &Place {
        url: place.url.clone(),
        pin: None,
    };
    has_versions(place)?;
    let archive = Archive::new(place.clone());
    let limit = usize::from(options.limit);
    // Fetch one more version, to show what the oldest listed one changed.
    let listed = archive.versions(Reach::Newest(limit + 1));
    let mut versions = progress::shown(&format!("listing {place}"), listed)
        .await
        .map_err(|fault| failed(&fault))?;
    if versions.list.is_empty() {
        complain(&format!(
            "{place}: nothing is published there, and no earlier version is kept"
        ));
        return Err(Exit::Failed);
    }
    if versions.list.len() > limit {
        versions.end = End::More;
    }
    versions.list.truncate(limit + 1);
    let mut entries = progress::shown(
        &format!("reading {place}"),
        read(judge, &archive, &versions),
    )
    .await?;
    compare(&mut entries);
    entries.truncate(limit);
    let end = ends(place, &versions);
    Ok((entries, versions.end == End::Oldest, end))
}

async fn read(
    judge: &Judge,
    archive: &Archive,
    versions: &Versions,
) -> Result<Vec<VersionShown>, Exit> {
    let reads = versions.list.iter().map(async |version| {
        if version.kind == VersionKind::Deleted {
            return entry(judge, version, Err("deleted".to_owned()));
        }
        match archive.read_version(version).await {
            Ok(found) => entry(judge, version, Ok(&found.bytes)),
            Err(fault) => entry(judge, version, Err(fault.to_string())),
        }
    });
    Ok(futures_util::stream::iter(reads)
        .buffered(AT_ONCE)
        .collect()
        .await)
}

/// One version, judged as of its publication.
fn entry(judge: &Judge, version: &StoredVersion, read: Result<&[u8], String>) -> VersionShown {
    let mut entry = VersionShown {
        stored_version: version.id.clone(),
        stages: version.stages.clone(),
        current: version.is_current,
        published: version.published,
        state: if version.kind == VersionKind::Deleted {
            "deleted"
        } else {
            "unreadable"
        },
        name: None,
        serial: None,
        digest: None,
        signing_key: None,
        signer: None,
        keys: None,
        in_force: None,
        added: None,
        changed: None,
        removed: None,
        revoked: None,
        fault: None,
        document: None,
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(_) if version.kind == VersionKind::Deleted => return entry,
        Err(fault) => {
            entry.fault = Some(fault);
            return entry;
        }
    };
    let at = version.published.unwrap_or_else(clock);
    let (report, document) = judge.examine(&version.id, bytes, at);
    let Some(document) = document else {
        entry.fault = Some(report.faults.join("; "));
        return entry;
    };
    let keys = findings::judge(&document, at);
    entry.state = "document";
    entry.name.clone_from(&document.name);
    entry.serial = document.serial;
    entry.digest = Some(document.digest);
    entry.keys = Some(document.keys.len());
    let in_force = keys
        .iter()
        .filter(|judged| judged.state == KeyState::InForce);
    entry.in_force = Some(in_force.count());
    entry.signing_key = report.signing_key;
    entry.signer = report.signer;
    entry.fault = report.signature_fault;
    entry.document = Some(document);
    entry
}

/// Records what each document changed compared with the previous one. The newest comes first, so
/// this goes from the end.
fn compare(entries: &mut [VersionShown]) {
    let empty = Document::empty();
    let mut before = &empty;
    for entry in entries.iter_mut().rev() {
        let Some(new) = &entry.document else {
            continue;
        };
        let changes = Changes::between(before, new);
        entry.added = Some(changes.added);
        entry.changed = Some(changes.changed);
        entry.removed = Some(changes.removed);
        entry.revoked = Some(new.revoked.difference(&before.revoked).count());
        before = new;
    }
}

fn render(entries: &[VersionShown]) -> String {
    let rows: Vec<Row> = entries.iter().map(row).collect();
    columns(
        &[
            "VERSION",
            "",
            "PUBLISHED",
            "KEY SET",
            "KEYS",
            "CHANGES",
            "SIGNED BY",
        ],
        &rows,
        colour(),
    )
}

fn row(entry: &VersionShown) -> Row {
    let mut stages = entry.stages.clone();
    if entry.current && stages.is_empty() {
        stages.push("current".to_owned());
    }
    let set = match (&entry.document, &entry.fault) {
        (Some(document), None) => titled(document),
        (Some(document), Some(fault)) => format!("{}, but {}", titled(document), brief(fault)),
        (None, Some(fault)) => format!("no document: {}", brief(fault)),
        (None, None) => "deleted".to_owned(),
    };
    let mut changes = Vec::new();
    for (sign, count) in [
        ("+", entry.added),
        ("~", entry.changed),
        ("-", entry.removed),
    ] {
        match count {
            None | Some(0) => {}
            Some(count) => changes.push(format!("{sign}{count}")),
        }
    }
    match entry.revoked {
        None | Some(0) => {}
        Some(count) => changes.push(format!("{count} revoked")),
    }
    let published = match entry.published {
        Some(at) => at.to_string(),
        None => String::new(),
    };
    let in_force = match entry.in_force {
        Some(count) => format!("{count} in force"),
        None => String::new(),
    };
    let signer = match (&entry.signer, entry.signing_key) {
        (Some(name), _) => name.clone(),
        (None, Some(key)) => key.to_string(),
        (None, None) => String::new(),
    };
    let cells = vec![
        entry.stored_version.clone(),
        stages.join(","),
        published,
        set,
        in_force,
        changes.join(" "),
        signer,
    ];
    let colour = match entry.state {
        "document" if entry.current => Some(GREEN),
        "document" => None,
        _ => Some(YELLOW),
    };
    Row { cells, colour }
}

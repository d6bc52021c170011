//! Made-up fleets.

use authkeys_core::fleet::{Fleet, Node, View, Wanted};
use authkeys_core::report::tags::TagNames;
use jiff::{SignedDuration, Timestamp};

/// The time of all events.
pub const NOW: &str = "2026-11-24T12:00:00Z";
/// The digest of the expected key set.
pub const NEW: &str = "9f86d081884c7d65";
/// The digest of the key set before it.
pub const OLD: &str = "0a1b2c3d4e5f6789";

/// A node with these tags, given without our prefix, and its `Name`.
pub fn node(id: &str, name: &str, tags: &[(&str, &str)]) -> Node {
    let tags: Vec<(String, &str)> = tags
        .iter()
        .map(|(key, value)| (format!("authkeysd:{key}"), *value))
        .collect();
    let ours = tags.iter().map(|(key, value)| (key.as_str(), *value));
    TagNames::default().node(
        id,
        ours.chain([
            ("Name", name),
            ("Role", "worker"),
            ("EC2KeyName", "workers"),
        ]),
    )
}

/// A node that reported a minute ago.
pub fn said(id: &str, status: &str, key_set: &str, digest: &str, detail: &str) -> Node {
    let tags = [
        ("status", status),
        ("keyset", key_set),
        ("digest", digest),
        ("synced", "2026-11-24T11:59:00Z"),
        ("detail", detail),
    ];
    node(id, "", &tags)
}

/// How to view the fleet: at that time, with or without an expected key set.
pub fn view(wanted: Option<&str>) -> View {
    View {
        at: NOW.parse::<Timestamp>().unwrap(),
        heartbeat: SignedDuration::from_hours(6),
        wanted: wanted.map(|wanted| wanted.parse::<Wanted>().unwrap()),
    }
}

/// Judges nodes without an expected key set.
pub fn judged(nodes: Vec<Node>) -> Fleet {
    view(None).judge(nodes)
}

/// This many nodes; of each hundred one failed, one is silent, one has never reported, two are
/// stale and five behind.
pub fn many(nodes: usize) -> Vec<Node> {
    (0..nodes).map(one_of_many).collect()
}

fn one_of_many(number: usize) -> Node {
    let id = format!("i-{number:017x}");
    let name = format!("web-{number}");
    let (status, key_set, digest, synced, detail) = match number % 100 {
        3 => return node(&id, &name, &[]),
        7 => (
            "failed",
            "workers/16",
            OLD,
            "2026-11-24T11:58:00Z",
            "ubuntu: cannot write ~/.ssh/authorized_keys: no space left on device; free some",
        ),
        11 => ("ok", "workers/16", OLD, "2026-11-22T01:00:00Z", ""),
        13 | 17 => (
            "stale",
            "workers/16",
            OLD,
            "2026-11-24T10:00:00Z",
            "s3://acme-ssh-keys/prod/workers.json: S3 GetObject answered 403 AccessDenied; \
             allow s3:GetObject",
        ),
        19..=23 => ("ok", "workers/16", OLD, "2026-11-24T11:50:00Z", ""),
        _ => ("ok", "workers/17", NEW, "2026-11-24T11:59:30Z", ""),
    };
    let tags = [
        ("status", status),
        ("keyset", key_set),
        ("digest", digest),
        ("synced", synced),
        ("detail", detail),
    ];
    node(&id, &name, &tags)
}

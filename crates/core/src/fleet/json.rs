//! The fleet for programs (docs/output.md): fields may be added, never changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::node::{KeySet, NodeReport, ShortDigest};
use super::view::{Fleet, NodeRow, NodeState};
use crate::document::{Name, Serial};
use crate::outcome::Status;

#[derive(Serialize)]
struct FleetJson<'a> {
    schema: u8,
    version: &'static str,
    at: Timestamp,
    region: Option<&'a str>,
    accounts: &'a [String],
    filters: Vec<String>,
    from: Option<&'a str>,
    document: Option<String>,
    nodes_total: usize,
    nodes_done: usize,
    states: BTreeMap<&'static str, usize>,
    key_sets: Vec<HeldShape>,
    nodes: Vec<NodeShape<'a>>,
}

#[derive(Serialize)]
struct HeldShape {
    key_set: Option<String>,
    digest: Option<ShortDigest>,
    nodes: usize,
    newest: Option<bool>,
}

#[derive(Serialize)]
struct NodeShape<'a> {
    instance_id: &'a str,
    name: &'a str,
    state: NodeState,
    detail: &'a str,
    behind: bool,
    status: Option<Status>,
    key_set: Option<String>,
    key_set_name: Option<&'a Name>,
    serial: Option<Serial>,
    digest: Option<ShortDigest>,
    synced: Option<Timestamp>,
    version: Option<&'a str>,
}

/// The JSON form of the fleet.
pub fn shape(fleet: &Fleet) -> impl Serialize {
    FleetJson {
        schema: 1,
        version: env!("CARGO_PKG_VERSION"),
        at: fleet.view.at,
        region: fleet.scope.region.as_deref(),
        accounts: &fleet.scope.accounts,
        filters: fleet
            .scope
            .filters
            .iter()
            .map(ToString::to_string)
            .collect(),
        from: fleet.scope.place.as_deref(),
        document: fleet.view.wanted.as_ref().map(ToString::to_string),
        nodes_total: fleet.rows.len(),
        nodes_done: fleet.done(),
        states: NodeState::ALL
            .iter()
            .map(|state| (state.word(), fleet.count(*state)))
            .collect(),
        key_sets: fleet
            .held()
            .iter()
            .map(|held| HeldShape {
                key_set: held.key_set.as_ref().map(ToString::to_string),
                digest: held.digest,
                nodes: held.nodes,
                newest: held.newest,
            })
            .collect(),
        nodes: fleet.rows.iter().map(node).collect(),
    }
}

fn node(row: &NodeRow) -> NodeShape<'_> {
    let report = row.node.report();
    let numbered = report.and_then(|report| match &report.key_set {
        Some(KeySet::Numbered { name, serial }) => Some((name, *serial)),
        _ => None,
    });
    NodeShape {
        instance_id: &row.node.id,
        name: &row.node.name,
        state: row.state,
        detail: &row.why,
        behind: row.behind,
        status: report.map(|report| report.status),
        key_set: report.and_then(NodeReport::key_sets),
        key_set_name: numbered.map(|(name, _)| name),
        serial: numbered.map(|(_, serial)| serial),
        digest: report.and_then(|report| report.digest),
        synced: report.map(|report| report.synced),
        version: report.and_then(|report| report.version.as_deref()),
    }
}

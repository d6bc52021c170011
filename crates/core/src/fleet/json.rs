//! The fleet for programs (docs/output.md): fields may be added, never changed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::node::{KeySet, ShortDigest};
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
    let mut states = BTreeMap::new();
    for state in NodeState::ALL {
        states.insert(state.word(), fleet.count(state));
    }
    let mut key_sets = Vec::new();
    for held in fleet.held() {
        key_sets.push(HeldShape {
            key_set: held.key_set.as_ref().map(ToString::to_string),
            digest: held.digest,
            nodes: held.nodes,
            newest: held.newest,
        });
    }
    let filters = fleet.scope.filters.iter();
    FleetJson {
        schema: 1,
        version: env!("CARGO_PKG_VERSION"),
        at: fleet.view.at,
        region: fleet.scope.region.as_deref(),
        accounts: &fleet.scope.accounts,
        filters: filters.map(ToString::to_string).collect(),
        from: fleet.scope.place.as_deref(),
        document: fleet.view.wanted.as_ref().map(ToString::to_string),
        nodes_total: fleet.rows.len(),
        nodes_done: fleet.done(),
        states,
        key_sets,
        nodes: fleet.rows.iter().map(node).collect(),
    }
}

fn node(row: &NodeRow) -> NodeShape<'_> {
    let mut shape = NodeShape {
        instance_id: &row.node.id,
        name: &row.node.name,
        state: row.state,
        detail: &row.why,
        behind: row.behind,
        status: None,
        key_set: None,
        key_set_name: None,
        serial: None,
        digest: None,
        synced: None,
        version: None,
    };
    let Some(report) = row.node.report() else {
        return shape;
    };
    if let Some(KeySet::Numbered { name, serial }) = &report.key_set {
        shape.key_set_name = Some(name);
        shape.serial = Some(*serial);
    }
    shape.status = Some(report.status);
    shape.key_set = report.key_sets();
    shape.digest = report.digest;
    shape.synced = Some(report.synced);
    shape.version = report.version.as_deref();
    shape
}

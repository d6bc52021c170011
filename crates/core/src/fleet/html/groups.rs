//! The groups of squares: the nodes that have the same key set, and those about which nothing is
//! known.

use std::collections::BTreeMap;

use crate::fleet::node::{KeySet, ShortDigest};
use crate::fleet::view::{Fleet, KeySetCount, NodeRow};

/// This many key sets have a group of their own.
const SETS: usize = 24;

/// What the nodes of a group have in common.
#[derive(Debug, Clone, Copy)]
pub(super) enum Common<'a> {
    /// The key set in force.
    KeySet(&'a KeySetCount),
    /// A key set that is not among the most frequent ones.
    Rare,
    /// They have not reported.
    Unknown,
}

/// One group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group<'a> {
    pub(super) common: Common<'a>,
    pub(super) nodes: usize,
}

/// All groups in the order in which they are drawn, and the number of each row's group.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    pub(super) all: Vec<Group<'a>>,
    pub(super) of_rows: Vec<usize>,
}

impl<'a> Groups<'a> {
    pub(super) fn of(fleet: &'a Fleet) -> Self {
        let mut all = Vec::new();
        let mut numbers = BTreeMap::new();
        for held in fleet.held().iter().take(SETS) {
            numbers.insert((held.key_set.as_ref(), held.digest), all.len());
            all.push(Common::KeySet(held));
        }
        let rare = all.len();
        all.extend([Common::Rare, Common::Unknown]);
        let mut all: Vec<Group<'_>> = all
            .into_iter()
            .map(|common| Group { common, nodes: 0 })
            .collect();
        let mut of_rows = Vec::with_capacity(fleet.rows.len());
        for row in &fleet.rows {
            let number = match key_set(row) {
                Some(key_set) => numbers.get(&key_set).copied().unwrap_or(rare),
                None => rare + 1,
            };
            if let Some(group) = all.get_mut(number) {
                group.nodes += 1;
            }
            of_rows.push(number);
        }
        Self { all, of_rows }
    }
}

fn key_set(row: &NodeRow) -> Option<(Option<&KeySet>, Option<ShortDigest>)> {
    let report = row.node.report()?;
    Some((report.key_set.as_ref(), report.digest))
}

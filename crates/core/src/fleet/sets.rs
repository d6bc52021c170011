//! Which key set is the newest, as far as the nodes' reports show.
//!
//! Serials grow with every publication at one source. Reports that name their source are compared
//! per source. Tags have no room for the source, so the name is used instead; names that differ
//! only in a date at their end (`workers-2026-11`) count as the same key set. Names that differ
//! otherwise form separate groups of nodes, each with a newest key set of its own.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::node::{KeySet, NodeReport, ShortDigest};
use crate::document::{Name, Serial};

/// One key set, and how many nodes have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetCount {
    /// Its name; `None` for nodes that have none in force.
    pub key_set: Option<KeySet>,
    /// Its digest.
    pub digest: Option<ShortDigest>,
    /// How many nodes have it in force.
    pub nodes: usize,
    /// Whether it is the newest of its group; `None` where that cannot be determined.
    pub newest: Option<bool>,
}

/// The newest key set of each group.
#[derive(Debug, Clone, Default)]
pub struct Sets {
    groups: BTreeMap<String, Newest>,
    held: Vec<KeySetCount>,
}

/// The highest serial of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The name of the document with that serial.
    pub name: Name,
    /// The serial.
    pub serial: Serial,
    /// The digest that most nodes with that serial report.
    pub digest: Option<ShortDigest>,
}

/// How a node's key set compares to the newest of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It is the newest, or nothing shows that it is not.
    Newest,
    /// There is a higher serial.
    Older(&'a Newest),
    /// The serial is the highest, but most nodes with that serial have other content.
    Differs(&'a Newest),
}

impl Sets {
    /// Counts the key sets in these reports.
    pub fn of<'a>(reports: impl Iterator<Item = &'a NodeReport>) -> Self {
        let mut counts = BTreeMap::<(String, Option<&KeySet>, Option<ShortDigest>), usize>::new();
        for report in reports {
            *counts
                .entry((group(report), report.key_set.as_ref(), report.digest))
                .or_default() += 1;
        }
        let mut sets = Self::default();
        let mut most = BTreeMap::<&str, usize>::new();
        for ((group, key_set, digest), nodes) in &counts {
            let Some(KeySet::Numbered { name, serial }) = key_set else {
                continue;
            };
            let newest = sets.groups.get(group.as_str());
            let count = most.entry(group).or_default();
            // Ties are resolved by the order of names and digests, so that the result is always the
            // same.
            if newest.is_none_or(|newest| (*serial, *nodes) > (newest.serial, *count)) {
                *count = *nodes;
                let newest = Newest {
                    name: name.clone(),
                    serial: *serial,
                    digest: *digest,
                };
                sets.groups.insert(group.clone(), newest);
            }
        }
        let mut held = Vec::with_capacity(counts.len());
        for ((group, key_set, digest), nodes) in &counts {
            let newest = match key_set {
                Some(KeySet::Numbered { serial, .. }) => {
                    let newest = sets.groups.get(group.as_str());
                    newest.map(|newest| newest.serial == *serial && newest.digest == *digest)
                }
                _ => None,
            };
            held.push(KeySetCount {
                key_set: key_set.cloned(),
                digest: *digest,
                nodes: *nodes,
                newest,
            });
        }
        sets.held = merged(held);
        sets
    }

    /// Each key set once: the newest of each group first, then by count.
    pub fn held(&self) -> &[KeySetCount] {
        &self.held
    }

    /// How many groups of numbered key sets there are.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// How a report's key set compares to the newest of its group.
    pub fn standing(&self, report: &NodeReport) -> Standing<'_> {
        let (Some(KeySet::Numbered { serial, .. }), Some(newest)) =
            (&report.key_set, self.groups.get(&group(report)))
        else {
            return Standing::Newest;
        };
        if *serial < newest.serial {
            Standing::Older(newest)
        } else if report.digest.is_some()
            && newest.digest.is_some()
            && report.digest != newest.digest
        {
            Standing::Differs(newest)
        } else {
            Standing::Newest
        }
    }
}

/// Merges equal key sets: two sources may publish the same document.
fn merged(held: Vec<KeySetCount>) -> Vec<KeySetCount> {
    let mut merged = BTreeMap::<_, KeySetCount>::new();
    for one in held {
        match merged.entry((one.key_set.clone(), one.digest)) {
            Entry::Occupied(mut other) => {
                let other = other.get_mut();
                other.nodes += one.nodes;
                other.newest = other.newest.max(one.newest);
            }
            Entry::Vacant(place) => drop(place.insert(one)),
        }
    }
    let mut merged: Vec<KeySetCount> = merged.into_values().collect();
    merged.sort_by(|a, b| {
        rank(a)
            .cmp(&rank(b))
            .then_with(|| b.key_set.cmp(&a.key_set))
            .then_with(|| a.digest.cmp(&b.digest))
    });
    merged
}

/// The newest key sets come first, then those that most nodes have.
fn rank(held: &KeySetCount) -> (bool, bool, Reverse<usize>) {
    (
        held.key_set.is_none(),
        held.newest != Some(true),
        Reverse(held.nodes),
    )
}

fn group(report: &NodeReport) -> String {
    match (&report.source, &report.key_set) {
        (Some(source), _) => source.clone(),
        (None, Some(KeySet::Numbered { name, .. })) => undated(&name.to_string()).to_owned(),
        (None, _) => String::new(),
    }
}

/// A name without the date at its end: a year from 2000 to 2099 and a month, optionally a day.
fn undated(name: &str) -> &str {
    match without_date(name, 3) {
        Some(bare) => bare,
        None => without_date(name, 2).unwrap_or(name),
    }
}

/// A name without a date of so many numbers: year and month, or year, month and day. `None` if it
/// does not end in such a date.
fn without_date(name: &str, numbers: usize) -> Option<&str> {
    let mut rest = name;
    for at in (0..numbers).rev() {
        let digits = if at == 0 { 4 } else { 2 };
        let start = rest.len().checked_sub(digits)?;
        let (before, number) = rest.split_at_checked(start)?;
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let number: u32 = number.parse().ok()?;
        let is_in_range = match at {
            0 => (2000..=2099).contains(&number),
            1 => (1..=12).contains(&number),
            _ => (1..=31).contains(&number),
        };
        if !is_in_range {
            return None;
        }
        rest = before;
        if at > 0 {
            rest = rest.strip_suffix(['-', '.', '_']).unwrap_or(rest);
        }
    }
    // The rest must end at a word boundary: "v12026-11" does not end in a date.
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_suffix(['-', '.', '_', '/', ':', '@', '+', '='])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_at_a_names_end_does_not_make_it_another_key_set() {
        for (name, without) in [
            ("workers-2026-11", "workers"),
            ("workers-2026-11-24", "workers"),
            ("prod/workers.20261124", "prod/workers"),
            ("workers_2026.11", "workers"),
            ("2026-11", ""),
        ] {
            assert_eq!(undated(name), without, "{name}");
        }
        for name in [
            "workers",
            "web-1",
            "web-17",
            "v12026-11",
            "workers-2026",
            "workers-2026-13",
            "w-1999-01",
            "11",
            "",
        ] {
            assert_eq!(undated(name), name);
        }
    }
}

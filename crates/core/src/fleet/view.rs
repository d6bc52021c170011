//! Judges the nodes' reports: a state for each node, what needs attention first, and the counts.

use std::cmp::{Ordering, Reverse};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::node::{Node, NodeReport, Word};
use super::scope::Scope;
use super::sets::{Sets, Standing};
use super::wanted::Wanted;
use crate::outcome::Status;

pub use super::sets::KeySetCount;

/// How far in the future a report's time may be before the report is not believed.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// The state of a node, ordered by urgency, the most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Reported by the node: nothing could be applied, or nothing is known.
    Failed,
    /// Its last report, whatever it said, is older than two heartbeats.
    Silent,
    /// It runs, but has never made a valid report.
    Unreported,
    /// Reported by the node: some account or key could not be applied.
    Degraded,
    /// Reported by the node: source or document unusable, the last valid key set is in force.
    Stale,
    /// All is well, except that its key set is not the newest or not the wanted one.
    Behind,
    /// All is well.
    Ok,
}

impl NodeState {
    /// All states, in order.
    pub const ALL: [Self; 7] = [
        Self::Failed,
        Self::Silent,
        Self::Unreported,
        Self::Degraded,
        Self::Stale,
        Self::Behind,
        Self::Ok,
    ];

    /// Its name in tables, JSON and style sheets.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Silent => "silent",
            Self::Unreported => "unreported",
            Self::Degraded => "degraded",
            Self::Stale => "stale",
            Self::Behind => "behind",
            Self::Ok => "ok",
        }
    }
}

/// One node with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// The node.
    pub node: Node,
    /// Its state.
    pub state: NodeState,
    /// Whether its key set is not the newest or not the wanted one, whatever else is wrong.
    pub behind: bool,
    /// Why it is not ok; empty if it is.
    pub why: String,
}

/// What the nodes are compared against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The current time.
    pub at: Timestamp,
    /// How often a node reports even if nothing has changed: `[report] heartbeat`.
    pub heartbeat: SignedDuration,
    /// The document that every node should have; if `None`, the newest that any node has.
    pub wanted: Option<Wanted>,
}

/// The whole fleet, judged.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// What it was judged by.
    pub view: View,
    /// Where the nodes are, as far as the caller knows.
    pub scope: Scope,
    /// The nodes, those that need attention first.
    pub rows: Vec<NodeRow>,
    sets: Sets,
}

/// Nodes in the same state for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason<'a> {
    /// The state.
    pub state: NodeState,
    /// The reason.
    pub why: &'a str,
    /// The nodes, each with its index in the fleet.
    pub rows: Vec<(usize, &'a NodeRow)>,
}

impl View {
    /// Judges each node.
    pub fn judge(self, nodes: Vec<Node>) -> Fleet {
        let sets = Sets::of(nodes.iter().filter_map(Node::report));
        let mut rows: Vec<NodeRow> = nodes
            .into_iter()
            .map(|node| self.row(node, &sets))
            .collect();
        rows.sort_by(|a, b| {
            (a.state, &a.why)
                .cmp(&(b.state, &b.why))
                .then_with(|| natural(&a.node.name, &b.node.name))
                .then_with(|| a.node.id.cmp(&b.node.id))
        });
        Fleet {
            view: self,
            scope: Scope::default(),
            rows,
            sets,
        }
    }

    fn row(&self, node: Node, sets: &Sets) -> NodeRow {
        let (state, behind, why) = match &node.word {
            Word::None => (
                NodeState::Unreported,
                self.wanted.is_some(),
                "runs, but has never reported".to_owned(),
            ),
            Word::Garbled(fault) => (
                NodeState::Unreported,
                self.wanted.is_some(),
                format!("its report makes no sense: {fault}"),
            ),
            Word::NodeReport(report) => {
                let lag = self.lag(report, sets);
                let (state, why) = self.verdict(report, lag.clone());
                (state, lag.is_some(), why)
            }
        };
        NodeRow {
            node,
            state,
            behind,
            why,
        }
    }

    fn verdict(&self, report: &NodeReport, lag: Option<String>) -> (NodeState, String) {
        let age = self.at.duration_since(report.synced);
        let most = self.heartbeat.saturating_mul(2);
        let own = match report.status {
            Status::Failed => Some(NodeState::Failed),
            Status::Degraded => Some(NodeState::Degraded),
            Status::Stale => Some(NodeState::Stale),
            Status::Ok => None,
        };
        match (own, lag) {
            _ if age > most => (
                NodeState::Silent,
                format!("no word for more than {most:#}: does authkeysd run there?"),
            ),
            _ if age < -AHEAD => (
                NodeState::Silent,
                "its last word is dated in the future: is its clock right?".to_owned(),
            ),
            (Some(state), _) if report.detail.is_empty() => {
                (state, "it does not say why".to_owned())
            }
            (Some(state), _) => (state, report.detail.clone()),
            (None, Some(lag)) => (NodeState::Behind, lag),
            (None, None) => (NodeState::Ok, String::new()),
        }
    }

    /// Why a node's key set is not the one that it should have.
    fn lag(&self, report: &NodeReport, sets: &Sets) -> Option<String> {
        if let Some(wanted) = &self.wanted {
            if wanted.is_followed(report) {
                return None;
            }
            return Some(format!("{wanted} is not in effect there"));
        }
        match sets.standing(report) {
            Standing::Newest => None,
            Standing::Older(newest) => {
                Some(format!("the newest is {}/{}", newest.name, newest.serial))
            }
            Standing::Differs(newest) => Some(format!(
                "another content under {}/{} than most nodes have",
                newest.name, newest.serial
            )),
        }
    }
}

impl Fleet {
    /// The same fleet with its scope.
    pub fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Each key set that a node has, with the number of nodes.
    pub fn held(&self) -> &[KeySetCount] {
        self.sets.held()
    }

    /// How many nodes are in that state.
    pub fn count(&self, state: NodeState) -> usize {
        self.rows.iter().filter(|row| row.state == state).count()
    }

    /// How many nodes have the wanted document in force; if none is wanted, how many are ok.
    pub fn done(&self) -> usize {
        self.rows.iter().filter(|row| self.is_done(row)).count()
    }

    /// Whether this node has the wanted document in force; if none is wanted, whether it is ok.
    pub fn is_done(&self, row: &NodeRow) -> bool {
        match &self.view.wanted {
            Some(wanted) => match row.node.report() {
                Some(report) => wanted.is_met(report),
                None => false,
            },
            None => row.state == NodeState::Ok,
        }
    }

    /// The selected nodes by state and reason: the most severe first, then by the number of nodes.
    pub fn reasons(&self, meant: impl Fn(&NodeRow) -> bool) -> Vec<Reason<'_>> {
        let mut reasons: Vec<Reason<'_>> = Vec::new();
        for (number, row) in self.rows.iter().enumerate() {
            if !meant(row) {
                continue;
            }
            match reasons.last_mut() {
                Some(last) if last.state == row.state && last.why == row.why => {
                    last.rows.push((number, row));
                }
                _ => reasons.push(Reason {
                    state: row.state,
                    why: &row.why,
                    rows: vec![(number, row)],
                }),
            }
        }
        reasons.sort_by_key(|reason| (reason.state, Reverse(reason.rows.len())));
        reasons
    }

    /// What the reader needs to know about the counts, one sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.view.wanted.is_some() {
            return remarks;
        }
        if self.sets.groups() > 1 {
            remarks.push(format!(
                "{} key sets are followed here: behind means not the newest of one's own; \
                 --document names one for all",
                self.sets.groups()
            ));
        }
        let unnumbered = self
            .held()
            .iter()
            .filter(|held| held.key_set.is_some() && held.newest.is_none())
            .count();
        if unnumbered > 1 {
            remarks.push(
                "key sets without a serial have no order: --document DIGEST tells who has not the \
                 right one"
                    .to_owned(),
            );
        }
        remarks
    }
}

/// Natural order: web-9 comes before web-10.
fn natural(a: &str, b: &str) -> Ordering {
    let mut a = a;
    let mut b = b;
    loop {
        let (text_a, text_b) = (
            until(&mut a, |c| c.is_ascii_digit()),
            until(&mut b, |c| c.is_ascii_digit()),
        );
        let (digits_a, digits_b) = (
            until(&mut a, |c| !c.is_ascii_digit()),
            until(&mut b, |c| !c.is_ascii_digit()),
        );
        // Of two numbers without leading zeros, the longer one is greater.
        let [number_a, number_b] =
            [digits_a, digits_b].map(|digits| digits.trim_start_matches('0'));
        let numbers = number_a
            .len()
            .cmp(&number_b.len())
            .then_with(|| number_a.cmp(number_b));
        match text_a
            .cmp(text_b)
            .then(numbers)
            .then_with(|| digits_a.len().cmp(&digits_b.len()))
        {
            Ordering::Equal if a.is_empty() && b.is_empty() => return Ordering::Equal,
            Ordering::Equal => {}
            order => return order,
        }
    }
}

/// Removes and returns the text before the first character of that kind.
fn until<'a>(text: &mut &'a str, kind: impl Fn(char) -> bool) -> &'a str {
    let (before, rest) = text.split_at(text.find(kind).unwrap_or(text.len()));
    *text = rest;
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_counted() {
        let mut names = [
            "web-10", "web", "web-9", "", "9", "db-1-2", "db-1-10", "web-09", "web-9b", "10",
        ];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            [
                "", "9", "10", "db-1-2", "db-1-10", "web", "web-9", "web-9b", "web-09", "web-10"
            ]
        );
    }
}

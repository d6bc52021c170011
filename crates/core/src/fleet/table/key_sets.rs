//! Which key sets the nodes have, with a bar for each.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::{BAR, GREEN, LEAST, Layout, MAGENTA, NAME, YELLOW, grouped, padded, short};
use crate::fleet::sets::KeySetCount;
use crate::fleet::view::Fleet;

/// This many key sets are listed one by one.
const SETS: usize = 8;
/// The width of a digest in columns.
const DIGEST: usize = 16;

/// One line of the table.
struct KeySetLine {
    name: String,
    digest: String,
    nodes: usize,
    newest: Option<bool>,
}

/// The table; its numbers add up to all nodes.
pub(super) fn key_sets(fleet: &Fleet, layout: &Layout) -> String {
    let held = fleet.held();
    let shown = match layout.all {
        true => held.len(),
        false => SETS.min(held.len()),
    };
    let (shown, rest) = held.split_at(shown);
    // The columns left after the digest, the number and the gaps.
    let longest = match layout.width {
        Some(width) => width.saturating_sub(DIGEST + 8 + 6).clamp(LEAST, 2 * NAME),
        None => 2 * NAME,
    };
    let mut lines = Vec::new();
    for held in shown {
        let name = match &held.key_set {
            Some(key_set) => short(&key_set.to_string(), longest),
            None => "none".to_owned(),
        };
        let digest = match held.digest {
            Some(digest) => digest.to_string(),
            None => String::new(),
        };
        lines.push(KeySetLine {
            name,
            digest,
            nodes: held.nodes,
            newest: held.newest,
        });
    }
    let unknown = fleet.rows.len().saturating_sub(count_nodes(held));
    if unknown > 0 {
        lines.push(KeySetLine {
            name: "unknown".to_owned(),
            digest: String::new(),
            nodes: unknown,
            newest: None,
        });
    }
    let mut text = drawn(&lines, layout);
    if !rest.is_empty() {
        let sets = grouped(rest.len());
        let nodes = grouped(count_nodes(rest));
        let _ = writeln!(text, "and {sets} more on {nodes} nodes");
    }
    text
}

fn count_nodes(held: &[KeySetCount]) -> usize {
    held.iter().map(|held| held.nodes).sum()
}

fn drawn(lines: &[KeySetLine], layout: &Layout) -> String {
    let mut wide = "key set".len();
    let mut most = 1;
    for line in lines {
        wide = wide.max(line.name.width());
        most = most.max(line.nodes);
    }
    let number = grouped(most).len().max("nodes".len());
    // Name, digest, number and the gaps between them. The rest is for the bar and the word after
    // it.
    let taken = wide + number + DIGEST + 6 + " newest".len();
    let bar = match layout.width {
        Some(width) => width.saturating_sub(taken).min(BAR),
        None => BAR,
    };
    let head = padded("key set", wide);
    let mut text = format!("{head}  {:DIGEST$}  {:>number$}\n", "digest", "nodes");
    for line in lines {
        let name = padded(&line.name, wide);
        let digest = &line.digest;
        let nodes = grouped(line.nodes);
        // Even one node of ten thousand is visible.
        let length = (line.nodes * bar).div_ceil(most);
        let (code, word) = match line.newest {
            Some(true) => (GREEN, " newest"),
            Some(false) => (YELLOW, ""),
            None => (MAGENTA, ""),
        };
        let bar = layout.colour.paint(code, &"█".repeat(length));
        let line = format!("{name}  {digest:DIGEST$}  {nodes:>number$}  {bar}{word}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

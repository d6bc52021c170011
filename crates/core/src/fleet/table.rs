//! The fleet for a person at a terminal: the summary first, then what needs attention, with equal
//! nodes grouped.

use std::fmt::Write as _;

use jiff::SignedDuration;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::view::{Fleet, NodeRow, NodeState, Reason};
use crate::report::text::{Colour, one_line};
use key_sets::key_sets;

mod key_sets;

const BOLD: u8 = 1;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const MAGENTA: u8 = 35;

/// The most nodes that are named for one reason, unless all are requested.
const NODES: usize = 10;
/// The most reasons that are listed for one state.
const REASONS: usize = 5;
/// The longest bar of a key set.
const BAR: usize = 40;
/// The most columns of a node's name.
const NAME: usize = 32;
/// Names are never cut shorter than this.
const LEAST: usize = 12;

/// A row of the table of nodes: id, name, key set, when it reported, and the version.
type Cells = [String; 5];

/// How the table is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Whether colours may be used.
    pub colour: Colour,
    /// The terminal's columns; `None` without a terminal, where nothing is wrapped.
    pub width: Option<usize>,
    /// List every node, instead of the first ones of each reason.
    pub all: bool,
}

/// The whole table.
pub fn render(fleet: &Fleet, layout: &Layout) -> String {
    let mut text = headline(fleet, layout);
    if fleet.rows.is_empty() {
        return text;
    }
    let scope = one_line(&fleet.scope.shown());
    if !scope.is_empty() {
        push_wrapped(&mut text, "", 0, &scope, layout.width);
    }
    text.push('\n');
    text.push_str(&key_sets(fleet, layout));
    for remark in fleet.remarks() {
        push_wrapped(&mut text, "", 0, &format!("note: {remark}"), layout.width);
    }
    text.push_str(&sections(fleet, layout, |row| {
        layout.all || row.state != NodeState::Ok
    }));
    text
}

/// Which nodes do not have the wanted document, and why.
pub fn missing(fleet: &Fleet, layout: &Layout) -> String {
    sections(fleet, layout, |row| !fleet.is_done(row))
}

/// The states of the nodes that do not have the wanted document, the most severe first: "1 failed,
/// 2 behind".
pub fn undone(fleet: &Fleet) -> String {
    let mut parts = Vec::new();
    for state in NodeState::ALL {
        let mut nodes = 0;
        for row in &fleet.rows {
            if row.state == state && !fleet.is_done(row) {
                nodes += 1;
            }
        }
        parts.extend(counted(state, nodes));
    }
    parts.join(", ")
}

/// The states of the nodes that need attention, the most severe first; empty if there are none.
pub fn troubled(fleet: &Fleet) -> String {
    let mut parts = Vec::new();
    for state in NodeState::ALL {
        if state != NodeState::Ok {
            parts.extend(counted(state, fleet.count(state)));
        }
    }
    parts.join(", ")
}

fn counted(state: NodeState, nodes: usize) -> Option<String> {
    if nodes == 0 {
        return None;
    }
    Some(format!("{} {}", grouped(nodes), state.word()))
}

/// `1 node`, `1,200 nodes`.
fn counted_nodes(nodes: usize) -> String {
    let plural = if nodes == 1 { "" } else { "s" };
    format!("{} node{plural}", grouped(nodes))
}

/// A number with its thousands separated.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An age, in one unit.
pub fn ago(age: SignedDuration) -> String {
    match age.as_secs() {
        ..0 => "in the future".to_owned(),
        seconds @ 0..120 => format!("{seconds}s ago"),
        seconds @ 120..7_200 => format!("{}m ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h ago", seconds / 3_600),
        seconds => format!("{}d ago", seconds / 86_400),
    }
}

fn headline(fleet: &Fleet, layout: &Layout) -> String {
    let nodes = fleet.rows.len();
    let start = counted_nodes(nodes);
    let mut parts: Vec<(u8, String)> = Vec::new();
    for state in NodeState::ALL {
        if let Some(part) = counted(state, fleet.count(state)) {
            parts.push((paint(state), part));
        }
    }
    if let Some(wanted) = &fleet.view.wanted {
        parts.push((
            BOLD,
            format!(
                "{} of {} have {wanted}",
                grouped(fleet.done()),
                grouped(nodes)
            ),
        ));
    }
    let mut line = layout.colour.paint(BOLD, &start);
    let mut column = start.width();
    let width = layout.width.unwrap_or(usize::MAX);
    for (at, (code, part)) in parts.iter().enumerate() {
        line.push(if at == 0 { ':' } else { ',' });
        let wide = part.width();
        column += 1;
        if column + 1 + wide + 1 > width {
            line.push_str("\n   ");
            column = 3;
        }
        let _ = write!(line, " {}", layout.colour.paint(*code, part));
        column += 1 + wide;
    }
    line + "\n"
}

/// The selected nodes, grouped by state and reason.
fn sections(fleet: &Fleet, layout: &Layout, meant: impl Fn(&NodeRow) -> bool) -> String {
    let mut text = String::new();
    for of_state in fleet.reasons(meant).chunk_by(|a, b| a.state == b.state) {
        let mut more_nodes = 0;
        for (at, reason) in of_state.iter().enumerate() {
            if layout.all || at < REASONS {
                section(&mut text, reason, fleet, layout);
            } else {
                more_nodes += reason.rows.len();
            }
        }
        if let Some(first) = of_state.first()
            && more_nodes > 0
        {
            let word = layout.colour.paint(paint(first.state), first.state.word());
            let more = grouped(more_nodes);
            let reasons = grouped(of_state.len() - REASONS);
            let _ = writeln!(
                text,
                "\n{word}  and {more} more for {reasons} other reasons (--all names them)"
            );
        }
    }
    text
}

fn section(text: &mut String, reason: &Reason<'_>, fleet: &Fleet, layout: &Layout) {
    let word = reason.state.word();
    let nodes = counted_nodes(reason.rows.len());
    let start = format!("{word}  {nodes}  ");
    let painted = format!(
        "{}  {}",
        layout.colour.paint(paint(reason.state), word),
        layout.colour.paint(BOLD, &nodes)
    );
    text.push('\n');
    match reason.why {
        "" => text.push_str(&(painted + "\n")),
        why => push_wrapped(
            text,
            &(painted + "  "),
            start.width(),
            &one_line(why),
            layout.width,
        ),
    }
    let shown = if layout.all {
        reason.rows.len()
    } else {
        NODES.min(reason.rows.len())
    };
    let mut lines = Vec::new();
    for (_, row) in reason.rows.iter().take(shown) {
        lines.push(cells(row, fleet));
    }
    let heads = heads(&lines);
    let mut filled = heads.iter().filter(|head| !head.is_empty());
    if filled.nth(1).is_some() {
        lines.insert(0, heads);
    }
    let wide = columns(&lines, layout.width);
    for line in &lines {
        let mut shown = String::from(" ");
        for (cell, wide) in std::iter::zip(line, wide) {
            if wide > 0 {
                let _ = write!(shown, " {} ", padded(&short(cell, wide), wide));
            }
        }
        let _ = writeln!(text, "{}", shown.trim_end());
    }
    if reason.rows.len() > shown {
        let _ = writeln!(
            text,
            "  and {} more (--all names them)",
            grouped(reason.rows.len() - shown)
        );
    }
}

/// The column heads; an empty column has no head.
fn heads(lines: &[Cells]) -> Cells {
    let mut heads = ["node", "name", "key set", "reported", "version"].map(str::to_owned);
    for (column, head) in heads.iter_mut().enumerate() {
        let mut cells = lines.iter().filter_map(|line| line.get(column));
        if cells.all(String::is_empty) {
            head.clear();
        }
    }
    heads
}

/// The width of each column. If a row would not fit, the key set is shortened first, then the name.
fn columns(lines: &[Cells], width: Option<usize>) -> [usize; 5] {
    let mut wide = [0; 5];
    for row in lines {
        for (wide, cell) in std::iter::zip(&mut wide, row) {
            *wide = cell.width().max(*wide);
        }
    }
    let mut all = 0;
    for column in wide {
        all += column + 2;
    }
    let mut over = all.saturating_sub(width.unwrap_or(usize::MAX));
    let [_, name, key_set, ..] = &mut wide;
    for column in [key_set, name] {
        let less = over.min(column.saturating_sub(LEAST));
        *column -= less;
        over -= less;
    }
    wide
}

fn cells(row: &NodeRow, fleet: &Fleet) -> Cells {
    let id = short(&row.node.id, NAME);
    let name = short(&row.node.name, NAME);
    let Some(report) = row.node.report() else {
        return [id, name, String::new(), String::new(), String::new()];
    };
    let key_set = match report.key_sets() {
        Some(key_sets) => short(&key_sets, 2 * NAME),
        None => "none".to_owned(),
    };
    let age = ago(fleet.view.at.duration_since(report.synced));
    let version = short(report.version.as_deref().unwrap_or_default(), NAME);
    [id, name, key_set, age, version]
}

/// A text on one line, cut to at most `most` columns.
pub(super) fn short(text: &str, most: usize) -> String {
    let text = one_line(text);
    if text.width() <= most {
        return text;
    }
    let mut cut = String::new();
    for sign in text.chars() {
        if cut.width() + sign.width().unwrap_or_default() >= most {
            break;
        }
        cut.push(sign);
    }
    cut + "…"
}

fn padded(text: &str, wide: usize) -> String {
    format!("{text}{}", " ".repeat(wide.saturating_sub(text.width())))
}

/// Appends a text, wrapped at blanks. The first line already has `used` columns; further lines are
/// indented.
fn push_wrapped(text: &mut String, start: &str, used: usize, words: &str, width: Option<usize>) {
    text.push_str(start);
    let mut column = used;
    let mut first = true;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let wide = word.width();
        if !first && width.is_some_and(|width| column + 1 + wide > width) {
            text.push_str("\n    ");
            column = 4;
        } else if !first {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += wide;
        first = false;
    }
    text.push('\n');
}

fn paint(state: NodeState) -> u8 {
    match state {
        NodeState::Failed => RED,
        NodeState::Silent | NodeState::Unreported => MAGENTA,
        NodeState::Degraded | NodeState::Stale | NodeState::Behind => YELLOW,
        NodeState::Ok => GREEN,
    }
}

//! The fleet for a person at a terminal: the summary first, then what needs attention, alike nodes
//! told together.

use std::fmt::Write as _;

use jiff::SignedDuration;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::view::{Fleet, Reason, Row, State};
use crate::report::text::{Colour, one_line};

const BOLD: u8 = 1;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
const MAGENTA: u8 = 35;

/// Of one reason that many nodes are named, unless all are wanted.
const NODES: usize = 10;
/// Of one state that many reasons are told.
const REASONS: usize = 5;
/// That many key sets are counted one by one.
const SETS: usize = 8;
/// The longest bar of a key set.
const BAR: usize = 40;
/// No name of a node takes more columns.
const NAME: usize = 32;
/// No name is cut shorter than this.
const LEAST: usize = 12;

/// How the table is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Whether colours may be used.
    pub colour: Colour,
    /// The terminal's columns; `None` when there is no terminal, and nothing is wrapped.
    pub width: Option<usize>,
    /// Every node, instead of the first ones of each reason.
    pub all: bool,
}

/// The whole table.
pub fn render(fleet: &Fleet, layout: &Layout) -> String {
    let mut text = headline(fleet, layout);
    if fleet.rows.is_empty() {
        return text;
    }
    text.push('\n');
    text.push_str(&key_sets(fleet, layout));
    for remark in fleet.remarks() {
        push_wrapped(&mut text, "", 0, &format!("note: {remark}"), layout.width);
    }
    text.push_str(&sections(fleet, layout, |row| {
        layout.all || row.state != State::Ok
    }));
    text
}

/// Which nodes do not have what all shall have, and why.
pub fn missing(fleet: &Fleet, layout: &Layout) -> String {
    sections(fleet, layout, |row| !fleet.is_done(row))
}

/// The states of the nodes that do not have what all shall have, gravest last: "2 behind, 1
/// failed".
pub fn undone(fleet: &Fleet) -> String {
    let told = State::ALL.iter().rev().filter_map(|&state| {
        let nodes = fleet
            .rows
            .iter()
            .filter(|row| row.state == state && !fleet.is_done(row))
            .count();
        (nodes > 0).then(|| format!("{} {}", grouped(nodes), state.word()))
    });
    told.collect::<Vec<_>>().join(", ")
}

/// The states of the nodes with which not all is well, gravest last; empty when there are none.
pub fn troubled(fleet: &Fleet) -> String {
    let mut told = Vec::new();
    for state in State::ALL
        .into_iter()
        .rev()
        .filter(|state| *state != State::Ok)
    {
        let nodes = fleet.count(state);
        if nodes > 0 {
            told.push(format!("{} {}", grouped(nodes), state.word()));
        }
    }
    told.join(", ")
}

/// A number with its thousands apart.
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

/// How long ago, in one unit.
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
    let start = format!(
        "{} node{}",
        grouped(nodes),
        if nodes == 1 { "" } else { "s" }
    );
    let mut parts: Vec<(u8, String)> = State::ALL
        .into_iter()
        .rev()
        .filter(|&state| fleet.count(state) > 0)
        .map(|state| {
            (
                paint(state),
                format!("{} {}", grouped(fleet.count(state)), state.word()),
            )
        })
        .collect();
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
    let (mut line, mut column) = (layout.colour.paint(BOLD, &start), start.width());
    for (at, (code, part)) in parts.iter().enumerate() {
        let (comma, wide) = (if at == 0 { ":" } else { "," }, part.width());
        line.push_str(comma);
        column += 1;
        if layout
            .width
            .is_some_and(|width| column + 1 + wide + 1 > width)
        {
            line.push_str("\n   ");
            column = 3;
        }
        let _ = write!(line, " {}", layout.colour.paint(*code, part));
        column += 1 + wide;
    }
    line + "\n"
}

fn key_sets(fleet: &Fleet, layout: &Layout) -> String {
    let held = fleet.held();
    let (shown, rest) = held.split_at(if layout.all {
        held.len()
    } else {
        SETS.min(held.len())
    });
    // Beside the digest, the number and the gaps.
    let most = layout
        .width
        .map_or(usize::MAX, |width| width.saturating_sub(16 + 8 + 6))
        .clamp(LEAST, 2 * NAME);
    let names: Vec<String> = shown
        .iter()
        .map(|held| {
            held.key_set
                .as_ref()
                .map_or_else(|| "none".to_owned(), |set| short(&set.to_string(), most))
        })
        .collect();
    let wide = names
        .iter()
        .map(|name| name.width())
        .chain(["key set".len()])
        .max()
        .unwrap_or_default();
    let most = shown
        .iter()
        .map(|held| held.nodes)
        .max()
        .unwrap_or(1)
        .max(1);
    let number = grouped(most).len().max("nodes".len());
    // Name, digest, number and the gaps between them; what is left is the bar's, and the word's
    // behind it.
    let room = layout.width.map_or(BAR, |width| {
        width.saturating_sub(wide + number + 16 + 6 + " newest".len())
    });
    let bar = room.min(BAR);

    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}  {:16}  {:>number$}",
        padded("key set", wide),
        "digest",
        "nodes"
    );
    for (held, name) in shown.iter().zip(&names) {
        let digest = held
            .digest
            .map(|digest| digest.to_string())
            .unwrap_or_default();
        let mut line = format!(
            "{}  {digest:16}  {:>number$}  ",
            padded(name, wide),
            grouped(held.nodes)
        );
        // Even one node of ten thousand is seen.
        let length = (held.nodes * bar).div_ceil(most);
        let (code, word) = match held.newest {
            Some(true) => (GREEN, " newest"),
            Some(false) => (YELLOW, ""),
            None => (MAGENTA, ""),
        };
        line.push_str(&layout.colour.paint(code, &"█".repeat(length)));
        line.push_str(word);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if !rest.is_empty() {
        let nodes: usize = rest.iter().map(|held| held.nodes).sum();
        let _ = writeln!(
            text,
            "and {} more on {} nodes",
            grouped(rest.len()),
            grouped(nodes)
        );
    }
    text
}

/// The nodes that are meant by state and reason.
fn sections(fleet: &Fleet, layout: &Layout, meant: impl Fn(&Row) -> bool) -> String {
    let mut text = String::new();
    for of_state in fleet.reasons(meant).chunk_by(|a, b| a.state == b.state) {
        let told = if layout.all {
            of_state.len()
        } else {
            REASONS.min(of_state.len())
        };
        for reason in of_state.iter().take(told) {
            section(&mut text, reason, fleet, layout);
        }
        let more: usize = of_state
            .iter()
            .skip(told)
            .map(|reason| reason.rows.len())
            .sum();
        if let Some(first) = of_state.first().filter(|_| more > 0) {
            let word = layout.colour.paint(paint(first.state), first.state.word());
            let (more, reasons) = (grouped(more), grouped(of_state.len() - told));
            let _ = writeln!(
                text,
                "\n{word}  and {more} more for {reasons} other reasons (--all names them)"
            );
        }
    }
    text
}

fn section(text: &mut String, reason: &Reason<'_>, fleet: &Fleet, layout: &Layout) {
    let (nodes, word) = (reason.rows.len(), reason.state.word());
    let nodes = format!(
        "{} node{}",
        grouped(nodes),
        if nodes == 1 { "" } else { "s" }
    );
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
    let cells: Vec<[String; 4]> = reason
        .rows
        .iter()
        .take(shown)
        .map(|(_, row)| cells(row, fleet))
        .collect();
    let wide = columns(&cells, layout.width);
    for row in &cells {
        let columns = row.iter().zip(wide).filter(|(_, wide)| *wide > 0);
        let columns = columns.map(|(cell, wide)| padded(&short(cell, wide), wide));
        let _ = writeln!(
            text,
            "  {}",
            columns.collect::<Vec<_>>().join("  ").trim_end()
        );
    }
    if reason.rows.len() > shown {
        let _ = writeln!(
            text,
            "  and {} more (--all names them)",
            grouped(reason.rows.len() - shown)
        );
    }
}

/// How wide each column is; the key set, then the name, give way where a row would not fit.
fn columns(cells: &[[String; 4]], width: Option<usize>) -> [usize; 4] {
    let mut wide = [0; 4];
    for row in cells {
        for (wide, cell) in wide.iter_mut().zip(row) {
            *wide = cell.width().max(*wide);
        }
    }
    let mut over = wide
        .iter()
        .map(|wide| wide + 2)
        .sum::<usize>()
        .saturating_sub(width.unwrap_or(usize::MAX));
    let [_, name, key_set, _] = &mut wide;
    for column in [key_set, name] {
        let less = over.min(column.saturating_sub(LEAST));
        *column -= less;
        over -= less;
    }
    wide
}

fn cells(row: &Row, fleet: &Fleet) -> [String; 4] {
    let report = row.node.report();
    let key_set = report.map(|report| report.key_sets().unwrap_or_else(|| "none".to_owned()));
    let age = report.map(|report| ago(fleet.view.at.duration_since(report.synced)));
    [
        short(&row.node.id, NAME),
        short(&row.node.name, NAME),
        short(&key_set.unwrap_or_default(), 2 * NAME),
        age.unwrap_or_default(),
    ]
}

/// A text of at most so many columns that stays in its line.
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

/// Adds a text, wrapped at its blanks, behind what has already `used` columns of the first line;
/// further lines are indented.
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

fn paint(state: State) -> u8 {
    match state {
        State::Failed => RED,
        State::Silent | State::Unreported => MAGENTA,
        State::Degraded | State::Stale | State::Behind => YELLOW,
        State::Ok => GREEN,
    }
}

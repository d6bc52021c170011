//! The progress of `fleet --wait`, in one line.

use jiff::SignedDuration;
use unicode_width::UnicodeWidthStr as _;

use super::table::{grouped, short, undone};
use super::view::Fleet;
use crate::report::text::{Colour, span};

/// The longest bar.
const BAR: usize = 40;
/// The shortest bar that is drawn at all.
const LEAST: usize = 10;
/// The columns reserved for the text after the bar: "  12 behind, 1 failed".
const WORDS: usize = 24;
/// Determines the columns reserved for the time.
const LONGEST_WAIT: &str = "10m 59s";

/// A line for a log: "46 of 50 have workers/17 after 12s; the others: 3 behind, 1 failed".
pub fn line(fleet: &Fleet, wanted: &str, passed: SignedDuration) -> String {
    let others = undone(fleet);
    let others = if others.is_empty() {
        others
    } else {
        format!("; the others: {others}")
    };
    format!("{} have {wanted} after {}{others}", of(fleet), span(passed))
}

/// A progress bar of at most `width` columns, for a line that is redrawn repeatedly. Its length
/// depends only on what stays the same during the wait, so that the bar does nothing but fill.
pub fn bar(
    fleet: &Fleet,
    wanted: &str,
    passed: SignedDuration,
    trouble: &str,
    width: usize,
    colour: Colour,
) -> String {
    let done = fleet.done();
    let all = fleet.rows.len();
    let plain = format!(" {} {wanted} {}", of(fleet), span(passed));
    let note = if trouble.is_empty() {
        undone(fleet)
    } else {
        trouble.to_owned()
    };
    // The last column stays free: some terminals start a new line when it is filled.
    let width = width.saturating_sub(1);
    let room = width.saturating_sub(plain.width() + 2);
    if room < LEAST {
        return short(plain.trim_start(), width);
    }
    let longest = format!(" {0} of {0} {wanted} {LONGEST_WAIT}", grouped(all)).width() + 2;
    let bar = width
        .saturating_sub(longest + WORDS.max(note.width() + 2))
        .clamp(LEAST, BAR);
    let note = match room - bar.min(room) {
        left if left > 2 && !note.is_empty() => format!("  {}", short(&note, left - 2)),
        _ => String::new(),
    };
    // Full only when all nodes have it.
    let full = (bar * done).checked_div(all).unwrap_or_default();
    let filled = colour.paint(32, &"█".repeat(full));
    format!("[{filled}{}]{plain}{note}", "░".repeat(bar - full))
}

fn of(fleet: &Fleet) -> String {
    format!("{} of {}", grouped(fleet.done()), grouped(fleet.rows.len()))
}

//! How far `fleet --wait` has come, in one line.

use jiff::SignedDuration;
use unicode_width::UnicodeWidthStr as _;

use super::table::{grouped, undone};
use super::view::Fleet;
use crate::report::text::{Colour, one_line, span};

/// The longest bar.
const BAR: usize = 40;
/// The shortest one that is worth its room.
const LEAST: usize = 10;

/// A line for a log: "46 of 50 have workers/17 after 12s; the others: 3 behind, 1 failed".
pub fn line(fleet: &Fleet, wanted: &str, passed: SignedDuration) -> String {
    let others = undone(fleet);
    let others = if others.is_empty() { others } else { format!("; the others: {others}") };
    format!("{} have {wanted} after {}{others}", of(fleet), span(passed))
}

/// A bar of at most so many columns, for a line that is written over and over.
pub fn bar(fleet: &Fleet, wanted: &str, passed: SignedDuration, trouble: &str, width: usize, colour: Colour) -> String {
    let (done, all) = (fleet.done(), fleet.rows.len());
    let plain = format!(" {} {wanted} {}", of(fleet), span(passed));
    let told = if trouble.is_empty() { undone(fleet) } else { one_line(trouble) };
    let told = if told.is_empty() { told } else { format!("  {told}") };
    // The last column stays free: some terminals begin a new line when it is filled.
    let width = width.saturating_sub(1);
    let room = width.saturating_sub(plain.width() + 2);
    if room < LEAST {
        return plain.trim_start().chars().take(width).collect();
    }
    // Words that leave too little for the bar are cut.
    let bar = room.saturating_sub(told.width()).clamp(LEAST, BAR);
    let told: String = told.chars().take(room - bar.min(room)).collect();
    // Full only when all have it.
    let full = (bar * done).checked_div(all).unwrap_or_default();
    let filled = colour.paint(32, &"█".repeat(full));
    format!("[{filled}{}]{plain}{told}", "░".repeat(bar - full))
}

fn of(fleet: &Fleet) -> String {
    format!("{} of {}", grouped(fleet.done()), grouped(fleet.rows.len()))
}

//! How far `fleet --wait` has come, in one line.

use jiff::SignedDuration;
use unicode_width::UnicodeWidthStr as _;

use super::table::{counts, grouped};
use super::view::Fleet;
use crate::report::text::{Colour, one_line, span};

/// The longest bar.
const BAR: usize = 40;
/// The shortest one that is worth its room.
const LEAST: usize = 10;

/// A line for a log: "46 of 50 have workers/17 after 12s (46 ok, 4 behind)".
pub fn line(fleet: &Fleet, wanted: &str, passed: SignedDuration) -> String {
    let counts = counts(fleet);
    format!("{} have {wanted} after {} ({counts})", of(fleet), span(passed))
}

/// A bar of at most so many columns, for a line that is written over and over.
pub fn bar(fleet: &Fleet, wanted: &str, passed: SignedDuration, trouble: &str, width: usize, colour: Colour) -> String {
    let (done, all) = (fleet.done(), fleet.rows.len());
    let plain = format!(" {} {wanted} {}", of(fleet), span(passed));
    let mut told = counts(fleet);
    if !trouble.is_empty() {
        told = one_line(trouble);
    }
    // The last column stays free: some terminals begin a new line when it is filled.
    let width = width.saturating_sub(1);
    let bar = width.saturating_sub(plain.width() + 2).min(BAR);
    if bar < LEAST {
        return plain.trim_start().chars().take(width).collect();
    }
    // Full only when all have it.
    let full = (bar * done).checked_div(all).unwrap_or_default();
    let filled = colour.paint(32, &"█".repeat(full));
    let left = width.saturating_sub(bar + 2 + plain.width());
    let rest = if told.width() + 2 <= left { format!("  {told}") } else { String::new() };
    format!("[{filled}{}]{plain}{rest}", "░".repeat(bar - full))
}

fn of(fleet: &Fleet) -> String {
    format!("{} of {}", grouped(fleet.done()), grouped(fleet.rows.len()))
}

//! Tables for people: the keys of a document at a given time, and rows of any columns. Pure.

use unicode_width::UnicodeWidthStr as _;

use super::findings::{JudgedKey, KeyState};
use crate::report::text::Colour;
use crate::user::UserName;

const BOLD: u8 = 1;
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

/// A row's cells, and the colour of the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The texts.
    pub cells: Vec<String>,
    /// The number of a terminal colour.
    pub colour: Option<u8>,
}

/// The keys of a document, one per line.
pub fn keys(keys: &[JudgedKey<'_>], colour: Colour) -> String {
    let rows: Vec<Row> = keys.iter().map(row).collect();
    columns(
        &[
            "STATE",
            "FINGERPRINT",
            "TYPE",
            "COMMENT",
            "ACCOUNTS",
            "WINDOW",
            "OPTIONS",
        ],
        &rows,
        colour,
    )
}

fn row(judged: &JudgedKey<'_>) -> Row {
    let key = judged.key;
    let (state, colour) = match (judged.state, key.not_before) {
        (KeyState::InForce, _) => ("in force".to_owned(), GREEN),
        (KeyState::NotYet, Some(from)) => (format!("from {from}"), YELLOW),
        (KeyState::NotYet, None) => ("not yet".to_owned(), YELLOW),
        (KeyState::Over, _) => ("over".to_owned(), YELLOW),
        (KeyState::Revoked, _) => ("revoked".to_owned(), RED),
    };
    let accounts = match &key.accounts {
        None => "all".to_owned(),
        Some(accounts) if accounts.is_empty() => "none".to_owned(),
        Some(accounts) => accounts
            .iter()
            .map(UserName::as_str)
            .collect::<Vec<_>>()
            .join(","),
    };
    let window = match (key.not_before, judged.until) {
        (None, None) => String::new(),
        (Some(from), None) => format!("from {from}"),
        (None, Some(until)) => format!("until {until}"),
        (Some(from), Some(until)) => format!("{from} to {until}"),
    };
    let line = &key.line;
    let cells = vec![
        state,
        line.key.fingerprint().to_string(),
        line.key.kind().to_owned(),
        line.comment.clone(),
        accounts,
        window,
        line.options.to_string(),
    ];
    Row {
        cells,
        colour: Some(colour),
    }
}

/// Rows under their heads. A column without any text is left out.
pub fn columns(heads: &[&str], rows: &[Row], colour: Colour) -> String {
    let mut widths = Vec::with_capacity(heads.len());
    for (at, head) in heads.iter().enumerate() {
        let mut widest = 0;
        for row in rows {
            if let Some(cell) = row.cells.get(at) {
                widest = widest.max(cell.width());
            }
        }
        widths.push(if widest == 0 {
            0
        } else {
            widest.max(head.width())
        });
    }
    let heads = Row {
        cells: heads.iter().map(|head| (*head).to_owned()).collect(),
        colour: None,
    };
    let mut text = colour.paint(BOLD, &line(&heads, &widths, Colour::No)) + "\n";
    for row in rows {
        text.push_str(&line(row, &widths, colour));
        text.push('\n');
    }
    text
}

fn line(row: &Row, widths: &[usize], colour: Colour) -> String {
    let mut line = String::new();
    for (at, (cell, width)) in row.cells.iter().zip(widths).enumerate() {
        if *width == 0 {
            continue;
        }
        let blanks = " ".repeat(width.saturating_sub(cell.width()) + 2);
        match row.colour {
            Some(code) if at == 0 => line.push_str(&colour.paint(code, cell)),
            _ => line.push_str(cell),
        }
        line.push_str(&blanks);
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_columns_and_empty_ones_are_left_out() {
        let row = |cells: [&str; 3], colour| Row {
            cells: cells.map(str::to_owned).to_vec(),
            colour,
        };
        let rows = [
            row(["a", "", "日本"], Some(31)),
            row(["long one", "", "x"], None),
        ];
        assert_eq!(
            columns(&["A", "B", "C"], &rows, Colour::No),
            "A         C\na         日本\nlong one  x\n"
        );
        let coloured = columns(&["A", "B", "C"], &rows, Colour::Yes);
        assert!(
            coloured.contains("\x1b[31ma\x1b[0m         日本\n"),
            "{coloured:?}"
        );
    }
}

//! The nodes as the page's script reads them: one column per field, so that values which many nodes
//! share are written once.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::letter;
use crate::fleet::table::ago;
use crate::fleet::view::{Fleet, NodeRow, NodeState};
use crate::report::text::one_line;

/// At most about this many squares are drawn.
pub(super) const SQUARES: usize = 10_000;
/// The most characters that a text may share with the previous one: the largest digit in base 36.
const SHARED: usize = 35;

/// All columns. Rows are in the fleet's order, the most severe state first.
#[derive(Serialize)]
struct Data {
    at: i64,
    /// How many nodes one square represents.
    each: usize,
    states: [&'static str; 7],
    letters: [&'static str; 7],
    whys: Vec<String>,
    sets: Vec<(String, String)>,
    versions: Vec<String>,
    agos: Vec<String>,
    id: String,
    name: String,
    state: Runs,
    why: Runs,
    set: Runs,
    version: Runs,
    group: Runs,
    ago: Vec<usize>,
    /// In seconds before `at`.
    age: Vec<Option<i64>>,
}

/// The data as JSON that is safe inside a page's script element.
///
/// `groups` has, for each row, the number of the group in which its square is drawn.
pub(super) fn json(fleet: &Fleet, groups: &[usize]) -> String {
    let rows = &fleet.rows;
    let mut whys = Distinct::default();
    let mut sets = Distinct::default();
    let mut versions = Distinct::default();
    let mut agos = Distinct::default();
    let mut data = Data {
        at: fleet.view.at.as_second(),
        each: rows.len().div_ceil(SQUARES).max(1),
        states: NodeState::ALL.map(NodeState::word),
        letters: NodeState::ALL.map(letter),
        whys: Vec::new(),
        sets: Vec::new(),
        versions: Vec::new(),
        agos: Vec::new(),
        id: column(rows.iter().map(|row| row.node.id.as_str())),
        name: column(rows.iter().map(|row| row.node.name.as_str())),
        state: Runs::default(),
        why: Runs::default(),
        set: Runs::default(),
        version: Runs::default(),
        group: Runs::default(),
        ago: Vec::with_capacity(rows.len()),
        age: Vec::with_capacity(rows.len()),
    };
    for (row, group) in rows.iter().zip(groups) {
        let mut version = String::new();
        let mut since = String::new();
        let mut seconds = None;
        if let Some(report) = row.node.report() {
            if let Some(text) = &report.version {
                version = one_line(text);
            }
            let age = fleet.view.at.duration_since(report.synced);
            since = ago(age);
            seconds = Some(age.as_secs());
        }
        data.state.push(number(row.state));
        data.why.push(whys.number(one_line(&row.why)));
        data.set.push(sets.number(set(row)));
        data.version.push(versions.number(version));
        data.group.push(*group);
        data.ago.push(agos.number(since));
        data.age.push(seconds);
    }
    data.whys = whys.values;
    data.sets = sets.values;
    data.versions = versions.values;
    data.agos = agos.values;
    in_markup(&data)
}

/// A state's index in [`NodeState::ALL`].
fn number(state: NodeState) -> usize {
    let found = NodeState::ALL.iter().position(|known| *known == state);
    found.unwrap_or_default()
}

/// The key set that the row shows, and its digest.
fn set(row: &NodeRow) -> (String, String) {
    let Some(report) = row.node.report() else {
        return (String::new(), String::new());
    };
    let sets = match report.key_sets() {
        Some(sets) => one_line(&sets),
        None => String::new(),
    };
    let digest = match report.digest {
        Some(digest) => digest.to_string(),
        None => String::new(),
    };
    (sets, digest)
}

/// Run-length encoded numbers: each number, followed by how often it is repeated.
#[derive(Default, Serialize)]
#[serde(transparent)]
struct Runs(Vec<usize>);

impl Runs {
    fn push(&mut self, number: usize) {
        match self.0.as_mut_slice() {
            [.., last, times] if *last == number => *times += 1,
            _ => self.0.extend([number, 1]),
        }
    }
}

/// Distinct values, referred to by their indexes.
struct Distinct<T> {
    numbers: BTreeMap<T, usize>,
    values: Vec<T>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self {
            numbers: BTreeMap::new(),
            values: Vec::new(),
        }
    }
}

impl<T: Clone + Ord> Distinct<T> {
    fn number(&mut self, value: T) -> usize {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = self.values.len();
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }
}

/// Texts, one per line. The first character of a line is the number of leading characters that it
/// shares with the previous line and that are omitted.
fn column<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut last = String::new();
    for text in texts {
        let text = one_line(text);
        let shared = shared(&last, &text);
        let digit = char::from_digit(shared as u32, 36).unwrap_or('0');
        let rest = text.get(shared..).unwrap_or_default();
        lines.push(format!("{digit}{rest}"));
        last = text;
    }
    lines.join("\n")
}

/// How many leading characters two texts share. Only ASCII counts, because Rust and JavaScript
/// measure it alike.
fn shared(a: &str, b: &str) -> usize {
    let mut shared = 0;
    for (a, b) in a.bytes().zip(b.bytes()).take(SHARED) {
        if a != b || !a.is_ascii() {
            break;
        }
        shared += 1;
    }
    shared
}

/// JSON in which no character inside a string has a meaning in HTML.
fn in_markup(data: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, InMarkup);
    // This cannot fail: writing to a vector always succeeds, and the data has no maps.
    let _ = data.serialize(&mut serializer);
    String::from_utf8(bytes).unwrap_or_default()
}

struct InMarkup;

impl Formatter for InMarkup {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\'']) {
            let (plain, from) = rest.split_at(at);
            let (sign, after) = from.split_at(1);
            writer.write_all(plain.as_bytes())?;
            for byte in sign.bytes() {
                write!(writer, "\\u{byte:04x}")?;
            }
            rest = after;
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\u0022"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"\\/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_share_their_beginnings_and_stay_apart() {
        let column = column(["web-1", "web-12", "web-2", "", "é-1", "é-2"].into_iter());
        assert_eq!(column, "0web-1\n52\n42\n0\n0é-1\n0é-2");
        let long = "x".repeat(40);
        assert_eq!(
            super::column([long.as_str(), &long].into_iter()),
            format!("0{long}\nzxxxxx")
        );
        assert_eq!(super::column([].into_iter()), "");
    }

    #[test]
    fn numbers_that_repeat_are_there_once() {
        let mut runs = Runs::default();
        for number in [3, 3, 3, 0, 3] {
            runs.push(number);
        }
        assert_eq!(runs.0, [3, 3, 0, 1, 3, 1]);
    }

    #[test]
    fn no_text_has_a_sign_that_means_something_to_html() {
        let hostile = "</script><!-- & 'a' \"b\" \\ \u{7}é";
        let json = in_markup(&[hostile]);
        assert!(!json.contains(['<', '>', '&', '\'']), "{json}");
        assert_eq!(json.matches('"').count(), 2, "{json}");
        assert_eq!(
            serde_json::from_str::<[String; 1]>(&json).unwrap(),
            [hostile]
        );
    }
}

//! The lines of a file: whose they are, and which keys they have.

use std::fmt::Write as _;

use crate::key::{Identified, identify};

pub(super) const BEGIN: &str = "# BEGIN authkeysd";
pub(super) const END: &str = "# END authkeysd";
/// The start of the line that names the sources of our lines.
const MANAGED: &str = "# managed by authkeysd from ";
/// The most sources that the line names.
const NAMED_SOURCES: usize = 3;

/// How much of the file authkeysd manages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The lines between our markers. No other line may have a key of ours.
    Block,
    /// Every line.
    Exclusive,
}

/// The line that tells readers of the file where its keys come from.
pub fn managed_by<'a>(sources: impl IntoIterator<Item = &'a str>) -> String {
    let mut head = MANAGED.to_owned();
    let mut more = 0_usize;
    for (at, source) in sources.into_iter().enumerate() {
        match at {
            0 => head.push_str(source),
            1..NAMED_SOURCES => {
                head.push_str(" and ");
                head.push_str(source);
            }
            _ => more += 1,
        }
    }
    if more > 0 {
        let _ = write!(head, " and {more} more");
    }
    head + ": changes between these lines are overwritten"
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Ours,
    Foreign,
}

/// One line, or several consecutive lines without a key or marker, so that 1 MiB of blank lines
/// does not use many times its size in memory.
pub(super) struct FileLine<'a> {
    pub(super) text: &'a [u8],
    pub(super) owner: Owner,
    /// Boxed, because most lines have none.
    pub(super) found: Option<Box<Identified>>,
    /// The new block goes before this line.
    pub(super) is_home: bool,
}

impl FileLine<'_> {
    pub(super) fn without_feed(&self) -> &[u8] {
        without_feed(self.text)
    }
}

/// Classifies each line as ours or foreign. An unmatched marker delimits nothing: the lines around
/// it are foreign, so that none is lost. Keys of ours among them are removed because they are ours.
pub(super) fn classify(old: &[u8], mode: Mode) -> Vec<FileLine<'_>> {
    let mut lines: Vec<FileLine<'_>> = Vec::new();
    // The first marker of a block that has not ended yet.
    let mut open = None;
    let mut home = None;
    let mut stray = None;
    // Where the last run of lines without a key begins.
    let mut keyless = None;
    // Where the current line ends.
    let mut end = 0;
    for text in old.split_inclusive(|b| *b == b'\n') {
        let at = lines.len();
        let begin = end;
        end += text.len();
        let marker = mode == Mode::Block && (is_marker(text, BEGIN) || is_marker(text, END));
        let owner = if marker || mode == Mode::Exclusive {
            Owner::Ours
        } else {
            Owner::Foreign
        };
        let found = identify(without_feed(text)).map(Box::new);
        if marker || found.is_some() {
            keyless = None;
        } else if let (Some(begin), Some(last)) = (keyless, lines.last_mut()) {
            last.text = old.get(begin..end).unwrap_or(text);
            continue;
        } else {
            keyless = Some(begin);
        }
        lines.push(FileLine {
            text,
            owner,
            found,
            is_home: false,
        });
        if !marker {
            continue;
        }
        stray.get_or_insert(at);
        if is_marker(text, BEGIN) {
            open = Some(at);
        } else if let Some(begin) = open.take() {
            for line in lines.iter_mut().skip(begin) {
                line.owner = Owner::Ours;
            }
            home.get_or_insert(begin);
        }
    }
    if let Some(at) = home.or(stray)
        && let Some(line) = lines.get_mut(at)
    {
        line.is_home = true;
    }
    lines
}

/// A line without the LF at its end.
pub(super) fn without_feed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

pub(super) fn is_marker(line: &[u8], marker: &str) -> bool {
    line.trim_ascii() == marker.as_bytes()
}

/// Whether a line names the source of our lines.
pub(super) fn is_head(line: &[u8]) -> bool {
    line.starts_with(MANAGED.as_bytes()) && !line.trim_ascii_end().contains(&b'\n')
}

/// Our lines without the line that names the source, if it is present. The line alone is not a
/// reason to write: an earlier version did not write it, and an upgrade must not change the files
/// on all nodes at once.
pub(super) fn without_head(ours: &[u8]) -> &[u8] {
    if !ours.starts_with(MANAGED.as_bytes()) {
        return ours;
    }
    match ours.iter().position(|b| *b == b'\n') {
        Some(feed) => ours.get(feed + 1..).unwrap_or_default(),
        None => &[],
    }
}

/// Ends every line with LF, including a foreign last line that had none: otherwise the next writer
/// would join two keys in one line.
pub(super) fn append_line(new: &mut Vec<u8>, line: &[u8]) {
    new.extend_from_slice(line);
    if !line.ends_with(b"\n") {
        new.push(b'\n');
    }
}

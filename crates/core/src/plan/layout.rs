//! The file's new text. In block mode every byte that is not ours is preserved, except lines with
//! revoked keys, which are removed everywhere.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::desired::{Desired, DesiredEntry};
use super::lines::{
    BEGIN, END, FileLine, Mode, Owner, append_line, classify, is_head, is_marker, without_head,
};
use crate::key::{Fingerprint, KeyBlob, OptionList, granted};
use crate::outcome::KeyShown;

/// The changes to one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The whole new content; `None` if no change is needed.
    pub content: Option<Vec<u8>>,
    /// The keys that our lines accept afterwards.
    pub in_force: Vec<KeyShown>,
    /// Keys that were in no line of the file.
    pub added: Vec<KeyShown>,
    /// Keys that are in no line any more.
    pub removed: Vec<KeyShown>,
    /// Keys that stay, with other options or fewer copies.
    pub updated: Vec<KeyShown>,
    /// The number of keys that were ours before or are removed now, not counting pinned ones.
    pub at_stake: usize,
    /// The number of keys that are removed, not counting pinned ones.
    pub taken_away: usize,
    /// With `layout = "coreos"`: the new contents of other fragments, by name.
    pub others: Vec<(String, Vec<u8>)>,
    /// With `layout = "coreos"`: whether update-ssh-keys has to run.
    pub refresh: bool,
}

/// Plans one file. `installed` has all keys that authkeysd ever installed for the account.
pub fn plan(
    desired: &Desired,
    mode: Mode,
    present: Option<&[u8]>,
    installed: &BTreeSet<Fingerprint>,
) -> Plan {
    let old = present.unwrap_or_default();
    if let Some(unchanged) = unchanged(old, desired, mode, installed) {
        return unchanged;
    }
    let lines = classify(old, mode);

    let mut new = Vec::with_capacity(old.len() + 256 * desired.entries.len());
    let mut after = Census::default();
    let home = lines.iter().position(|line| line.is_home);
    for (at, line) in lines.iter().enumerate() {
        if Some(at) == home {
            append_ours(&mut new, desired, mode, desired.head.as_deref());
        }
        if may_stay(line, desired, installed) {
            append_line(&mut new, line.text);
            after.count(line);
        }
    }
    // Without an existing block, an empty set needs no block: the file is not changed only to add
    // one.
    if home.is_none() && (mode == Mode::Exclusive || !desired.entries.is_empty()) {
        let has_head = present.is_some() || !desired.entries.is_empty();
        let head = if has_head {
            desired.head.as_deref()
        } else {
            None
        };
        append_ours(&mut new, desired, mode, head);
    }

    let mut plan = compare(&lines, after, desired);
    if present != Some(new.as_slice()) && (present.is_some() || !new.is_empty()) {
        plan.content = Some(new);
    }
    plan
}

/// Whether a line is foreign and has no key that only our own lines may have.
fn may_stay(line: &FileLine<'_>, desired: &Desired, installed: &BTreeSet<Fingerprint>) -> bool {
    match &line.found {
        _ if line.owner == Owner::Ours => false,
        None => true,
        Some(found) => !desired.is_unwelcome(&found.key.fingerprint(), installed),
    }
}

/// Whether there are keys between our markers, so that authkeysd wrote this file before.
pub fn holds_our_block(present: &[u8]) -> bool {
    let lines = classify(present, Mode::Block);
    lines
        .iter()
        .any(|line| line.owner == Owner::Ours && line.found.is_some())
}

/// The plan for a file that is already right, by far the most common case. Our lines are compared
/// as bytes, because parsing the key of each line costs many times as much. `None` if something has
/// to be changed or examined more closely.
fn unchanged(
    old: &[u8],
    desired: &Desired,
    mode: Mode,
    installed: &BTreeSet<Fingerprint>,
) -> Option<Plan> {
    let mut text_len = END.len() + 1;
    for entry in &desired.entries {
        text_len += entry.line.len() + 1;
    }
    let mut ours = Vec::with_capacity(text_len);
    append_entries(&mut ours, desired, mode);
    let others = match mode {
        Mode::Exclusive if without_head(old) == ours => [&[][..], &[][..]],
        Mode::Exclusive => return None,
        Mode::Block => {
            let mut begin = 0;
            for line in old.split_inclusive(|b| *b == b'\n') {
                if is_marker(line, BEGIN) {
                    break;
                }
                begin += line.len();
            }
            let (before, block) = old.split_at_checked(begin)?;
            let inside = block.strip_prefix(BEGIN.as_bytes())?.strip_prefix(b"\n")?;
            [before, without_head(inside).strip_prefix(ours.as_slice())?]
        }
    };
    for text in others {
        for line in classify(text, mode) {
            if !may_stay(&line, desired, installed) || !line.text.ends_with(b"\n") {
                return None;
            }
        }
    }
    let mut at_stake = HashSet::new();
    for entry in &desired.entries {
        let fingerprint = entry.key.fingerprint();
        if !desired.pinned.contains(&fingerprint) {
            at_stake.insert(fingerprint);
        }
    }
    Some(Plan {
        in_force: shown_once(desired),
        at_stake: at_stake.len(),
        ..Plan::default()
    })
}

/// The keys of our lines.
pub fn our_keys(present: &[u8], mode: Mode) -> Vec<KeyShown> {
    let lines = classify(present, mode);
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    for line in &lines {
        if line.owner == Owner::Ours
            && let Some(found) = &line.found
            && seen.insert(&found.key)
        {
            keys.push(KeyShown::new(&found.key, &found.comment));
        }
    }
    keys
}

/// Adds our lines in the file to the desired lines, unless a document mentions their keys. They may
/// belong to a source that was never read, and such a source must not remove anything.
pub fn keep_present_lines(desired: &mut Desired, mode: Mode, present: &[u8]) {
    let mut wanted = HashSet::new();
    for entry in &desired.entries {
        wanted.insert(entry.line.clone());
    }
    for line in classify(present, mode) {
        let (Owner::Ours, Some(found)) = (line.owner, line.found) else {
            continue;
        };
        let fingerprint = found.key.fingerprint();
        let text = String::from_utf8_lossy(line.text.trim_ascii()).into_owned();
        let is_known = desired.addressed.contains(&fingerprint)
            || desired.revoked.contains(&fingerprint)
            || desired.pinned.contains(&fingerprint);
        if !is_known && wanted.insert(text.clone()) {
            desired.entries.push(DesiredEntry {
                key: found.key,
                comment: found.comment,
                line: text,
                source: None,
                newest_option: None,
            });
        }
    }
}

/// Plans a file without a known key set: nothing is removed, and missing pinned lines are added.
pub fn add_pinned(desired: &Desired, mode: Mode, present: Option<&[u8]>) -> Plan {
    let old = present.unwrap_or_default();
    let lines = classify(old, mode);
    let wanted: HashSet<&KeyBlob> = desired.entries.iter().map(|entry| &entry.key).collect();
    // Each line of a key counts: a line with another `from=` does not accept the same clients.
    let mut there: HashSet<(KeyBlob, OptionList)> = HashSet::new();
    let mut keys_before: HashSet<Fingerprint> = HashSet::new();
    for line in &lines {
        let Some(found) = &line.found else { continue };
        keys_before.insert(found.key.fingerprint());
        if wanted.contains(&found.key)
            && let Some(grant) = granted(line.without_feed())
        {
            there.insert(grant);
        }
    }
    let mut missing = desired.clone();
    missing.entries.retain(|entry| {
        let own = granted(entry.line.as_bytes());
        own.is_none_or(|own| !there.contains(&own))
    });
    let in_force = shown_once(desired);
    if missing.entries.is_empty() {
        return Plan {
            in_force,
            ..Plan::default()
        };
    }
    // Between the markers of a complete block, so that the next plan finds them there; otherwise in
    // a new block.
    let place = match mode {
        Mode::Block => start_of_block(&lines),
        Mode::Exclusive => None,
    };
    let mut new = Vec::with_capacity(old.len() + 1_024);
    for (at, line) in lines.iter().enumerate() {
        append_line(&mut new, line.text);
        if Some(at) == place {
            for entry in &missing.entries {
                append_line(&mut new, entry.line.as_bytes());
            }
        }
    }
    if place.is_none() {
        append_ours(&mut new, &missing, mode, None);
    }
    let mut plan = Plan {
        content: Some(new),
        in_force,
        ..Plan::default()
    };
    for shown in shown_once(&missing) {
        if keys_before.contains(&shown.fingerprint) {
            plan.updated.push(shown)
        } else {
            plan.added.push(shown)
        }
    }
    plan
}

/// The last line before our keys in a complete block: its first marker, or the line after it that
/// names the source.
fn start_of_block(lines: &[FileLine<'_>]) -> Option<usize> {
    let begin = lines
        .iter()
        .position(|line| line.is_home && is_marker(line.text, BEGIN))?;
    let next = lines.get(begin + 1)?;
    match next.owner {
        Owner::Foreign => None,
        Owner::Ours if is_head(next.text) => Some(begin + 1),
        Owner::Ours => Some(begin),
    }
}

/// The keys of the desired lines as shown to people, each once.
pub(super) fn shown_once(desired: &Desired) -> Vec<KeyShown> {
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    for entry in &desired.entries {
        if seen.insert(&entry.key) {
            keys.push(shown(entry, desired));
        }
    }
    keys
}

fn shown(entry: &DesiredEntry, desired: &Desired) -> KeyShown {
    let mut shown = KeyShown::new(&entry.key, &entry.comment);
    shown.source.clone_from(&entry.source);
    shown.marked(&desired.pinned)
}

fn append_ours(new: &mut Vec<u8>, desired: &Desired, mode: Mode, head: Option<&str>) {
    if mode == Mode::Block {
        append_line(new, BEGIN.as_bytes());
    }
    if let Some(head) = head {
        append_line(new, head.as_bytes());
    }
    append_entries(new, desired, mode);
}

/// Appends what follows the line that names the source.
fn append_entries(new: &mut Vec<u8>, desired: &Desired, mode: Mode) {
    for entry in &desired.entries {
        append_line(new, entry.line.as_bytes());
    }
    if mode == Mode::Block {
        append_line(new, END.as_bytes());
    }
}

/// The lines of each key.
#[derive(Default)]
struct Census<'a>(HashMap<&'a KeyBlob, Vec<&'a [u8]>>);

impl<'a> Census<'a> {
    fn count(&mut self, line: &'a FileLine<'_>) {
        if let Some(found) = &line.found {
            let lines = self.0.entry(&found.key).or_default();
            lines.push(line.text.trim_ascii());
        }
    }

    /// Makes the order of a key's lines the same everywhere: only their content matters, not their
    /// positions.
    fn sort(&mut self) {
        for lines in self.0.values_mut() {
            lines.sort_unstable();
        }
    }
}

fn compare<'a>(lines: &'a [FileLine<'_>], mut after: Census<'a>, desired: &'a Desired) -> Plan {
    let mut plan = Plan::default();
    let mut before = Census::default();
    for line in lines {
        before.count(line);
    }
    for entry in &desired.entries {
        let lines = after.0.entry(&entry.key).or_default();
        lines.push(entry.line.as_bytes());
    }
    before.sort();
    after.sort();
    let mut planned = HashSet::new();
    for entry in &desired.entries {
        if !planned.insert(&entry.key) {
            continue;
        }
        let shown = shown(entry, desired);
        match before.0.get(&entry.key) {
            None => plan.added.push(shown.clone()),
            Some(lines) if Some(lines) != after.0.get(&entry.key) => {
                plan.updated.push(shown.clone())
            }
            Some(_) => {}
        }
        plan.in_force.push(shown);
    }
    let mut seen = HashSet::new();
    let mut at_stake = HashSet::new();
    for line in lines {
        let Some(found) = &line.found else { continue };
        let pinned = desired.pinned.contains(&found.key.fingerprint());
        let stays = after.0.contains_key(&found.key);
        if !pinned && (line.owner == Owner::Ours || !stays) {
            at_stake.insert(&found.key);
        }
        if !stays && seen.insert(&found.key) {
            plan.removed.push(KeyShown::new(&found.key, &found.comment));
            plan.taken_away += usize::from(!pinned);
        }
    }
    plan.at_stake = at_stake.len();
    plan
}

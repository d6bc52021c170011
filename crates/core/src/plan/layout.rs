//! The file's new text. In block mode every byte that is not ours is preserved, except lines with
//! revoked keys, which are removed everywhere.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::desired::{Desired, Entry};
use super::lines::{
    BEGIN, END, FileLine, Owner, append_line, classify, is_head, is_marker, without_head,
};
use crate::key::{Fingerprint, KeyBlob, OptionList, granted};
use crate::outcome::KeyShown;

/// How much of the file authkeysd manages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The lines between our markers. No other line may have a key of ours.
    Block,
    /// Every line.
    Exclusive,
}

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
    let unwelcome = |key: &KeyBlob| {
        let fingerprint = key.fingerprint();
        if desired.pinned.contains(&fingerprint) {
            return false;
        }
        desired.addressed.contains(&fingerprint)
            || desired.revoked.contains(&fingerprint)
            || installed.contains(&fingerprint)
    };
    if let Some(unchanged) = unchanged(old, desired, mode, unwelcome) {
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
        if line.owner == Owner::Foreign
            && !line
                .found
                .as_ref()
                .is_some_and(|found| unwelcome(&found.key))
        {
            append_line(&mut new, line.text);
            after.count(line);
        }
    }
    // Without an existing block, an empty set needs no block: the file is not changed only to add
    // one.
    if home.is_none() && (mode == Mode::Exclusive || !desired.entries.is_empty()) {
        let head = desired
            .head
            .as_deref()
            .filter(|_| present.is_some() || !desired.entries.is_empty());
        append_ours(&mut new, desired, mode, head);
    }

    let mut plan = compare(&lines, after, desired);
    if present != Some(new.as_slice()) && (present.is_some() || !new.is_empty()) {
        plan.content = Some(new);
    }
    plan
}

/// Whether there are keys between our markers, so that authkeysd wrote this file before.
pub fn holds_our_block(present: &[u8]) -> bool {
    classify(present, Mode::Block)
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
    unwelcome: impl Fn(&KeyBlob) -> bool,
) -> Option<Plan> {
    let text_len: usize = desired
        .entries
        .iter()
        .map(|entry| entry.line.len() + 1)
        .sum();
    let mut ours = Vec::with_capacity(text_len + END.len() + 1);
    append_entries(&mut ours, desired, mode);
    let others = match mode {
        Mode::Exclusive if without_head(old) == ours => [&[][..], &[][..]],
        Mode::Exclusive => return None,
        Mode::Block => {
            let mut begin = 0;
            let is_begin = |line: &&[u8]| is_marker(line, BEGIN);
            for line in old
                .split_inclusive(|b| *b == b'\n')
                .take_while(|line| !is_begin(line))
            {
                begin += line.len();
            }
            let (before, block) = old.split_at_checked(begin)?;
            let inside = block.strip_prefix(BEGIN.as_bytes())?.strip_prefix(b"\n")?;
            [before, without_head(inside).strip_prefix(ours.as_slice())?]
        }
    };
    for line in others.into_iter().flat_map(|text| classify(text, mode)) {
        let is_kept =
            line.owner == Owner::Foreign && !line.found.is_some_and(|found| unwelcome(&found.key));
        if !is_kept || !line.text.ends_with(b"\n") {
            return None;
        }
    }
    let keys: HashSet<Fingerprint> = desired
        .entries
        .iter()
        .map(|entry| entry.key.fingerprint())
        .collect();
    Some(Plan {
        in_force: shown_once(desired),
        at_stake: keys
            .iter()
            .filter(|key| !desired.pinned.contains(key))
            .count(),
        ..Plan::default()
    })
}

/// The keys of our lines.
pub fn our_keys(present: &[u8], mode: Mode) -> Vec<KeyShown> {
    let lines = classify(present, mode);
    let ours = lines.iter().filter(|line| line.owner == Owner::Ours);
    let mut once = HashSet::new();
    let found = ours
        .filter_map(|line| line.found.as_ref())
        .filter(|found| once.insert(&found.key));
    found
        .map(|found| KeyShown::new(&found.key, &found.comment))
        .collect()
}

/// Adds our lines in the file to the desired lines, unless a document mentions their keys. They may
/// belong to a source that was never read, and such a source must not remove anything.
pub fn keep_standing(desired: &mut Desired, mode: Mode, present: &[u8]) {
    let mut wanted: HashSet<String> = HashSet::new();
    wanted.extend(desired.entries.iter().map(|entry| entry.line.clone()));
    for line in classify(present, mode) {
        let Some(found) = line.found.filter(|_| line.owner == Owner::Ours) else {
            continue;
        };
        let fingerprint = found.key.fingerprint();
        let text = String::from_utf8_lossy(line.text.trim_ascii()).into_owned();
        let is_known = desired.addressed.contains(&fingerprint)
            || desired.revoked.contains(&fingerprint)
            || desired.pinned.contains(&fingerprint);
        if !is_known && wanted.insert(text.clone()) {
            desired.entries.push(Entry {
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
    let theirs = lines.iter().filter(|line| {
        line.found
            .as_ref()
            .is_some_and(|found| wanted.contains(&found.key))
    });
    // Each line of a key counts: a line with another `from=` does not accept the same clients.
    let there: HashSet<(KeyBlob, OptionList)> = theirs
        .filter_map(|line| granted(line.without_feed()))
        .collect();
    let mut missing = desired.clone();
    missing
        .entries
        .retain(|entry| granted(entry.line.as_bytes()).is_none_or(|own| !there.contains(&own)));
    let in_force = shown_once(desired);
    if missing.entries.is_empty() {
        return Plan {
            in_force,
            ..Plan::default()
        };
    }
    // Between the markers of a complete block, so that the next plan finds them there; otherwise in
    // a new block.
    let whole = |line: &FileLine<'_>| line.is_home && is_marker(line.text, BEGIN);
    let ended = |at: usize| {
        lines
            .get(at + 1)
            .is_some_and(|next| next.owner == Owner::Ours)
    };
    let begin = lines
        .iter()
        .position(whole)
        .filter(|at| mode == Mode::Block && ended(*at));
    let begin =
        begin.map(|at| at + usize::from(lines.get(at + 1).is_some_and(|next| is_head(next.text))));
    let mut new = Vec::with_capacity(old.len() + 1_024);
    for (at, line) in lines.iter().enumerate() {
        append_line(&mut new, line.text);
        if Some(at) == begin {
            missing
                .entries
                .iter()
                .for_each(|entry| append_line(&mut new, entry.line.as_bytes()));
        }
    }
    if begin.is_none() {
        append_ours(&mut new, &missing, mode, None);
    }
    let mut plan = Plan {
        content: Some(new),
        in_force,
        ..Plan::default()
    };
    for shown in shown_once(&missing) {
        let known = |line: &FileLine<'_>| {
            line.found
                .as_ref()
                .is_some_and(|found| found.key.fingerprint() == shown.fingerprint)
        };
        if lines.iter().any(known) {
            plan.updated.push(shown)
        } else {
            plan.added.push(shown)
        }
    }
    plan
}

/// The keys of the desired lines as shown to people, each once.
pub(super) fn shown_once(desired: &Desired) -> Vec<KeyShown> {
    let mut once = HashSet::new();
    let first = desired
        .entries
        .iter()
        .filter(|entry| once.insert(&entry.key));
    first.map(|entry| shown(entry, desired)).collect()
}

fn shown(entry: &Entry, desired: &Desired) -> KeyShown {
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
    desired
        .entries
        .iter()
        .for_each(|entry| append_line(new, entry.line.as_bytes()));
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
            self.0
                .entry(&found.key)
                .or_default()
                .push(line.text.trim_ascii());
        }
    }
}

fn compare<'a>(lines: &'a [FileLine<'_>], mut after: Census<'a>, desired: &'a Desired) -> Plan {
    let mut plan = Plan::default();
    let mut before = Census::default();
    lines.iter().for_each(|line| before.count(line));
    for entry in &desired.entries {
        after
            .0
            .entry(&entry.key)
            .or_default()
            .push(entry.line.as_bytes());
    }
    // Only the content of a key's lines matters, not their positions.
    before
        .0
        .values_mut()
        .chain(after.0.values_mut())
        .for_each(|lines| lines.sort_unstable());
    let mut once = HashSet::new();
    for entry in desired
        .entries
        .iter()
        .filter(|entry| once.insert(&entry.key))
    {
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

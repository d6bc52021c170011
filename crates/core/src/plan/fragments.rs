//! Accounts whose `authorized_keys` update-ssh-keys generates from the files in
//! `~/.ssh/authorized_keys.d` (CoreOS, Flatcar).
//!
//! The program rewrites every file when it runs: in another order, without comments, with any mode.
//! So nothing here compares bytes: a line is right if sshd reads the same key with the same options
//! from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::desired::{Desired, Entry};
use super::layout::{Mode, Plan};
use super::lines::{BEGIN, END, append_line, is_head, is_marker};
use crate::key::{Fingerprint, OptionList, granted, identify};
use crate::outcome::KeyShown;

/// The fragment into which update-ssh-keys imports the previous content of `authorized_keys` at its
/// first run.
const IMPORTED: &str = "old_authorized_keys";
/// Vendor-specific key types contain this character. update-ssh-keys 0.7.0 knows none of them and
/// leaves them out.
const VENDOR: char = '@';

/// Which program generates `authorized_keys` from the fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// update-ssh-keys is not installed: sshd must read the fragments themselves.
    Nobody,
    /// update-ssh-keys generates it.
    Program,
    /// update-ssh-keys is installed, but is not run, because it would fail or hang on something in
    /// the directory.
    Blocked,
}

/// The content of the account's `.ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragments {
    /// Our fragment; `None` if it does not exist.
    pub ours: Option<Vec<u8>>,
    /// The other fragments, by name.
    pub others: BTreeMap<String, Vec<u8>>,
    /// `authorized_keys`; `None` if it does not exist.
    pub made: Option<Vec<u8>>,
    /// What generates it.
    pub maker: Maker,
    /// Whether `authorized_keys.d` does not exist yet. If we created it, update-ssh-keys would drop
    /// the content of `authorized_keys`.
    pub unborn: bool,
}

impl Fragments {
    /// The content after a plan's writes.
    pub fn after(&self, plan: &Plan) -> Self {
        let mut after = self.clone();
        after.ours = plan.content.clone().or(after.ours);
        after.others.extend(plan.others.iter().cloned());
        after
    }

    /// Whether update-ssh-keys has to run before anything is written, to import what it would
    /// otherwise drop.
    pub fn to_be_imported(&self) -> bool {
        self.unborn && self.maker == Maker::Program
    }

    /// All lines of all files.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        let fragments = self.ours.iter().chain(self.others.values());
        fragments
            .chain(&self.made)
            .flat_map(|content| lines(content))
    }
}

/// Plans our fragment, removes keys from the others, and decides whether update-ssh-keys has to
/// run.
pub fn plan_fragments(
    desired: &Desired,
    mode: Mode,
    present: &Fragments,
    installed: &BTreeSet<Fingerprint>,
) -> Plan {
    let rules = FragmentRules::new(desired, installed);
    let mut plan = Plan::default();
    let mut others = present.others.clone();
    if let (true, Some(made)) = (present.to_be_imported(), &present.made) {
        others.insert(IMPORTED.to_owned(), made.clone());
    }
    for (name, content) in &others {
        let kept = rules.keep(content, |fingerprint, _| !rules.unwelcome(fingerprint));
        if kept != *content {
            plan.others.push((name.clone(), kept));
        }
    }

    let ours = present.ours.as_deref().unwrap_or_default();
    let mut new = match mode {
        Mode::Exclusive => Vec::new(),
        Mode::Block => {
            let theirs: Vec<u8> = ours
                .split_inclusive(|b| *b == b'\n')
                .filter(|line| !is_head(line))
                .flatten()
                .copied()
                .collect();
            rules.keep(&theirs, |fingerprint, line| {
                !rules.unwelcome(fingerprint) && !rules.grants_as_wanted(line)
            })
        }
    };
    let ours_before = lines(ours)
        .filter_map(identify)
        .map(|found| found.key.fingerprint())
        .collect::<HashSet<_>>();
    let foreign = lines(&new)
        .filter_map(identify)
        .map(|found| found.key.fingerprint())
        .collect::<HashSet<_>>();
    let complete = rules.missing(ours).is_empty();
    let nothing_else = lines(ours)
        .filter(|line| identify(line).is_some())
        .all(|line| {
            let stranger =
                identify(line).is_some_and(|found| foreign.contains(&found.key.fingerprint()));
            rules.grants_as_wanted(line) || stranger
        });
    if !new.is_empty() && !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    // update-ssh-keys drops this line when it rewrites the fragment, and that is not a reason to
    // write it again.
    let head = desired
        .head
        .as_deref()
        .filter(|_| !desired.entries.is_empty());
    for line in head
        .into_iter()
        .chain(desired.entries.iter().map(|entry| entry.line.as_str()))
    {
        append_line(&mut new, line.as_bytes());
    }
    if !(complete && nothing_else) {
        plan.content = Some(new);
    }

    // Differences that only update-ssh-keys' own lines can repair, and not our block.
    let made = present.made.as_deref().unwrap_or_default();
    let undone = || {
        rules
            .missing(&without_block(made))
            .iter()
            .any(|entry| !entry.key.kind().contains(VENDOR))
    };
    let wrong = || lines(made).any(|line| rules.is_wrong(line));
    let written = plan.content.is_some() || !plan.others.is_empty();
    plan.refresh = present.maker == Maker::Program
        && (written || present.to_be_imported() || undone() || wrong());
    summarise(&mut plan, &rules, present, others, &ours_before);
    plan
}

/// The new content of `authorized_keys` if update-ssh-keys did not do all of its work; `None` if
/// the file is right. Keys that must not be in the file are removed, and missing keys are added
/// between our markers, so that users whose keys the program omits can log in, and the fault stays
/// visible. If nothing generates the file, no keys are added: sshd reads our fragment.
pub fn put_right(
    desired: &Desired,
    present: &Fragments,
    installed: &BTreeSet<Fingerprint>,
) -> Option<Vec<u8>> {
    let rules = FragmentRules::new(desired, installed);
    let old = present.made.as_deref();
    if old.is_none() && present.maker == Maker::Nobody {
        return None;
    }
    let mut new = Vec::new();
    let mut there: HashSet<(Fingerprint, OptionList)> = HashSet::new();
    for line in without_block(old.unwrap_or_default()).split_inclusive(|b| *b == b'\n') {
        let Some(found) = identify(bare(line)) else {
            append_line(&mut new, line);
            continue;
        };
        let fingerprint = found.key.fingerprint();
        let wanted = rules.wanted_as(bare(line));
        if !rules.unwelcome(&fingerprint) || wanted.is_some() {
            append_line(&mut new, line);
            there.extend(wanted);
        } else if present.maker == Maker::Nobody {
            // Removing the line would lock out users whose sshd does not read fragments. Keeping it
            // as it is would defeat our options. So replace it.
            for (entry, options) in rules.wanted.get(&fingerprint).into_iter().flatten() {
                if there.insert((fingerprint, options.clone())) {
                    append_line(&mut new, entry.line.as_bytes());
                }
            }
        }
    }
    let missing = rules.without(&there);
    if present.maker != Maker::Nobody && !missing.is_empty() {
        append_line(&mut new, BEGIN.as_bytes());
        missing
            .iter()
            .for_each(|entry| append_line(&mut new, entry.line.as_bytes()));
        append_line(&mut new, END.as_bytes());
    }
    (old.unwrap_or_default() != new).then_some(new)
}

/// The keys that are missing from the lines of `authorized_keys` that the program wrote.
pub fn dropped(desired: &Desired, present: &Fragments) -> Vec<KeyShown> {
    let nothing = BTreeSet::new();
    let rules = FragmentRules::new(desired, &nothing);
    let made = without_block(present.made.as_deref().unwrap_or_default());
    let mut seen = HashSet::new();
    let missing = rules.missing(&made);
    let first = missing.iter().filter(|entry| seen.insert(&entry.key));
    first
        .map(|entry| KeyShown::new(&entry.key, &entry.comment))
        .collect()
}

/// What a line may and must contain.
struct FragmentRules<'a> {
    desired: &'a Desired,
    installed: &'a BTreeSet<Fingerprint>,
    /// The lines of each key, with their options.
    wanted: HashMap<Fingerprint, Vec<(&'a Entry, OptionList)>>,
}

impl<'a> FragmentRules<'a> {
    fn new(desired: &'a Desired, installed: &'a BTreeSet<Fingerprint>) -> Self {
        let mut wanted: HashMap<Fingerprint, Vec<(&Entry, OptionList)>> = HashMap::new();
        for entry in &desired.entries {
            let options = granted(entry.line.as_bytes())
                .map(|(_, options)| options)
                .unwrap_or_default();
            wanted
                .entry(entry.key.fingerprint())
                .or_default()
                .push((entry, options));
        }
        Self {
            desired,
            installed,
            wanted,
        }
    }

    /// Whether only our own lines may have the key.
    fn unwelcome(&self, fingerprint: &Fingerprint) -> bool {
        let Desired {
            pinned,
            addressed,
            revoked,
            ..
        } = self.desired;
        !pinned.contains(fingerprint)
            && (addressed.contains(fingerprint)
                || revoked.contains(fingerprint)
                || self.installed.contains(fingerprint))
    }

    /// The key and the options of a line, if one of our lines has exactly these.
    fn wanted_as(&self, line: &[u8]) -> Option<(Fingerprint, OptionList)> {
        let (key, options) = granted(line)?;
        let ours = self.wanted.get(&key.fingerprint())?;
        ours.iter()
            .any(|(_, own)| *own == options)
            .then(|| (key.fingerprint(), options))
    }

    /// Whether the line accepts a key that is in force, with exactly its options.
    fn grants_as_wanted(&self, line: &[u8]) -> bool {
        self.wanted_as(line).is_some()
    }

    fn is_wrong(&self, line: &[u8]) -> bool {
        identify(line).is_some_and(|found| self.unwelcome(&found.key.fingerprint()))
            && !self.grants_as_wanted(line)
    }

    /// Our lines that have no equivalent line in the content.
    fn missing(&self, content: &[u8]) -> Vec<&'a Entry> {
        self.without(
            &lines(content)
                .filter_map(|line| self.wanted_as(line))
                .collect(),
        )
    }

    /// Our lines except those in `there`, which has keys with the options that lines grant them.
    fn without(&self, there: &HashSet<(Fingerprint, OptionList)>) -> Vec<&'a Entry> {
        let mut missing = Vec::new();
        for entry in &self.desired.entries {
            let fingerprint = entry.key.fingerprint();
            let options = self
                .wanted
                .get(&fingerprint)
                .into_iter()
                .flatten()
                .find(|(own, _)| *own == entry);
            if options.is_none_or(|(_, options)| !there.contains(&(fingerprint, options.clone()))) {
                missing.push(entry);
            }
        }
        missing
    }

    /// The content without the lines of rejected keys. All other lines are unchanged.
    fn keep(&self, content: &[u8], kept: impl Fn(&Fingerprint, &[u8]) -> bool) -> Vec<u8> {
        let mut new = Vec::with_capacity(content.len());
        let mut all = true;
        for line in content.split_inclusive(|b| *b == b'\n') {
            if identify(bare(line)).is_none_or(|found| kept(&found.key.fingerprint(), bare(line))) {
                append_line(&mut new, line);
            } else {
                all = false;
            }
        }
        // A file that is not ours is not rewritten only to add a line feed.
        if all { content.to_vec() } else { new }
    }
}

/// Fills in the changes that are reported: which keys were added and removed, over all files.
fn summarise(
    plan: &mut Plan,
    rules: &FragmentRules<'_>,
    present: &Fragments,
    others: BTreeMap<String, Vec<u8>>,
    ours_before: &HashSet<Fingerprint>,
) {
    let mut after = Fragments {
        others,
        ..present.clone()
    }
    .after(plan);
    if plan.refresh {
        // All of it is generated from the fragments, or written by us.
        after.made = None;
    } else {
        after.made = put_right(rules.desired, present, rules.installed).or(after.made);
    }
    let (before, after) = (meanings(present.all()), meanings(after.all()));
    let mut seen = HashSet::new();
    for entry in rules
        .desired
        .entries
        .iter()
        .filter(|entry| seen.insert(&entry.key))
    {
        let shown = KeyShown::new(&entry.key, &entry.comment).marked(&rules.desired.pinned);
        match before.get(&entry.key.fingerprint()) {
            None => plan.added.push(shown.clone()),
            Some((_, found))
                if after
                    .get(&entry.key.fingerprint())
                    .is_some_and(|(_, then)| found != then) =>
            {
                plan.updated.push(shown.clone());
            }
            Some(_) => {}
        }
        plan.in_force.push(shown);
    }
    for (fingerprint, (shown, _)) in &before {
        let pinned = rules.desired.pinned.contains(fingerprint);
        let stays = after.contains_key(fingerprint);
        plan.at_stake += usize::from(!pinned && (ours_before.contains(fingerprint) || !stays));
        if !stays {
            plan.removed.push(shown.clone());
            plan.taken_away += usize::from(!pinned);
        }
    }
}

/// Each accepted key, as shown to people, and the options of its lines.
fn meanings<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
) -> BTreeMap<Fingerprint, (KeyShown, BTreeSet<String>)> {
    let mut found = BTreeMap::new();
    for line in lines {
        let Some(identified) = identify(line) else {
            continue;
        };
        let options =
            granted(line).map_or_else(|| "?".to_owned(), |(_, options)| options.to_string());
        let shown = || {
            (
                KeyShown::new(&identified.key, &identified.comment),
                BTreeSet::new(),
            )
        };
        found
            .entry(identified.key.fingerprint())
            .or_insert_with(shown)
            .1
            .insert(options);
    }
    found
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|b| *b == b'\n')
}

fn bare(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// `authorized_keys` without the lines between our markers. An unmatched marker delimits nothing.
fn without_block(content: &[u8]) -> Vec<u8> {
    let mut new = Vec::with_capacity(content.len());
    let mut open: Option<Vec<&[u8]>> = None;
    for line in content.split_inclusive(|b| *b == b'\n') {
        if is_marker(line, BEGIN) {
            open.replace(Vec::new())
                .into_iter()
                .flatten()
                .for_each(|line| new.extend_from_slice(line));
        } else if is_marker(line, END) {
            open = None;
        } else if let Some(inside) = &mut open {
            inside.push(line);
        } else {
            new.extend_from_slice(line);
        }
    }
    open.into_iter()
        .flatten()
        .for_each(|line| new.extend_from_slice(line));
    new
}

//! Accounts whose `authorized_keys` update-ssh-keys generates from the files in
//! `~/.ssh/authorized_keys.d` (CoreOS, Flatcar).
//!
//! The program rewrites every file when it runs: in another order, without comments, with any mode.
//! So nothing here compares bytes: a line is right if sshd reads the same key with the same options
//! from it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::desired::{Desired, DesiredEntry};
use super::layout::Plan;
use super::lines::{BEGIN, END, Mode, append_line, is_head, is_marker, without_feed};
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
pub enum Generator {
    /// update-ssh-keys is not installed: sshd must read the fragments themselves.
    None,
    /// update-ssh-keys generates it.
    UpdateSshKeys,
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
    pub generated: Option<Vec<u8>>,
    /// What generates it.
    pub generator: Generator,
    /// Whether `authorized_keys.d` does not exist yet. If we created it, update-ssh-keys would drop
    /// the content of `authorized_keys`.
    pub directory_missing: bool,
}

impl Fragments {
    /// The content after a plan's writes.
    pub fn after(&self, plan: &Plan) -> Self {
        let mut after = self.clone();
        after.ours = plan.content.clone().or(after.ours);
        for (name, content) in &plan.others {
            after.others.insert(name.clone(), content.clone());
        }
        after
    }

    /// Whether update-ssh-keys has to run before anything is written, to import what it would
    /// otherwise drop.
    pub fn needs_import(&self) -> bool {
        self.directory_missing && self.generator == Generator::UpdateSshKeys
    }

    /// All lines of all files.
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        let ours = self.ours.iter();
        let files = ours.chain(self.others.values()).chain(&self.generated);
        files.flat_map(|content| lines(content))
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
    if let (true, Some(generated)) = (present.needs_import(), &present.generated) {
        others.insert(IMPORTED.to_owned(), generated.clone());
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
            let mut theirs = Vec::with_capacity(ours.len());
            for line in ours.split_inclusive(|b| *b == b'\n') {
                if !is_head(line) {
                    theirs.extend_from_slice(line);
                }
            }
            rules.keep(&theirs, |fingerprint, line| {
                !rules.unwelcome(fingerprint) && !rules.grants_as_wanted(line)
            })
        }
    };
    let ours_before = keys_of(ours);
    let foreign = keys_of(&new);
    let complete = rules.missing(ours).is_empty();
    let nothing_else = lines(ours).all(|line| match identify(line) {
        None => true,
        Some(found) => rules.grants_as_wanted(line) || foreign.contains(&found.key.fingerprint()),
    });
    if !new.is_empty() && !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    // update-ssh-keys drops this line when it rewrites the fragment, and that is not a reason to
    // write it again.
    if let Some(head) = &desired.head
        && !desired.entries.is_empty()
    {
        append_line(&mut new, head.as_bytes());
    }
    for entry in &desired.entries {
        append_line(&mut new, entry.line.as_bytes());
    }
    if !(complete && nothing_else) {
        plan.content = Some(new);
    }

    let generated = present.generated.as_deref().unwrap_or_default();
    let written = plan.content.is_some() || !plan.others.is_empty();
    plan.refresh = present.generator == Generator::UpdateSshKeys
        && (written || present.needs_import() || rules.needs_refresh(generated));
    summarise(&mut plan, &rules, present, others, &ours_before);
    plan
}

/// The new content of `authorized_keys` if update-ssh-keys did not do all of its work; `None` if
/// the file is right. Keys that must not be in the file are removed, and missing keys are added
/// between our markers, so that users whose keys the program omits can log in, and the fault stays
/// visible. If nothing generates the file, no keys are added: sshd reads our fragment.
pub fn repair(
    desired: &Desired,
    present: &Fragments,
    installed: &BTreeSet<Fingerprint>,
) -> Option<Vec<u8>> {
    let rules = FragmentRules::new(desired, installed);
    let old = present.generated.as_deref();
    if old.is_none() && present.generator == Generator::None {
        return None;
    }
    let mut new = Vec::new();
    let mut there: HashSet<(Fingerprint, OptionList)> = HashSet::new();
    for line in without_block(old.unwrap_or_default()).split_inclusive(|b| *b == b'\n') {
        let Some(found) = identify(without_feed(line)) else {
            append_line(&mut new, line);
            continue;
        };
        let fingerprint = found.key.fingerprint();
        let wanted = rules.wanted_as(without_feed(line));
        if !rules.unwelcome(&fingerprint) || wanted.is_some() {
            append_line(&mut new, line);
            if let Some(wanted) = wanted {
                there.insert(wanted);
            }
        } else if present.generator == Generator::None {
            // Removing the line would lock out users whose sshd does not read fragments. Keeping it
            // as it is would defeat our options. So replace it.
            for (entry, options) in rules.lines_of(&fingerprint) {
                if there.insert((fingerprint, options.clone())) {
                    append_line(&mut new, entry.line.as_bytes());
                }
            }
        }
    }
    let missing = rules.without(&there);
    if present.generator != Generator::None && !missing.is_empty() {
        append_line(&mut new, BEGIN.as_bytes());
        for entry in missing {
            append_line(&mut new, entry.line.as_bytes());
        }
        append_line(&mut new, END.as_bytes());
    }
    if old.unwrap_or_default() == new {
        None
    } else {
        Some(new)
    }
}

/// The keys that are missing from the lines of `authorized_keys` that the program wrote.
pub fn dropped(desired: &Desired, present: &Fragments) -> Vec<KeyShown> {
    let nothing = BTreeSet::new();
    let rules = FragmentRules::new(desired, &nothing);
    let generated = without_block(present.generated.as_deref().unwrap_or_default());
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    for entry in rules.missing(&generated) {
        if seen.insert(&entry.key) {
            keys.push(KeyShown::new(&entry.key, &entry.comment));
        }
    }
    keys
}

/// What a line may and must contain.
struct FragmentRules<'a> {
    desired: &'a Desired,
    installed: &'a BTreeSet<Fingerprint>,
    /// The lines of each key, with their options.
    wanted: HashMap<Fingerprint, Vec<(&'a DesiredEntry, OptionList)>>,
}

impl<'a> FragmentRules<'a> {
    fn new(desired: &'a Desired, installed: &'a BTreeSet<Fingerprint>) -> Self {
        let mut wanted: HashMap<Fingerprint, Vec<(&DesiredEntry, OptionList)>> = HashMap::new();
        for entry in &desired.entries {
            let options = match granted(entry.line.as_bytes()) {
                Some((_key, options)) => options,
                None => OptionList::default(),
            };
            let lines = wanted.entry(entry.key.fingerprint()).or_default();
            lines.push((entry, options));
        }
        Self {
            desired,
            installed,
            wanted,
        }
    }

    /// Whether only our own lines may have the key.
    fn unwelcome(&self, fingerprint: &Fingerprint) -> bool {
        self.desired.is_unwelcome(fingerprint, self.installed)
    }

    /// Our lines with a key, and their options.
    fn lines_of(&self, fingerprint: &Fingerprint) -> &[(&'a DesiredEntry, OptionList)] {
        match self.wanted.get(fingerprint) {
            Some(lines) => lines,
            None => &[],
        }
    }

    /// The key and the options of a line, if one of our lines has exactly these.
    fn wanted_as(&self, line: &[u8]) -> Option<(Fingerprint, OptionList)> {
        let (key, options) = granted(line)?;
        let fingerprint = key.fingerprint();
        for (_entry, own) in self.lines_of(&fingerprint) {
            if *own == options {
                return Some((fingerprint, options));
            }
        }
        None
    }

    /// Whether the line accepts a key that is in force, with exactly its options.
    fn grants_as_wanted(&self, line: &[u8]) -> bool {
        self.wanted_as(line).is_some()
    }

    fn is_wrong(&self, line: &[u8]) -> bool {
        match identify(line) {
            Some(found) => self.unwelcome(&found.key.fingerprint()) && !self.grants_as_wanted(line),
            None => false,
        }
    }

    /// Whether `authorized_keys` differs in a way that only update-ssh-keys' own lines can repair,
    /// and not our block.
    fn needs_refresh(&self, generated: &[u8]) -> bool {
        for entry in self.missing(&without_block(generated)) {
            if !entry.key.kind().contains(VENDOR) {
                return true;
            }
        }
        lines(generated).any(|line| self.is_wrong(line))
    }

    /// Our lines that have no equivalent line in the content.
    fn missing(&self, content: &[u8]) -> Vec<&'a DesiredEntry> {
        let there = lines(content).filter_map(|line| self.wanted_as(line));
        self.without(&there.collect())
    }

    /// Our lines except those in `there`, which has keys with the options that lines grant them.
    fn without(&self, there: &HashSet<(Fingerprint, OptionList)>) -> Vec<&'a DesiredEntry> {
        let mut missing = Vec::new();
        for entry in &self.desired.entries {
            let fingerprint = entry.key.fingerprint();
            let lines = self.lines_of(&fingerprint);
            let is_there = match lines.iter().find(|(own, _)| *own == entry) {
                Some((_, options)) => there.contains(&(fingerprint, options.clone())),
                None => false,
            };
            if !is_there {
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
            let is_kept = match identify(without_feed(line)) {
                Some(found) => kept(&found.key.fingerprint(), without_feed(line)),
                None => true,
            };
            if is_kept {
                append_line(&mut new, line);
            }
            all &= is_kept;
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
        after.generated = None;
    } else {
        after.generated = repair(rules.desired, present, rules.installed).or(after.generated);
    }
    let before = meanings(present.all());
    let after = meanings(after.all());
    let mut seen = HashSet::new();
    for entry in &rules.desired.entries {
        if !seen.insert(&entry.key) {
            continue;
        }
        let shown = KeyShown::new(&entry.key, &entry.comment).marked(&rules.desired.pinned);
        let fingerprint = entry.key.fingerprint();
        match (before.get(&fingerprint), after.get(&fingerprint)) {
            (None, _) => plan.added.push(shown.clone()),
            (Some((_, was)), Some((_, is))) if was != is => plan.updated.push(shown.clone()),
            (Some(_), _) => {}
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
    let mut meanings = BTreeMap::new();
    for line in lines {
        let Some(found) = identify(line) else {
            continue;
        };
        let options = match granted(line) {
            Some((_key, options)) => options.to_string(),
            None => "?".to_owned(),
        };
        let (_, all_options) = meanings
            .entry(found.key.fingerprint())
            .or_insert_with(|| (KeyShown::new(&found.key, &found.comment), BTreeSet::new()));
        all_options.insert(options);
    }
    meanings
}

/// The keys in a file.
fn keys_of(content: &[u8]) -> HashSet<Fingerprint> {
    let found = lines(content).filter_map(identify);
    found.map(|found| found.key.fingerprint()).collect()
}

fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split(|b| *b == b'\n')
}

/// `authorized_keys` without the lines between our markers. An unmatched marker delimits nothing.
fn without_block(content: &[u8]) -> Vec<u8> {
    let mut new = Vec::with_capacity(content.len());
    // The length of `new` at the first marker of a block that has not ended yet.
    let mut open = None;
    for line in content.split_inclusive(|b| *b == b'\n') {
        if is_marker(line, BEGIN) {
            open = Some(new.len());
        } else if !is_marker(line, END) {
            new.extend_from_slice(line);
        } else if let Some(begin) = open.take() {
            new.truncate(begin);
        }
    }
    new
}

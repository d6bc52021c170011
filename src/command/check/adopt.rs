//! `check --adopt`: previews what taking over a node would change. Nothing is written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::account::{locate, place};
use super::pullers::{self, Puller};
use super::sshd::{Settings, same};
use super::{Finding, Level, fault_finding, online};
use crate::command::block_on;
use crate::fetch::Remote;
use crate::host::{Account, Host as _, Node, Place, Target};
use authkeys_core::config::Config;
use authkeys_core::key::{Fingerprint, identify};
use authkeys_core::outcome::{AccountOutcome, KeyList, KeyShown, Outcome, Status, chain};
use authkeys_core::plan::Mode;
use authkeys_core::report::text::{Colour, one_line};

/// What `check --adopt --json` adds to the findings.
#[derive(Debug, Serialize)]
pub(super) struct Adoption {
    accounts: Vec<Adopted>,
    pullers: Vec<Puller>,
}

/// The preview of one account.
#[derive(Debug, Serialize)]
struct Adopted {
    user: String,
    /// The file that would be managed.
    file: String,
    /// The mode in the configuration.
    mode: &'static str,
    /// The keys in every file that sshd reads for the account, and in the managed one.
    keys: Vec<Present>,
    /// What the first sync would do in each mode.
    block: First,
    exclusive: First,
}

/// A key that is on the node now.
#[derive(Debug, Serialize)]
struct Present {
    file: PathBuf,
    line: usize,
    #[serde(flatten)]
    key: KeyShown,
    known: KeyInSet,
    /// Whether the key set has the key with other options than the present lines. The first sync
    /// replaces these with the key set's lines.
    changes: bool,
    /// Whether the line's key is still in that file after a first sync in this mode.
    block: bool,
    exclusive: bool,
}

/// What the key set says about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum KeyInSet {
    /// It is in force for the account.
    InForce,
    /// It is published or revoked, and not in force.
    Withdrawn,
    /// It is not in the key set.
    Unknown,
}

/// What a first sync would change.
#[derive(Debug, Serialize)]
struct First {
    status: Status,
    detail: String,
    added: KeyList,
    updated: KeyList,
    removed: KeyList,
}

/// Checks everything. The findings say what to do and decide the exit code.
pub(super) fn examine(config: &Config) -> (Option<Adoption>, Vec<Finding>) {
    let mut findings = Vec::new();
    let pullers = pullers::find(Path::new("/"));
    for one in &pullers {
        let starts = match &one.script {
            Some(script) => format!(" (see {script})"),
            None => String::new(),
        };
        let message = format!(
            "fetches keys{starts}: {}; take it out once authkeysd is in charge, for the two would \
             undo each other",
            one.text
        );
        let subject = format!("{}:{}", one.file.display(), one.line);
        findings.push(Finding::new(Level::Warning, "puller", &subject, message));
    }
    let [block, exclusive] =
        match [Mode::Block, Mode::Exclusive].map(|mode| first_sync(config, mode)) {
            [Ok(block), Ok(exclusive)] => [block, exclusive],
            [Err(fault), _] | [_, Err(fault)] => {
                findings.push(Finding::new(Level::Failed, "adopt", "all", fault));
                return (None, findings);
            }
        };
    for fault in &block.faults {
        findings.push(fault_finding(fault, "adopt", "first sync"));
    }
    let node = Node::read_only();
    let mut accounts = Vec::new();
    let both = block.accounts.into_iter().zip(exclusive.accounts);
    for (account, (block, exclusive)) in config.accounts.iter().zip(both) {
        // An account that cannot be looked up is among the faults.
        let Ok(target) = locate(&node, account) else {
            continue;
        };
        let mode = if account.mode == Mode::Block {
            "block"
        } else {
            "exclusive"
        };
        accounts.push(adopted(&node, &target, mode, block, exclusive));
    }
    (Some(Adoption { accounts, pullers }), findings)
}

/// Runs a cycle that writes nothing, with every account in that mode.
fn first_sync(config: &Config, mode: Mode) -> Result<Outcome, String> {
    let mut config = config.clone();
    for account in &mut config.accounts {
        account.mode = mode;
    }
    let cycle = block_on(online::dry_run(config, Remote::by_environment()));
    cycle
        .map_err(|fault| format!("cannot start: {fault}"))?
        .map_err(|fault| chain(&fault))
}

fn adopted(
    node: &Node,
    target: &Target,
    mode: &'static str,
    block: AccountOutcome,
    exclusive: AccountOutcome,
) -> Adopted {
    let in_force = prints(&block.in_force);
    let withdrawn = prints(&block.removed);
    let changed = prints(&block.updated);
    let gone = prints(&block.removed);
    let all_gone = prints(&exclusive.removed);
    let managed = target.path();
    let mut keys = Vec::new();
    for file in files(node, target) {
        let ours = same(&file, &managed) || matches!(target.place, Place::Fragment { .. });
        for (line, key) in present(node, &target.account, &file) {
            let fingerprint = key.fingerprint;
            let known = if in_force.contains(&fingerprint) {
                KeyInSet::InForce
            } else if withdrawn.contains(&fingerprint) {
                KeyInSet::Withdrawn
            } else {
                KeyInSet::Unknown
            };
            let block = !ours || !gone.contains(&fingerprint);
            let exclusive = !ours || !all_gone.contains(&fingerprint);
            let changes = ours && changed.contains(&fingerprint);
            keys.push(Present {
                file: file.clone(),
                line,
                key,
                known,
                changes,
                block,
                exclusive,
            });
        }
    }
    let user = target.account.user.to_string();
    Adopted {
        user,
        file: managed.display().to_string(),
        mode,
        keys,
        block: block.into(),
        exclusive: exclusive.into(),
    }
}

fn prints(keys: &[KeyShown]) -> BTreeSet<Fingerprint> {
    keys.iter().map(|key| key.fingerprint).collect()
}

/// The managed file, the other fragments, and the files that sshd reads, by its settings and by
/// default.
fn files(node: &Node, target: &Target) -> Vec<PathBuf> {
    let mut files = vec![target.path(), target.generated().path()];
    if let (Place::Fragment { .. }, Ok(found)) = (&target.place, node.fragments(target)) {
        for (name, _) in &found.others {
            files.push(target.path().with_file_name(name));
        }
    }
    if let Ok(settings) = Settings::of(target.account.user.as_str()) {
        files.extend(settings.files(&target.account));
    }
    let mut once: Vec<PathBuf> = Vec::new();
    for file in files {
        if !once.iter().any(|other| same(other, &file)) {
            once.push(file);
        }
    }
    once
}

/// The keys in a file and the numbers of their lines. Like a cycle it follows no links.
fn present(node: &Node, account: &Account, file: &Path) -> Vec<(usize, KeyShown)> {
    let place = place(account, file);
    let mut keys = Vec::new();
    let Ok(found) = node.read(&Target::new(account.clone(), place)) else {
        return keys;
    };
    let content = found.content.unwrap_or_default();
    for (at, line) in content.split(|byte| *byte == b'\n').enumerate() {
        if let Some(found) = identify(line) {
            keys.push((at + 1, KeyShown::new(&found.key, &found.comment)));
        }
    }
    keys
}

impl From<AccountOutcome> for First {
    fn from(outcome: AccountOutcome) -> Self {
        let AccountOutcome {
            status,
            detail,
            added,
            updated,
            removed,
            ..
        } = outcome;
        Self {
            status,
            detail,
            added,
            updated,
            removed,
        }
    }
}

/// Renders the preview as text.
pub(super) fn render(adoption: &Adoption, colour: Colour) -> String {
    let mut text = String::new();
    for account in &adoption.accounts {
        let _ = writeln!(
            text,
            "\n{} {} (mode {})",
            colour.paint(1, &account.user),
            account.file,
            account.mode
        );
        for present in &account.keys {
            let (code, word) = match present.known {
                KeyInSet::InForce => (32, "in force "),
                KeyInSet::Withdrawn => (31, "withdrawn"),
                KeyInSet::Unknown => (33, "unknown  "),
            };
            let fate = match (present.block, present.exclusive) {
                (true, true) if present.changes => "stays on the key set's terms",
                (true, true) => "stays",
                (true, false) => "stays in block, goes in exclusive",
                (false, _) => "goes",
            };
            let KeyShown {
                fingerprint,
                kind,
                comment,
                ..
            } = &present.key;
            let line = format!("{fingerprint} {kind} {comment}");
            let place = format!("{}:{}", present.file.display(), present.line);
            let _ = writeln!(
                text,
                "  {} {} ({place}): {fate}",
                colour.paint(code, word),
                one_line(line.trim_end())
            );
        }
        for (mode, first) in [("block", &account.block), ("exclusive", &account.exclusive)] {
            let what = if first.status == Status::Failed {
                one_line(&first.detail)
            } else {
                let added = first.added.len();
                let updated = first.updated.len();
                let removed = first.removed.len();
                format!("adds {added}, changes {updated}, takes {removed} away")
            };
            let _ = writeln!(text, "  first sync in {mode}: {what}");
        }
    }
    text
}

//! The journal entries for an outcome: what differs from the previous outcome, each difference
//! once. Pure.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::kind::Kind;
use super::text::one_line;
use crate::history::RIVALRY;
use crate::key::Fingerprint;
use crate::origin::Stage;
use crate::outcome::{
    AccountOutcome, DocumentRef, Fault, FaultCode, KeyShown, Outcome, Problem, SourceOutcome,
    StageOutcome, Status,
};

/// For each account and cycle, this many removed keys that were never ours are named.
const NAMED: usize = 100;

/// One journal entry. docs/journal.md describes the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub kind: Kind,
    /// The line for people.
    pub message: String,
    /// The code of the fault that the entry is about.
    pub code: Option<FaultCode>,
    /// The account that the file belongs to.
    pub account: Option<String>,
    /// The file.
    pub path: Option<String>,
    /// The key.
    pub fingerprint: Option<String>,
    /// The key's type.
    pub key_type: Option<String>,
    /// The key's comment.
    pub comment: Option<String>,
    /// The name of the document that the file follows.
    pub document: Option<String>,
    /// Its serial.
    pub serial: Option<String>,
    /// Its digest.
    pub digest: Option<String>,
    /// The source's URL.
    pub source: Option<String>,
    /// All keys in force, one per line: fingerprint, type, comment.
    pub keys: Option<String>,
}

impl Entry {
    /// The entry for display: characters that could deceive a terminal are replaced in every field.
    pub fn shown(&self) -> Self {
        let keys = match &self.keys {
            Some(keys) => {
                let lines: Vec<String> = keys.split('\n').map(one_line).collect();
                Some(lines.join("\n"))
            }
            None => None,
        };
        Self {
            kind: self.kind,
            message: one_line(&self.message),
            code: self.code,
            account: shown_field(&self.account),
            path: shown_field(&self.path),
            fingerprint: shown_field(&self.fingerprint),
            key_type: shown_field(&self.key_type),
            comment: shown_field(&self.comment),
            document: shown_field(&self.document),
            serial: shown_field(&self.serial),
            digest: shown_field(&self.digest),
            source: shown_field(&self.source),
            keys,
        }
    }

    /// An entry about the service as a whole.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            code: None,
            account: None,
            path: None,
            fingerprint: None,
            key_type: None,
            comment: None,
            document: None,
            serial: None,
            digest: None,
            source: None,
            keys: None,
        }
    }

    /// An entry about a fault. The code is at the end of the line, where people look for it.
    pub fn of_fault(kind: Kind, code: FaultCode, message: impl Into<String>) -> Self {
        Self::new(kind, message).coded(Some(code))
    }

    fn coded(mut self, code: Option<FaultCode>) -> Self {
        if let Some(code) = code {
            self.message = format!("{} [{code}]", self.message);
        }
        Self { code, ..self }
    }

    fn with(self, document: &DocumentRef) -> Self {
        Self {
            document: document.name.as_ref().map(ToString::to_string),
            serial: document.serial.map(|serial| serial.to_string()),
            digest: document.digest.map(|digest| digest.to_string()),
            ..self
        }
    }

    fn of_source(kind: Kind, source: &SourceOutcome, message: String) -> Self {
        Self {
            source: Some(source.source.clone()),
            ..Self::new(kind, message).with(&source.document)
        }
    }

    fn of_account(kind: Kind, account: &AccountOutcome, message: String) -> Self {
        Self {
            account: Some(account.user.clone()),
            path: Some(account.file.clone()),
            ..Self::new(kind, message).with(&account.document)
        }
    }

    fn of_key(kind: Kind, account: &AccountOutcome, key: &KeyShown) -> Self {
        let what = kind.words();
        let message = format!("{what}: {} {}: {}", account.user, account.file, line(key));
        Self {
            fingerprint: Some(key.fingerprint.to_string()),
            key_type: Some(key.kind.clone()),
            comment: Some(key.comment.clone()),
            source: key.source.clone(),
            ..Self::of_account(kind, account, message)
        }
    }
}

fn shown_field(text: &Option<String>) -> Option<String> {
    text.as_deref().map(one_line)
}

/// The entries for an outcome that follows `last`. `restate` is set at the start of the service, to
/// list again who can log in.
pub fn entries(last: Option<&Outcome>, now: &Outcome, restate: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    each_entry(last, now, restate, |entry| entries.push(entry.clone()));
    entries
}

/// Like [`entries`], but passes on one entry at a time: a first cycle may have hundreds of
/// thousands of them.
pub fn each_entry(
    last: Option<&Outcome>,
    now: &Outcome,
    restate: bool,
    mut tell: impl FnMut(&Entry),
) {
    let mut entries = Vec::new();
    let (sources_before, accounts_before, faults_before) = match last {
        Some(last) => (&last.sources[..], &last.accounts[..], &last.faults[..]),
        None => (&[][..], &[][..], &[][..]),
    };
    for source in &now.sources {
        let mut before = sources_before.iter();
        let before = before.find(|before| before.source == source.source);
        of_source(before, source, &mut entries);
        for entry in entries.drain(..) {
            tell(&entry);
        }
    }
    for account in &now.accounts {
        let mut before = accounts_before.iter();
        let before = before.find(|before| before.user == account.user);
        of_account(before, account, restate, &mut entries);
        for entry in entries.drain(..) {
            tell(&entry);
        }
    }
    for Fault { code, text, .. } in &now.faults {
        let is_reported = now.sources.iter().any(|source| source.detail == *text)
            || now.accounts.iter().any(|account| account.detail == *text);
        if !is_reported && !faults_before.iter().any(|known| alike(&known.text, text)) {
            tell(&Entry::of_fault(Kind::Fault, *code, text.clone()));
        }
    }
}

fn of_source(before: Option<&SourceOutcome>, source: &SourceOutcome, entries: &mut Vec<Entry>) {
    if source.document.digest.is_some()
        && before.is_none_or(|before| before.document.digest != source.document.digest)
    {
        let message = format!("document accepted: {}", document(source));
        entries.push(Entry::of_source(Kind::DocumentAccepted, source, message));
    }
    let (stages_before, warnings_before, was) = match before {
        Some(before) => (&before.stages[..], &before.warnings[..], before.problem),
        None => (&[][..], &[][..], None),
    };
    for stage in &source.stages {
        if stage.stage == Stage::Current || stages_before.contains(stage) {
            continue;
        }
        let message = format!("document accepted: {}", document_of(&source.source, stage));
        entries
            .push(Entry::of_source(Kind::DocumentAccepted, source, message).with(&stage.document));
    }
    for text in &source.warnings {
        if !warnings_before.contains(text) {
            let message = format!("warning: {text}");
            entries.push(Entry::of_source(Kind::Warning, source, message));
        }
    }
    of_fallback(before, source, entries);
    match source.problem {
        Some(problem) if is_news(before, source) => {
            let kind = match problem {
                Problem::Refused | Problem::Untrusted => Kind::DocumentRefused,
                Problem::Expired => Kind::DocumentExpired,
                _ => Kind::SourceFailed,
            };
            let stays = if source.document.digest.is_some() {
                "the last good key set stays"
            } else {
                "no key set is known yet"
            };
            let message = format!("{}, {stays}: {}", kind.words(), source.detail);
            entries.push(Entry::of_source(kind, source, message).coded(source.code));
        }
        None if was.is_some() => {
            let message = format!("source is good again: {}", document(source));
            entries.push(Entry::of_source(Kind::SourceRecovered, source, message));
        }
        _ => {}
    }
}

/// Whether a source's problem differs from that of the last outcome. Different wording for the same
/// problem is not news: request ids and addresses change each time.
fn is_news(before: Option<&SourceOutcome>, source: &SourceOutcome) -> bool {
    let Some(before) = before else {
        return source.problem.is_some();
    };
    if before.problem != source.problem || before.status != source.status {
        return true;
    }
    match source.problem {
        Some(Problem::Refused | Problem::Untrusted) => !alike(&before.detail, &source.detail),
        _ => false,
    }
}

/// Reports once that a fallback answers, and once that the source answers again.
fn of_fallback(before: Option<&SourceOutcome>, source: &SourceOutcome, entries: &mut Vec<Entry>) {
    let answered = before.and_then(|before| before.answered_by.as_ref());
    match (answered, &source.answered_by) {
        (None, Some(by)) => {
            let message = format!("warning: {}: {}", by.warning(&source.source), by.detail);
            entries.push(Entry::of_source(Kind::Warning, source, message));
        }
        (Some(_), None) if source.problem.is_none() => {
            let message = format!("source is reached again: {}", document(source));
            entries.push(Entry::of_source(Kind::SourceRecovered, source, message));
        }
        _ => {}
    }
}

fn of_account(
    before: Option<&AccountOutcome>,
    account: &AccountOutcome,
    restate: bool,
    entries: &mut Vec<Entry>,
) {
    if account.changed {
        if account.repairs > 0 {
            let message = format!(
                "drift repaired: {} {}: somebody else had changed it",
                account.user, account.file
            );
            entries.push(Entry::of_account(Kind::DriftRepaired, account, message));
        }
        for key in account.added.iter() {
            entries.push(Entry::of_key(Kind::KeyAdded, account, key));
        }
        removed(before, account, entries);
        for key in account.updated.iter() {
            entries.push(Entry::of_key(Kind::KeyUpdated, account, key));
        }
    }
    let has_other_keys = before.is_none_or(|before| !before.has_keys_of(account));
    if account.status != Status::Failed && (restate || has_other_keys) {
        let keys: Vec<String> = account.in_force.iter().map(line).collect();
        let message = format!(
            "keys in force: {} {}: {}",
            account.user,
            account.file,
            keys.len()
        );
        let entry = Entry::of_account(Kind::KeysInForce, account, message);
        entries.push(Entry {
            keys: Some(keys.join("\n")),
            ..entry
        });
    }
    let is_news = match before {
        Some(before) => before.status != account.status || !alike(&before.detail, &account.detail),
        None => true,
    };
    let kind = match account.status {
        Status::Failed => Kind::AccountFailed,
        // Already reported for the source that has not been read yet.
        Status::Stale if account.code == Some(FaultCode::NoKeySet) => return,
        Status::Stale => Kind::DocumentRefused,
        Status::Degraded if account.repairs >= RIVALRY => Kind::RivalWriter,
        Status::Degraded if account.left_out.is_empty() => Kind::AccountDegraded,
        // Already reported once for the document.
        Status::Degraded => return,
        Status::Ok if before.is_some_and(was_bad) => Kind::AccountRecovered,
        Status::Ok => return,
    };
    if is_news {
        let who = if account.user.is_empty() {
            "(unknown)"
        } else {
            &account.user
        };
        let message = match kind {
            Kind::AccountRecovered => format!("account is good again: {who} {}", account.file),
            _ => format!("{}: {who}: {}", kind.words(), account.detail),
        };
        entries.push(Entry::of_account(kind, account, message).coded(account.code));
    }
}

/// Names every removed key that was in force, and the first of the others. Users can fill their
/// file with lines again and again, and must not be able to flood the journal until older entries
/// are lost.
fn removed(before: Option<&AccountOutcome>, account: &AccountOutcome, entries: &mut Vec<Entry>) {
    let mut ours: HashSet<&Fingerprint> = HashSet::new();
    // After a restart only the first keys in force are known, so any of these may have been ours.
    let mut are_all_known = true;
    if let Some(before) = before {
        are_all_known = before.lists_all_in_force();
        for key in before.in_force.iter() {
            ours.insert(&key.fingerprint);
        }
    }
    let mut others = 0;
    for key in account.removed.iter() {
        if are_all_known && !ours.contains(&key.fingerprint) {
            others += 1;
            if others > NAMED {
                continue;
            }
        }
        entries.push(Entry::of_key(Kind::KeyRemoved, account, key));
    }
    if others > NAMED {
        let what = Kind::KeysRemoved.words();
        let message = format!(
            "{what}: {} {}: {} that were never ours",
            account.user,
            account.file,
            others - NAMED
        );
        entries.push(Entry::of_account(Kind::KeysRemoved, account, message));
    }
}

/// Whether an entry reported a problem with the account.
fn was_bad(before: &AccountOutcome) -> bool {
    let degraded =
        before.status == Status::Degraded && before.left_out.is_empty() && before.repairs < RIVALRY;
    before.status == Status::Failed || degraded
}

/// Whether two texts are equal except for numbers, because times, durations and counts change each
/// time.
pub fn alike(one: &str, other: &str) -> bool {
    let one = one.chars().filter(|c| !c.is_ascii_digit());
    let other = other.chars().filter(|c| !c.is_ascii_digit());
    one.eq(other)
}

fn document(source: &SourceOutcome) -> String {
    described(&source.source, &source.document, source.version.as_deref())
}

fn document_of(source: &str, stage: &StageOutcome) -> String {
    let place = format!("{source} {}", stage.stage);
    described(&place, &stage.document, Some(&stage.version))
}

fn described(place: &str, document: &DocumentRef, version: Option<&str>) -> String {
    let mut text = place.to_owned();
    if let Some(name) = &document.name {
        let _ = write!(text, " {name}");
    }
    if let Some(serial) = document.serial {
        let _ = write!(text, " serial {serial}");
    }
    if let Some(version) = version {
        let _ = write!(text, " version {version}");
    }
    text
}

fn line(key: &KeyShown) -> String {
    let line = format!("{} {} {}", key.fingerprint, key.kind, key.comment);
    line.trim_end().to_owned()
}

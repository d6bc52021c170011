//! The journal entries for an outcome: what differs from the previous outcome, each difference
//! once. Pure.

use std::collections::HashSet;

use super::kind::Kind;
use super::text::one_line;
use crate::history::RIVALRY;
use crate::key::Fingerprint;
use crate::origin::Stage;
use crate::outcome::{
    AccountOutcome, DocumentRef, FaultCode, KeyShown, Outcome, Problem, SourceOutcome,
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
        let field = |text: &Option<String>| text.as_deref().map(one_line);
        let lines = |text: &String| {
            text.split('\n')
                .map(one_line)
                .collect::<Vec<_>>()
                .join("\n")
        };
        Self {
            kind: self.kind,
            message: one_line(&self.message),
            code: self.code,
            account: field(&self.account),
            path: field(&self.path),
            fingerprint: field(&self.fingerprint),
            key_type: field(&self.key_type),
            comment: field(&self.comment),
            document: field(&self.document),
            serial: field(&self.serial),
            digest: field(&self.digest),
            source: field(&self.source),
            keys: self.keys.as_ref().map(lines),
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
    for source in &now.sources {
        let before = last.and_then(|last| {
            last.sources
                .iter()
                .find(|before| before.source == source.source)
        });
        of_source(before, source, &mut entries);
        entries.drain(..).for_each(|entry| tell(&entry));
    }
    let of_user = |account: &AccountOutcome| {
        let same_user = |before: &&AccountOutcome| before.user == account.user;
        last.and_then(|last| last.accounts.iter().find(same_user))
    };
    for account in &now.accounts {
        of_account(of_user(account), account, restate, &mut entries);
        entries.drain(..).for_each(|entry| tell(&entry));
    }
    let is_reported = |text: &str| {
        now.sources
            .iter()
            .map(|source| &source.detail)
            .chain(now.accounts.iter().map(|a| &a.detail))
            .any(|d| d == text)
    };
    let known = |text: &str| {
        last.is_some_and(|last| last.faults.iter().any(|fault| alike(&fault.text, text)))
    };
    for fault in now
        .faults
        .iter()
        .filter(|fault| !is_reported(&fault.text) && !known(&fault.text))
    {
        tell(&Entry::of_fault(
            Kind::Fault,
            fault.code,
            fault.text.clone(),
        ));
    }
}

fn of_source(before: Option<&SourceOutcome>, source: &SourceOutcome, entries: &mut Vec<Entry>) {
    if source.document.digest.is_some()
        && before.is_none_or(|before| before.document.digest != source.document.digest)
    {
        let message = format!("document accepted: {}", document(source));
        entries.push(Entry::of_source(Kind::DocumentAccepted, source, message));
    }
    let known = |stage: &StageOutcome| before.is_some_and(|before| before.stages.contains(stage));
    for stage in source
        .stages
        .iter()
        .filter(|one| one.stage != Stage::Current && !known(one))
    {
        let message = format!("document accepted: {}", document_of(&source.source, stage));
        entries
            .push(Entry::of_source(Kind::DocumentAccepted, source, message).with(&stage.document));
    }
    let was = before.and_then(|before| before.problem);
    // Different wording for the same problem is not news: request ids and addresses change each
    // time.
    let news = was != source.problem
        || before.is_some_and(|before| {
            before.status != source.status
                || matches!(source.problem, Some(Problem::Refused | Problem::Untrusted))
                    && !alike(&before.detail, &source.detail)
        });
    let warned =
        |text: &str| before.is_some_and(|before| before.warnings.iter().any(|known| known == text));
    for text in source.warnings.iter().filter(|text| !warned(text)) {
        entries.push(Entry::of_source(
            Kind::Warning,
            source,
            format!("warning: {text}"),
        ));
    }
    of_fallback(before, source, entries);
    match source.problem {
        Some(problem) if news => {
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
        entries.extend(
            account
                .added
                .iter()
                .map(|key| Entry::of_key(Kind::KeyAdded, account, key)),
        );
        removed(before, account, entries);
        entries.extend(
            account
                .updated
                .iter()
                .map(|key| Entry::of_key(Kind::KeyUpdated, account, key)),
        );
    }
    let good = account.status != Status::Failed;
    if good && (restate || before.is_none_or(|before| !before.has_keys_of(account))) {
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
    let news = before.is_none_or(|before| {
        before.status != account.status || !alike(&before.detail, &account.detail)
    });
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
    if news {
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
    let ours: HashSet<&Fingerprint> = before
        .iter()
        .flat_map(|before| before.in_force.iter())
        .map(|key| &key.fingerprint)
        .collect();
    // After a restart only the first keys in force are known, so any of these may have been ours.
    let known = before.is_none_or(AccountOutcome::lists_all_in_force);
    let mut others = 0;
    for key in account.removed.iter() {
        if known && !ours.contains(&key.fingerprint) {
            others += 1;
            if others > NAMED {
                continue;
            }
        }
        entries.push(Entry::of_key(Kind::KeyRemoved, account, key));
    }
    if others > NAMED {
        let what = Kind::KeysRemoved.words();
        let (more, file) = (others - NAMED, &account.file);
        let message = format!(
            "{what}: {} {file}: {more} that were never ours",
            account.user
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
    let words = |text: &str| {
        text.chars()
            .filter(|c| !c.is_ascii_digit())
            .collect::<String>()
    };
    words(one) == words(other)
}

fn document(source: &SourceOutcome) -> String {
    described(&source.source, &source.document, source.version.as_deref())
}

fn document_of(source: &str, stage: &StageOutcome) -> String {
    let place = format!("{source} {}", stage.stage);
    described(&place, &stage.document, Some(&stage.version))
}

fn described(place: &str, document: &DocumentRef, version: Option<&str>) -> String {
    let name = document
        .name
        .as_ref()
        .map(|name| format!(" {name}"))
        .unwrap_or_default();
    let serial = document
        .serial
        .map(|serial| format!(" serial {serial}"))
        .unwrap_or_default();
    let version = version
        .map(|version| format!(" version {version}"))
        .unwrap_or_default();
    format!("{place}{name}{serial}{version}")
}

fn line(key: &KeyShown) -> String {
    format!("{} {} {}", key.fingerprint, key.kind, key.comment)
        .trim_end()
        .to_owned()
}

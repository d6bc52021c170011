//! What a cycle means in the light of the cycles before it: how long the node has been stale, and
//! whether another program keeps undoing its work. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::outcome::{
    AccountOutcome, Fault, FaultCode, KeyCounts, KeyList, Outcome, ReportOutcome, SourceOutcome,
    Status, Subject,
};

/// Repairs with a longer pause between them are not consecutive. The limit is long enough that a
/// daily job is noticed.
const IN_A_ROW: SignedDuration = SignedDuration::from_hours(25);
/// From this many consecutive repairs on, the other writer is reported.
pub const RIVALRY: u32 = 3;
/// The shortest time for which the other writer is reported after its last write.
const NAMED_FOR: SignedDuration = SignedDuration::from_mins(10);

/// What is remembered from one cycle to the next.
#[derive(Debug, Default)]
pub struct History {
    last: Option<Outcome>,
}

impl History {
    /// Starts with the outcome in the status file of an earlier process.
    pub fn new(last: Option<Outcome>) -> Self {
        Self { last }
    }

    /// The last outcome.
    pub fn last(&self) -> Option<&Outcome> {
        self.last.as_ref()
    }

    /// Completes an outcome with what only several cycles show, and derives its status again.
    pub fn complete(&self, mut outcome: Outcome, max_stale: Option<SignedDuration>) -> Outcome {
        let now = outcome.finished;
        for source in &mut outcome.sources {
            source.fetched = source.fetched.max(self.last_fetched(source));
            let overdue = max_stale.filter(|most| {
                let age = source.fetched.map(|fetched| now.duration_since(fetched));
                source.status == Status::Stale && age.is_some_and(|age| age > *most)
            });
            if let (Some(most), Some(fetched)) = (overdue, source.fetched) {
                source.status = Status::Failed;
                let overdue = format!(
                    "{}: no good answer since {fetched}, for longer than max_stale ({most:#}); its keys stay",
                    source.source
                );
                // A cycle that does not ask the source repeats the previous detail.
                let text = if self.repeats(source) {
                    source.detail.clone()
                } else {
                    format!("{overdue} ({})", source.detail)
                };
                // Put into the same fault as the cause, whose class may be more severe.
                let subject = Subject::Source(source.source.clone());
                match outcome
                    .faults
                    .iter_mut()
                    .find(|fault| fault.subject == subject && fault.text == source.detail)
                {
                    Some(fault) => fault.text.clone_from(&text),
                    None => outcome.faults.push(Fault::new(
                        FaultCode::SourceOverdue,
                        subject,
                        text.clone(),
                    )),
                }
                source.detail = text;
            }
        }
        // After a configuration change, a changed file is not evidence of another writer.
        let same_config = self
            .last
            .as_ref()
            .is_some_and(|last| last.config.is_some() && last.config == outcome.config);
        for account in &mut outcome.accounts {
            let repaired =
                account.changed && same_config && !outcome.news && self.same_set(account);
            self.count_repair(account, repaired, now);
            if let Some(text) = Self::rivalry(account, now) {
                // This is not a fault of the cycle: everything was applied.
                account.fault(Status::Degraded, FaultCode::RivalWriter, text);
            }
        }
        outcome
            .accounts
            .iter_mut()
            .for_each(|account| self.go_on_following(account));
        outcome.faults.extend(self.forgotten(&outcome));
        outcome.summarise();
        if outcome.status == Status::Stale {
            outcome.stale_cycles = self
                .last
                .as_ref()
                .map_or(0, |last| last.stale_cycles)
                .saturating_add(1);
        }
        let before = self.last.as_ref().and_then(|last| last.last_success);
        outcome.last_success = if outcome.status == Status::Ok {
            Some(now)
        } else {
            before
        };
        outcome
    }

    /// The outcome of a cycle that could not begin. The accounts are unchanged, and nothing else is
    /// known.
    pub fn not_begun(&self, fault: Fault, started: Timestamp, finished: Timestamp) -> Outcome {
        let last = self.last.as_ref();
        let mut accounts = last.map(|last| last.accounts.clone()).unwrap_or_default();
        for account in &mut accounts {
            account.changed = false;
            (account.added, account.removed) = (KeyList::default(), KeyList::default());
            account.updated = KeyList::default();
            let KeyCounts {
                in_force, left_out, ..
            } = account.counts;
            account.counts = KeyCounts {
                in_force,
                left_out,
                ..KeyCounts::default()
            };
        }
        Outcome {
            status: Status::Failed,
            detail: fault.text.clone(),
            code: Some(fault.code),
            instance_id: last.and_then(|last| last.instance_id.clone()),
            last_success: last.and_then(|last| last.last_success),
            next_change: last.and_then(|last| last.next_change),
            config: last.and_then(|last| last.config),
            sources: last.map(|last| last.sources.clone()).unwrap_or_default(),
            accounts,
            faults: vec![fault],
            ..Outcome::new(started, finished)
        }
    }

    /// Adds the instance id, which became known too late for the last outcome.
    pub fn name_instance(&mut self, id: &str) -> Option<&Outcome> {
        let last = self
            .last
            .as_mut()
            .filter(|last| last.instance_id.as_deref() != Some(id))?;
        last.instance_id = Some(id.to_owned());
        Some(last)
    }

    /// Records the state of the reports of the last outcome.
    pub fn note_reports(&mut self, reports: Vec<ReportOutcome>) {
        if let Some(last) = &mut self.last {
            last.reports = reports;
        }
    }

    /// Remembers an outcome.
    pub fn remember(&mut self, outcome: Outcome) {
        self.last = Some(outcome);
    }

    /// The status file survives the loss of the state directory. The status of another
    /// configuration is not evidence: it must be about the same file.
    fn forgotten(&self, outcome: &Outcome) -> Option<Fault> {
        let last = self.last.as_ref().filter(|_| outcome.first)?;
        let followed = |now: &AccountOutcome, before: &AccountOutcome| {
            (&before.user, &before.file) == (&now.user, &now.file)
                && before.document.digest.is_some()
        };
        let before = outcome
            .accounts
            .iter()
            .find_map(|now| last.accounts.iter().find(|before| followed(now, before)))?;
        let serial = before
            .document
            .serial
            .map(|serial| format!(" with serial {serial}"))
            .unwrap_or_default();
        let at = last.finished;
        Some(Fault::forgotten(&format!(
            "{} followed a document{serial} at {at:.0}",
            before.file
        )))
    }

    /// An account to which nothing could be applied keeps the document and keys of the last cycle.
    fn go_on_following(&self, account: &mut AccountOutcome) {
        let same =
            |last: &&AccountOutcome| (&last.user, &last.file) == (&account.user, &account.file);
        let last = self.last.iter().flat_map(|last| &last.accounts).find(same);
        if let (Status::Failed, None, Some(last)) = (account.status, account.document.digest, last)
        {
            account.document = last.document.clone();
            account.documents = last.documents.clone();
            // Pinned keys may have been installed even so.
            if account.in_force.is_empty() {
                (account.lines, account.in_force) = (last.lines, last.in_force.clone());
                (account.keys_digest, account.counts.in_force) =
                    (last.keys_digest, last.counts.in_force);
            }
        }
    }

    /// Whether the last outcome already reported the source as failed for too long, with the same
    /// text.
    fn repeats(&self, source: &SourceOutcome) -> bool {
        let last = self.last.iter().flat_map(|last| &last.sources);
        let mut failed =
            last.filter(|last| last.status == Status::Failed && last.document.digest.is_some());
        failed.any(|last| last.source == source.source && last.detail == source.detail)
    }

    fn last_fetched(&self, source: &SourceOutcome) -> Option<Timestamp> {
        let same = |last: &&SourceOutcome| {
            last.source == source.source && last.document.digest == source.document.digest
        };
        self.last.as_ref()?.sources.iter().find(same)?.fetched
    }

    /// Whether the account should have had the same lines of the same document after the last cycle
    /// already. The lines may differ after an upgrade of sshd, which changes how an end is written.
    fn same_set(&self, account: &AccountOutcome) -> bool {
        let same = |last: &AccountOutcome| {
            (&last.user, &last.file, last.document.digest, last.lines)
                == (
                    &account.user,
                    &account.file,
                    account.document.digest,
                    account.lines,
                )
                && last.documents == account.documents
                && last.has_keys_of(account)
                && last.status != Status::Failed
        };
        self.last
            .as_ref()
            .is_some_and(|last| last.accounts.iter().any(same))
    }

    fn count_repair(&self, account: &mut AccountOutcome, repaired: bool, now: Timestamp) {
        let before = self
            .last
            .iter()
            .flat_map(|last| &last.accounts)
            .find(|before| before.user == account.user);
        let row = before.and_then(|before| Some((before, before.last_repair?)));
        match row.filter(|(_, last)| now.duration_since(*last) <= IN_A_ROW) {
            Some((before, last)) if repaired => {
                account.repairs = before.repairs.saturating_add(1);
                account.last_repair = Some(now);
                account.repair_gap = Some(now.duration_since(last));
            }
            Some((before, last)) if !account.changed => {
                account.repairs = before.repairs;
                account.last_repair = Some(last);
                account.repair_gap = before.repair_gap;
            }
            _ if repaired => {
                account.repairs = 1;
                account.last_repair = Some(now);
            }
            _ => {}
        }
    }

    fn rivalry(account: &AccountOutcome, now: Timestamp) -> Option<String> {
        let last = account.last_repair.filter(|_| account.repairs >= RIVALRY)?;
        let named_for = NAMED_FOR.max(account.repair_gap.unwrap_or_default().saturating_mul(3));
        (now.duration_since(last) <= named_for).then(|| {
            format!(
                "{}: something else writes this file too, {} repairs in a row, last at {last}; stop it (a cron job that \
                 pulls keys? a configuration tool?), or take account {} out of the configuration",
                account.file, account.repairs, account.user
            )
        })
    }
}

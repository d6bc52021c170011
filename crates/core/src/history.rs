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
            // A later time than now is that of a wrong clock.
            let last = self.last_fetched(source).filter(|last| *last <= now);
            source.fetched = source.fetched.max(last);
            if source.status == Status::Stale
                && let Some(most) = max_stale
                && let Some(fetched) = source.fetched
                && now.duration_since(fetched) > most
            {
                source.status = Status::Failed;
                let overdue = format!(
                    "{}: no valid answer since {fetched}, for longer than max_stale ({most:#}); \
                     its keys stay",
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
                let mut faults = outcome.faults.iter_mut();
                match faults.find(|fault| fault.subject == subject && fault.text == source.detail) {
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
        let same_config = match &self.last {
            Some(last) => last.config.is_some() && last.config == outcome.config,
            None => false,
        };
        for account in &mut outcome.accounts {
            let repaired =
                account.changed && same_config && !outcome.news && self.same_set(account);
            self.count_repair(account, repaired, now);
            if let Some(text) = Self::rivalry(account, now) {
                // This is not a fault of the cycle: everything was applied.
                account.fault(Status::Degraded, FaultCode::RivalWriter, text);
            }
        }
        for account in &mut outcome.accounts {
            self.go_on_following(account);
        }
        if let Some(fault) = self.forgotten(&outcome) {
            outcome.faults.push(fault);
        }
        outcome.summarise();
        let (stale_before, last_success) = match &self.last {
            Some(last) => (last.stale_cycles, last.last_success),
            None => (0, None),
        };
        if outcome.status == Status::Stale {
            outcome.stale_cycles = stale_before.saturating_add(1);
        }
        outcome.last_success = match outcome.status {
            Status::Ok => Some(now),
            _ => last_success,
        };
        outcome
    }

    /// The outcome of a cycle that could not begin. The accounts are unchanged, and nothing else is
    /// known.
    pub fn not_begun(&self, fault: Fault, started: Timestamp, finished: Timestamp) -> Outcome {
        let mut outcome = Outcome {
            status: Status::Failed,
            detail: fault.text.clone(),
            code: Some(fault.code),
            faults: vec![fault],
            ..Outcome::new(started, finished)
        };
        let Some(last) = &self.last else {
            return outcome;
        };
        outcome.instance_id.clone_from(&last.instance_id);
        outcome.last_success = last.last_success;
        outcome.next_change = last.next_change;
        outcome.config = last.config;
        outcome.sources.clone_from(&last.sources);
        outcome.accounts.clone_from(&last.accounts);
        for account in &mut outcome.accounts {
            account.changed = false;
            account.added = KeyList::default();
            account.removed = KeyList::default();
            account.updated = KeyList::default();
            account.counts = KeyCounts {
                in_force: account.counts.in_force,
                left_out: account.counts.left_out,
                ..KeyCounts::default()
            };
        }
        outcome
    }

    /// Adds the instance id, which became known too late for the last outcome.
    pub fn name_instance(&mut self, id: &str) -> Option<&Outcome> {
        let last = self.last.as_mut()?;
        if last.instance_id.as_deref() == Some(id) {
            return None;
        }
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
        let last = self.last.as_ref()?;
        if !outcome.first {
            return None;
        }
        for now in &outcome.accounts {
            for before in &last.accounts {
                if is_same_file(before, now) && before.document.digest.is_some() {
                    let serial = match before.document.serial {
                        Some(serial) => format!(" with serial {serial}"),
                        None => String::new(),
                    };
                    return Some(Fault::forgotten(&format!(
                        "{} followed a document{serial} at {:.0}",
                        before.file, last.finished
                    )));
                }
            }
        }
        None
    }

    /// An account to which nothing could be applied keeps the document and keys of the last cycle.
    fn go_on_following(&self, account: &mut AccountOutcome) {
        if account.status != Status::Failed || account.document.digest.is_some() {
            return;
        }
        let mut last = self.last_accounts().iter();
        let Some(last) = last.find(|last| is_same_file(last, account)) else {
            return;
        };
        account.document = last.document.clone();
        account.documents.clone_from(&last.documents);
        // Pinned keys may have been installed even so.
        if account.in_force.is_empty() {
            account.lines = last.lines;
            account.in_force = last.in_force.clone();
            account.keys_digest = last.keys_digest;
            account.counts.in_force = last.counts.in_force;
        }
    }

    /// The accounts in the last outcome.
    fn last_accounts(&self) -> &[AccountOutcome] {
        match &self.last {
            Some(last) => &last.accounts,
            None => &[],
        }
    }

    /// The sources in the last outcome.
    fn last_sources(&self) -> &[SourceOutcome] {
        match &self.last {
            Some(last) => &last.sources,
            None => &[],
        }
    }

    /// Whether the last outcome already reported the source as failed for too long, with the same
    /// text.
    fn repeats(&self, source: &SourceOutcome) -> bool {
        for last in self.last_sources() {
            if last.source == source.source
                && last.detail == source.detail
                && last.status == Status::Failed
                && last.document.digest.is_some()
            {
                return true;
            }
        }
        false
    }

    fn last_fetched(&self, source: &SourceOutcome) -> Option<Timestamp> {
        for last in self.last_sources() {
            if last.source == source.source && last.document.digest == source.document.digest {
                return last.fetched;
            }
        }
        None
    }

    /// Whether the account should have had the same lines of the same document after the last cycle
    /// already. The lines may differ after an upgrade of sshd, which changes how an end is written.
    fn same_set(&self, account: &AccountOutcome) -> bool {
        for last in self.last_accounts() {
            if is_same_file(last, account)
                && last.document.digest == account.document.digest
                && last.lines == account.lines
                && last.documents == account.documents
                && last.has_keys_of(account)
                && last.status != Status::Failed
            {
                return true;
            }
        }
        false
    }

    fn count_repair(&self, account: &mut AccountOutcome, repaired: bool, now: Timestamp) {
        let mut last_accounts = self.last_accounts().iter();
        let before = last_accounts.find(|before| before.user == account.user);
        if let Some(before) = before
            && let Some(last) = before.last_repair
            && now.duration_since(last) <= IN_A_ROW
        {
            if repaired {
                account.repairs = before.repairs.saturating_add(1);
                account.last_repair = Some(now);
                account.repair_gap = Some(now.duration_since(last));
            } else if !account.changed {
                account.repairs = before.repairs;
                account.last_repair = Some(last);
                account.repair_gap = before.repair_gap;
            }
        } else if repaired {
            account.repairs = 1;
            account.last_repair = Some(now);
        }
    }

    fn rivalry(account: &AccountOutcome, now: Timestamp) -> Option<String> {
        let last = account.last_repair?;
        let gap = account.repair_gap.unwrap_or_default();
        let named_for = NAMED_FOR.max(gap.saturating_mul(3));
        if account.repairs < RIVALRY || now.duration_since(last) > named_for {
            return None;
        }
        Some(format!(
            "{}: something else writes this file too, {} repairs in a row, last at {last}; stop it \
             (a cron job that pulls keys? a configuration tool?), or take account {} out of the \
             configuration",
            account.file, account.repairs, account.user
        ))
    }
}

fn is_same_file(one: &AccountOutcome, other: &AccountOutcome) -> bool {
    one.user == other.user && one.file == other.file
}

//! What the service shows of itself: the status file, the service manager's line, the metrics.

use std::sync::Arc;

use super::{Service, ServiceSetup};
use crate::host::Host;
use crate::locked::locked;
use crate::report::beside::{Written, no_answer};
use crate::report::{journal, presence, status_file};
use authkeys_core::origin::Fetch;
use authkeys_core::outcome::{FaultCode, Outcome, chain};
use authkeys_core::report::delivery::Deliver;
use authkeys_core::report::entries::Entry;
use authkeys_core::report::kind::Kind;
use authkeys_core::report::text;

impl<F, H, D, L> Service<F, H, D, L>
where
    F: Fetch + 'static,
    H: Host + Send + Sync + 'static,
    D: Deliver + 'static,
    L: Fn() -> Result<ServiceSetup, String> + Send + Sync + 'static,
{
    pub(super) fn write_status(&mut self) {
        let Some(outcome) = self.history.last() else {
            return;
        };
        if let Some(entry) = self.reporter.write_metrics(outcome, (self.clock)()) {
            journal::tell(&entry);
        }
        self.history.note_reports(self.reporter.outcomes());
        self.write_files(self.history.last().map(Outcome::shortened));
    }

    /// Takes the lock that `authkeysd status` looks for, and writes the status file. If the lock
    /// cannot be made in the directory, that is reported with the status file.
    pub(super) fn write_files(&mut self, outcome: Option<Outcome>) {
        let directory = self.setup.runtime.clone();
        let presence = Arc::clone(&self.presence);
        let written = self.files.write(move || {
            let mut presence = locked(&presence);
            if presence.is_none() {
                *presence = presence::hold(&directory).ok();
            }
            drop(presence);
            match outcome {
                Some(outcome) => status_file::write(&directory, &outcome),
                None => Ok(()),
            }
        });
        let fault = match written {
            Written::Ended(Ok(())) | Written::Slow => None,
            Written::Ended(Err(fault)) => Some(chain(&fault)),
            Written::Hangs => Some(no_answer(&status_file::path(&self.setup.runtime))),
        };
        let unwritten = fault.is_some();
        if let (Some(fault), false) = (fault, self.unwritten) {
            journal::tell(&Entry::of_fault(
                Kind::Fault,
                FaultCode::StatusNotWritten,
                fault,
            ));
        }
        self.unwritten = unwritten;
    }

    pub(super) fn say_ready(&mut self) {
        self.ready = true;
        self.notify.ready();
    }

    pub(super) fn show_status(&self) {
        let mut line = match self.history.last() {
            Some(outcome) => text::service_line(outcome),
            None => String::new(),
        };
        if let Some(fault) = &self.refused {
            line = format!("configuration refused, the old one stays in force: {fault}; {line}");
        }
        self.notify.status(&line);
    }
}

//! Fetches earlier than scheduled: after a nudge, and on demand.

use super::{Service, ServiceSetup};
use crate::host::Host;
use crate::report::journal;
use authkeys_core::nudge::News;
use authkeys_core::origin::Fetch;
use authkeys_core::outcome::FaultCode;
use authkeys_core::report::delivery::Deliver;
use authkeys_core::report::entries::Entry;
use authkeys_core::report::kind::Kind;

impl<F, H, D, L> Service<F, H, D, L>
where
    F: Fetch + 'static,
    H: Host + Send + Sync + 'static,
    D: Deliver + 'static,
    L: Fn() -> Result<ServiceSetup, String> + Send + Sync + 'static,
{
    /// Handles the result of a look at the tag. A fetch that is under way does not count, because
    /// it may have asked before the tag was set.
    pub(super) fn nudged(&mut self, news: News) {
        match news {
            News::None => {}
            News::Nudge => {
                // Answers that are stored for the next fetch may be older than the nudge.
                self.again |= !self.fetches && !self.flights.is_empty();
                self.planner.nudge(self.nudges.wait(), (self.clock)());
            }
            News::Unreadable { why } => {
                let message = format!("no nudge will be seen, the schedule applies: {why}");
                journal::tell(&Entry::of_fault(
                    Kind::Warning,
                    FaultCode::NudgeUnavailable,
                    message,
                ));
            }
        }
    }

    /// Fetches on demand. A fetch that is under way may have asked before the demand, so the
    /// sources are asked once more.
    pub(super) fn fetch_now(&mut self) {
        self.again |= self.fetches || !self.flights.is_empty();
        self.planner.demand((self.clock)());
    }
}

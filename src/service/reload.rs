//! A reload: the configuration that was read again replaces the one in force.

use std::sync::Arc;

use super::{Service, ServiceSetup, timing};
use crate::agent::Agent;
use crate::host::Host;
use crate::locked::locked;
use crate::report::journal;
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
    /// Applies the configuration that was read again. Runs a cycle whether it is valid or not.
    pub(super) fn reload(&mut self, read: Result<ServiceSetup, String>) {
        match read {
            Ok(setup) => {
                let fetch = self.agent.fetch.clone();
                let host = self.agent.host.clone();
                let config = setup.config.clone();
                let mut memory = locked(&self.memory);
                memory.forget_last();
                drop(memory);
                self.agent = Arc::new(Agent {
                    config,
                    fetch,
                    host,
                    zone: self.agent.zone,
                    built: self.agent.built,
                });
                if setup.config.report != self.setup.config.report {
                    self.reporter.configure(&setup.config.report);
                }
                self.nudges.configure(&setup.config);
                if setup.runtime != self.setup.runtime {
                    // A write under way holds the old one until it ends.
                    self.presence = Arc::default();
                }
                self.setup = setup;
                self.refused = None;
                journal::tell(&Entry::new(Kind::Reloaded, "configuration reloaded"));
            }
            Err(fault) => {
                let message = format!("configuration refused, the old one stays in force: {fault}");
                journal::tell(&Entry::of_fault(
                    Kind::ReloadRefused,
                    FaultCode::ConfigInvalid,
                    message,
                ));
                self.refused = Some(fault);
            }
        }
        self.again = !self.flights.is_empty();
        self.planner
            .restart(timing(&self.setup.config, &self.identity), (self.clock)());
        self.show_status();
        if self.ready {
            self.notify.ready();
        }
    }
}

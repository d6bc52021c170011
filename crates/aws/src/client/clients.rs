//! The clients of one service, one for each region that a URL names.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::locked;

/// Clients of type `C`, each made when it is first needed, and then kept.
#[derive(Debug)]
pub struct Clients<C>(Mutex<BTreeMap<Option<String>, C>>);

impl<C> Default for Clients<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C: Clone> Clients<C> {
    /// The client for a region; `None` is the region of the environment.
    pub fn of(&self, region: Option<&str>, make: impl FnOnce() -> C) -> C {
        locked(&self.0)
            .entry(region.map(str::to_owned))
            .or_insert_with(make)
            .clone()
    }

    /// Drops the clients, and their credentials with them.
    pub fn forget(&self) {
        locked(&self.0).clear();
    }
}

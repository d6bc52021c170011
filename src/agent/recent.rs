//! Stores equal values once. Consecutive accounts often have the same values, because they follow
//! the same document.

use std::collections::VecDeque;
use std::sync::Arc;

use authkeys_core::key::FingerprintSet;
use authkeys_core::outcome::{KeyList, KeyShown};
use authkeys_core::plan::{Desired, Plan};

/// How many different values of one kind are kept.
const KEPT: usize = 8;

/// The most recent values of one kind.
#[derive(Debug)]
pub(super) struct Recent<T>(VecDeque<T>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Clone + PartialEq> Recent<T> {
    /// Returns an equal value that was seen recently, or else this one. A clone must share its
    /// content.
    pub(super) fn share(&mut self, new: T) -> T {
        if let Some(same) = self.0.iter().find(|known| **known == new) {
            return same.clone();
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(new.clone());
        new
    }
}

/// Everything that accounts share in one cycle.
#[derive(Debug, Default)]
pub(super) struct InCommon {
    pub(super) desired: Recent<Arc<Desired>>,
    pub(super) installed: Recent<FingerprintSet>,
    keys: Recent<KeyList>,
}

/// The keys of a plan, as the outcome lists them.
#[derive(Debug)]
pub(super) struct PlannedKeys {
    pub(super) in_force: KeyList,
    pub(super) added: KeyList,
    pub(super) removed: KeyList,
    pub(super) updated: KeyList,
}

impl InCommon {
    /// Moves the keys out of a plan.
    pub(super) fn keys_of(&mut self, plan: &mut Plan) -> PlannedKeys {
        PlannedKeys {
            in_force: self.share_keys(&mut plan.in_force),
            added: self.share_keys(&mut plan.added),
            removed: self.share_keys(&mut plan.removed),
            updated: self.share_keys(&mut plan.updated),
        }
    }

    fn share_keys(&mut self, keys: &mut Vec<KeyShown>) -> KeyList {
        let keys = std::mem::take(keys);
        if keys.is_empty() {
            return KeyList::default();
        }
        self.keys.share(keys.into())
    }
}

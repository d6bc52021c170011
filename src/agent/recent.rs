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
        let mut share = |keys: &mut Vec<KeyShown>| match std::mem::take(keys) {
            none if none.is_empty() => KeyList::default(),
            keys => self.keys.share(keys.into()),
        };
        PlannedKeys {
            in_force: share(&mut plan.in_force),
            added: share(&mut plan.added),
            removed: share(&mut plan.removed),
            updated: share(&mut plan.updated),
        }
    }
}

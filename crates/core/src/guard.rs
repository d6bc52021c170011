//! The safety check before a new document reaches a file: too few keys, or too many removed at
//! once, are probably a mistake.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fault::FaultCode;
use crate::plan::{Desired, Plan};
use crate::words::counted;

/// The policy's limits for one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// The fewest published keys that must be in force. Pinned keys count only if the document has
    /// them too.
    pub min_keys: usize,
    /// The most keys that one document may remove. Pinned keys do not count.
    pub max_removals: Option<MaxRemovals>,
}

/// A limit on removals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaxRemovals {
    /// A number of keys.
    Keys(usize),
    /// A percentage of the account's managed keys, from 0 to 100.
    Percent(u8),
}

/// Why a document is refused for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Held {
    /// Fewer keys than `min_keys`.
    #[error(
        "the document has {} in force for this account, [policy] min_keys asks for {least}; {}",
        counted(*found, "key"),
        if *found == 0 {
            "publish a key for it: one without `accounts`, or with this account's name there"
        } else {
            "publish more, or lower min_keys"
        }
    )]
    TooFew {
        /// Published keys in force.
        found: usize,
        /// The minimum of the policy.
        least: usize,
    },
    /// More removals than `max_removals`.
    #[error(
        "the document would take {removals} of {} away, more than [policy] max_removals allows; go \
         in smaller steps, or raise max_removals",
        counted(*of, "key")
    )]
    TooMany {
        /// Keys that would be removed.
        removals: usize,
        /// Keys managed before.
        of: usize,
    },
}

impl Held {
    /// Its code.
    pub fn code(self) -> FaultCode {
        match self {
            Self::TooFew { .. } => FaultCode::TooFewKeys,
            Self::TooMany { .. } => FaultCode::TooManyRemovals,
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            min_keys: 1,
            max_removals: None,
        }
    }
}

impl Guard {
    /// Judges what a document that is new to the account would change. Changes by expiry and by
    /// windows of an accepted document are not limited.
    pub fn judge(&self, desired: &Desired, plan: &Plan) -> Result<(), Held> {
        let found = desired.published();
        if found < self.min_keys {
            return Err(Held::TooFew {
                found,
                least: self.min_keys,
            });
        }
        let removals = plan.taken_away;
        let of = plan.at_stake;
        let too_many = match self.max_removals {
            None => false,
            Some(MaxRemovals::Keys(most)) => removals > most,
            Some(MaxRemovals::Percent(most)) => removals * 100 > usize::from(most) * of,
        };
        if too_many {
            Err(Held::TooMany { removals, of })
        } else {
            Ok(())
        }
    }
}

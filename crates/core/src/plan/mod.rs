//! What an account's file must become: the keys in force, merged into the file's present content.

pub(crate) use desired::earlier;
pub use desired::{Desired, DesiredEntry, Layer, Unreadable, desired};
pub use expiry::{ExpiryForm, Moment, PresentLines};
pub use fragments::{Fragments, Generator, dropped, plan_fragments, repair};
pub use layout::{Plan, add_pinned, holds_our_block, keep_present_lines, our_keys, plan};
pub use lines::{Mode, managed_by};
pub use versions::{RECENT_OPTIONS, since};

mod desired;
mod expiry;
mod fragments;
mod layout;
mod lines;
mod readable;
mod versions;

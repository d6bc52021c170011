//! authkeysd keeps `authorized_keys` on a node equal to one published key set.
//!
//! The path of the data, stage by stage. The pure stages are the crate `authkeys-core`:
//!
//! ```text
//! source ──bytes──▶ document ─▶ verify ─▶ plan ─▶ guard ─▶ apply ─▶ outcome ─▶ report
//! (fetch)           (core)      (core)    (core)  (core)   (host)
//!                                                     (to the journal, status, metrics, tags)
//! ```

pub mod agent;
pub mod command;
pub mod fetch;
pub mod host;
mod locked;
pub mod report;
pub mod service;
pub mod state;

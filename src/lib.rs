//! authkeysd keeps `authorized_keys` on a node equal to one published key set.
//!
//! The data's way, stage by stage; what is pure is the crate `authkeys-core`:
//!
//! ```text
//! source ──bytes──▶ document ──▶ verify ──▶ plan ──▶ guard ──▶ apply ──▶ outcome ──▶ report
//!  (fetch)          (core)       (core)     (core)   (core)    (host)                (journal, status, metrics, tags)
//! ```

pub mod agent;
pub mod command;
pub mod fetch;
pub mod host;
pub mod report;
pub mod service;
pub mod state;

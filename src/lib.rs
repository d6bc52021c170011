//! authkeysd keeps `authorized_keys` on a node equal to one published key set.
//!
//! The data's way, stage by stage:
//!
//! ```text
//! source ──bytes──▶ document ──▶ verify ──▶ plan ──▶ guard ──▶ apply ──▶ outcome ──▶ report
//!  (network)        (pure)       (pure)     (pure)   (pure)    (host)                (journal, status, metrics, tags)
//! ```

pub mod agent;
pub mod aws;
mod caught;
pub mod command;
pub mod config;
pub mod ctl;
pub mod document;
pub mod ec2;
pub mod fleet;
pub mod guard;
pub mod history;
pub mod host;
pub mod key;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod schedule;
pub mod service;
pub mod source;
pub mod state;
mod terminal;
pub mod user;
pub mod verify;
mod words;

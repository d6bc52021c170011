//! What authkeysd decides, without doing it.
//!
//! The path of the data, stage by stage. Everything here is pure, and time comes in as a value:
//!
//! ```text
//! origin ──bytes──▶ document ──▶ verify ──▶ plan ──▶ guard ──▶ (apply) ──▶ outcome ──▶ report
//! ```
//!
//! This crate has no runtime, no system calls and no AWS in its dependency tree, so the compiler
//! keeps decisions apart from effects.

pub mod caught;
pub mod config;
pub mod document;
pub mod encryption;
pub mod fault;
pub mod fleet;
pub mod guard;
pub mod history;
pub mod key;
pub mod nudge;
pub mod origin;
pub mod outcome;
pub mod plan;
pub mod publishing;
pub mod report;
pub mod schedule;
pub mod signing;
pub mod user;
pub mod verify;
pub mod wire;
pub mod words;

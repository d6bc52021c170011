//! The pure core and the agent's cycle, without network, root or real files of accounts.

mod config;
mod cycles;
mod documents;
mod key_lines;
mod keys;
mod plans;
mod purity;
mod verify;

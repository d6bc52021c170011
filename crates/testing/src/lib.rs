//! Helpers of the black-box tests: a private machine for each test (`lab`), real keys, real logins, and the built
//! binary with a clean environment.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(clippy::disallowed_methods, reason = "throw-away files need no durability")]

mod booted;
mod keys;
mod lab;
mod service;
mod setup;
mod tools;
mod tree;

pub use booted::{Machine, booted};
pub use keys::{Key, KeyType, ssh_keygen_lists};
pub use lab::{
    authorized_keys, copy_for_all, inside, install, lab, login, login_and_run, program_for_all, sshd_accepts, sshd_log,
};
pub use service::{Manager, Service, eventually};
pub use setup::{
    Account, Run, Setup, authkeysctl, authkeysd, clean_command, clean_ctl, me, outcome_of, sibling, somebody_else,
    stand_in,
};
pub use tools::{SSH_KEY_DIR, Tool, UPDATE_SSH_KEYS};
pub use tree::{Entry, contents, tree};

/// The fenced blocks of one language in a document.
pub fn blocks(document: &str, language: &str) -> impl Iterator<Item = String> {
    let fence = format!("```{language}\n");
    let rests: Vec<&str> = document.split(fence.as_str()).skip(1).collect();
    rests.into_iter().map(|rest| rest.split("```").next().unwrap().to_owned())
}

//! What the tests share: the built programs with a clean environment, real keys and logins, private
//! and booted machines, and local servers in place of AWS. It depends on no AWS library and on no
//! agent code: tests that need those have their own helpers.

pub mod ec2;
pub mod fleet;
pub mod gate;
pub mod imds;
pub mod ministack;
pub mod moto;
pub mod numbered;
pub mod python;
pub mod regions;
pub mod s3_stub;
pub mod seaweed;
pub mod signing;
pub mod throttle;

mod again;
mod booted;
mod keys;
mod lab;
mod needs;
mod paths;
mod service;
mod setup;
mod tools;
mod tree;

pub use again::{alone, as_stranger, below, in_own_process, test_name, with_own_mounts};
pub use booted::{Machine, booted};
pub use keys::{Key, KeyType, ssh_keygen_lists};
pub use lab::{
    authorized_keys, copy_for_all, inside, install, lab, lab_as, lab_with_sshd_of, login,
    login_and_run, program_for_all, sshd_accepts, sshd_log, sshd_version,
};
pub use needs::{STRANGER, has, has_root_and, is_root, run, skipped, try_run};
pub use paths::{checkout, program, scratch};
pub use service::{Manager, Service, eventually};
pub use setup::{
    AccountSetup, Run, Setup, authkeysctl, authkeysd, clean_command, clean_ctl, me, outcome_of,
    somebody_else, stand_in,
};
pub use tools::{SSH_KEY_DIR, Tool, UPDATE_SSH_KEYS};
pub use tree::{TreeEntry, contents, tree};

/// The fenced code blocks of one language in a document.
pub fn blocks(document: &str, language: &str) -> impl Iterator<Item = String> {
    let fence = format!("```{language}\n");
    let rests: Vec<&str> = document.split(fence.as_str()).skip(1).collect();
    rests
        .into_iter()
        .map(|rest| rest.split("```").next().unwrap().to_owned())
}

//! What a real sshd makes of it, on private machines (tests/lab/enter.sh).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

mod adopt;
mod check_doctor;
mod coreos;
mod coreos_program;
mod coreos_sshd;
mod hostile_user;
mod judges;
mod lab_itself;
mod machine;
mod ours;
mod published_to_login;
mod rotation;
mod rotation_function;
mod rotation_guide;
mod rotation_soak;
mod rows_end_to_end;
mod rows_of_policy;
mod selinux;
mod signatures_agree;
mod sshd_agreement;
mod sshd_oracle;
mod sshd_tables;
mod windows;
